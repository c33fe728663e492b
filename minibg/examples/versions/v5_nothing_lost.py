"""Whatever is in the list has not started; what is left there in the end is named in the log.

When v4 is cancelled, as by a server that ends, nobody learns which tasks were not run: the list
holds those that were and those that were not. So a run takes each task out before it starts it.
A list that no run took, because the answer could not be sent, speaks when it is thrown away.

Rules kept: **capture**, **order**, **place**, **isolate**, **nothing lost**, **grow**, **context**.
Wrong is the last line: one way would do.

    welcome, ada
    background tasks not run (cancelled, CancelledError): send_bill, welcome
    the server has ended
    background tasks not run (no run took them): welcome
    ada is billed
    grace is billed
    alan is billed
    hops for 3 sync tasks: 3
"""

import logging
from collections import deque
from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import Any, ParamSpec
from unittest.mock import patch

import anyio
from anyio import move_on_after, sleep, to_thread

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
        try:
            while self.tasks:
                task = self.tasks.popleft()
                try:
                    await task()
                except Exception as exc:
                    self.on_error(task, exc)
        except BaseException as exc:
            cause = "an earlier failure" if isinstance(exc, Exception) else "cancelled"
            self.abandon(f"{cause}, {type(exc).__name__}")
            raise


async def welcome(name: str) -> None:
    print(f"welcome, {name}")


def send_bill(name: str) -> None:
    print(f"{name} is billed")


async def main() -> None:
    tasks = BackgroundTasks()
    tasks.add_task(welcome, "ada")
    tasks.add_task(sleep, 60)
    tasks.add_task(send_bill, "ada")
    tasks.add_task(welcome, "grace")
    with move_on_after(0.1):
        await tasks()
    print("the server has ended")

    tasks = BackgroundTasks()
    tasks.add_task(welcome, "ada")
    del tasks

    tasks = BackgroundTasks()
    for name in ("ada", "grace", "alan"):
        tasks.add_task(send_bill, name)
    with patch.object(to_thread, "run_sync", wraps=to_thread.run_sync) as hop:
        await tasks()
    print("hops for 3 sync tasks:", hop.call_count)


if __name__ == "__main__":
    anyio.run(main)
