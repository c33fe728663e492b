"""What others build on: lists within lists, callables of every kind, one seam around each task.

In v13 a list that stands in a list is named by its class, an object with an async `__call__` goes
to a thread first, a generator function runs nothing and says nothing, and a policy that announces
each task finds no place to do it.

Rules kept: **capture**, **order**, **place**, **isolate**, **nothing lost**, **grow**, **cancel**,
**room**, **context**. `minibg/background.py` is this, and what the appendix lists.

    background task cut off (cancelled): sleep
    background tasks not run (cancelled, CancelledError): print
    TypeError: read_lines is a generator function: calling it runs nothing
    sleep starts
    print starts
    mail is sent
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from concurrent.futures import Future, wait
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from inspect import isawaitable, iscoroutinefunction, isgeneratorfunction
from typing import Any, ParamSpec, TypeVar, TypeVarTuple

import anyio
from anyio import (
    CancelScope,
    CapacityLimiter,
    TaskInfo,
    from_thread,
    get_cancelled_exc_class,
    get_current_task,
    lowlevel,
    move_on_after,
    sleep,
    to_thread,
)
from anyio.lowlevel import RunVar

P = ParamSpec("P")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")
logger = logging.getLogger("minibg.background")
_background_limiter: RunVar[CapacityLimiter] = RunVar("background limiter")


def background_limiter() -> CapacityLimiter:
    try:
        return _background_limiter.get()
    except LookupError:
        limiter = CapacityLimiter(40)
        _background_limiter.set(limiter)
        return limiter


async def run_in_background_thread(
    func: Callable[[*Ts], T], /, *args: *Ts, on_cancel: Callable[[], None] = lambda: None
) -> T:
    outcome: Future[T] = Future()
    cancelled: BaseException | None = None
    async with background_limiter():
        with CancelScope() as scope:
            try:
                await to_thread.run_sync(_settle, outcome, partial(func, *args), limiter=_always())
            except get_cancelled_exc_class() as exc:
                if outcome.cancel():
                    raise  # the thread has not begun
                scope.cancel()  # tells the thread
                on_cancel()
                await _until_done(outcome)
                cancelled = exc
    if cancelled is not None:
        if outcome.exception() is not None or outcome.result() is None:
            raise cancelled
        _cancel_again(cancelled)
    return outcome.result()


def _cancel_again(cancelled: BaseException) -> None:
    task = asyncio.current_task()
    assert task is not None
    task.uncancel()
    task.cancel(*cancelled.args)


async def _until_done(outcome: Future[Any]) -> None:
    while not outcome.done():
        with CancelScope(shield=True), suppress(get_cancelled_exc_class()):
            await to_thread.run_sync(wait, [outcome], limiter=_always())


def _settle(outcome: Future[T], call: Callable[[], T]) -> None:
    if outcome.set_running_or_notify_cancel():
        try:
            outcome.set_result(call())
        except BaseException as exc:
            outcome.set_exception(exc)


def _always() -> CapacityLimiter:
    return CapacityLimiter(1)


def left_of(call: Callable[..., Any], /, *args: Any) -> Awaitable[Any] | None:
    try:
        result = call(*args)
    except SystemExit:
        return _raise(RuntimeError("SystemExit"))
    except Exception as exc:
        return _raise(exc)
    return result if isawaitable(result) else None


async def _raise(exc: BaseException) -> None:
    raise exc


async def failure_of(exc: BaseException) -> Exception:
    if isinstance(exc, Exception):
        return exc
    if isinstance(exc, get_cancelled_exc_class()):
        await lowlevel.checkpoint_if_cancelled()
        task = asyncio.current_task()
        if task is None or not task.cancelling():
            return RuntimeError("somebody else was cancelled")
    raise exc


class BackgroundTask:
    """One deferred call, `func(*args, **kwargs)`; awaiting the task makes it."""

    def __init__(self, func: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> None:
        if isgeneratorfunction(func):
            raise TypeError(f"{func.__name__} is a generator function: calling it runs nothing")
        self.func, self.args, self.kwargs = func, args, kwargs
        self.is_async = iscoroutinefunction(func) or iscoroutinefunction(type(func).__call__)

    @property
    def name(self) -> str:
        return str(getattr(self.func, "__qualname__", type(self.func).__qualname__))

    def call(self) -> Any:
        return self.func(*self.args, **self.kwargs)

    async def __call__(self) -> None:
        if self.is_async:
            await self.call()
        else:
            await run_in_background_thread(self.call)


class BackgroundTasks:
    """A list of deferred calls; awaiting the list runs it and leaves it empty."""

    def __init__(self, tasks: Iterable[BackgroundTask] = ()) -> None:
        self.tasks = deque(map(self.prepare, tasks))

    def add_task(self, func: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> None:
        self.tasks.append(self.prepare(BackgroundTask(func, *args, **kwargs)))

    def prepare(self, task: BackgroundTask) -> BackgroundTask:
        return task

    def call_task(self, task: BackgroundTask) -> Any:
        return task.call()

    def on_error(self, task: BackgroundTask, exc: Exception) -> Awaitable[None] | None:
        logger.error("background task %s failed: %r", task.name, exc)
        return None

    def abandon(self, reason: str) -> None:
        names = []
        for task in self.drain():
            if isinstance(task.func, BackgroundTasks):
                task.func.abandon(reason)
            else:
                names.append(task.name)
        if names:
            logger.warning("background tasks not run (%s): %s", reason, ", ".join(names))

    def drain(self) -> Iterable[BackgroundTask]:
        drained: deque[BackgroundTask] = deque()
        with suppress(IndexError):  # a thread may be taking tasks from the head meanwhile
            while self.tasks:
                drained.appendleft(self.tasks.pop())
        return drained

    def __del__(self) -> None:
        self.abandon("no run took them")

    async def __call__(self) -> None:
        run = get_current_task()
        try:
            while self.tasks:
                while run.has_pending_cancellation():
                    await lowlevel.checkpoint()
                if self.tasks[0].is_async:
                    task, left = self.tasks.popleft(), None
                elif ended := await run_in_background_thread(
                    self._run_row, run, on_cancel=lambda: self.abandon("cancelled")
                ):
                    task, left = ended
                else:
                    continue
                try:
                    await (self.call_task(task) if left is None else left)
                except BaseException as exc:
                    await self._react(task, exc)
                await lowlevel.checkpoint()  # a cancellation that was put off
        except BaseException as exc:
            cause = "an earlier failure" if isinstance(exc, Exception) else "cancelled"
            self.abandon(f"{cause}, {type(exc).__name__}")
            raise

    async def _react(self, task: BackgroundTask, exc: BaseException) -> None:
        try:
            if isawaitable(reaction := self.on_error(task, await failure_of(exc))):
                await reaction
        except BaseException as end:
            if not isinstance(end, Exception):
                logger.warning("background task cut off (cancelled): %s", task.name)
            raise
        finally:
            await lowlevel.checkpoint()  # a cancellation that was put off

    def _run_row(self, run: TaskInfo) -> tuple[BackgroundTask, Awaitable[Any]] | None:
        while task := self._next_of_row(run):
            if left := left_of(copy_context().run, self.call_task, task):
                return task, left
        return None

    def _next_of_row(self, run: TaskInfo) -> BackgroundTask | None:
        with suppress(IndexError):  # none is left, or the loop has abandoned the rest
            if not (self.tasks[0].is_async or run.has_pending_cancellation()):
                from_thread.check_cancelled()
                return self.tasks.popleft()
        return None


async def main() -> None:
    tasks, later = BackgroundTasks(), BackgroundTasks()
    later.add_task(print, "the welcome of ada")
    tasks.add_task(sleep, 60)
    tasks.add_task(later)
    with move_on_after(0.1):
        await tasks()

    def read_lines() -> Iterator[str]:
        yield "a line"

    try:
        tasks.add_task(read_lines)
    except TypeError as exc:
        print(f"TypeError: {exc}")

    class Announced(BackgroundTasks):
        def call_task(self, task: BackgroundTask) -> Any:
            print(f"{task.name} starts")
            return super().call_task(task)

    announced = Announced()
    announced.add_task(sleep, 0.1)
    announced.add_task(print, "mail is sent")
    await announced()


if __name__ == "__main__":
    anyio.run(main)
