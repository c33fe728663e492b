"""Worker threads, and what belongs on the event loop instead.

Rules kept here: **place** (what is async, what runs in a thread), **room** (background work has
threads of its own) and the half of **cancel** that concerns threads: nobody goes on as if a thread
had ended while it still runs.

What may live here: the way into a thread and back. What runs there is the callers' business.
"""

import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from concurrent.futures import Future, wait
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from inspect import CO_COROUTINE, isawaitable, iscoroutinefunction
from types import FunctionType
from typing import Any, ParamSpec, Self, TypeVar, TypeVarTuple

from anyio import (
    CancelScope,
    CapacityLimiter,
    TaskInfo,
    WouldBlock,
    from_thread,
    get_cancelled_exc_class,
    get_current_task,
    to_thread,
)
from anyio.lowlevel import RunVar
from anyio.to_thread import current_default_thread_limiter

P = ParamSpec("P")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_apart: set[Any] = set()
_background_limiter: RunVar[CapacityLimiter] = RunVar("minibg background limiter")


def is_async_callable(obj: Any) -> bool:
    """Whether calling `obj` gives a coroutine, so that it belongs on the event loop (**place**).

    Seen through `functools.partial`, bound methods, objects whose `__call__` is async, and
    decorators that mark their sync wrapper (`inspect.markcoroutinefunction`, before Python 3.12
    asyncio's own mark).
    """
    if isinstance(obj, FunctionType) and obj.__code__.co_flags & CO_COROUTINE:
        return True  # as below, in a quarter of the time: most async tasks are such functions
    while isinstance(obj, partial):
        obj = obj.func
    if isinstance(obj, type):  # to call a class is to construct
        return False
    return _gives_a_coroutine(obj) or (callable(obj) and _gives_a_coroutine(obj.__call__))


def _gives_a_coroutine(func: Any) -> bool:
    # asyncio's mark is a bare object(); to import asyncio for it would double our import time.
    return iscoroutinefunction(func) or type(getattr(func, "_is_coroutine", None)) is object


def background_limiter() -> CapacityLimiter:
    """The limiter of the threads in which background tasks run (**room**).

    It belongs to the running event loop and holds 40 threads. To change that, set its
    `total_tokens`, at startup for example: `background_limiter().total_tokens = 100`.
    """
    try:
        return _background_limiter.get()
    except LookupError:
        limiter = CapacityLimiter(40)
        _background_limiter.set(limiter)
        return limiter


class _NoLimit(CapacityLimiter):
    """For hops whose place is had elsewhere: a limiter of anyio's takes a turn of the loop."""

    def __new__(cls) -> Self:
        return object.__new__(cls)

    async def __aenter__(self) -> None: ...
    async def __aexit__(self, *exc_info: object) -> None: ...
    async def acquire_on_behalf_of(self, borrower: object) -> None: ...
    def release_on_behalf_of(self, borrower: object) -> None: ...


_NO_LIMIT = _NoLimit()


async def run_in_threadpool(func: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a sync function in a worker thread and return what it returns, or raise what it raises.

    The thread is one of those for endpoints and dependencies (anyio's default limiter, 40). It
    runs in a copy of the caller's context.
    """
    return await _run_in_thread(partial(func, *args, **kwargs), current_default_thread_limiter())


async def run_in_background_thread(
    func: Callable[[*Ts], T],
    /,
    *args: *Ts,
    on_cancel: Callable[[], None] = lambda: None,
) -> T:
    """`run_in_threadpool`, in one of the threads that are kept for background tasks (**room**).

    Where asyncio cancels meanwhile, `on_cancel` is called at once: a server that ends may not
    wait for the thread. Then a failure, or an awaitable that is handed back, comes first, and the
    cancellation with the caller's next await. So the caller awaits once more before it leaves what
    cancels, an `asyncio.timeout` for example.
    """
    return await _run_in_thread(partial(func, *args), background_limiter(), on_cancel)


async def run_in_extra_thread(func: Callable[[*Ts], T], /, *args: *Ts) -> T:
    """`run_in_threadpool`, in a thread that is always to be had.

    For closing what others may be waiting for: if that had to wait for a thread in its turn, all
    could wait for each other.
    """
    return await _run_in_thread(partial(func, *args), CapacityLimiter(1))


async def _run_in_thread(
    call: Callable[[], T],
    limiter: CapacityLimiter,
    on_cancel: Callable[[], None] | None = None,
) -> T:
    """Make the call in a worker thread, and come back only when the thread has.

    A thread cannot be interrupted. anyio's cancel scopes know that and wait for it; asyncio's own
    `task.cancel()` would leave it behind: still running, its place in the limiter given away, its
    outcome lost. So that kind of cancellation waits here too.
    """
    outcome: Future[T] = Future()
    cancelled: BaseException | None = None
    try:
        limiter.acquire_on_behalf_of_nowait(outcome)  # without a turn of the loop
    except WouldBlock:
        await limiter.acquire_on_behalf_of(outcome)
    try:
        cancelled = await _hop(outcome, call, on_cancel)
        if cancelled is not None:
            if on_cancel is None or not _matters(outcome):
                raise cancelled
            _cancel_again(cancelled)
        return outcome.result()
    finally:
        limiter.release_on_behalf_of(outcome)
        del outcome, cancelled  # an exception's traceback holds this frame: no circle with it


async def _hop(
    outcome: Future[T],
    call: Callable[[], T],
    on_cancel: Callable[[], None] | None,
) -> BaseException | None:
    """Go to a thread and back; give asyncio's cancellation, if there was one on the way.

    The limiter's place is the caller's, so none is needed here.
    """
    with CancelScope() as scope:
        try:
            await to_thread.run_sync(_settle, outcome, call, limiter=_NO_LIMIT)
        except get_cancelled_exc_class() as exc:
            if outcome.cancel():
                raise  # the call has not begun, and never will
            scope.cancel()  # so that anyio.from_thread.check_cancelled() raises in the thread
            if on_cancel is not None:
                on_cancel()
            while not outcome.done():
                with CancelScope(shield=True), suppress(type(exc)):
                    await to_thread.run_sync(wait, [outcome], limiter=_NO_LIMIT)
            return exc
    return None


def _settle(outcome: Future[T], call: Callable[[], T]) -> None:
    if outcome.set_running_or_notify_cancel():
        try:
            outcome.set_result(call())
        except BaseException as exc:  # noqa: BLE001  # raised where the outcome is awaited
            outcome.set_exception(exc)
        del outcome  # likewise


def _matters(outcome: Future[Any]) -> bool:
    exc = outcome.exception()
    return isinstance(exc, Exception) or (exc is None and isawaitable(outcome.result()))


def _cancel_again(cancelled: BaseException) -> None:
    """Put asyncio's cancellation off to the next await, as anyio's would be after a thread."""
    import asyncio  # noqa: PLC0415  # loaded long since where this runs; trio never comes here

    task = asyncio.current_task()
    assert task is not None
    task.uncancel()
    task.cancel(*cancelled.args)


def start_apart(func: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Start an async function, which may not raise, as a task that is in no group.

    It ends when it is done, at the latest with the event loop.
    """
    try:
        loop = sys.modules["asyncio"].get_running_loop()
    except (KeyError, RuntimeError):  # another loop runs
        sys.modules["trio"].lowlevel.spawn_system_task(func, context=copy_context())
    else:
        task = loop.create_task(func())
        _apart.add(task)  # the loop itself does not keep it alive
        task.add_done_callback(_apart.discard)


def is_cancelled() -> bool:
    """Whether the current task is to end, though somebody may have caught what says so."""
    task = get_current_task()
    return task.has_pending_cancellation() if _is_trios(task) else asyncios_cancellation()()


def asyncios_cancellation() -> Callable[[], bool]:
    """What says, wherever it is called, whether asyncio has cancelled the current task.

    On trio it never does: whoever cancels there waits for what was cancelled.
    """
    try:
        task = sys.modules["asyncio"].current_task()
    except (KeyError, RuntimeError):  # another loop runs
        return lambda: False
    return lambda: bool(task.cancelling())


def cancellation_of(task: TaskInfo) -> Callable[[], bool | None]:
    """What says, in a thread that `task` waits for, whether `task` is cancelled (**cancel**).

    It may raise as well, as `anyio.from_thread.check_cancelled` does: a cancellation, or on trio
    Ctrl-C's `KeyboardInterrupt`. To ask only that would not do: on trio, a thread that cancels the
    task itself is told so when the task waits again, and may be quicker. There the task is asked.
    """
    check_cancelled: Callable[[], bool | None] = from_thread.check_cancelled
    if not _is_trios(task):
        return check_cancelled
    return lambda: task.has_pending_cancellation() or check_cancelled()


def _is_trios(task: TaskInfo) -> bool:
    return type(task).__module__.endswith("trio")


_END: Any = object()


class iterate_in_threadpool(AsyncIterator[T]):  # noqa: N801  # Starlette's name
    """Iterate over a sync iterable without blocking the event loop: each step is made in a thread.

    `aclose` closes an iterator that can be closed, in a thread as well.
    """

    def __init__(self, iterable: Iterable[T]) -> None:
        self.iterator = iter(iterable)

    async def __anext__(self) -> T:
        item = await run_in_threadpool(next, self.iterator, _END)
        if item is _END:
            raise StopAsyncIteration
        return item

    async def aclose(self) -> None:
        """Close the iterator, wherever it stands."""
        close = getattr(self.iterator, "close", None)
        if close is not None:
            await run_in_threadpool(close)
