"""The work that a visitor has composed: tasks, an endpoint's part in them, a dependency.

All contenders are given the same functions, which record themselves when they run. So nothing of a
contender's is changed, and what is compared is what it does with them.

What may live here: what the composed request does. Who calls it is `applications.py`.
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager
from itertools import count
from typing import Any

import anyio

from minibg.lab.composition import RequestSpec, TaskSpec
from minibg.lab.recorder import Event, current_recording

PIECES = 3
"""Of a streamed answer."""
PAUSE = 0.1
"""Seconds between its pieces."""
ADDED_MS = 50
"""How long a task takes that another has added, and what a task hands back."""

Func = Callable[[], Any]


def recorded(what: str, kind: str) -> AbstractContextManager[None]:
    """The context of what happens in the request that is being served."""
    return current_recording.get().happening(Event(what, kind=kind))


class Work:
    """What is done for one request."""

    def __init__(self, spec: RequestSpec) -> None:
        self.spec = spec
        self.numbers = count()
        self.run: asyncio.Task[Any] | None = None
        self.add_task: Callable[[Func], object] | None = None

    def endpoint(self, add_task: Callable[[Func], object]) -> None:
        """What the endpoint does before it returns: it adds all tasks, by a list's `add_task`."""
        self.run, self.add_task = asyncio.current_task(), add_task
        with recorded("endpoint", "endpoint"):
            for task in self.spec.tasks:
                add_task(self.function(task))
            if self.spec.endpoint == "raises":
                raise ValueError("the endpoint raises")

    async def dependency(self) -> AsyncIterator[None]:
        """A `yield` dependency, as a database session is."""
        with recorded("dependency, open until it is closed", "dependency"):
            yield
            if self.spec.dependency == "fails closing":
                raise OSError("the dependency cannot be closed")

    def function(self, task: TaskSpec, by: str = "") -> Func:
        """The next task."""
        number = next(self.numbers)
        name, seconds = f"task {number + 1}", task.ms / 1000
        what = f"{name}: {task.said}{by}"

        def happening() -> AbstractContextManager[None]:
            recording = current_recording.get()
            return recording.happening(recording.expect_task(what, number))

        def sync_task() -> Any:
            with happening():
                time.sleep(seconds)
                if task.does == "cancels":
                    anyio.from_thread.run_sync(self.cancel)
                return self.end(task, number)

        async def async_task() -> Any:
            with happening():
                if task.does == "blocks":
                    time.sleep(seconds)  # noqa: ASYNC251  # that is what it shows
                elif seconds:
                    await asyncio.sleep(seconds)
                if task.does == "cancels":
                    self.cancel()
                    await asyncio.sleep(0)
                return self.end(task, number)

        func = sync_task if task.kind == "sync" else async_task
        func.__name__ = func.__qualname__ = name.replace(" ", "_")
        return func

    def end(self, task: TaskSpec, number: int) -> Any:
        """What a task does when its time is over."""
        name = f"task {number + 1}"
        if task.does == "fails":
            raise ValueError(f"{name} fails")
        if task.does == "exits":
            sys.exit(3)
        if task.does == "hands back":
            return self.handed_back(number)
        if task.does == "adds" and self.add_task is not None:
            self.add_task(self.function(TaskSpec(task.kind, ADDED_MS), f", added by {name}"))
        return None

    async def handed_back(self, number: int) -> None:
        """What a task hands back to be awaited."""
        recording = current_recording.get()
        event = recording.expect_task(f"what task {number + 1} handed back", number)
        with recording.happening(event):
            await asyncio.sleep(ADDED_MS / 1000)

    def cancel(self) -> None:
        """Cancel the run, as a server does that has no more time."""
        if self.run is not None:
            self.run.cancel()


async def pieces() -> AsyncIterator[bytes]:
    """The body of a streamed answer."""
    for number in range(PIECES):
        if number:
            await asyncio.sleep(PAUSE)
        yield b"piece %d\n" % number
