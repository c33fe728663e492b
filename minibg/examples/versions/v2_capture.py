"""A task is a function and its arguments, as they were when it was added.

In v1 a task that needs an argument is a lambda, and a lambda looks a name up when it runs: by then
`name` is "grace" for both. What is passed in a call is looked up at once. So a task is given its
arguments as any call is.

Rules kept: **capture**, **order**, **grow**. Wrong are the last two lines.

    welcome, ada
    welcome, grace
    another request is served meanwhile: False
    TypeError: this task cannot be awaited
"""

import threading
from collections.abc import Callable
from typing import Any, ParamSpec

import anyio
from anyio import create_task_group

P = ParamSpec("P")


class BackgroundTask:
    """One deferred call, `func(*args, **kwargs)`; awaiting the task makes it."""

    def __init__(self, func: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> None:
        self.func, self.args, self.kwargs = func, args, kwargs

    async def __call__(self) -> None:
        await self.func(*self.args, **self.kwargs)


class BackgroundTasks:
    """A list of deferred calls; awaiting the list runs it."""

    def __init__(self) -> None:
        self.tasks: list[BackgroundTask] = []

    def add_task(self, func: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> None:
        self.tasks.append(BackgroundTask(func, *args, **kwargs))

    async def __call__(self) -> None:
        for task in self.tasks:
            await task()


async def welcome(name: str) -> None:
    print(f"welcome, {name}")


async def main() -> None:
    tasks = BackgroundTasks()
    for name in ("ada", "grace"):
        tasks.add_task(welcome, name)
    await tasks()

    tasks, served = BackgroundTasks(), threading.Event()

    def slow_report() -> None:
        print("another request is served meanwhile:", served.wait(0.5))

    async def another_request() -> None:
        served.set()

    tasks.add_task(slow_report)
    async with create_task_group() as group:
        group.start_soon(another_request)
        try:
            await tasks()
        except TypeError:
            print("TypeError: this task cannot be awaited")


if __name__ == "__main__":
    anyio.run(main)
