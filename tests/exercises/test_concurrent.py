"""The exercise `Concurrent`: a list whose tasks run at the same time, as one task of another."""

import threading
from collections.abc import Generator
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minibg import BackgroundTask, BackgroundTasks
from minibg.concurrency import background_limiter
from tests.exercises.clock import Clock
from tests.rules.language.cancelling import SECONDS, Blocked
from tests.rules.language.logs import logged
from tests.rules.language.tasks import ASYNC, SYNC, any_kind, make

EXERCISE = "Concurrent"


def test_sync_and_async_tasks_run_at_the_same_time(solution: Any, backend: str) -> None:
    barrier, group, passed = threading.Barrier(3), solution(), list[str]()

    def meet() -> None:
        barrier.wait(SECONDS)
        passed.append("met")

    async def meet_from_the_loop() -> None:
        await anyio.to_thread.run_sync(meet)

    group.add_task(meet)
    group.add_task(meet_from_the_loop)
    group.add_task(meet)
    anyio.run(group, backend=backend)
    assert passed == ["met"] * 3


@pytest.mark.parametrize("adding", [*SYNC, *ASYNC])
def test_what_a_task_adds_to_the_group_runs_with_it(
    solution: Any, backend: str, adding: str
) -> None:
    tasks, group, ran = BackgroundTasks(), solution(), list[str]()
    group.add_task(make(adding, lambda: group.add_task(ran.append, "added")))
    tasks.add_task(group)
    tasks.add_task(ran.append, "after")
    anyio.run(tasks, backend=backend)
    assert ran == ["added", "after"]


def first() -> None: ...
async def second() -> None: ...


def test_tasks_that_a_cancelled_run_did_not_start_are_named(solution: Any, backend: str) -> None:
    """There is one thread, so of two sync tasks one has started. Which one, nobody can say."""
    tasks, group, blocked = BackgroundTasks(), solution(), Blocked()
    tasks.add_task(group)
    tasks.add_task(second)
    group.add_task(blocked)
    group.add_task(blocked)

    async def give_up() -> None:
        background_limiter().total_tokens = 1
        async with anyio.create_task_group() as outside:
            outside.start_soon(tasks)
            await blocked.is_running()
            outside.cancel_scope.cancel()
            blocked.leave.set()

    with logged() as log:
        anyio.run(give_up, backend=backend)
    warnings = "".join(log.warnings)
    assert [warnings.count(name) for name in ("Blocked", f"{__name__}.second")] == [1, 1]


def test_a_group_whose_turn_does_not_come_is_named_task_by_task(
    solution: Any, backend: str
) -> None:
    tasks, group = BackgroundTasks(), solution()
    group.add_task(first)
    group.add_task(second)
    tasks.add_task(group)
    with logged() as log:
        tasks.abandon("the endpoint raised")
    warnings = "".join(log.warnings)
    assert [warnings.count(f"{__name__}.{name}") for name in ("first", "second")] == [1, 1]


def test_a_cancelled_run_stops_all_tasks(solution: Any, backend: str) -> None:
    clock, group, ended = Clock(backend), solution(), list[str]()

    async def task() -> None:
        await anyio.sleep(5)
        ended.append("ended")

    async def give_up() -> float:
        with anyio.move_on_after(1):
            await group()
        return clock.now()

    group.add_task(task)
    group.add_task(task)
    assert clock.run(give_up) == pytest.approx(1)
    assert ended == []


@given(seconds=st.lists(st.integers(0, 9), max_size=5))
def test_a_group_takes_as_long_as_its_slowest_task(
    solution: Any, backend: str, seconds: list[int]
) -> None:
    clock, group = Clock(backend), solution()
    for each in seconds:
        group.add_task(anyio.sleep, each)
    clock.run(group)
    assert clock.now() == pytest.approx(max(seconds, default=0))


@given(
    before=any_kind(),
    members=st.lists(st.tuples(any_kind(), st.booleans()), max_size=5),
    after=any_kind(),
)
def test_a_group_is_one_task_in_which_a_failure_stops_no_other(
    solution: Any, backend: str, before: str, members: list[tuple[str, bool]], after: str
) -> None:
    told, failed = list[Any](), list[Any]()

    class Group(solution):  # type: ignore[misc]  # which, is said by the reader
        def on_error(self, task: BackgroundTask, exc: Exception) -> None:
            failed.append(exc.args[0])

    def member(number: int, fails: bool) -> Generator[None]:
        yield
        if fails:
            raise ValueError(number)
        yield
        told.append(number)

    tasks, group = BackgroundTasks(), Group()
    tasks.add_task(make(before, told.append), "before")
    tasks.add_task(group)
    tasks.add_task(make(after, told.append), "after")
    for number, (kind, fails) in enumerate(members):
        group.add_task(make(kind, member), number, fails=fails)
    anyio.run(tasks, backend=backend)
    assert (told[0], told[-1]) == ("before", "after")
    assert sorted(told[1:-1]) == [n for n, (_, fails) in enumerate(members) if not fails]
    assert sorted(failed) == [n for n, (_, fails) in enumerate(members) if fails]


@given(among=st.lists(st.sampled_from(list(SYNC)) | st.sampled_from(list(ASYNC)), max_size=4))
def test_each_task_runs_in_its_place(solution: Any, backend: str, among: list[str]) -> None:
    group, places = solution(), list[tuple[str, bool]]()
    for kind in among:
        group.add_task(
            make(kind, lambda kind: places.append((kind, threading.get_ident() == loop))), kind
        )
    loop = threading.get_ident()
    anyio.run(group, backend=backend)
    assert sorted(places) == sorted((kind, kind in ASYNC) for kind in among)
