"""**place**: async tasks are awaited on the event loop, sync ones run in a worker thread.

Sync tasks that stand next to each other are a row; a hop is the way to a thread and back.
"""

import threading
from collections.abc import AsyncIterator, Iterator
from functools import partial
from itertools import groupby
from typing import Any
from unittest.mock import AsyncMock, Mock, patch

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minibg.background
from minibg import BackgroundTask, BackgroundTasks
from minibg.concurrency import is_async_callable, run_in_background_thread
from tests.rules.language import SECONDS
from tests.rules.language.programs import PROGRAMS, AnyProgram, check
from tests.rules.language.tasks import ASYNC, HANDED_BACK, KINDS, SYNC, any_kind, make


def where_it_runs(backend: str, kind: str, *, alone: bool = False) -> tuple[bool, bool]:
    """Whether a task of that kind runs in the loop's thread, and whether it does so in its task."""
    seen: list[tuple[int, Any]] = []
    loop_thread = request_task = 0

    def body() -> None:
        thread = threading.get_ident()
        seen.append((thread, anyio.get_current_task().id if thread == loop_thread else None))

    async def request() -> None:
        nonlocal loop_thread, request_task
        loop_thread, request_task = threading.get_ident(), anyio.get_current_task().id
        if alone:
            await BackgroundTask(make(kind, body))()
        else:
            tasks = BackgroundTasks()
            tasks.add_task(make(kind, body))
            await tasks()

    anyio.run(request, backend=backend)
    ((thread, task),) = seen
    return thread == loop_thread, task == request_task


def iter_numbers() -> Iterator[int]:
    yield 1


async def aiter_numbers() -> AsyncIterator[int]:
    yield 1


@pytest.mark.basic
@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("kind", ASYNC | HANDED_BACK)
def test_what_is_async_is_awaited_in_the_requests_own_task(
    backend: str, kind: str, alone: bool
) -> None:
    assert where_it_runs(backend, kind, alone=alone) == (True, True)


@pytest.mark.basic
@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("kind", SYNC)
def test_what_is_sync_runs_in_another_thread(backend: str, kind: str, alone: bool) -> None:
    assert where_it_runs(backend, kind, alone=alone) == (False, False)


@pytest.mark.parametrize("kind", KINDS)
def test_async_is_recognised_without_a_call(kind: str) -> None:
    assert is_async_callable(make(kind, lambda: None)) == (kind in ASYNC)


def test_builtins_and_mocks_are_recognised_for_what_they_are() -> None:
    assert not is_async_callable(print)
    assert is_async_callable(AsyncMock())
    assert not is_async_callable(Mock())


@given(kinds=st.lists(any_kind(SYNC | ASYNC)))
def test_neighbouring_sync_tasks_go_to_a_thread_together(backend: str, kinds: list[str]) -> None:
    """There is one hop for each row, however long it is."""
    tasks = BackgroundTasks()
    for kind in kinds:
        tasks.add_task(make(kind, lambda: None))
    rows = [is_sync for is_sync, _ in groupby(kind in SYNC for kind in kinds) if is_sync]
    name = "run_in_background_thread"
    with patch.object(minibg.background, name, wraps=run_in_background_thread) as hop:
        anyio.run(tasks, backend=backend)
    assert hop.call_count == len(rows)


@pytest.mark.parametrize("kind", ASYNC)
def test_what_is_async_needs_no_thread(
    backend: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []
    monkeypatch.delattr(minibg.background, "run_in_background_thread")
    anyio.run(BackgroundTask(make(kind, ran.append), "alone"), backend=backend)
    anyio.run(
        BackgroundTasks([BackgroundTask(make(kind, ran.append), "in a list")]), backend=backend
    )
    assert ran == ["alone", "in a list"]


@given(row=st.lists(any_kind(SYNC), min_size=1, max_size=3))
def test_the_loop_goes_on_while_a_sync_task_blocks(backend: str, row: list[str]) -> None:
    async def request() -> None:
        released = [threading.Event() for _ in row]
        waited: list[bool] = []
        tasks = BackgroundTasks()
        for kind, event in zip(row, released, strict=True):
            tasks.add_task(make(kind, lambda event: waited.append(event.wait(SECONDS))), event)
        async with anyio.create_task_group() as group:
            group.start_soon(tasks)
            for event in released:
                await anyio.lowlevel.checkpoint()
                event.set()
        assert waited == [True] * len(row)

    anyio.run(request, backend=backend)


@given(before=st.lists(any_kind(), max_size=3), after=st.lists(any_kind(), max_size=3))
def test_an_awaitable_is_awaited_before_the_next_task(
    backend: str, before: list[str], after: list[str]
) -> None:
    """A sync task hands back an awaitable: it is awaited before the next task."""
    ran: list[int] = []
    awaited_at = len(before)

    async def slowly(number: int) -> None:
        await anyio.lowlevel.checkpoint()
        ran.append(number)

    tasks = BackgroundTasks()
    for number, kind in enumerate(before):
        tasks.add_task(make(kind, ran.append), number)
    tasks.add_task(lambda: slowly(awaited_at))
    for number, kind in enumerate(after, awaited_at + 1):
        tasks.add_task(make(kind, ran.append), number)
    anyio.run(tasks, backend=backend)
    assert ran == list(range(awaited_at + 1 + len(after)))


@pytest.mark.parametrize("generate", [iter_numbers, aiter_numbers])
def test_a_task_that_hands_back_a_generator_has_failed(backend: str, generate: Any) -> None:
    """Nothing would run the generator."""
    told: list[Any] = []

    class Recording(BackgroundTasks):
        def on_error(self, task: BackgroundTask, exc: Exception) -> None:
            told.append(exc)

    tasks = Recording()
    tasks.add_task(partial(next, iter([generate()])))
    tasks.add_task(told.append, "the next task")
    anyio.run(tasks, backend=backend)
    assert [type(each) for each in told] == [TypeError, str]
    assert "generator was handed back" in str(told[0])


@pytest.mark.basic
@given(program=PROGRAMS["place"])
def test_each_task_runs_in_its_place_in_any_program(backend: str, program: AnyProgram) -> None:
    check("place", backend, program)
