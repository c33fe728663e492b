"""The run hears of a cancellation first, and takes the list away from its thread.

In v9 the row goes on, as nothing tells the thread of asyncio's `cancel()`, and tasks are named only
when the thread has ended. Here the run abandons the list at once, while the thread may be taking
tasks from it: of two who pop, one gets the task.

Rules kept: **capture**, **order**, **place**, **isolate**, **nothing lost**, **grow**, **cancel**,
**room**, **context**. Wrong is what is missing before the last line: that the report has failed.

    background tasks not run (cancelled): print
    the server cancels
    the report cannot be written
    the server has ended
"""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from inspect import iscoroutinefunction
from typing import Any, ParamSpec

import anyio
from anyio import (
    CancelScope,
    CapacityLimiter,
    TaskInfo,
    from_thread,
    get_cancelled_exc_class,
    get_current_task,
    lowlevel,
    to_thread,
)
from anyio.lowlevel import RunVar

P = ParamSpec("P")
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
    func: Callable[..., object], /, *args: Any, on_cancel: Callable[[], None] = lambda: None
) -> None:
    outcome: Future[object] = Future()
    async with background_limiter():
        with CancelScope() as scope:
            try:
                await to_thread.run_sync(_settle, outcome, partial(func, *args), limiter=_always())
            except get_cancelled_exc_class():
                if not outcome.cancel():  # the thread has begun
                    scope.cancel()  # tells the thread
                    on_cancel()
                    await _until_done(outcome)
                raise
    outcome.result()


async def _until_done(outcome: Future[object]) -> None:
    while not outcome.done():
        with CancelScope(shield=True), suppress(get_cancelled_exc_class()):
            await to_thread.run_sync(wait, [outcome], limiter=_always())


def _settle(outcome: Future[object], call: Callable[[], object]) -> None:
    if outcome.set_running_or_notify_cancel():
        try:
            outcome.set_result(call())
        except BaseException as exc:
            outcome.set_exception(exc)


def _always() -> CapacityLimiter:
    return CapacityLimiter(1)


class BackgroundTask:
    """One deferred call, `func(*args, **kwargs)`; awaiting the task makes it."""

    def __init__(self, func: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> None:
        self.func, self.args, self.kwargs = func, args, kwargs
        self.is_async = iscoroutinefunction(func)

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

    def __init__(self) -> None:
        self.tasks: deque[BackgroundTask] = deque()

    def add_task(self, func: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> None:
        self.tasks.append(BackgroundTask(func, *args, **kwargs))

    def on_error(self, task: BackgroundTask, exc: Exception) -> None:
        logger.error("background task %s failed: %r", task.name, exc)

    def abandon(self, reason: str) -> None:
        names: deque[str] = deque()
        with suppress(IndexError):  # a thread may be taking tasks from the head meanwhile
            while self.tasks:
                names.appendleft(self.tasks.pop().name)
        if names:
            logger.warning("background tasks not run (%s): %s", reason, ", ".join(names))

    def __del__(self) -> None:
        self.abandon("no run took them")

    async def __call__(self) -> None:
        run = get_current_task()
        started: deque[BackgroundTask] = deque(maxlen=1)
        try:
            while self.tasks:
                while run.has_pending_cancellation():
                    await lowlevel.checkpoint()
                try:
                    if self.tasks[0].is_async:
                        started.append(self.tasks.popleft())
                        await started[0].call()
                    else:
                        await run_in_background_thread(
                            self._run_row, run, started, on_cancel=lambda: self.abandon("cancelled")
                        )
                except Exception as exc:
                    self.on_error(started[0], exc)
        except BaseException as exc:
            cause = "an earlier failure" if isinstance(exc, Exception) else "cancelled"
            self.abandon(f"{cause}, {type(exc).__name__}")
            raise

    def _run_row(self, run: TaskInfo, started: deque[BackgroundTask]) -> None:
        while task := self._next_of_row(run):
            started.append(task)
            copy_context().run(task.call)

    def _next_of_row(self, run: TaskInfo) -> BackgroundTask | None:
        with suppress(IndexError):  # none is left, or the loop has abandoned the rest
            if not (self.tasks[0].is_async or run.has_pending_cancellation()):
                from_thread.check_cancelled()
                return self.tasks.popleft()
        return None


async def main() -> None:
    runs, let_go = anyio.Event(), threading.Event()

    def write_report() -> None:
        from_thread.run_sync(runs.set)
        let_go.wait()
        print("the report cannot be written")
        raise OSError("the disk is full")

    tasks = BackgroundTasks()
    tasks.add_task(write_report)
    tasks.add_task(print, "mail is sent")
    run = asyncio.ensure_future(tasks())
    await runs.wait()
    run.cancel()
    await asyncio.wait([run], timeout=0.1)
    print("the server cancels")
    let_go.set()
    await asyncio.wait([run])
    print("the server has ended")


if __name__ == "__main__":
    anyio.run(main)
