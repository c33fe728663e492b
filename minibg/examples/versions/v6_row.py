"""Sync tasks that stand next to each other are a row, and a row goes to a thread together.

v5 goes to a thread and back for each of them, which takes far longer than most of the calls. Here
the thread takes tasks from the head itself, until it meets an async one. It notes which it has
started, as a failure is the failure of that one, and gives each a copy of the context.

Rules kept: **capture**, **order**, **place**, **isolate**, **nothing lost**, **grow**, **context**.
Wrong is the last line.

    ada is billed
    grace is billed
    alan is billed
    hops for 3 sync tasks: 1
    an endpoint waits for a thread: True
"""

import logging
import threading
from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from inspect import iscoroutinefunction
from typing import Any, ParamSpec
from unittest.mock import patch

import anyio
from anyio import create_task_group, move_on_after, to_thread, wait_all_tasks_blocked

P = ParamSpec("P")
logger = logging.getLogger("minibg.background")


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
            await to_thread.run_sync(self.call)


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
                        await to_thread.run_sync(self._run_row, started)
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


def send_bill(name: str) -> None:
    print(f"{name} is billed")


async def main() -> None:
    tasks = BackgroundTasks()
    for name in ("ada", "grace", "alan"):
        tasks.add_task(send_bill, name)
    with patch.object(to_thread, "run_sync", wraps=to_thread.run_sync) as hop:
        await tasks()
    print("hops for 3 sync tasks:", hop.call_count)

    let_go = threading.Event()
    async with create_task_group() as group:
        for _ in range(40):
            tasks = BackgroundTasks()
            tasks.add_task(let_go.wait)
            group.start_soon(tasks)
        await wait_all_tasks_blocked()
        with move_on_after(0.5) as waiting:
            await to_thread.run_sync(print, "an endpoint answers")
        print("an endpoint waits for a thread:", waiting.cancelled_caught)
        let_go.set()


if __name__ == "__main__":
    anyio.run(main)
