"""The work that a visitor has composed: the tasks, the endpoint and the dependency.

All contenders are given the same functions, which record themselves when they run. So no contender
is changed, and the comparison shows only how it treats these functions.

What may live here: what the composed request does. `applications.py` calls it.
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import count
from typing import Any

import anyio

from minibg.lab.composition import RequestSpec, TaskSpec
from minibg.lab.recorder import Event, current_recording

PIECES = 3
"""How many pieces a streamed answer has."""
PAUSE = 0.1
"""Seconds between two pieces."""
ADDED_MS = 50
"""How many milliseconds an added task takes, or a coroutine that a task hands back."""

AddTask = Callable[..., object]


class HandledError(Exception):
    """A failure for which the applications have an exception handler."""


def recorded(what: str, kind: str) -> AbstractContextManager[None]:
    """The context that records an event in the request that is being served."""
    return current_recording.get().happening(Event(what, kind=kind))


class Work:
    """The work of one request."""

    def __init__(self, spec: RequestSpec) -> None:
        self.spec = spec
        self.numbers = count()
        self.run: asyncio.Task[Any] | None = None
        self.add_task: AddTask | None = None

    def endpoint(self, add_task: AddTask, add_own: AddTask | None = None) -> None:
        """Do what the endpoint does before it returns: add all tasks.

        Args:
            add_task: The method of the list.
            add_own: The method of the response's own background, if it has one. It is given the
                last task.
        """
        self.run, self.add_task = asyncio.current_task(), add_task
        with recorded("endpoint", "endpoint"):
            for number, task in enumerate(self.spec.tasks, 1):
                add = add_own if add_own and number == len(self.spec.tasks) else add_task
                given = {"func": "a keyword"} if task.does == "is given func" else {}
                add(self.function(task), **given)
            if self.spec.endpoint == "raises":
                self.add_task = None  # else the list stays alive, and does not name its tasks
                raise ValueError("the endpoint raises")

    @contextmanager
    def held(self, add_task: AddTask) -> Iterator[None]:
        """What a `yield` dependency holds, such as a database session, and what closing it does."""
        with recorded("dependency, open until it is closed", "dependency"):
            yield
            if self.spec.dependency == "fails closing":
                raise OSError("the dependency cannot be closed")
            if self.spec.dependency == "adds":
                self.numbers = count(len(self.spec.tasks))
                added = TaskSpec("async", ADDED_MS)
                add_task(self.function(added, ", added by the dependency"))

    def function(self, task: TaskSpec, by: str = "") -> Callable[..., Any]:
        """The function of the next task."""
        number = next(self.numbers)
        name, seconds = f"task {number + 1}", task.ms / 1000
        what = f"{name}: {task.said}{by}"
        cancels = task.does in ("cancels", "cancels and fails")  # when half its time is over

        def happening() -> AbstractContextManager[None]:
            recording = current_recording.get()
            return recording.happening(recording.expect_task(what, number))

        def sync_task(**given: str) -> Any:
            with happening():
                if cancels:
                    time.sleep(seconds / 2)
                    anyio.from_thread.run_sync(self.cancel)
                time.sleep(seconds / 2 if cancels else seconds)
                return self.end(task, number)

        async def async_task(**given: str) -> Any:
            with happening():
                if task.does == "blocks":
                    time.sleep(seconds)  # noqa: ASYNC251  # the mistake that it shows
                elif cancels:
                    await pause(seconds / 2)
                    self.cancel()
                    await pause(seconds / 2)
                else:
                    await pause(seconds)
                return self.end(task, number)

        func: Callable[..., Any] = {
            "sync": sync_task,
            "async": async_task,
            "is a generator": lambda **given: (yield),
        }[task.does if task.does == "is a generator" else task.kind]
        func.__name__ = func.__qualname__ = name.replace(" ", "_")
        return func

    def end(self, task: TaskSpec, number: int) -> Any:
        """Do what the task does when its time is over."""
        name = f"task {number + 1}"
        if task.does in ("fails", "cancels and fails"):
            raise ValueError(f"{name} fails")
        if task.does == "fails, handled":
            raise HandledError(f"{name} fails")
        if task.does == "exits":
            sys.exit(3)
        if task.does == "hands back":
            return self.handed_back(number)
        if task.does == "adds" and self.add_task is not None:
            self.add_task(self.function(TaskSpec(task.kind, ADDED_MS), f", added by {name}"))
        return None

    async def handed_back(self, number: int) -> None:
        """The coroutine that a task hands back."""
        recording = current_recording.get()
        event = recording.expect_task(f"what task {number + 1} handed back", number)
        with recording.happening(event):
            await asyncio.sleep(ADDED_MS / 1000)

    def cancel(self) -> None:
        """Cancel the run, as a server does whose time to shut down is over."""
        assert self.run is not None
        self.run.cancel()


async def pause(seconds: float) -> None:
    """Sleep. For 0 seconds, return at once, and do not let anything else run."""
    if seconds:
        await asyncio.sleep(seconds)


async def pieces() -> AsyncIterator[bytes]:
    """The body of a streamed answer."""
    for number in range(PIECES):
        if number:
            await asyncio.sleep(PAUSE)
        yield b"piece %d\n" % number


def answer_in_a_thread() -> dict[str, bool]:
    """A sync endpoint, which needs one of the threads for endpoints."""
    with recorded("endpoint, sync", "endpoint"):
        return {"answered": True}
