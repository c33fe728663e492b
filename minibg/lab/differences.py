"""What differs between two contenders, found in what became of their tasks, and why.

What may live here: for each kind of difference, how it is recognised, its name, which is that of a
rule, and two sentences about it.
"""

from collections.abc import Callable, Iterator
from itertools import combinations, pairwise
from typing import Any

from minibg.lab.outcome import Outcome


def differences(outcomes: list[Outcome]) -> Iterator[dict[str, Any]]:
    """What differs, for each two of them; the kinds that explain most come first."""
    for one, other in combinations(outcomes, 2):
        for name, find in KINDS.items():
            for first, second in ((one, other), (other, one)):
                found = find(first, second)
                if found is not None:
                    what, tasks = found
                    yield {
                        "contenders": [first.contender, second.contender],
                        "name": name,
                        "what": what,
                        "tasks": tasks,
                    }
                    break


Found = tuple[str, list[str]] | None
"""Two sentences, and the tasks of which they speak."""


def _failed(outcome: Outcome) -> str | None:
    """The first task that failed."""
    return next((n for n, task in outcome.tasks.items() if task.how == "failed"), None)


def _isolate(right: Outcome, wrong: Outcome) -> Found:
    failed = _failed(wrong)
    missing = [
        n
        for n, t in wrong.tasks.items()
        if not t.started and n in right.tasks and right.tasks[n].started
    ]
    if failed is None or not missing or right.tasks[failed].how != "failed":
        return None
    what = (
        f"In {wrong.title} the failure of task {failed} ends the run, so {_tasks(missing)} "
        f"never started. In {right.title} a failure goes to on_error, which logs it, and "
        "the next task runs."
    )
    return what, missing


def _order(right: Outcome, wrong: Outcome) -> Found:
    """Whether one awaits what the other does not."""
    missing = [n for n, t in right.tasks.items() if t.started and n not in wrong.tasks]
    handed = [n for n in missing if "handed back" in n]
    if not handed:
        return None
    task = handed[0].split(" ", 1)[0]
    what = (
        f"Task {task} is a sync function that hands back a coroutine. {right.title} awaits "
        f"that on the loop, and {wrong.title} throws it away: what is in it never runs."
    )
    return what, handed


def _nothing_lost(right: Outcome, wrong: Outcome) -> Found:
    named = [
        n
        for n, t in right.tasks.items()
        if t.named
        and n in wrong.tasks
        and not wrong.tasks[n].named
        and wrong.tasks[n].how in ("never started", "never ended", "cut off")
    ]
    if not named:
        return None
    what = (
        f"{_tasks(named).capitalize()} did not run to the end on either. {right.title} names "
        f"them in a WARNING with the reason; {wrong.title} says nothing of them."
    )
    return what, named


def _connection(right: Outcome, wrong: Outcome) -> Found:
    lost = (wrong.closed_by_server or wrong.lost) and not (right.closed_by_server or right.lost)
    if not lost or wrong.spec.server != "goes on" or not wrong.reaches_server:
        return None
    what = (
        f"In {wrong.title} the exception reaches the server, which closes the connection "
        f"although the answer was complete. In {right.title} it stays open for the next request."
    )
    return what, []


def _place(right: Outcome, wrong: Outcome) -> Found:
    on_loop = [
        n
        for n, spec in enumerate(wrong.spec.tasks, 1)
        if spec.kind == "sync"
        and wrong.tasks[str(n)].lane == "loop"
        and right.tasks[str(n)].lane.startswith("worker")
    ]
    if not on_loop:
        return None
    names = [str(n) for n in on_loop]
    what = (
        f"{wrong.title} calls {_tasks(names)} on the event loop, so no other request is served "
        f"meanwhile. {right.title} calls sync functions in a worker thread."
    )
    return what, names


def _cancel(right: Outcome, wrong: Outcome) -> Found:
    went_on = [
        n
        for n, t in wrong.tasks.items()
        if t.started and n in right.tasks and not right.tasks[n].started and right.tasks[n].named
    ]
    if not went_on:
        return None
    what = (
        f"The run was told to stop, and {wrong.title} started {_tasks(went_on)} all the same. "
        f"{right.title} asks before each task whether the run is cancelled."
    )
    return what, went_on


def _release(right: Outcome, wrong: Outcome) -> Found:
    def first_task(outcome: Outcome) -> float | None:
        return min((t.begin for t in outcome.tasks.values() if t.started), default=None)

    ours, theirs = first_task(right), first_task(wrong)
    if None in (right.dependency_closed, wrong.dependency_closed, ours, theirs):
        return None
    assert right.dependency_closed is not None
    assert wrong.dependency_closed is not None
    assert ours is not None
    assert theirs is not None
    if not (right.dependency_closed <= ours and wrong.dependency_closed > theirs):
        return None
    what = (
        f"{wrong.title} closes the yield dependency when the tasks have run, so its connection "
        f"is held for as long as they take. {right.title} closes it before the first task."
    )
    return what, []


def _room(right: Outcome, wrong: Outcome) -> Found:
    """A row, or a hop for each task."""

    def gap(outcome: Outcome) -> float | None:
        tasks = [t for n, t in outcome.tasks.items() if t.started and t.lane.startswith("worker")]
        pairs = list(pairwise(tasks))
        if len(tasks) < 2 or len(tasks) != len(outcome.tasks):
            return None
        return sum(later.begin - before.end for before, later in pairs) / len(pairs)

    ours, theirs = gap(right), gap(wrong)
    if ours is None or theirs is None or theirs < 2 * ours or theirs < 0.05:
        return None
    what = (
        f"{wrong.title} goes to a thread and back for each sync task: {theirs:.2f} ms between two. "
        f"{right.title} lets the thread take the next one itself: {ours:.2f} ms."
    )
    return what, []


def _tasks(names: list[str]) -> str:
    return ("task " if len(names) == 1 else "tasks ") + " and ".join(names)


KINDS: dict[str, Callable[[Outcome, Outcome], Found]] = {
    "isolate": _isolate,
    "place": _place,
    "cancel": _cancel,
    "nothing lost": _nothing_lost,
    "handed back": _order,
    "connection": _connection,
    "release": _release,
    "row": _room,
}
"""For each kind, how it is found: given the contender that is right and the one that is not."""
