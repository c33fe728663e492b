"""A sync function is called in a worker thread; what is async is awaited on the event loop.

v2 calls a sync function on the event loop, where nobody else is served until it returns, and then
awaits what is no awaitable. Which functions are async is seen when they are added.

Rules kept: **capture**, **order**, **place**, **grow**, **context**. Wrong is the last line: grace
should be welcomed.

    another request is served meanwhile: True
    welcome, ada
    OSError: the mail server is down
"""

import threading
from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import Any, ParamSpec

import anyio
from anyio import create_task_group, to_thread

P = ParamSpec("P")


class BackgroundTask:
    """One deferred call, `func(*args, **kwargs)`; awaiting the task makes it."""

    def __init__(self, func: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> None:
        self.func, self.args, self.kwargs = func, args, kwargs
        self.is_async = iscoroutinefunction(func)

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

    async def __call__(self) -> None:
        for task in self.tasks:
            await task()


async def welcome(name: str) -> None:
    print(f"welcome, {name}")


async def send_bill(name: str) -> None:
    raise OSError("the mail server is down")


async def main() -> None:
    tasks, served = BackgroundTasks(), threading.Event()

    def slow_report() -> None:
        print("another request is served meanwhile:", served.wait(10))

    async def another_request() -> None:
        served.set()

    tasks.add_task(slow_report)
    async with create_task_group() as group:
        group.start_soon(another_request)
        await tasks()

    tasks = BackgroundTasks()
    tasks.add_task(welcome, "ada")
    tasks.add_task(send_bill, "ada")
    tasks.add_task(welcome, "grace")
    try:
        await tasks()
    except OSError as exc:
        print(f"OSError: {exc}")


if __name__ == "__main__":
    anyio.run(main)
