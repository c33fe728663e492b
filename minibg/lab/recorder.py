"""Records what happens to a request: an ASGI middleware and a subclass of `BackgroundTasks`.

The middleware opens a recording for each request and puts it into a context variable, where the
task list finds it. So two requests never mix, and the mechanism knows nothing of recordings. A
listener hears of each change of a recording at once.

What may live here: recording what happened, where and when. `timeline.py` and the page show it.
"""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import count
from math import inf
from time import perf_counter
from typing import Any, Literal

from minibg.background import (
    BackgroundTask,
    BackgroundTasks,
    Call,
    FailFastTasks,
    around_tasks,
)
from minibg.outcomes import within
from minibg.types import ASGIApp, Message, Receive, Scope, Send


@dataclass
class Event:
    """Something that happens from `start` to `end` (`perf_counter`), or never does.

    Args:
        what: What it is, in words.
        place: Where it happens: "event loop", "worker 1" and so on, or "client".
        failed: Whether an exception has ended it; then `detail` is the exception's type.
        kind: "mark" for a moment, "log" for a log record, or the kind of a span of time: "task",
            "endpoint", "dependency", "on_error", "not recorded".
        task: Which task of its request it belongs to, counted from 0.
        message: The ASGI message that it stands for.
    """

    what: str
    place: str = "nowhere"
    start: float = inf
    end: float = inf
    failed: bool = False
    kind: str = "mark"
    task: int | None = None
    detail: str = ""
    message: str = ""

    @property
    def seconds(self) -> float:
        """How long it took; 0 if it never began."""
        return 0.0 if self.start == inf else self.end - self.start

    @property
    def outcome(self) -> str:
        """What became of it: "ended", "failed", "cut off", "never ended" or "not run"."""
        if self.start == inf:
            return "not run"
        if self.end == inf:
            return "never ended"
        if self.failed:
            return "cut off" if self.detail in CANCELLATIONS else "failed"
        return "ended"


CANCELLATIONS = ("CancelledError", "Cancelled", "GeneratorExit")
"""The exceptions that cut an event off: asyncio's, trio's, and that of a closed generator."""

Change = Literal["begin", "finish", "mark"]
Listener = Callable[[Change, Event, "Recording"], object]
"""Called for each change of a recording, at once and in the thread in which it happens."""


def _ignore(change: Change, event: Event, recording: "Recording") -> None: ...


@dataclass
class Recording:
    """What happened in one request, and to its tasks, in the order in which they were added."""

    events: list[Event] = field(default_factory=list)
    tasks: list[Event] = field(default_factory=list)
    number: int = 1
    on_change: Listener = _ignore

    def note(self, what: str, kind: str = "mark", detail: str = "", message: str = "") -> None:
        """Record that this happens here and now."""
        now = perf_counter()
        event = Event(what, current_place(), now, now, kind=kind, detail=detail, message=message)
        self.events.append(event)
        self.on_change("mark", event, self)

    def expect_task(self, what: str, task: int | None = None) -> Event:
        """Add a task that has not started."""
        event = Event(what, kind="task", task=len(self.tasks) if task is None else task)
        self.tasks.append(event)
        return event

    @contextmanager
    def happening(self, event: Event) -> Iterator[None]:
        """The context in which an event happens. It adds the event, unless that is a task."""
        if event.kind != "task":
            self.events.append(event)
        event.place, event.start = current_place(), perf_counter()
        self.on_change("begin", event, self)
        try:
            yield
        except BaseException as exc:
            event.failed, event.detail = True, type(exc).__name__
            raise
        finally:
            event.end = perf_counter()
            self.on_change("finish", event, self)

    def around(self, call: Call, task: BackgroundTask) -> Any:
        """Record a task of any of minibg's lists: a value for `minibg.background.around_tasks`."""
        event = self.expect_task(task.name.rpartition(".")[2])
        return within(self.happening(event), partial(call, task))


current_recording: ContextVar[Recording] = ContextVar("current_recording")
"""The recording of the request that is being served."""


class RecordingMiddleware:
    """ASGI middleware that records each request.

    Args:
        app: The application inside.
        on_end: Called with the recording when the last task of the request has ended.
        on_change: Called for each change of a recording.
        records_lists: Whether to record the tasks in all of minibg's lists, not only those in
            `RecordingTasks`. If the application goes on after its answer without such a task,
            because it has a list of FastAPI's, for example, that time is "not recorded".
    """

    def __init__(
        self,
        app: ASGIApp,
        on_end: Callable[[Recording], object],
        on_change: Listener = _ignore,
        records_lists: bool = False,
    ) -> None:
        self.app = app
        self.on_end = on_end
        self.on_change = on_change
        self.records_lists = records_lists
        self.numbers = count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        recording = Recording(number=next(self.numbers), on_change=self.on_change)
        current_recording.set(recording)

        async def receive_and_note() -> Message:
            message = await receive()
            if message["type"] == "http.disconnect":
                recording.note("client has gone", message=message["type"])
            return message

        async def send_and_note(message: Message) -> None:
            kind, status = message["type"], message.get("status")
            if kind == "http.response.start":
                recording.note(f"response start: {status}", detail=str(status), message=kind)
            await send(message)
            if kind == "http.response.body":
                what = "piece taken" if message.get("more_body") else "last byte taken"
                recording.note(what, detail=what, message=kind)

        recording.note("request received")
        before = around_tasks.set(_both(recording.around)) if self.records_lists else None
        try:
            await self.app(scope, receive_and_note, send_and_note)
        except BaseException as exc:
            recording.note(f"server gets {type(exc).__name__}", detail=type(exc).__name__)
            raise
        finally:
            if before is not None:
                around_tasks.reset(before)
                _note_unrecorded(recording)
            self.on_end(recording)


Around = Callable[[Call, BackgroundTask], Any]


def _both(around: Around) -> Around:
    """`around`, and inside it the `around_tasks` of an outer middleware, if there is one."""
    outer = around_tasks.get()
    if outer is None:
        return around
    return lambda call, task: around(partial(outer, call), task)


NOTHING_SECONDS, PAUSE_SECONDS = 0.002, 0.02
"""How long an application may go on after its answer before that time is shown as not recorded: if
no task is recorded, and otherwise before, between or after the recorded tasks."""


def _note_unrecorded(recording: Recording) -> None:
    """Record for how long the application went on after its answer without a recorded task."""
    taken = [event.end for event in recording.events if event.what == "last byte taken"]
    if not taken:
        return
    last, now = taken[0], perf_counter()
    seen = sorted((task.start, task.end) for task in recording.tasks if task.start < inf)
    least = PAUSE_SECONDS if seen else NOTHING_SECONDS
    for start, end in [*seen, (now, now)]:
        if start - last > least:
            event = Event(UNRECORDED, "event loop", last, start, kind="not recorded")
            recording.events.append(event)
            recording.on_change("begin", event, recording)
            recording.on_change("finish", event, recording)
        last = max(last, end)


UNRECORDED = "not recorded: a list that is not minibg's, or waiting, or what is closed"


class RecordingHandler(logging.Handler):
    """Adds warnings and errors in the log to the recording of the request that is being served.

    Args:
        elsewhere: The recording for those logged outside of any request; without it, they are
            ignored.
    """

    def __init__(self, elsewhere: Recording | None = None) -> None:
        super().__init__(logging.WARNING)
        self.elsewhere = elsewhere

    def emit(self, record: logging.LogRecord) -> None:
        """Record the message, with its exception, but without the traceback."""
        recording = current_recording.get(self.elsewhere)
        if recording is None:
            return
        text = record.getMessage().strip()
        if record.exc_info and record.exc_info[1] is not None:
            text += f": {record.exc_info[1]!r}"
        recording.note(text[:500], kind="log", detail=f"{record.levelname} {record.name}")


class RecordingTasks(BackgroundTasks):
    """`BackgroundTasks` whose tasks are recorded, each call as an event of its own."""

    def prepare(self, task: Any) -> Any:
        task = super().prepare(task)
        task.event = self._record(task)
        return task

    def call_task(self, task: Any) -> Any:
        event, task.event = task.event or self._record(task), None
        happening = current_recording.get().happening(event)
        return within(happening, partial(super().call_task, task))

    def on_error(self, task: BackgroundTask, exc: Exception) -> Awaitable[None] | None:
        event = Event(f"on_error: {type(exc).__name__}", kind="on_error")
        with current_recording.get().happening(event):
            return super().on_error(task, exc)

    @staticmethod
    def _record(task: BackgroundTask) -> Event:
        return current_recording.get().expect_task(task.name.rpartition(".")[2])


class FailFastRecordingTasks(FailFastTasks, RecordingTasks):
    """`FailFastTasks` whose tasks are recorded."""


class _Worker(threading.local):
    """A short name for the current thread. Threads are numbered when they first ask for theirs."""

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
