"""Records what becomes of a request: an ASGI middleware and a subclass of `BackgroundTasks`.

The middleware opens a recording for each request and puts it into a context variable, where the
task list finds it. So two requests never mix, and the core needs no hook.

What may live here: noting what happened, where and when. How that is shown is the business of
`timeline.py`.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import count
from math import inf
from time import perf_counter
from typing import Any

from minibg.background import BackgroundTask, BackgroundTasks, FailFastTasks
from minibg.outcomes import within
from minibg.types import ASGIApp, Message, Receive, Scope, Send


@dataclass
class Event:
    """Something that happens from `start` to `end` (`perf_counter`), or never does."""

    what: str
    place: str = "nowhere"
    start: float = inf
    end: float = inf
    failed: bool = False

    @property
    def seconds(self) -> float:
        """How long it took; nothing, if it never began."""
        return 0.0 if self.start == inf else self.end - self.start

    @contextmanager
    def happening(self) -> Iterator[None]:
        """The context in which it happens."""
        self.place, self.start = current_place(), perf_counter()
        try:
            yield
        except BaseException:
            self.failed = True
            raise
        finally:
            self.end = perf_counter()


@dataclass
class Recording:
    """What became of one request, and of each of its tasks, in the order in which it was added."""

    events: list[Event] = field(default_factory=list)
    tasks: list[Event] = field(default_factory=list)

    def note(self, what: str) -> None:
        """Record that this happens here and now."""
        now = perf_counter()
        self.events.append(Event(what, current_place(), now, now))


current_recording: ContextVar[Recording] = ContextVar("current_recording")
"""The recording of the request that is being served."""


class RecordingMiddleware:
    """ASGI middleware that records each request.

    Args:
        app: The application inside.
        on_end: Given the recording when the last task of the request has ended.
    """

    def __init__(self, app: ASGIApp, on_end: Callable[[Recording], object]) -> None:
        self.app = app
        self.on_end = on_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        recording = Recording()
        current_recording.set(recording)

        async def send_and_note(message: Message) -> None:
            if message["type"] == "http.response.start":
                recording.note(f"response start: {message['status']}")
            await send(message)
            if message["type"] == "http.response.body" and not message.get("more_body"):
                recording.note("last byte taken")

        recording.note("request received")
        try:
            await self.app(scope, receive, send_and_note)
        except Exception as exc:
            recording.note(f"server gets {type(exc).__name__}")
            raise
        finally:
            self.on_end(recording)


class RecordingTasks(BackgroundTasks):
    """`BackgroundTasks` whose tasks are recorded: an event for each call, the first when added."""

    def prepare(self, task: Any) -> Any:
        task = super().prepare(task)
        task.event = self._record(task)
        return task

    def call_task(self, task: Any) -> Any:
        event, task.event = task.event or self._record(task), None
        return within(event.happening(), partial(super().call_task, task))

    def on_error(self, task: BackgroundTask, exc: Exception) -> Awaitable[None] | None:
        event = Event(f"on_error: {type(exc).__name__}")
        current_recording.get().events.append(event)
        with event.happening():
            return super().on_error(task, exc)

    @staticmethod
    def _record(task: BackgroundTask) -> Event:
        event = Event(task.name.rpartition(".")[2])
        current_recording.get().tasks.append(event)
        return event


class FailFastRecordingTasks(FailFastTasks, RecordingTasks):
    """`FailFastTasks` whose tasks are recorded."""


class _Worker(threading.local):
    """This thread, by a short name: a number is given to each thread that is asked for its own."""

    numbers = count(1)

    @cached_property
    def name(self) -> str:
        return f"worker {next(self.numbers)}"


_worker = _Worker()


def current_place() -> str:
    """Where the caller runs: "event loop", or the name of its worker thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return _worker.name
    return "event loop"
