"""What differs between two contenders, found in what became of their tasks, and why.

What may live here: for each kind of difference, how it is recognised in two outcomes, its name,
which is that of a rule, and two sentences about it.
"""

from collections.abc import Callable, Iterator
from itertools import combinations, pairwise
from typing import Any

from minibg.lab.outcome import Outcome

Found = tuple[str, list[int]] | None
"""Two sentences, and the tasks of which they speak; or there is no such difference."""


def differences(outcomes: list[Outcome]) -> Iterator[dict[str, Any]]:
    """What differs, for each two of them; the kinds that explain most come first."""
    for pair in combinations(outcomes, 2):
        for right, wrong in (pair, pair[::-1]):
            explained: set[int] = set()
            for name, find in KINDS.items():
                found = find(right, wrong)
                if found is None or (found[1] and explained.issuperset(found[1])):
                    continue
                what, tasks = found
                explained.update(tasks)
                contenders = [right.contender, wrong.contender]
                yield {"contenders": contenders, "name": name, "what": what, "tasks": tasks}


def both(right: Outcome, wrong: Outcome) -> Iterator[tuple[int, Any, Any]]:
    """The tasks that are known to both."""
    for number, (ours, theirs) in enumerate(zip(right.tasks, wrong.tasks, strict=False)):
        yield number, ours, theirs


def isolate(right: Outcome, wrong: Outcome) -> Found:
    """A failure ends the run in one, and in the other the next task runs."""
    failed = [n for n, ours, theirs in both(right, wrong) if ours.how == theirs.how == "failed"]
    missing = [n for n, ours, theirs in both(right, wrong) if ours.started and not theirs.started]
    if not failed or not missing:
        return None
    what = (
        f"In {wrong.title} the failure of task {failed[0] + 1} ends the run, and {tasks(missing)} "
        f"{never(missing)} started. In {right.title} a failure goes to `on_error`, which logs it, "
        "and the next task runs."
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
        f"{capital(wrong.title)} calls {tasks(on_loop)} on the event loop, where nobody else is "
        f"served meanwhile. {capital(right.title)} calls sync functions in a worker thread."
    )
    return what, on_loop


def handed_back(right: Outcome, wrong: Outcome) -> Found:
    """What a task hands back is awaited in one, and thrown away in the other."""
    found = [
        number
        for number, ours, theirs in both(right, wrong)
        if ours.handed_back and theirs.started and not theirs.handed_back
    ]
    if not found:
        return None
    what = (
        f"{capital(tasks(found))} is sync and hands back a coroutine, as a lambda does. "
        f"{capital(right.title)} awaits it on the loop; {wrong.title} throws it away, and what "
        "stands in it never runs."
    )
    return what, found


def after(right: Outcome, wrong: Outcome) -> Found:
    """The answer is never complete, and tasks start all the same."""
    started = [n for n, ours, theirs in both(right, wrong) if theirs.started and not ours.started]
    if not started or right.status is not None or wrong.status is not None:
        return None
    what = (
        f"The client has no complete answer, and {wrong.title} starts {tasks(started)} all the "
        f"same. In {right.title} no task starts after an answer that was never completed, and "
        "the log names them."
    )
    return what, started


def cancel(right: Outcome, wrong: Outcome) -> Found:
    """The run is cancelled, and one starts further tasks."""
    started = [
        number
        for number, ours, theirs in both(right, wrong)
        if theirs.started and not ours.started and ours.named
    ]
    if not started or right.status is None:
        return None
    what = (
        f"The run is cancelled, and {wrong.title} starts {tasks(started)} all the same. "
        f"{capital(right.title)} asks before each task whether its run is cancelled."
    )
    return what, started


def nothing_lost(right: Outcome, wrong: Outcome) -> Found:
    """What does not run to its end is named by one, and by the other it is not."""
    named = [
        number
        for number, ours, theirs in both(right, wrong)
        if ours.named and not theirs.named and theirs.how not in ("ended", "failed")
    ]
    if not named:
        return None
    what = (
        f"{capital(tasks(named))} {'does' if len(named) == 1 else 'do'} not run to the end in "
        f"either. {capital(right.title)} says so in a WARNING, by name and with the reason; "
        f"{wrong.title} says nothing."
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
        f"{capital(wrong.title)} closes the `yield` dependency when the tasks have run, so what it "
        f"holds is held for as long as they take. {capital(right.title)} closes it before the "
        "first task."
    )
    return what, []


def connection(right: Outcome, wrong: Outcome) -> Found:
    """A task's failure costs the connection in one, and not in the other."""
    costs = wrong.connection != "kept" and wrong.reaches_server and wrong.status is not None
    if right.connection != "kept" or not costs or wrong.spec.server != "goes on":
        return None
    lost = right.second_status is not None and wrong.second_status is None
    what = (
        f"In {wrong.title} the exception reaches the server, which closes the connection after an "
        f"answer that was complete{', and the pipelined request has none' if lost else ''}. "
        f"In {right.title} the connection stays open for the next request."
    )
    return what, []


def row(right: Outcome, wrong: Outcome) -> Found:
    """Sync tasks share a way to the thread in one, and have one each in the other."""

    def gap(outcome: Outcome) -> float | None:
        done = [t for t in outcome.tasks if t.end is not None and t.lane.startswith("worker")]
        if len(done) < 3 or len(done) != len(outcome.tasks):
            return None
        return sum(b.begin - (a.end or 0.0) for a, b in pairwise(done)) / (len(done) - 1)

    ours, theirs = gap(right), gap(wrong)
    if ours is None or theirs is None or theirs < 2 * ours:
        return None
    what = (
        f"{capital(wrong.title)} goes to a thread and back for each sync task, {theirs:.2f} ms "
        f"between two. In {right.title} the thread takes the next one itself, {ours:.2f} ms."
    )
    return what, []


def tasks(numbers: list[int]) -> str:
    """Tasks, in words."""
    names = [str(number + 1) for number in numbers]
    if len(names) == 1:
        return f"task {names[0]}"
    return f"tasks {', '.join(names[:-1])} and {names[-1]}"


def never(numbers: list[int]) -> str:
    """That they have not, in words."""
    return "has never" if len(numbers) == 1 else "have never"


def capital(text: str) -> str:
    """At the beginning of a sentence; minibg is written as it is written."""
    return text if text == "minibg" else text[0].upper() + text[1:]


KINDS: dict[str, Callable[[Outcome, Outcome], Found]] = {
    "isolate": isolate,
    "place": place,
    "handed back": handed_back,
    "after": after,
    "cancel": cancel,
    "nothing lost": nothing_lost,
    "release": release,
    "connection": connection,
    "row": row,
}
"""For each kind, how it is found: in which contender it is right, and in which it is not."""
