"""The exercise `Retrying`: a task that fails is called again, after waits that double."""

from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minibg import BackgroundTask, BackgroundTasks
from minibg.concurrency import background_limiter
from tests.exercises.clock import Clock
from tests.exercises.rules import PLACES, any_program, check_rules, few, with_settings
from tests.rules.language.logs import logged
from tests.rules.language.tasks import any_kind, make
from tests.rules.language.words import Program

EXERCISE = "Retrying"


class Failing:
    """The body of tasks: the first `failures` calls of each number fail; `calls` has them all."""

    def __init__(self, clock: Clock) -> None:
        self.now = clock.now
        self.calls: list[tuple[int, float]] = []
        self.raised: list[Exception] = []

    def __call__(self, number: int, failures: int) -> None:
        calls = self.numbers.count(number)
        self.calls.append((number, self.now()))
        if calls < failures:
            self.raised.append(ValueError(number, calls))
            raise self.raised[-1]

    @property
    def numbers(self) -> list[int]:
        return [number for number, _ in self.calls]


@pytest.mark.parametrize("kind", PLACES)
def test_each_wait_is_twice_as_long_as_the_last(solution: Any, backend: str, kind: str) -> None:
    clock = Clock(backend)
    body, tasks = Failing(clock), with_settings(solution, attempts=5, first_delay=0.01)()
    tasks.add_task(make(kind, body), 0, failures=9)
    clock.run(tasks)
    assert [when for _, when in body.calls] == pytest.approx([0, 0.01, 0.03, 0.07, 0.15])


@pytest.mark.parametrize("kind", PLACES)
def test_the_last_failure_is_logged_and_no_other(solution: Any, backend: str, kind: str) -> None:
    clock = Clock(backend)
    body, tasks = Failing(clock), with_settings(solution, attempts=3, first_delay=0.01)()
    tasks.add_task(make(kind, body), 0, failures=2)
    tasks.add_task(make(kind, body), 1, failures=9)
    with logged() as log:
        clock.run(tasks)
    failures = [record.exc_info[1] for record in log.records if record.exc_info]
    assert failures == [body.raised[-1]]


def test_no_thread_is_held_meanwhile(solution: Any, backend: str) -> None:
    """There is one thread, and another list has it before the second call."""
    clock, told = Clock(backend), list[str]()
    tasks, others = with_settings(solution, attempts=2, first_delay=0.1)(), BackgroundTasks()

    def task() -> None:
        told.append("a call")
        anyio.from_thread.run_sync(called.set)
        raise ValueError

    async def main() -> None:
        background_limiter().total_tokens = 1
        async with anyio.create_task_group() as group:
            group.start_soon(tasks)
            await called.wait()
            await others()

    called = anyio.Event()
    tasks.add_task(task)
    others.add_task(told.append, "another list")
    clock.run(main)
    assert told == ["a call", "another list", "a call"]


@pytest.mark.parametrize("kind", PLACES)
def test_a_run_that_is_cancelled_meanwhile_ends_there(
    solution: Any, backend: str, kind: str
) -> None:
    clock = Clock(backend)
    body, tasks = Failing(clock), with_settings(solution, attempts=2, first_delay=60)()

    async def give_up() -> float:
        async with anyio.create_task_group() as group:
            group.start_soon(tasks)
            await anyio.sleep(1)
            group.cancel_scope.cancel()
        return clock.now()

    tasks.add_task(make("a coroutine function", body), 0, failures=9)
    tasks.add_task(make(kind, body), 1, failures=0)
    with logged() as log:
        assert clock.run(give_up) == pytest.approx(1)
    assert body.numbers == [0]
    cut_off, not_run = log.warnings
    assert "cut off (cancelled" in cut_off
    assert "not run (cancelled" in not_run


def test_the_last_failure_goes_to_an_async_policy_behind_it(solution: Any, backend: str) -> None:
    clock, told = Clock(backend), list[Exception]()

    class Telling(BackgroundTasks):
        async def on_error(self, task: BackgroundTask, exc: Exception) -> None:
            await anyio.lowlevel.checkpoint()
            told.append(exc)

    class Both(solution, Telling):  # type: ignore[misc]  # which, is said by the reader
        attempts, first_delay = 2, 0.01

    body, tasks = Failing(clock), Both()
    tasks.add_task(body, 0, failures=9)
    clock.run(tasks)
    assert told == [body.raised[1]]


@given(
    attempts=st.integers(1, 4),
    added=st.lists(st.tuples(any_kind(), st.integers(0, 5)), max_size=4),
)
def test_each_task_is_called_until_it_succeeds_or_gives_up(
    solution: Any, backend: str, attempts: int, added: list[tuple[str, int]]
) -> None:
    """Each task is called until it succeeds or has no attempt left, and only then the next one."""
    clock = Clock(backend)
    body, tasks = Failing(clock), with_settings(solution, attempts=attempts, first_delay=0.1)()
    for number, (kind, failures) in enumerate(added):
        tasks.add_task(make(kind, body), number, failures=failures)
    clock.run(tasks)
    assert body.numbers == [
        number
        for number, (_, failures) in enumerate(added)
        for _ in range(min(failures + 1, attempts))
    ]


@few
@given(program=any_program)
def test_the_rules_hold(solution: Any, backend: str, program: Program) -> None:
    check_rules(with_settings(solution, attempts=1), backend, program)
