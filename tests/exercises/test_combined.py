"""Policies can be combined: of each pair of ours, in either order, both hold.

What may live here: for each policy, one promise of its own that shows it.
"""

import threading
from collections.abc import Awaitable, Callable
from itertools import permutations
from math import inf
from typing import Any, ClassVar

import anyio
import pytest
from prometheus_client import CollectorRegistry

from minibg import BackgroundTask, BackgroundTasks
from minibg.examples.solutions import (
    Concurrent,
    DeadLetters,
    Delayed,
    Prioritised,
    Progress,
    Results,
    Retrying,
    TimeLimited,
)
from minibg.ext.monitoring import MonitoredTasks, TaskMetrics
from minibg.lab.recorder import Recording, RecordingTasks, current_recording

Promise = Callable[[Any], Awaitable[None]]
PROMISES: dict[type[BackgroundTasks], Promise] = {}


def shows(policy: type[BackgroundTasks]) -> Callable[[Promise], Promise]:
    """Say by which promise a policy is shown."""

    def note(promise: Promise) -> Promise:
        PROMISES[policy] = promise
        return promise

    return note


async def nothing() -> None: ...
def nothing_in_a_thread() -> None: ...
def hand_back() -> Awaitable[None]:
    return anyio.sleep_forever()


@shows(Retrying)
async def failing_tasks_are_called_again(cls: Any) -> None:
    called: list[int] = []

    def fail_once(number: int) -> None:
        called.append(number)
        if called.count(number) == 1:
            raise ValueError

    tasks = cls()
    tasks.add_task(fail_once, 1)
    tasks.add_task(fail_once, 2)
    await tasks()
    assert sorted(called) == [1, 1, 2, 2]


@shows(TimeLimited)
async def async_tasks_are_limited_in_time(cls: Any) -> None:
    failed: list[Exception] = []

    class Noting(cls):  # type: ignore[misc]  # a class that is given
        seconds, attempts = 0.001, 1

        def on_error(self, task: BackgroundTask, exc: Exception) -> Any:
            failed.append(exc)
            return super().on_error(task, exc)

    tasks = Noting()
    tasks.add_task(anyio.sleep_forever)
    tasks.add_task(hand_back)
    with anyio.fail_after(10):
        await tasks()
    assert [type(exc) for exc in failed] == [TimeoutError, TimeoutError]


@shows(MonitoredTasks)
async def tasks_are_counted(cls: Any) -> None:
    class Counted(cls):  # type: ignore[misc]  # a class that is given
        metrics = TaskMetrics(CollectorRegistry())

    tasks = Counted([BackgroundTask(nothing)])
    tasks.add_task(nothing_in_a_thread)
    added = Counted.metrics.backlog
    await tasks()
    found = {
        sample.name: sample.value
        for metric in Counted.metrics.collect()
        for sample in metric.samples
        if sample.labels.get("task", "").endswith(".nothing")
    }
    assert (added, Counted.metrics.backlog) == (2, 0)
    assert found["minibg_tasks_done_total"] == 1


@shows(RecordingTasks)
async def each_call_is_recorded(cls: Any) -> None:
    recording = Recording()
    current_recording.set(recording)
    tasks = cls([BackgroundTask(nothing)])
    tasks.add_task(nothing_in_a_thread)
    await tasks()
    assert [event.what for event in recording.tasks] == ["nothing", "nothing_in_a_thread"]
    assert all(event.end < inf for event in recording.tasks)


@shows(Prioritised)
async def the_highest_priority_is_the_first(cls: Any) -> None:
    """In a group nothing is the first; there it is the list that shows it."""
    tasks = cls()
    for priority in (1, 3, 2):
        tasks.add_task_with_priority(priority, nothing)
    assert [task.priority for task in tasks.tasks] == [3, 2, 1]
    await tasks()


@shows(Results)
async def a_result_is_there_when_its_task_has_returned(cls: Any) -> None:
    tasks = cls()
    sync, on_loop = tasks.add_task_for_result(int, "42"), tasks.add_task_for_result(answer)
    await tasks()
    assert (sync.value, on_loop.value) == (42, 43)


async def answer() -> int:
    return 43


@shows(DeadLetters)
async def failures_are_kept(cls: Any) -> None:
    class Keeping(cls):  # type: ignore[misc]  # a class that is given
        letters: ClassVar[list[Any]] = []
        attempts = 1

    failure = ValueError()

    def fail() -> None:
        raise failure

    tasks = Keeping()
    tasks.add_task(fail)
    await tasks()
    assert [exc for _, exc in Keeping.letters] == [failure]


@shows(Delayed)
async def a_delayed_task_runs(cls: Any) -> None:
    ran: list[int] = []
    tasks = cls()
    tasks.add_task_after(0, ran.append, 1)
    await tasks()
    assert ran == [1]


@shows(Progress)
async def reports_are_told(cls: Any) -> None:
    tasks, told = cls(), list[int]()
    tasks.add_task(tasks.report, 1)
    async with anyio.create_task_group() as group:
        group.start_soon(tasks)
        async for item in tasks:
            told.append(item)
    assert told == [1]


@shows(Concurrent)
async def tasks_run_at_the_same_time(cls: Any) -> None:
    meet = threading.Barrier(2, timeout=10)
    tasks = cls()
    tasks.add_task(meet.wait)
    tasks.add_task(meet.wait)
    await tasks()
    assert not meet.broken


PAIRS = [
    pytest.param(pair, policy, id=f"{pair[0].__name__}, {pair[1].__name__}: {policy.__name__}")
    for pair in permutations(PROMISES, 2)
    for policy in pair
]


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """No retry waits."""
    monkeypatch.setattr(Retrying, "first_delay", 0)


@pytest.mark.parametrize(("pair", "policy"), PAIRS)
def test_of_two_policies_both_hold(
    backend: str, pair: tuple[type[BackgroundTasks], ...], policy: type[BackgroundTasks]
) -> None:
    async def show() -> None:
        current_recording.set(Recording())
        await PROMISES[policy](type("Combined", pair, {}))

    anyio.run(show, backend=backend)
