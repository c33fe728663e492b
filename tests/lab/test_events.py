"""The pipes of a contender: it reports through one, and ends when its parent has ended."""

import os
import threading
from collections.abc import Callable
from typing import Any

import pytest

from minibg.lab import events


def test_a_process_ends_when_nobody_holds_its_standard_input(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is ended without being asked, since its loop may be blocked."""
    reader, writer = os.pipe()
    has_ended = threading.Event()
    statuses: list[int] = []

    def end(status: int) -> None:
        statuses.append(status)
        has_ended.set()

    read: Callable[[int, int], bytes] = os.read
    monkeypatch.setattr("os.read", lambda number, size: read(reader, size))
    monkeypatch.setattr("os._exit", end)
    events.end_with_parent()
    assert not has_ended.is_set()
    os.close(writer)
    assert has_ended.wait(10)
    os.close(reader)
    assert statuses == [1]


def test_events_of_many_threads_come_line_by_line() -> None:
    reader, writer = os.pipe()
    pipe = events.Pipe(writer)

    def tell(number: int) -> None:
        for _ in range(50):
            pipe.tell("mark", what="x" * 50, number=number)

    threads = [threading.Thread(target=tell, args=(number,)) for number in range(4)]
    lines: list[Any] = []
    with os.fdopen(reader) as told:
        reading = threading.Thread(target=lambda: lines.extend(told))
        reading.start()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        os.close(writer)
        reading.join(10)
    assert len(lines) == 200
    assert all(line.startswith('{"event": "mark"') and line.endswith("}\n") for line in lines)
