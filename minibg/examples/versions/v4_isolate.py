"""A failure goes to `on_error`, which logs it, and the next task runs.

In v3 the first failure ends the run: grace is not welcomed because ada's bill was not sent, and the
server closes the connection over an answer that was complete. What a failure means is decided in
one method, and a subclass may decide otherwise.

Rules kept: **capture**, **order**, **place**, **isolate**, **grow**, **context**. Wrong is what is
missing before the last line: which tasks were not run.

    welcome, ada
    background task send_bill failed: OSError('the mail server is down')
    welcome, grace
    the server has ended
"""

import logging
from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import Any, ParamSpec

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
    """A list of deferred calls; awaiting the list runs it."""

    def __init__(self) -> None:
        self.tasks: list[BackgroundTask] = []

    def add_task(self, func: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> None:
        self.tasks.append(BackgroundTask(func, *args, **kwargs))

    def on_error(self, task: BackgroundTask, exc: Exception) -> None:
        logger.error("background task %s failed: %r", task.name, exc)

    async def __call__(self) -> None:
        for task in self.tasks:
            try:
                await task()
            except Exception as exc:
                self.on_error(task, exc)


async def welcome(name: str) -> None:
    print(f"welcome, {name}")


async def send_bill(name: str) -> None:
    raise OSError("the mail server is down")


async def main() -> None:
    tasks = BackgroundTasks()
    tasks.add_task(welcome, "ada")
    tasks.add_task(send_bill, "ada")
    tasks.add_task(welcome, "grace")
    await tasks()

    tasks = BackgroundTasks()
    tasks.add_task(sleep, 60)
    tasks.add_task(send_bill, "ada")
    tasks.add_task(welcome, "grace")
    with move_on_after(0.1):
        await tasks()
    print("the server has ended")


if __name__ == "__main__":
    anyio.run(main)
