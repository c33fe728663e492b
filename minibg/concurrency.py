"""Worker threads: which calls belong there, and the way there and back.

Theory of operation. A thread cannot be interrupted, so a task that sends a call into one waits for
it, even if the task is cancelled in the meantime. There are two kinds of cancellation. An anyio
cancel scope (trio has no other kind) stays cancelled: anyio waits for the thread, and then the
task's next await raises. asyncio's `task.cancel()` throws an exception into the task once, and
anyio then leaves the thread behind: still running, its place in the limiter given away, its outcome
lost. So `_hop` catches that exception and waits for the thread itself. Its callers then raise that
exception. But if the thread has brought something back, they return it first, and put the exception
off to the task's next await: that is where a scope would raise its cancellation too.

Rules kept here: **place** (what is async, what runs in a thread), **room** (background work has
threads of its own), and **cancel** as far as it concerns threads. Nothing about lists of tasks or
about requests may live here.
"""

import inspect
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress
from functools import partial
from threading import Lock
from types import FunctionType, MethodType
from typing import Any, Generic, Literal, ParamSpec, Self, TypeVar, TypeVarTuple

import anyio
from anyio import CancelScope, CapacityLimiter, from_thread, to_thread
from anyio.lowlevel import RunVar
from anyio.to_thread import current_default_thread_limiter

P = ParamSpec("P")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")

ASYNC, GENERATOR = inspect.CO_COROUTINE, inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR
FUNCTIONS = (FunctionType, MethodType, type)


def is_async_callable(obj: Any) -> bool:
    """Whether calling `obj` returns a coroutine, which belongs on the event loop (**place**)."""
    return given_by(obj) == "coroutine"


def given_by(obj: Any) -> Literal["coroutine", "generator", "result"]:
    """The kind of object that calling `obj` returns. A coroutine or generator has run nothing yet.

    It sees through `functools.partial`, bound methods, objects whose `__call__` is async, and
    decorators that mark their sync wrapper (`inspect.markcoroutinefunction`; before Python 3.12
    asyncio's own mark, which is a bare `object()`).
    """
    if isinstance(obj, FunctionType) and obj.__code__.co_flags & ASYNC:
        return "coroutine"  # a shortcut: the lines below take twice as long
    while isinstance(obj, partial):
        obj = obj.func
    if getattr(obj, "__dict__", None) and _is_marked(obj):
        return "coroutine"
    code = getattr(obj if isinstance(obj, FUNCTIONS) else type(obj).__call__, "__code__", None)
    flags = code.co_flags if code else 0
    if flags & ASYNC:
        return "coroutine"
    if flags & GENERATOR and not flags & inspect.CO_ITERABLE_COROUTINE:  # set by `types.coroutine`
        return "generator"
    return "result"


def _is_marked(obj: Any) -> bool:
    return inspect.iscoroutinefunction(obj) or type(getattr(obj, "_is_coroutine", None)) is object


async def run_in_threadpool(func: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a sync function in a worker thread, and return its result or raise its exception.

    The thread is one of the 40 for endpoints and dependencies (anyio's default limiter). The
    function runs in a copy of the caller's context.
    """
    return await _run_in_thread(partial(func, *args, **kwargs), current_default_thread_limiter())


async def run_in_background_thread(
    func: Callable[[*Ts], T], /, *args: *Ts, on_cancel: Callable[[], None] = lambda: None
) -> T:
    """Like `run_in_threadpool`, in one of the threads kept for background tasks (**room**).

    If asyncio cancels the caller meanwhile, `on_cancel` is called at once, on the loop. A result
    other than None is still returned; the cancellation is then raised at the caller's next await.
    A caller in an `asyncio.timeout`, for example, has to await once more before leaving the block.
    """
    return await _run_in_thread(partial(func, *args), background_limiter(), on_cancel)


async def run_in_extra_thread(func: Callable[[*Ts], T], /, *args: *Ts) -> T:
    """Like `run_in_threadpool`, in a thread that is always available. The call is always made.

    Dependencies are closed this way. If closing had to wait for a free thread, requests that hold
    all threads could wait for each other for ever. If asyncio cancels the caller meanwhile, the
    outcome comes first, and the cancellation follows at the caller's next await.
    """
    cancelled: BaseException | None = None
    with CancelScope(shield=True):
        while True:
            call = _Call(partial(func, *args))
            try:
                cancelled = await _hop(call) or cancelled
                break
            except anyio.get_cancelled_exc_class() as exc:  # before the call has begun
                cancelled = exc
    try:
        if cancelled is not None:
            _cancel_again(cancelled)
        return call.outcome()
    finally:
        del call, cancelled  # as in `_run_in_thread`


_background_limiter: RunVar[CapacityLimiter] = RunVar("minibg background limiter")


def background_limiter() -> CapacityLimiter:
    """The limiter of the threads in which background tasks run (**room**).

    After `minibg.background.LONGEST_ROW` seconds, a row of sync tasks gives its thread to others
    that wait for one, and goes on when it has a thread again.

    It belongs to the running event loop and holds 40 threads. To change that, set its
    `total_tokens`, at startup for example: `background_limiter().total_tokens = 100`.
    """
    try:
        return _background_limiter.get()
    except LookupError:
        limiter = CapacityLimiter(40)
        _background_limiter.set(limiter)
        return limiter


_END: Any = object()


class iterate_in_threadpool(AsyncIterator[T]):  # noqa: N801  # Starlette's name
    """Iterate over a sync iterable without blocking the event loop: each step runs in a thread.

    `aclose` closes the iterator, in a thread as well, if it has a `close` method.
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
            await run_in_extra_thread(close)


class _Call(Generic[T]):
    """A call on its way to a thread: made there once, or never, if the loop claims it first.

    `concurrent.futures.Future` does more than that, and makes a hop 7 % longer.
    """

    result: T
    exception: BaseException | None = None

    def __init__(self, func: Callable[[], T]) -> None:
        self.func = func
        self.unclaimed = Lock()
        self.running = Lock()

    def claim(self) -> bool:
        """Whether the caller is first: the thread claims a call to make it, the loop to drop it."""
        return self.unclaimed.acquire(blocking=False)

    def make(self) -> None:
        """Make the call in this thread, and keep its outcome."""
        with self.running:  # taken first: a loop that fails to claim the call can `wait` for it
            if self.claim():
                try:
                    self.result = self.func()
                except BaseException as exc:  # noqa: BLE001  # `outcome` raises it
                    self.exception = exc
        del self  # avoids a reference cycle: an exception's traceback holds this frame

    def wait(self) -> None:
        """Wait, in another thread, until the call is over."""
        with self.running:
            pass

    def outcome(self) -> T:
        """Return the call's result, or raise its exception."""
        try:
            if self.exception is not None:
                raise self.exception
            return self.result
        finally:
            del self  # as in `make`


async def _run_in_thread(
    func: Callable[[], T], limiter: CapacityLimiter, on_cancel: Callable[[], None] | None = None
) -> T:
    call = _Call(func)
    cancelled: BaseException | None = None
    try:
        limiter.acquire_on_behalf_of_nowait(call)  # saves a turn of the loop
    except anyio.WouldBlock:
        await limiter.acquire_on_behalf_of(call)
    try:
        cancelled = await _hop(call, on_cancel)
        if cancelled is not None:
            if on_cancel is None or call.exception is not None or call.result is None:
                raise cancelled
            _cancel_again(cancelled)
        return call.outcome()
    finally:
        limiter.release_on_behalf_of(call)
        del call, cancelled  # as in `_Call.make`


async def _hop(call: _Call[T], on_cancel: Callable[[], None] | None = None) -> BaseException | None:
    """Go to a thread and back, and return asyncio's cancellation if one arrives meanwhile."""
    with CancelScope() as scope:
        try:
            await to_thread.run_sync(call.make, limiter=_NO_LIMIT)
        except anyio.get_cancelled_exc_class() as exc:
            if call.claim():
                raise  # the call has not begun, and never will
            scope.cancel()  # so that anyio.from_thread.check_cancelled() raises in the thread
            if on_cancel is not None:
                on_cancel()
            while call.running.locked():  # however often the task is cancelled meanwhile
                with CancelScope(shield=True), suppress(anyio.get_cancelled_exc_class()):
                    await to_thread.run_sync(call.wait, limiter=_NO_LIMIT)
            return exc
    return None


class _NoLimit(CapacityLimiter):
    """Admits every hop: its caller holds a place, or needs none. Saves a sixth of a hop's time."""

    def __new__(cls) -> Self:
        return object.__new__(cls)

    async def __aenter__(self) -> None: ...
    async def __aexit__(self, *exc_info: object) -> None: ...
    async def acquire_on_behalf_of(self, borrower: object) -> None: ...
    def release_on_behalf_of(self, borrower: object) -> None: ...


_NO_LIMIT = _NoLimit()


def _cancel_again(cancelled: BaseException) -> None:
    """Put asyncio's cancellation off to the task's next await."""
    task = _asyncio_task()
    task.uncancel()
    task.cancel(*cancelled.args)


def told_in_thread() -> Callable[[], object]:
    """Return a function that tells a worker thread whether the current task is cancelled.

    The function raises if anyio has told the thread of a cancellation. trio may tell it late, so on
    trio the function asks the task as well.
    """
    if _asyncio_task() is not None:
        return from_thread.check_cancelled
    run = anyio.get_current_task()

    def is_told() -> bool:
        from_thread.check_cancelled()
        return run.has_pending_cancellation()

    return is_told


def cancellation_types() -> tuple[type[BaseException], ...]:
    """All cancellation exceptions; on trio also asyncio's, as a thread may run an asyncio loop."""
    asyncio = sys.modules.get("asyncio")
    return (anyio.get_cancelled_exc_class(), *([asyncio.CancelledError] if asyncio else []))


def is_cancelled() -> bool:
    """Whether the current task has been cancelled, even if it has caught the exception."""
    task = _asyncio_task()
    by_asyncio = task is not None and task.cancelling() > 0
    return by_asyncio or anyio.get_current_task().has_pending_cancellation()


def asyncios_cancellation() -> Callable[[], bool]:
    """Return a function that tells whether asyncio has cancelled the task that is current now.

    It may be called from any task. On trio the function always returns False: a scope there
    waits for the tasks it cancels.
    """
    task = _asyncio_task()
    return lambda: task is not None and task.cancelling() > 0


def _asyncio_task() -> Any:
    """asyncio's current task, or None on trio."""
    try:
        return sys.modules["asyncio"].current_task()
    except (KeyError, RuntimeError):  # asyncio is not imported, or its loop does not run
        return None
