"""Worker threads: which calls belong there, the way there and back.

Theory of operation. A thread cannot be interrupted, so whoever sends a call into one waits until it
is back, even if cancelled in the meantime. There are two kinds of cancellation. A cancel scope of
anyio's (trio has no other kind) goes on saying that its task is cancelled: anyio waits for the
thread, and the task's next await raises. asyncio's `task.cancel()` throws an exception into the
task once, and anyio then leaves the thread behind: still running, its place in the limiter given
away, its outcome lost. So `_hop` catches that exception and waits for the thread itself. Only then
is the exception raised; or, if the thread has brought something back, it is put off to the task's
next await, as that of a scope is.

Rules kept here: **place** (what is async, what runs in a thread), **room** (background work has
threads of its own), and **cancel** as far as it concerns threads. Nothing about lists of tasks or
about requests may live here.
"""

import inspect
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import Future, wait
from contextlib import suppress
from functools import partial
from types import FunctionType, MethodType
from typing import Any, Literal, ParamSpec, Self, TypeVar, TypeVarTuple

import anyio
from anyio import CancelScope, CapacityLimiter, to_thread
from anyio.lowlevel import RunVar
from anyio.to_thread import current_default_thread_limiter

P = ParamSpec("P")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")

ASYNC, GENERATOR = inspect.CO_COROUTINE, inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR
FUNCTIONS = (FunctionType, MethodType, type)


def is_async_callable(obj: Any) -> bool:
    """Whether a call of `obj` gives a coroutine, which belongs on the event loop (**place**)."""
    return given_by(obj) == "coroutine"


def given_by(obj: Any) -> Literal["coroutine", "generator", "result"]:
    """What calling `obj` returns at once. A coroutine or a generator has run nothing by then.

    Seen through `functools.partial`, bound methods, objects whose `__call__` is async, and
    decorators that mark their sync wrapper (`inspect.markcoroutinefunction`; before Python 3.12
    asyncio's own mark, which is a bare `object()`).
    """
    if isinstance(obj, FunctionType) and obj.__code__.co_flags & ASYNC:
        return "coroutine"  # the lines below say so too, and take twice as long
    while isinstance(obj, partial):
        obj = obj.func
    if getattr(obj, "__dict__", None) and _is_marked(obj):
        return "coroutine"
    code = getattr(obj if isinstance(obj, FUNCTIONS) else type(obj).__call__, "__code__", None)
    flags = code.co_flags if code else 0
    if flags & ASYNC:
        return "coroutine"
    if flags & GENERATOR and not flags & inspect.CO_ITERABLE_COROUTINE:  # of `types.coroutine`
        return "generator"
    return "result"


def _is_marked(obj: Any) -> bool:
    return inspect.iscoroutinefunction(obj) or type(getattr(obj, "_is_coroutine", None)) is object


async def run_in_threadpool(func: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a sync function in a worker thread and return what it returns, or raise what it raises.

    The thread is one of those for endpoints and dependencies (anyio's default limiter, 40). It
    runs in a copy of the caller's context.
    """
    return await _run_in_thread(partial(func, *args, **kwargs), current_default_thread_limiter())


async def run_in_background_thread(
    func: Callable[[*Ts], T], /, *args: *Ts, on_cancel: Callable[[], None] = lambda: None
) -> T:
    """`run_in_threadpool`, in one of the threads that are kept for background tasks (**room**).

    If asyncio cancels meanwhile, `on_cancel` is called at once, on the loop. A result other than
    None is still returned, and the cancellation follows at the caller's next await. So the caller
    awaits once more before it leaves an `asyncio.timeout`, for example.
    """
    return await _run_in_thread(partial(func, *args), background_limiter(), on_cancel)


async def run_in_extra_thread(func: Callable[[*Ts], T], /, *args: *Ts) -> T:
    """`run_in_threadpool`, in a thread that is always available; and the call is always made.

    It is for closing dependencies. If closing had to wait for a free thread, requests that hold all
    threads could wait for each other for ever. If asyncio cancels meanwhile, the outcome comes
    first, and the cancellation with the caller's next await.
    """
    outcome: Future[T] = Future()
    settle = partial(_settle, outcome, partial(func, *args))
    cancelled: BaseException | None = None
    try:
        while not outcome.done():  # asyncio may cancel before the call has begun
            cancelled = await _run_shielded(settle) or cancelled
        if cancelled is not None:
            _cancel_again(cancelled)
        return outcome.result()
    finally:
        del outcome, cancelled, settle  # as in `_run_in_thread`


async def _run_shielded(call: Callable[[], None]) -> BaseException | None:
    """Make the call in a thread, and return asyncio's cancellation if there is one meanwhile."""
    with CancelScope(shield=True):
        try:
            await _run_in_thread(call, CapacityLimiter(1))
        except anyio.get_cancelled_exc_class() as exc:
            return exc
    return None


_background_limiter: RunVar[CapacityLimiter] = RunVar("minibg background limiter")


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
            await run_in_extra_thread(close)


async def _run_in_thread(
    call: Callable[[], T], limiter: CapacityLimiter, on_cancel: Callable[[], None] | None = None
) -> T:
    outcome: Future[T] = Future()
    cancelled: BaseException | None = None
    try:
        limiter.acquire_on_behalf_of_nowait(outcome)  # saves a turn of the loop
    except anyio.WouldBlock:
        await limiter.acquire_on_behalf_of(outcome)
    try:
        cancelled = await _hop(outcome, call, on_cancel)
        if cancelled is not None:
            if on_cancel is None or outcome.exception() is not None or outcome.result() is None:
                raise cancelled
            _cancel_again(cancelled)
        return outcome.result()
    finally:
        limiter.release_on_behalf_of(outcome)
        del outcome, cancelled  # an exception's traceback holds this frame: no reference cycle


async def _hop(
    outcome: Future[T], call: Callable[[], T], on_cancel: Callable[[], None] | None
) -> BaseException | None:
    """Go to a thread and back, and return asyncio's cancellation if one arrives meanwhile."""
    with CancelScope() as scope:
        try:
            await to_thread.run_sync(_settle, outcome, call, limiter=_NO_LIMIT)
        except anyio.get_cancelled_exc_class() as exc:
            if outcome.cancel():
                raise  # the call has not begun, and never will
            scope.cancel()  # so that anyio.from_thread.check_cancelled() raises in the thread
            if on_cancel is not None:
                on_cancel()
            await _until_done(outcome)
            return exc
    return None


async def _until_done(outcome: Future[Any]) -> None:
    """Wait for the thread, in another one, however often the task is cancelled meanwhile."""
    while not outcome.done():
        with CancelScope(shield=True), suppress(anyio.get_cancelled_exc_class()):
            await to_thread.run_sync(wait, [outcome], limiter=_NO_LIMIT)


def _settle(outcome: Future[T], call: Callable[[], T]) -> None:
    if outcome.set_running_or_notify_cancel():
        try:
            outcome.set_result(call())
        except BaseException as exc:  # noqa: BLE001  # raised where the outcome is asked for
            outcome.set_exception(exc)
        del outcome  # as in `_run_in_thread`


class _NoLimit(CapacityLimiter):
    """Lets every hop pass, as its caller holds the place: it saves a sixth of the time of a hop."""

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


def cancellation_types() -> tuple[type[BaseException], ...]:
    """All cancellation exceptions. asyncio's is one on trio too: a thread may run such a loop."""
    asyncio = sys.modules.get("asyncio")
    return (anyio.get_cancelled_exc_class(), *([asyncio.CancelledError] if asyncio else []))


def is_cancelled() -> bool:
    """Whether the current task is to end, even if the exception that said so was caught."""
    task = _asyncio_task()
    by_asyncio = task is not None and task.cancelling() > 0
    return by_asyncio or anyio.get_current_task().has_pending_cancellation()


def asyncios_cancellation() -> Callable[[], bool]:
    """Return a function that tells, from any task, whether asyncio has cancelled the current one.

    On trio it is never so: whoever cancels there waits for what was cancelled.
    """
    task = _asyncio_task()
    return lambda: task is not None and task.cancelling() > 0


def _asyncio_task() -> Any:
    """asyncio's current task; on trio there is none."""
    try:
        return sys.modules["asyncio"].current_task()
    except (KeyError, RuntimeError):  # asyncio is not imported, or its loop does not run
        return None
