"""Background tasks have 40 threads of their own.

In v6 they take their threads from where sync endpoints take theirs: 40 slow tasks, and no sync
endpoint of the process answers any more. With a limiter of their own, tasks wait for each other
only. Each event loop has one.

Rules kept: **capture**, **order**, **place**, **isolate**, **nothing lost**, **grow**, **room**,
**context**. Wrong are the two lines before the last: who ends starts nothing more.

    an endpoint answers
    an endpoint waits for a thread: False
    the server is told to end
    stock is updated
    mail is sent
    the server has ended
"""

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
    create_task_group,
    from_thread,
    move_on_after,
    to_thread,
    wait_all_tasks_blocked,
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
        started: deque[BackgroundTask] = deque(maxlen=1)
        try:
            while self.tasks:
                try:
                    if self.tasks[0].is_async:
                        started.append(self.tasks.popleft())
                        await started[0].call()
                    else:
                        await run_in_background_thread(self._run_row, started)
                except Exception as exc:
                    self.on_error(started[0], exc)
        except BaseException as exc:
            cause = "an earlier failure" if isinstance(exc, Exception) else "cancelled"
            self.abandon(f"{cause}, {type(exc).__name__}")
            raise

    def _run_row(self, started: deque[BackgroundTask]) -> None:
        while self.tasks and not self.tasks[0].is_async:
            started.append(self.tasks.popleft())
            copy_context().run(started[0].call)


async def main() -> None:
    let_go = threading.Event()
    async with create_task_group() as group:
        for _ in range(40):
            tasks = BackgroundTasks()
            tasks.add_task(let_go.wait)
            group.start_soon(tasks)
        await wait_all_tasks_blocked()
        with move_on_after(10) as waiting:
            await to_thread.run_sync(print, "an endpoint answers")
        print("an endpoint waits for a thread:", waiting.cancelled_caught)
        let_go.set()

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


if __name__ == "__main__":
    anyio.run(main)
