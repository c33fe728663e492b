"""The exercise `Results`: a later task can use what a task returns."""

from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.exercises.rules import any_program, check_rules, few
from tests.rules.language.logs import logged
from tests.rules.language.words import Program

EXERCISE = "Results"


def give(value: Any) -> Any:
    return value


async def give_later(value: Any) -> Any:
    await anyio.lowlevel.checkpoint()
    return value


def hand_back(value: Any) -> Any:
    return give_later(value)


GIVING: dict[str, Any] = {
    "a function": give,
    "a coroutine function": give_later,
    "a function that hands back a coroutine": hand_back,
}
values = st.none() | st.booleans() | st.text(max_size=3) | st.builds(object)


@pytest.mark.parametrize("kind", GIVING)
def test_there_is_no_value_before_the_task_has_returned(
    solution: Any, backend: str, kind: str
) -> None:
    tasks, seen = solution(), list[str]()

    def ask() -> None:
        try:
            seen.append(result.value)
        except LookupError:
            seen.append("none yet")

    tasks.add_task(ask)
    result = tasks.add_task_for_result(GIVING[kind], "a value")
    tasks.add_task(ask)
    with pytest.raises(LookupError):
        _ = result.value
    anyio.run(tasks, backend=backend)
    assert seen == ["none yet", "a value"]


@pytest.mark.parametrize("is_async", [True, False])
def test_a_task_that_needs_a_failed_result_fails_too(
    solution: Any, backend: str, is_async: bool
) -> None:
    """A task that needs the result of a failed task fails too, and the next one runs."""
    tasks, ran = solution(), list[str]()

    def fail() -> None:
        raise OSError("no page")

    async def fail_later() -> None:
        fail()

    result = tasks.add_task_for_result(fail_later if is_async else fail)
    tasks.add_task(lambda: ran.append(result.value))
    tasks.add_task(ran.append, "the next")
    with logged() as log:
        anyio.run(tasks, backend=backend)
    failures = [record.exc_info[1] for record in log.records if record.exc_info]
    assert [type(exc) for exc in failures] in ([OSError, LookupError], [OSError, KeyError])
    assert ran == ["the next"]


def wanted() -> None: ...


def test_a_task_for_its_result_is_named_where_it_is_not_run(solution: Any) -> None:
    tasks = solution()
    tasks.add_task_for_result(wanted)
    with logged() as log:
        tasks.abandon("the endpoint raised")
    assert log.warnings == [
        f"background tasks not run (the endpoint raised): {__name__}.{wanted.__name__}"
    ]


@given(added=st.lists(st.tuples(st.sampled_from(list(GIVING)), values), max_size=4))
def test_a_later_task_is_given_what_each_earlier_one_returned(
    solution: Any, backend: str, added: list[tuple[str, Any]]
) -> None:
    tasks, used = solution(), list[Any]()
    results = [tasks.add_task_for_result(GIVING[kind], value) for kind, value in added]

    async def use() -> None:
        used.extend(result.value for result in results)

    tasks.add_task(use)
    tasks.add_task(lambda: used.extend(result.value for result in results))
    anyio.run(tasks, backend=backend)
    wanted = [value for _, value in added] * 2
    assert [*map(id, used)] == [*map(id, wanted)]


@few
@given(program=any_program)
def test_the_rules_hold(solution: Any, backend: str, program: Program) -> None:
    check_rules(solution, backend, program)
