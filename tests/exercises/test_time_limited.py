"""The exercise `TimeLimited`: an async task that takes too long is cancelled, and has failed."""

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.exercises.clock import Clock
from tests.exercises.rules import any_program, check_rules, few, with_settings
from tests.rules.language.cancelling import SECONDS, Blocked
from tests.rules.language.logs import logged
from tests.rules.language.words import Program

EXERCISE = "TimeLimited"


def handing_back(task: Any) -> Any:
    def call(seconds: float) -> Any:
        return task(seconds)

    return call


AWAITED: dict[str, Callable[[Any], Any]] = {
    "a coroutine function": lambda task: task,
    "a partial": partial,
    "a function that hands back a coroutine": handing_back,
}


def test_a_sync_task_runs_to_its_end_and_the_next_waits_for_it(solution: Any, backend: str) -> None:
    blocked, told = Blocked(), list[bool]()
    tasks = with_settings(solution, seconds=0.05)()
    tasks.add_task(blocked)
    tasks.add_task(lambda: told.append(blocked.ended.is_set()))

    async def wait_longer() -> list[bool]:
        async with anyio.create_task_group() as group:
            group.start_soon(tasks)
            await blocked.is_running()
            await anyio.sleep(0.5)  # longer than the limit, and there is no event to wait for
            told_meanwhile = list(told)
            blocked.leave.set()
        return told_meanwhile

    assert anyio.run(wait_longer, backend=backend) == []
    assert told == [True]


def test_a_sync_task_runs_in_a_thread(solution: Any, backend: str) -> None:
    threads: list[int] = []
    tasks = with_settings(solution, seconds=SECONDS)()
    tasks.add_task(lambda: threads.append(threading.get_ident()))
    anyio.run(tasks, backend=backend)
    assert threads != [threading.get_ident()]


def test_a_cancelled_run_is_no_failure_of_the_task(solution: Any, backend: str) -> None:
    clock, tasks = Clock(backend), with_settings(solution, seconds=10)()
    tasks.add_task(anyio.sleep, 5)
    tasks.add_task(anyio.sleep, 5)

    async def give_up() -> float:
        with anyio.move_on_after(1):
            await tasks()
        return clock.now()

    with logged() as log:
        assert clock.run(give_up) == pytest.approx(1)
    assert [record.levelname for record in log.records] == ["WARNING", "WARNING"]
    cut_off, not_run = log.warnings
    assert "cut off (cancelled" in cut_off
    assert "not run (cancelled" in not_run


@given(
    limit=st.sampled_from([0.5, 2.5]),
    added=st.lists(st.tuples(st.sampled_from(list(AWAITED)), st.integers(0, 4)), max_size=5),
)
def test_each_async_task_has_so_many_seconds(
    solution: Any, backend: str, limit: float, added: list[tuple[str, int]]
) -> None:
    clock, told = Clock(backend), list[tuple[str, float]]()

    async def task(seconds: float) -> None:
        try:
            await anyio.sleep(seconds)
            told.append(("ended", clock.now()))
        except anyio.get_cancelled_exc_class():
            told.append(("cancelled", clock.now()))
            raise

    tasks, expected, now = with_settings(solution, seconds=limit)(), list[Any](), 0.0
    for kind, seconds in added:
        tasks.add_task(AWAITED[kind](task), seconds)
        now += min(seconds, limit)
        expected.append(("ended" if seconds < limit else "cancelled", pytest.approx(now)))
    with logged() as log:
        clock.run(tasks)
    assert told == expected
    failures = [type(record.exc_info[1]) for record in log.records if record.exc_info]
    assert failures == [TimeoutError for seen, _ in told if seen == "cancelled"]


@few
@given(program=any_program)
def test_the_rules_hold(solution: Any, backend: str, program: Program) -> None:
    check_rules(with_settings(solution, seconds=SECONDS), backend, program)
