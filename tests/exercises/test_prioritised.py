"""The exercise `Prioritised`: the task with the highest priority is the next."""

from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.exercises.rules import PLACES, any_program, check_rules, few
from tests.rules.language.logs import logged
from tests.rules.language.tasks import any_kind, make
from tests.rules.language.words import Program

EXERCISE = "Prioritised"

Tree = list[tuple[int | None, str, "Tree"]]  # type: ignore[misc]  # it names itself
priorities = st.none() | st.integers(-2, 2)
trees = st.recursive(
    st.just([]),
    lambda deeper: st.lists(st.tuples(priorities, any_kind(), deeper), max_size=5),
    max_leaves=12,
)


def add(tasks: Any, priority: int | None, func: Any, *args: Any) -> None:
    """Add a task, without a priority too."""
    if priority is None:
        tasks.add_task(func, *args)
    else:
        tasks.add_task_with_priority(priority, func, *args)


@pytest.mark.parametrize("kind", PLACES)
def test_a_keyword_called_priority_is_the_tasks(solution: Any, backend: str, kind: str) -> None:
    given: list[Any] = []
    tasks = solution()
    tasks.add_task(make(kind, lambda **kwargs: given.append(kwargs)), priority=1)
    tasks.add_task_with_priority(2, make(kind, lambda **kwargs: given.append(kwargs)), priority=3)
    anyio.run(tasks, backend=backend)
    assert given == [{"priority": 3}, {"priority": 1}]


def urgent() -> None: ...
async def usual() -> None: ...


def test_what_is_not_run_is_named(solution: Any) -> None:
    tasks = solution()
    tasks.add_task(usual)
    tasks.add_task_with_priority(1, urgent)
    with logged() as log:
        tasks.abandon("the endpoint raised")
    warnings = "".join(log.warnings)
    assert [warnings.count(f"{__name__}.{name}") for name in ("usual", "urgent")] == [1, 1]


@given(tree=trees)
def test_the_first_waiting_task_of_the_highest_priority_is_next(
    solution: Any, backend: str, tree: Tree
) -> None:
    """Of the tasks that wait, the first of the highest priority is next.

    A task and what it adds are a tree: what waits is its edge.
    """
    tasks, ran = solution(), list[str]()

    def body(name: str, added: Tree) -> None:
        ran.append(name)
        add_all(added, name)

    def add_all(added: Tree, prefix: str) -> None:
        for number, (priority, kind, deeper) in enumerate(added):
            add(tasks, priority, make(kind, body), f"{prefix}.{number}", deeper)

    add_all(tree, "")
    anyio.run(tasks, backend=backend)
    expected, waiting = list[str](), [("", node, n) for n, node in enumerate(tree)]
    while waiting:
        place = min(range(len(waiting)), key=lambda place: -(waiting[place][1][0] or 0))
        prefix, (_, _, added), number = waiting.pop(place)
        expected.append(f"{prefix}.{number}")
        waiting += [(expected[-1], node, n) for n, node in enumerate(added)]
    assert ran == expected


@few
@given(program=any_program)
def test_the_rules_hold_where_no_priority_is_given(
    solution: Any, backend: str, program: Program
) -> None:
    check_rules(solution, backend, program)
