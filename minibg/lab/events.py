"""What the lab tells of a recording while it grows: events as JSON, one a line.

Whatever runs a visitor's request does so in a process of its own, and writes them to a pipe, which
outlives that process. `experiment.py` reads them.

What may live here: the form of an event, and the pipe's two ends in such a process.
"""

import json
import os
import threading
import time
from collections.abc import Callable
from itertools import count
from typing import Any

from minibg.lab.recorder import Change, Event, Recording, current_place

Tell = Callable[..., None]
"""Tells an event: its name, and its fields by keyword."""


def lane_of(place: str) -> str:
    """The lane in which something stands that happens at a place."""
    return "loop" if place == "event loop" else place


def lane() -> str:
    """The lane of the caller."""
    return lane_of(current_place())


class Pipe:
    """The end of a pipe into which events are written, by any thread."""

    def __init__(self, number: int) -> None:
        self.number = number

    def tell(self, event: str, /, **fields: Any) -> None:
        """Write an event. A line is written at once, so no other thread's comes between."""
        line = {"event": event, "t": time.perf_counter(), **fields}
        os.write(self.number, json.dumps(line).encode() + b"\n")


def standard_output() -> Pipe:
    """Keep standard output for events; what else is printed there goes to standard error."""
    pipe = Pipe(os.dup(1))
    os.dup2(2, 1)
    return pipe


def end_with_parent() -> None:
    """End this process, blocked as it may be, when the one that started it has ended.

    The parent holds the other end of standard input, and never writes to it.
    """

    def wait() -> None:
        os.read(0, 1)
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


class Teller:
    """Tells the changes of recordings: it is their `on_change`."""

    def __init__(self, tell: Tell) -> None:
        self.tell = tell
        self.numbers = count()
        self.ids: dict[int, int] = {}

    def __call__(self, change: Change, event: Event, recording: Recording) -> None:
        request = recording.number
        if change == "begin":
            number = self.ids[id(event)] = next(self.numbers)
            self.tell(
                "begin",
                id=number,
                t=event.start,
                lane=lane_of(event.place),
                what=event.what,
                kind=event.kind,
                task=event.task,
                request=request,
            )
        elif change == "finish":
            number = self.ids.pop(id(event))
            how, detail = event.outcome, event.detail
            self.tell("finish", id=number, t=event.end, how=how, detail=detail, request=request)
        elif event.kind == "log":
            level, logger = event.detail.split(" ", 1)
            said = {"level": level, "logger": logger, "message": event.what}
            self.tell("log", t=event.start, **said, request=request)
        else:
            self.tell(
                "mark",
                t=event.start,
                lane=lane_of(event.place),
                what=event.message or event.what,
                detail=event.detail,
                request=request,
            )
