"""**context**: a task sees the request's context; async tasks share it, sync ones have a copy."""

from contextvars import ContextVar

import anyio
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from minibg import BackgroundTasks, MiniBG
from tests.rules.language.exchange import Exchange
from tests.rules.language.programs import PROGRAMS, AnyProgram, check
from tests.rules.language.tasks import ASYNC, HANDED_BACK, KINDS, any_kind, make
from tests.rules.language.words import Program, Task

SHARING = ASYNC | HANDED_BACK
value: ContextVar[int] = ContextVar("value")


@given(kinds=st.lists(any_kind()))
def test_only_what_an_async_task_sets_stays(backend: str, kinds: list[str]) -> None:
    """What an async task sets, later tasks see; what a sync task sets stays in its copy."""
    seen: list[int] = []

    def body(number: int) -> None:
        seen.append(value.get())
        value.set(number)

    async def request() -> int:
        value.set(0)
        tasks = BackgroundTasks()
        for number, kind in enumerate(kinds, 1):
            tasks.add_task(make(kind, body), number)
        value.set(-1)  # a context is not captured: the task sees it as it is when the task runs
        await tasks()
        return value.get()

    in_the_end = anyio.run(request, backend=backend)
    expected = [-1]
    for number, kind in enumerate(kinds, 1):
        expected.append(number if kind in SHARING else expected[-1])
    assert [*seen, in_the_end] == expected


@pytest.mark.parametrize("kind", KINDS)
def test_tasks_see_what_the_endpoint_has_set_if_it_is_async(backend: str, kind: str) -> None:
    """A sync endpoint runs in a thread, in a copy of the context."""
    app, seen = MiniBG(), list[int]()

    def note() -> None:
        seen.append(value.get())

    @app.get("/async")
    async def async_endpoint(tasks: BackgroundTasks) -> None:
        value.set(1)
        tasks.add_task(make(kind, note))

    @app.get("/sync")
    def sync_endpoint(tasks: BackgroundTasks) -> None:
        value.set(1)
        tasks.add_task(make(kind, note))

    async def middleware(path: str) -> None:
        value.set(0)
        await Exchange(path)(app)

    for path in ("/async", "/sync"):
        anyio.run(middleware, path, backend=backend)
    assert seen == [1, 0]


@pytest.mark.basic
@given(program=PROGRAMS["context"])
@example(program=Program((Task(sets=1), Task())))
@example(program=Program((Task(kind="a coroutine function", sets=1), Task())))
def test_any_task_sees_the_context_as_it_is_when_it_runs(backend: str, program: AnyProgram) -> None:
    check("context", backend, program)
