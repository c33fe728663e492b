"""**cancel**: a cancelled run starts no further task, and stops the running one if it can.

Sync tasks that stand next to each other are a row, and run in one thread.
"""

import asyncio
import os
import signal
import threading
import time
from collections.abc import Awaitable
from typing import Any
from unittest.mock import patch

import anyio
import pytest
from anyio.to_thread import current_default_thread_limiter
from hypothesis import example, given
from hypothesis import strategies as st

import minibg.concurrency
from minibg import BackgroundTask, BackgroundTasks
from minibg.concurrency import background_limiter, run_in_threadpool
from tests.rules.language import SECONDS
from tests.rules.language.cancelling import (
    Blocked,
    Run,
    both_ways,
    in_a_task,
    let_it_be_delivered,
)
from tests.rules.language.programs import PROGRAMS, AnyProgram, check
from tests.rules.language.tasks import ASYNC, any_kind, make
from tests.rules.language.words import Program, Task


@both_ways
@given(row=st.lists(any_kind(), min_size=1, max_size=4))
def test_a_row_stops_at_the_next_task_boundary(backend: str, run: Run, row: list[str]) -> None:
    blocked, ran = Blocked(), list[int]()
    tasks = BackgroundTasks()
    tasks.add_task(blocked)
    for number, kind in enumerate(row):
        tasks.add_task(make(kind, ran.append), number)

    async def request() -> None:
        async with run(tasks) as cancel:
            await blocked.is_running()
            cancel()
            await let_it_be_delivered()
            blocked.leave.set()
        assert blocked.ended.is_set(), "a thread cannot be interrupted"

    anyio.run(request, backend=backend)
    assert ran == []


@pytest.mark.basic
@both_ways
def test_a_task_added_after_the_cancellation_never_starts(backend: str, run: Run) -> None:
    """Though the thread that would run it next is still at work."""
    blocked, ran = Blocked(), list[int]()
    tasks = BackgroundTasks([BackgroundTask(blocked)])

    async def request() -> None:
        async with run(tasks) as cancel:
            await blocked.is_running()
            cancel()
            await let_it_be_delivered()
            tasks.add_task(ran.append, 1)
            blocked.leave.set()

    anyio.run(request, backend=backend)
    assert ran == []


@both_ways
def test_a_run_cancelled_thrice_waits_for_its_thread(backend: str, run: Run) -> None:
    """The run waits for the thread however often it is cancelled."""
    blocked = Blocked()
    tasks = BackgroundTasks([BackgroundTask(blocked)])

    async def request() -> None:
        async with run(tasks) as cancel:
            await blocked.is_running()
            for _ in range(3):
                cancel()
                await let_it_be_delivered()
            assert background_limiter().borrowed_tokens == 1, "the thread keeps its place"
            blocked.leave.set()
        assert background_limiter().borrowed_tokens == 0

    anyio.run(request, backend=backend)
    assert blocked.ended.is_set()


@both_ways
def test_a_failure_in_a_cancelled_run_goes_to_on_error(backend: str, run: Run) -> None:
    """A task fails in its thread after the run was cancelled: `on_error` is still told."""
    failed: list[Exception] = []

    class Recording(BackgroundTasks):
        def on_error(self, task: BackgroundTask, exc: Exception) -> None:
            failed.append(exc)

    failure, ran = ValueError(), list[str]()
    blocked = Blocked(failure)
    tasks = Recording([BackgroundTask(blocked)])
    tasks.add_task(make("a coroutine function", ran.append), "must not start")

    async def request() -> None:
        async with run(tasks) as cancel:
            await blocked.is_running()
            cancel()
            await let_it_be_delivered()
            blocked.leave.set()

    anyio.run(request, backend=backend)
    assert (failed, ran) == ([failure], [])


def test_a_failure_still_in_its_thread_goes_to_on_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A task has failed, and asyncio cancels before the loop hears of that: `on_error` is told."""
    made, make = threading.Event(), minibg.concurrency._Call.make

    def make_and_say(call: Any) -> None:
        make(call)
        made.set()

    async def request() -> None:
        blocked = Blocked(ValueError())
        async with in_a_task(BackgroundTasks([BackgroundTask(blocked)])) as cancel:
            await blocked.is_running()
            blocked.leave.set()
            assert made.wait(SECONDS), "the loop does not turn meanwhile"
            cancel()

    monkeypatch.setattr(minibg.concurrency._Call, "make", make_and_say)
    asyncio.run(request())
    assert [record.exc_info and record.exc_info[0] for record in caplog.records] == [ValueError]


@both_ways
@given(after=st.lists(any_kind(), min_size=1, max_size=3))
def test_an_inner_list_that_is_cancelled_is_the_last(
    backend: str, run: Run, after: list[str]
) -> None:
    """A list in a list is cancelled while its last task runs: nothing starts after it."""
    blocked, ran = Blocked(), list[int]()
    tasks = BackgroundTasks([BackgroundTasks([BackgroundTask(blocked)])])
    for number, kind in enumerate(after):
        tasks.add_task(make(kind, ran.append), number)

    async def request() -> None:
        async with run(tasks) as cancel:
            await blocked.is_running()
            cancel()
            await let_it_be_delivered()
            blocked.leave.set()

    anyio.run(request, backend=backend)
    assert ran == []


@both_ways
@given(after=st.lists(any_kind(), max_size=3))
def test_an_async_task_is_stopped_at_its_next_await(
    backend: str, run: Run, after: list[str]
) -> None:
    events: list[str] = []

    async def task(waits: anyio.Event) -> None:
        waits.set()
        try:
            await anyio.sleep_forever()
        finally:
            events.append("stopped")
        events.append("went on")

    async def request() -> None:
        waits, tasks = anyio.Event(), BackgroundTasks()
        tasks.add_task(task, waits)
        for kind in after:
            tasks.add_task(make(kind, events.append), "started")
        async with run(tasks) as cancel:
            await waits.wait()
            cancel()

    anyio.run(request, backend=backend)
    assert events == ["stopped"]


@given(kinds=st.lists(any_kind(), min_size=1, max_size=4))
def test_a_run_that_is_cancelled_before_it_begins_starts_nothing(
    backend: str, kinds: list[str]
) -> None:
    ran: list[int] = []
    tasks = BackgroundTasks()
    for number, kind in enumerate(kinds):
        tasks.add_task(make(kind, ran.append), number)

    async def request() -> None:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await tasks()

    anyio.run(request, backend=backend)
    assert ran == []


@given(cancelling=any_kind(ASYNC), after=st.lists(any_kind(), min_size=1, max_size=4))
def test_a_task_that_cancels_its_own_run_is_the_last(
    backend: str, cancelling: str, after: list[str]
) -> None:
    """A task cancels the run and does not wait afterwards: no other starts."""
    ran: list[int] = []

    async def request() -> None:
        with anyio.CancelScope() as scope:
            tasks = BackgroundTasks()
            tasks.add_task(make(cancelling, scope.cancel))
            for number, kind in enumerate(after):
                tasks.add_task(make(kind, ran.append), number)
            await tasks()

    anyio.run(request, backend=backend)
    assert ran == []


@both_ways
def test_a_coroutine_handed_back_late_is_stopped(backend: str, run: Run) -> None:
    """The run is cancelled, then a task hands back a coroutine: it stops at its next await."""
    blocked, events = Blocked(), list[str]()

    async def rest() -> None:
        events.append("began")
        await anyio.lowlevel.checkpoint()
        events.append("went on")

    def task() -> Awaitable[None]:
        blocked()
        return rest()

    async def request() -> None:
        async with run(BackgroundTasks([BackgroundTask(task)])) as cancel:
            await blocked.is_running()
            cancel()
            await let_it_be_delivered()
            blocked.leave.set()

    anyio.run(request, backend=backend)
    assert events == ["began"]


@both_ways
def test_what_waits_for_a_thread_when_it_is_cancelled_never_runs(backend: str, run: Run) -> None:
    first, second = Blocked(), Blocked()
    tasks = BackgroundTasks([BackgroundTask(second)])

    async def request() -> None:
        background_limiter().total_tokens = 1
        async with anyio.create_task_group() as other_request:
            other_request.start_soon(BackgroundTask(first))
            await first.is_running()
            async with run(tasks) as cancel:
                while not background_limiter().statistics().tasks_waiting:
                    await anyio.lowlevel.checkpoint()
                cancel()
            first.leave.set()

    anyio.run(request, backend=backend)
    assert not second.runs.is_set()


@both_ways
@given(turns=st.sampled_from([0, 1, 2, 3, 4, 5, 50, 500]))
def test_a_cancelled_sync_task_runs_whole_or_not_at_all(backend: str, run: Run, turns: int) -> None:
    """Whenever a task is cancelled on its way to a thread, it runs whole or not at all."""
    blocked = Blocked()

    async def request() -> None:
        async with run(BackgroundTasks([BackgroundTask(blocked)])) as cancel:
            for _ in range(turns):
                await anyio.lowlevel.checkpoint()
            cancel()
            await let_it_be_delivered()
            if blocked.runs.is_set():
                assert background_limiter().borrowed_tokens == 1, "the thread keeps its place"
            blocked.leave.set()
        assert background_limiter().borrowed_tokens == 0
        assert blocked.runs.is_set() == blocked.ended.is_set()

    anyio.run(request, backend=backend)


@pytest.mark.basic
@both_ways
def test_a_long_task_may_ask_whether_it_is_cancelled(backend: str, run: Run) -> None:
    running, cancelled, asked = threading.Event(), threading.Event(), list[str]()

    def task() -> None:
        running.set()
        assert cancelled.wait(SECONDS)
        try:
            anyio.from_thread.check_cancelled()
        except BaseException as exc:
            asked.append(type(exc).__name__)
            raise

    tasks = BackgroundTasks([BackgroundTask(task)])

    async def request() -> None:
        async with run(tasks) as cancel:
            assert await anyio.to_thread.run_sync(running.wait, SECONDS)
            cancel()
            await let_it_be_delivered()
            cancelled.set()

    anyio.run(request, backend=backend)
    assert asked == ["Cancelled" if backend == "trio" else "CancelledError"]


def test_a_row_stops_at_an_interrupt_from_the_keyboard(backend: str) -> None:
    told, ran = list[BaseException](), list[int]()

    def interrupted() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        deadline = time.monotonic() + SECONDS
        while not told and time.monotonic() < deadline:
            try:
                anyio.from_thread.run_sync(bool)  # only a thread that wakes handles a signal
                anyio.from_thread.check_cancelled()
            except BaseException as exc:  # noqa: BLE001  # a cancellation, or KeyboardInterrupt
                told.append(exc)

    tasks = BackgroundTasks([BackgroundTask(interrupted), BackgroundTask(ran.append, 1)])
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            anyio.run(tasks, backend=backend)
    finally:
        signal.signal(signal.SIGINT, handler)
    assert [type(exc).__name__ for exc in told] == [
        "KeyboardInterrupt" if backend == "trio" else "CancelledError"
    ]
    assert ran == []


def test_nothing_goes_on_after_a_run_that_asyncio_has_cancelled() -> None:
    blocked, went_on = Blocked(), list[str]()

    async def request() -> None:
        await BackgroundTasks([BackgroundTask(blocked)])()
        went_on.append("as if nothing had happened")

    async def server() -> None:
        serving = asyncio.ensure_future(request())
        await blocked.is_running()
        serving.cancel()
        await let_it_be_delivered()
        blocked.leave.set()
        with pytest.raises(asyncio.CancelledError):
            await serving

    asyncio.run(server())
    assert went_on == []


def test_asyncios_timeout_is_kept_though_the_thread_ends_later() -> None:
    """`asyncio.timeout` counts cancellations, and ours is put off while the failing thread runs."""
    blocked = Blocked(ValueError())

    async def expire_then_let_go(deadline: asyncio.Timeout) -> None:
        await blocked.is_running()
        deadline.reschedule(0)
        while not deadline.expired():
            await anyio.lowlevel.checkpoint()
        await let_it_be_delivered()
        blocked.leave.set()

    async def run_in_time() -> None:
        async with anyio.create_task_group() as group:
            # Nothing may be awaited between the run and the end of its timeout.
            async with asyncio.timeout(SECONDS) as deadline:
                group.start_soon(expire_then_let_go, deadline)
                await BackgroundTasks([BackgroundTask(blocked)])()

    async def request() -> None:
        with pytest.raises(ExceptionGroup) as raised:
            await run_in_time()
        assert raised.group_contains(TimeoutError)
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0

    asyncio.run(request())


def test_a_cancelled_run_waits_without_polling() -> None:
    """It waits for its thread with one call in another, which is none of the endpoints'."""
    blocked = Blocked()

    async def request() -> None:
        async with in_a_task(BackgroundTasks([BackgroundTask(blocked)])) as cancel:
            while not blocked.runs.is_set():
                await anyio.lowlevel.checkpoint()
            cancel()
            for _ in range(20):
                await anyio.lowlevel.checkpoint()
            assert current_default_thread_limiter().borrowed_tokens == 0
            blocked.leave.set()

    with patch.object(anyio.to_thread, "run_sync", wraps=anyio.to_thread.run_sync) as run_sync:
        asyncio.run(request())
    assert run_sync.call_count == 2, "one for the task, and one to wait for its end"


@pytest.mark.parametrize("result", [None, "a result"])
@pytest.mark.parametrize("failure", [None, ValueError()])
def test_the_thread_of_a_cancelled_endpoint_is_waited_for(
    failure: Exception | None, result: object
) -> None:
    """asyncio cancels an endpoint that runs in a thread: the thread is waited for, as a task's."""
    blocked = Blocked(failure)

    def endpoint() -> object:
        blocked()
        return result

    went_on: list[object] = []

    async def request() -> None:
        went_on.append(await run_in_threadpool(endpoint))

    async def server() -> None:
        task = asyncio.ensure_future(request())
        await blocked.is_running()
        task.cancel()
        await let_it_be_delivered()
        assert not task.done()
        blocked.leave.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(server())
    assert went_on == []
    assert blocked.ended.is_set()


async def at_once() -> None: ...


@pytest.mark.parametrize("nested", [False, True])
def test_a_timeout_is_kept_where_the_awaitable_never_waits(nested: bool) -> None:
    """A timeout is kept where a task hands back an awaitable that never waits."""
    blocked = Blocked()

    def task() -> Awaitable[None]:
        blocked()
        return at_once()

    async def let_go(deadline: asyncio.Timeout) -> None:
        await blocked.is_running()
        deadline.reschedule(0)
        while not deadline.expired():
            await anyio.lowlevel.checkpoint()
        blocked.leave.set()

    async def run_in_time() -> None:
        tasks = BackgroundTasks([BackgroundTask(task)])
        async with asyncio.timeout(SECONDS) as deadline, anyio.create_task_group() as group:
            group.start_soon(let_go, deadline)
            await (BackgroundTasks([tasks]) if nested else tasks)()

    async def request() -> None:
        with pytest.raises(TimeoutError):
            await run_in_time()
        await anyio.lowlevel.checkpoint()  # nothing of the cancellation is left

    asyncio.run(request())


@given(program=PROGRAMS["cancel"])
def test_a_row_stops_on_trio_before_its_thread_is_told_to(program: AnyProgram) -> None:
    # trio tells it when the run's task waits again: it may come late, so let it never come.
    with patch.object(anyio.from_thread, "check_cancelled", return_value=None):
        check("cancel", "trio", program)


@pytest.mark.basic
@given(program=PROGRAMS["cancel"])
@example(program=Program((Task(cancels=True), Task())))
@example(program=Program((Task(cancels=True), Task(kind="a coroutine function"))))
def test_no_task_starts_once_the_run_is_cancelled_in_any_program(
    backend: str, program: AnyProgram
) -> None:
    check("cancel", backend, program)
