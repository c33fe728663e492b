"""The events that report a recording while it grows: JSON, one event a line.

A visitor's request runs in a process of its own, which writes the events to a pipe. So events that
were written are read even if the process is killed. `experiment.py` reads them.

What may live here: the form of an event, and what such a process does with its pipes: it writes to
the one at its standard output, and ends with the one at its standard input.
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
"""Reports an event, given its name, and its fields by keyword."""


def lane_of(place: str) -> str:
    """The lane of the page in which events at a place are drawn."""
    return "loop" if place == "event loop" else place


def lane() -> str:
    """The lane of the caller."""
    return lane_of(current_place())


class Pipe:
    """The end of a pipe to which any thread may write events."""

    def __init__(self, number: int) -> None:
        self.number = number

    def tell(self, event: str, /, **fields: Any) -> None:
        """Write an event as a line, by one call, so that the lines of two threads do not mix."""
        line = {"event": event, "t": time.perf_counter(), **fields}
        os.write(self.number, json.dumps(line).encode() + b"\n")


def standard_output() -> Pipe:
    """Keep standard output for events; send everything else that is printed to standard error."""
    pipe = Pipe(os.dup(1))
    os.dup2(2, 1)
    return pipe


def end_with_parent() -> None:
    """End this process when its parent has ended, even if the event loop is blocked.

    The parent holds the other end of standard input, and never writes to it.
    """

    def wait() -> None:
        os.read(0, 1)
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


class Teller:
    """Reports the changes of recordings, as their `on_change`."""

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
