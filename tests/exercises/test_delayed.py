"""The exercise `Delayed`: a task starts some seconds after its turn has come."""

from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minibg.concurrency import background_limiter
from tests.exercises.clock import Clock
from tests.exercises.rules import PLACES, any_program, check_rules, few
from tests.rules.language.logs import logged
from tests.rules.language.tasks import any_kind, make
from tests.rules.language.words import Program

EXERCISE = "Delayed"


@pytest.mark.parametrize("kind", PLACES)
def test_a_delayed_task_is_called_with_what_it_was_given(
    solution: Any, backend: str, kind: str
) -> None:
    clock, tasks, given = Clock(backend), solution(), list[Any]()
    tasks.add_task_after(
        0.01, make(kind, lambda *args, **kwargs: given.append((args, kwargs))), 2, seconds=3
    )
    clock.run(tasks)
    assert given == [((2,), {"seconds": 3})]


def delayed() -> None: ...
async def behind() -> None: ...


def test_a_delay_holds_no_thread_and_a_cancelled_run_names_it(solution: Any, backend: str) -> None:
    """A delayed task holds no thread, and a run that is cancelled meanwhile names it."""
    clock, tasks = Clock(backend), solution()
    tasks.add_task_after(0.05, delayed)
    tasks.add_task(behind)

    async def give_up() -> tuple[float, int]:
        async with anyio.create_task_group() as group:
            group.start_soon(tasks)
            await anyio.sleep(0.01)
            threads = int(background_limiter().borrowed_tokens)
            group.cancel_scope.cancel()
        return clock.now(), threads

    with logged() as log:
        assert clock.run(give_up) == (pytest.approx(0.01), 0)
    warnings = "".join(log.warnings)
    assert [warnings.count(f"{__name__}.{name}") for name in ("delayed", "behind")] == [1, 1]


@given(
    added=st.lists(st.tuples(any_kind(), st.none() | st.sampled_from([0, 0.01, 0.02])), max_size=5)
)
def test_a_task_starts_after_its_delay_and_those_behind_it_wait(
    solution: Any, backend: str, added: list[tuple[str, float | None]]
) -> None:
    """A task starts its delay after its turn has come, and those behind it wait."""
    clock, tasks, started = Clock(backend), solution(), list[tuple[int, float]]()

    def body(number: int) -> None:
        started.append((number, clock.now()))

    expected, now = list[Any](), 0.0
    for number, (kind, seconds) in enumerate(added):
        if seconds is None:
            tasks.add_task(make(kind, body), number)
        else:
            tasks.add_task_after(seconds, make(kind, body), number)
        now += seconds or 0
        expected.append((number, pytest.approx(now)))
    clock.run(tasks)
    assert started == expected


@few
@given(program=any_program)
def test_the_rules_hold_where_nothing_is_delayed(
    solution: Any, backend: str, program: Program
) -> None:
    check_rules(solution, backend, program)
