"""The differences between two contenders, found in their outcomes, and the reasons for them.

What may live here: for each kind of difference, how to recognise it in two outcomes, the rule that
it is about, and two sentences that explain it.
"""

from collections.abc import Callable, Iterator
from itertools import combinations, pairwise
from statistics import median
from typing import Any

from minibg.lab.outcome import Outcome, TaskOutcome

Found = tuple[str, list[int]] | None
"""Two sentences, and the numbers of the tasks that they are about; None if nothing differs."""


def differences(outcomes: list[Outcome]) -> Iterator[dict[str, Any]]:
    """The differences of each pair of outcomes. The kinds that explain most come first."""
    for pair in combinations(outcomes, 2):
        for right, wrong in (pair, pair[::-1]):
            explained: set[int] = set()
            for name, (rule, find) in KINDS.items():
                found = find(right, wrong)
                if found is None or (found[1] and explained.issuperset(found[1])):
                    continue
                what, tasks = found
                explained.update(tasks)
                contenders = [right.contender, wrong.contender]
                yield {
                    "contenders": contenders,
                    "name": name,
                    "rule": rule,
                    "what": what,
                    "tasks": tasks,
                }


def both(right: Outcome, wrong: Outcome) -> Iterator[tuple[int, Any, Any]]:
    """The tasks that both outcomes have, each with its number."""
    for number, (ours, theirs) in enumerate(zip(right.tasks, wrong.tasks, strict=False)):
        yield number, ours, theirs


def isolate(right: Outcome, wrong: Outcome) -> Found:
    """A failure ends the run in one; in the other, the next task runs."""
    failed = [n for n, ours, theirs in both(right, wrong) if ours.how == theirs.how == "failed"]
    missing = [n for n, ours, theirs in both(right, wrong) if ours.started and not theirs.started]
    if not failed or not missing:
        return None
    what = (
        f"In {wrong.title}, the failure of task {failed[0] + 1} ends the run, and {tasks(missing)} "
        f"{never(missing)}. In {right.title}, a failure goes to `on_error`, which logs it, and "
        "the next task runs."
    )
    return what, missing


def place(right: Outcome, wrong: Outcome) -> Found:
    """A sync task runs on the loop in one, and in a thread in the other."""
    on_loop = [
        number
        for number, ours, theirs in both(right, wrong)
        if theirs.lane == "loop" and ours.lane.startswith("worker")
    ]
    if not on_loop:
        return None
    what = (
        f"{capital(wrong.title)} calls {tasks(on_loop)} on the event loop, so no other request is "
        f"served meanwhile. {capital(right.title)} calls sync functions in a worker thread."
    )
    return what, on_loop


def handed_back(right: Outcome, wrong: Outcome) -> Found:
    """A task returns an awaitable, which is awaited in one, and thrown away in the other."""
    found = [
        number
        for number, ours, theirs in both(right, wrong)
        if ours.handed_back and theirs.started and not theirs.handed_back
    ]
    if not found:
        return None
    what = (
        f"{capital(tasks(found))} called a sync function that returned a coroutine, as a lambda "
        f"may. {capital(right.title)} awaits the coroutine on the loop; {wrong.title} throws it "
        "away, so its code never runs."
    )
    return what, found


def after(right: Outcome, wrong: Outcome) -> Found:
    """The answer is never complete, and one starts tasks all the same."""
    started = [n for n, ours, theirs in both(right, wrong) if theirs.started and not ours.started]
    if not started or right.status is not None or wrong.status is not None:
        return None
    what = (
        f"The client gets no complete answer, and {wrong.title} starts {tasks(started)} all the "
        f"same. In {right.title}, no task starts after an incomplete answer, and the log names "
        "those that were not run."
    )
    return what, started


def cancel(right: Outcome, wrong: Outcome) -> Found:
    """The run is cancelled, and one starts further tasks."""
    started = [
        number
        for number, ours, theirs in both(right, wrong)
        if theirs.started and not ours.started and ours.named
    ]
    cancelled = any(task.does.startswith("cancels") for task in wrong.spec.tasks)
    if not started or right.status is None or not cancelled:
        return None
    what = (
        f"The run is cancelled, and {wrong.title} starts {tasks(started)} all the same. "
        f"{capital(right.title)} checks before each task whether the run has been cancelled."
    )
    return what, started


def nothing_lost(right: Outcome, wrong: Outcome) -> Found:
    """One names the tasks that do not run to their end, and the other does not."""
    named = [
        number
        for number, ours, theirs in both(right, wrong)
        if ours.named and not theirs.named and theirs.how not in ("ended", "failed")
    ]
    if not named:
        return None
    them = "it" if len(named) == 1 else "them"
    what = (
        f"{capital(tasks(named))} {'does' if len(named) == 1 else 'do'} not run to the end in "
        f"either. {capital(right.title)} logs a WARNING with the name and the reason; in "
        f"{wrong.title}, no log names {them}."
    )
    return what, named


def release(right: Outcome, wrong: Outcome) -> Found:
    """A dependency is closed before the tasks in one, and after them in the other."""

    def is_closed_first(outcome: Outcome) -> bool | None:
        starts = [task.begin for task in outcome.tasks if task.started]
        closed = outcome.dependency_closed
        return None if closed is None or not starts else closed <= min(starts)

    if not is_closed_first(right) or is_closed_first(wrong) is not False:
        return None
    what = (
        f"{capital(wrong.title)} closes the `yield` dependency after the tasks, so a session in it "
        f"stays open while they run. {capital(right.title)} closes the dependency before the "
        "first task."
    )
    return what, []


def connection(right: Outcome, wrong: Outcome) -> Found:
    """A task's failure costs the connection in one, and not in the other."""
    costs = wrong.connection != "kept" and wrong.reaches_server and wrong.status is not None
    if (
        right.connection != "kept"
        or not costs
        or wrong.status == 500
        or wrong.spec.server != "goes on"
    ):
        return None
    lost = right.second_status is not None and wrong.second_status is None
    what = (
        f"In {wrong.title}, {cause(wrong)} reaches the server, which closes the connection though "
        f"the answer was complete{', and the pipelined request gets no answer' if lost else ''}. "
        f"In {right.title}, the connection stays open for the next request."
    )
    return what, []


def cause(outcome: Outcome) -> str:
    """The exception that reaches the server, and what raised it."""
    kind = outcome.reaches_server
    said = next((text for text in outcome.errors if f": {kind}(" in text), "")
    for number, task in enumerate(outcome.tasks):
        is_its = f"task {number + 1} fails" in said or kind == "SystemExit"
        if task.how == "failed" and is_its:
            return f"the {kind} of {tasks([number])}"
    if outcome.spec.dependency == "fails closing":
        return f"the {kind} of the dependency that fails while it closes"
    awaited = [n for n, task in enumerate(outcome.spec.tasks) if task.kind == "sync"]
    if "'await' expression" in said:
        return (
            f"a {kind} (sync {tasks(awaited[:1])} has ended, and the None that it returned is "
            "awaited)"
        )
    return f"a {kind}"


def room(right: Outcome, wrong: Outcome) -> Found:
    """Tasks of other requests keep a sync endpoint waiting in one, and not in the other."""
    if wrong.spec.client != "after 40 others" or right.answered is None or wrong.answered is None:
        return None
    if wrong.answered < 50 + right.answered:
        return None
    what = (
        f"In {wrong.title}, the tasks of 40 earlier requests hold the 40 threads that sync "
        f"endpoints need too, and the client waits {wrong.answered:.0f} ms. In {right.title}, "
        f"tasks have threads of their own, and the client waits {right.answered:.0f} ms."
    )
    return what, []


def capture(right: Outcome, wrong: Outcome) -> Found:
    """The list's own `add_task` takes a keyword argument that was meant for the task."""
    given = [n for n, task in enumerate(wrong.spec.tasks) if task.does == "is given func"]
    if not given or wrong.status != 500 or right.status == 500:
        return None
    what = (
        f"`add_task(f, func=...)` raises a TypeError in {wrong.title}, and the client gets a 500. "
        f"In {right.title}, the task is called with any keyword argument that it was given."
    )
    return what, given


def generator(right: Outcome, wrong: Outcome) -> Found:
    """A generator function is refused in one, and in the other it is a task that does nothing."""
    added = [n for n, task in enumerate(wrong.spec.tasks) if task.does == "is a generator"]
    if not added or right.status != 500 or wrong.status == 500:
        return None
    what = (
        f"{capital(tasks(added))} used a generator function, and calling one runs none of its "
        f"code: {wrong.title} calls it and says nothing. {capital(right.title)} refuses the "
        "function: `add_task` raises a TypeError."
    )
    return what, added


def unheard(right: Outcome, wrong: Outcome) -> Found:
    """A failure is logged in one, and lost in the other."""
    lost = [
        number
        for number, ours, theirs in both(right, wrong)
        if ours.how == theirs.how == "failed"
        and right.failure_is_logged(number)
        and not wrong.failure_is_logged(number)
    ]
    if not lost or handler(right, wrong):
        return None
    what = (
        f"{capital(tasks(lost))} failed in both. {capital(right.title)} logs the failure; in "
        f"{wrong.title}, the cancellation takes its place, and no log mentions it."
    )
    return what, lost


def waits(right: Outcome, wrong: Outcome) -> Found:
    """A run that is cancelled waits for its thread in one, and leaves it behind in the other."""

    def left(outcome: Outcome) -> list[int]:
        over = outcome.returned
        ends = ((n, task.end) for n, task in enumerate(outcome.tasks))
        return [n for n, end in ends if over is not None and end is not None and end > over]

    behind = left(wrong)
    if not behind or left(right):
        return None
    what = (
        f"The run of {wrong.title} ends while the thread of {tasks(behind)} is still working. "
        f"{capital(right.title)} waits for the thread, since a thread cannot be interrupted."
    )
    return what, behind


def dropped(right: Outcome, wrong: Outcome) -> Found:
    """Tasks run in one and not in the other, whatever the reason."""
    missing = [
        number
        for number, task in enumerate(right.tasks)
        if task.started and (number >= len(wrong.tasks) or wrong.tasks[number] == TaskOutcome())
    ]
    if not missing or wrong.status == 500:
        return None
    what = f"{capital(tasks(missing))} {'runs' if len(missing) == 1 else 'run'} in {right.title}"
    reason = DROPPED.get(wrong.spec.endpoint) or DROPPED.get(wrong.spec.dependency)
    if reason is None:
        ends = f"There, the run ends with this exception: {wrong.reaches_server}."
        reason = ends if wrong.reaches_server else "No log says why."
    return f"{what}, and not in {wrong.title}. {reason}", missing


DROPPED = {
    "own background": "When a response has a background of its own, the injected list is dropped.",
    "adds": "The dependency adds the task while it closes, when the list has already run.",
}


def handler(right: Outcome, wrong: Outcome) -> Found:
    """Another error replaces that of a task, since an exception handler tries to answer."""
    replaced = [text for text in wrong.errors if "already started" in text]
    if not replaced or any("already started" in text for text in right.errors):
        return None
    what = (
        f"The task's exception has a handler, and {wrong.title} calls it to answer a request that "
        "has been answered: the log reports that error, not the failure. In "
        f"{right.title}, a task's failure goes to `on_error`, which logs it."
    )
    return what, [n for n, task in enumerate(wrong.tasks) if task.how == "failed"]


def row(right: Outcome, wrong: Outcome) -> Found:
    """Sync tasks share one hop to a thread in one, and take one each in the other."""

    def gap(outcome: Outcome) -> float:
        if not all(t.end is not None and t.lane.startswith("worker") for t in outcome.tasks):
            return 0.0
        gaps = [after.begin - (before.end or 0.0) for before, after in pairwise(outcome.tasks)]
        return median(gaps) if len(gaps) > 1 else 0.0

    ours, theirs = gap(right), gap(wrong)
    if not ours or theirs < 1.2 * ours:
        return None
    what = (
        f"{capital(wrong.title)} goes to a thread and back for each sync task: {theirs:.2f} ms "
        f"between two tasks. In {right.title}, the thread takes the next one itself: {ours:.2f} ms."
    )
    return what, []


def tasks(numbers: list[int]) -> str:
    """Tasks in words: "task 2" for `[1]`."""
    names = [str(number + 1) for number in numbers]
    if len(names) == 1:
        return f"task {names[0]}"
    return f"tasks {', '.join(names[:-1])} and {names[-1]}"


def never(numbers: list[int]) -> str:
    """The predicate of tasks that did not start."""
    return "never starts" if len(numbers) == 1 else "never start"


def capital(text: str) -> str:
    """The text as the beginning of a sentence; "minibg" keeps its small letter."""
    return text if text == "minibg" else text[0].upper() + text[1:]


KINDS: dict[str, tuple[str, Callable[[Outcome, Outcome], Found]]] = {
    "isolate": ("isolate", isolate),
    "place": ("place", place),
    "capture": ("capture", capture),
    "generator": ("capture", generator),
    "handler": ("isolate", handler),
    "unheard": ("isolate", unheard),
    "room": ("room", room),
    "handed back": ("place", handed_back),
    "after": ("after", after),
    "cancel": ("cancel", cancel),
    "left behind": ("cancel", waits),
    "nothing lost": ("nothing lost", nothing_lost),
    "dropped": ("nothing lost", dropped),
    "release": ("release", release),
    "connection": ("isolate", connection),
    "row": ("place", row),
}
"""For each kind, the rule that it is about, and the function that finds it. The first argument is
the outcome in which the rule holds, the second the one in which it does not."""
