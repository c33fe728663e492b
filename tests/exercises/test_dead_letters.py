"""The exercise `DeadLetters`: failed tasks are kept, and can be called again."""

from collections import deque
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.exercises.rules import PLACES, any_program, check_rules, few, with_settings
from tests.rules.language.logs import logged
from tests.rules.language.tasks import any_kind, make
from tests.rules.language.words import Program

EXERCISE = "DeadLetters"


class Failing:
    """The body of tasks: the first `failures` calls of each number fail."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def __call__(self, number: int, failures: int) -> None:
        self.calls.append(number)
        if self.calls.count(number) <= failures:
            raise ValueError(number, self.calls.count(number))


def failures_of(cls: Any) -> list[Any]:
    return [exc.args for _, exc in cls.letters]


def test_all_lists_of_a_class_share_its_letters(solution: Any, backend: str) -> None:
    cls, body = with_settings(solution, letters=deque()), Failing()

    async def main() -> None:
        for number in range(2):
            tasks = cls()
            tasks.add_task(body, number, failures=9)
            await tasks()

    before = list(solution.letters)
    anyio.run(main, backend=backend)
    assert failures_of(cls) == [(0, 1), (1, 1)]
    assert list(solution.letters) == before


@pytest.mark.parametrize("kind", PLACES)
def test_a_failure_is_logged_as_well(solution: Any, backend: str, kind: str) -> None:
    cls, body = with_settings(solution, letters=deque()), Failing()
    tasks = cls()
    tasks.add_task(make(kind, body), 0, failures=9)
    with logged() as log:
        anyio.run(tasks, backend=backend)
    assert [r.exc_info[1].args for r in log.records if r.exc_info and r.exc_info[1]] == [(0, 1)]


def test_what_a_cancelled_redelivery_did_not_reach_is_kept(solution: Any, backend: str) -> None:
    """What a cancelled redelivery has not reached is still a letter."""
    cls, body = with_settings(solution, letters=deque()), Failing()

    async def main() -> None:
        async def task(number: int) -> None:
            if len(body.calls) == 3:
                redelivery.cancel()
                await anyio.lowlevel.checkpoint()
            body(number, failures=9)

        tasks = cls()
        for number in range(3):
            tasks.add_task(task, number)
        await tasks()
        with anyio.CancelScope() as redelivery:
            await cls.redeliver()

    anyio.run(main, backend=backend)
    assert body.calls == [0, 1, 2]
    assert [args for args in failures_of(cls) if args[0] > 0] == [(1, 1), (2, 1)]


@given(added=st.lists(st.tuples(any_kind(), st.integers(0, 3)), max_size=5))
def test_what_has_failed_is_a_letter_until_a_redelivery_succeeds(
    solution: Any, backend: str, added: list[tuple[str, int]]
) -> None:
    cls, body = with_settings(solution, letters=deque()), Failing()

    async def main() -> None:
        tasks = cls()
        for number, (kind, failures) in enumerate(added):
            tasks.add_task(make(kind, body), number, failures=failures)
        await tasks()
        assert body.calls == list(range(len(added)))
        for calls in (1, 2, 3):
            left = [number for number, (_, failures) in enumerate(added) if failures >= calls]
            assert failures_of(cls) == [(number, calls) for number in left]
            before = len(body.calls)
            await cls.redeliver()
            assert body.calls[before:] == left
        assert failures_of(cls) == []

    anyio.run(main, backend=backend)


@few
@given(program=any_program)
def test_the_rules_hold(solution: Any, backend: str, program: Program) -> None:
    check_rules(with_settings(solution, letters=deque()), backend, program)
