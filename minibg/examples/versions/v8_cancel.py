"""A run that is cancelled starts no further task.

Cancellation is thrown in where something is awaited. A thread awaits nothing, and an async task
need not. So v7 goes on with the row, and with the next task. Here both ask before each task.

Rules kept: **capture**, **order**, **place**, **isolate**, **nothing lost**, **grow**, **cancel**,
**room**, **context**. Wrong is the last line.

    the server is told to end
    background tasks not run (cancelled, CancelledError): print, print
    the server has ended
    the run has ended: True, its thread: False
"""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from inspect import iscoroutinefunction
from typing import Any, ParamSpec

import anyio
from anyio import (
    CancelScope,
    CapacityLimiter,
    TaskInfo,
    from_thread,
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


async def run_in_background_thread(func: Callable[..., object], /, *args: Any) -> None:
    await to_thread.run_sync(func, *args, limiter=background_limiter())


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
        names = [task.name for task in self.tasks]
        self.tasks.clear()
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
                        await run_in_background_thread(self._run_row, run, started)
                except Exception as exc:
                    self.on_error(started[0], exc)
        except BaseException as exc:
            cause = "an earlier failure" if isinstance(exc, Exception) else "cancelled"
            self.abandon(f"{cause}, {type(exc).__name__}")
            raise

    def _run_row(self, run: TaskInfo, started: deque[BackgroundTask]) -> None:
        while self.tasks and not (self.tasks[0].is_async or run.has_pending_cancellation()):
            from_thread.check_cancelled()
            started.append(self.tasks.popleft())
            copy_context().run(started[0].call)


async def main() -> None:
    def shut_down() -> None:
        print("the server is told to end")
        from_thread.run_sync(server.cancel)

    tasks = BackgroundTasks()
    with CancelScope() as server:
        tasks.add_task(shut_down)
        tasks.add_task(print, "stock is updated")
        tasks.add_task(print, "mail is sent")
        await tasks()
    print("the server has ended")

    runs, let_go, ended = anyio.Event(), threading.Event(), threading.Event()

    def slow_report() -> None:
        from_thread.run_sync(runs.set)
        let_go.wait()
        ended.set()

    tasks.add_task(slow_report)
    run = asyncio.ensure_future(tasks())
    await runs.wait()
    run.cancel()
    await asyncio.wait([run])
    print(f"the run has ended: {run.done()}, its thread: {ended.is_set()}")
    let_go.set()
    await to_thread.run_sync(ended.wait)


if __name__ == "__main__":
    anyio.run(main)
