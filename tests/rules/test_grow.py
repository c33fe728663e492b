"""**grow**: a task that is added during a run is run by that same run, after those in the list."""

from collections.abc import Callable, Generator
from typing import Any, Literal

import anyio
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from minibg import BackgroundTask, BackgroundTasks, Depends, FailFastTasks, MiniBG, Response
from tests.rules.language.exchange import Exchange
from tests.rules.language.generators import Kind, both_kinds
from tests.rules.language.programs import PROGRAMS, AnyProgram, check
from tests.rules.language.tasks import KINDS, any_kind, make
from tests.rules.language.words import Program, Task

Tree = list[tuple[str, "Tree"]]
trees: st.SearchStrategy[Tree] = st.recursive(
    st.just([]), lambda deeper: st.lists(st.tuples(any_kind(), deeper), max_size=3), max_leaves=12
)


@pytest.mark.parametrize("kind", KINDS)
def test_a_task_that_a_task_adds_runs_after_the_rest(backend: str, kind: str) -> None:
    tasks, ran = BackgroundTasks(), list[str]()

    def first() -> None:
        ran.append("first")
        tasks.add_task(ran.append, "added")

    tasks.add_task(make(kind, first))
    tasks.add_task(ran.append, "second")
    anyio.run(tasks, backend=backend)
    assert ran == ["first", "second", "added"]


@given(tree=trees)
def test_added_tasks_run_after_those_that_stood_in_the_list(backend: str, tree: Tree) -> None:
    """A task and what it adds are a tree: what runs is the tree level by level."""
    tasks, ran = BackgroundTasks(), list[str]()

    def add(name: str, kind: str, added: Tree) -> None:
        def body() -> None:
            ran.append(name)
            for number, node in enumerate(added):
                add(f"{name}.{number}", *node)

        tasks.add_task(make(kind, body))

    expected, level = list[str](), [(str(n), *node) for n, node in enumerate(tree)]
    while level:
        expected += [name for name, _, _ in level]
        level = [
            (f"{name}.{number}", *node)
            for name, _, added in level
            for number, node in enumerate(added)
        ]
    for number, (kind, added) in enumerate(tree):
        add(str(number), kind, added)
    anyio.run(tasks, backend=backend)
    assert ran == expected


@given(added=st.lists(st.tuples(any_kind(), st.booleans()), min_size=1, max_size=6))
def test_on_error_may_add_the_failed_call_again(
    backend: str, added: list[tuple[str, bool]]
) -> None:
    ran: list[int] = []

    class Retrying(BackgroundTasks):
        def on_error(self, task: BackgroundTask, exc: Exception) -> None:
            self.add_task(task.func, *task.args, **task.kwargs)

    def body(number: int, fails_once: bool) -> None:
        ran.append(number)
        if fails_once and ran.count(number) == 1:
            raise ValueError

    tasks = Retrying()
    for number, (kind, fails_once) in enumerate(added):
        tasks.add_task(make(kind, body), number, fails_once=fails_once)
    anyio.run(tasks, backend=backend)
    again = [number for number, (_, fails_once) in enumerate(added) if fails_once]
    assert ran == [*range(len(added)), *again]


def closing(added: list[str], ran: list[Any]) -> Callable[..., Generator[None]]:
    """A dependency that adds those tasks while it closes."""

    def dependency(tasks: BackgroundTasks) -> Generator[None]:
        yield
        for number, kind in enumerate(added):
            tasks.add_task(make(kind, ran.append), ("closing", number))

    return dependency


@both_kinds
@pytest.mark.parametrize("scope", ["function", "request"])
@given(before=st.lists(any_kind(), max_size=3), added=st.lists(any_kind(), min_size=1, max_size=3))
def test_what_a_closing_dependency_adds_runs_last(
    backend: str,
    kind: Kind,
    scope: Literal["function", "request"],
    before: list[str],
    added: list[str],
) -> None:
    """Tasks that a dependency adds while it closes run after those in the list."""
    ran: list[Any] = []
    app = MiniBG()

    @app.get("/")
    async def endpoint(
        tasks: BackgroundTasks, held: None = Depends(kind(closing(added, ran)), scope=scope)
    ) -> None:
        for number, task in enumerate(before):
            tasks.add_task(make(task, ran.append), ("endpoint", number))

    anyio.run(Exchange(), app, backend=backend)
    assert ran == [
        *(("endpoint", number) for number in range(len(before))),
        *(("closing", number) for number in range(len(added))),
    ]


def test_a_task_may_add_to_a_list_that_has_run(backend: str) -> None:
    """A task adds to another list of its request, whose turn is over: that runs once more."""
    ran: list[str] = []
    app = MiniBG()

    @app.get("/")
    async def endpoint(first: BackgroundTasks, second: FailFastTasks) -> Response:
        second.add_task(first.add_task, ran.append, "from the second list")
        background = BackgroundTask(second.add_task, ran.append, "from the response's own")
        return Response(background=background)

    anyio.run(Exchange(), app, backend=backend)
    assert ran == ["from the second list", "from the response's own"]


@pytest.mark.basic
@given(program=PROGRAMS["grow"])
@example(program=Program((Task(adds=(Task(),)),)))
def test_what_is_added_runs_in_the_same_run_in_any_program(
    backend: str, program: AnyProgram
) -> None:
    check("grow", backend, program)
