"""Shows what was recorded: one request as a timeline, many as a summary, in a terminal or a file.

What may live here: turning times into words and bars. Each place has its colour, and words repeat
what a colour says.
"""

import re
from collections import Counter
from collections.abc import Sequence
from http import HTTPStatus
from io import StringIO
from math import inf
from pathlib import Path
from statistics import median

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.segment import Segment
from rich.table import Table

from minibg.lab.delivery import Answer
from minibg.lab.recorder import Event, Recording

WIDTH = 110
"""How wide a picture in a file is, in characters."""
FORMATS = (".svg", ".txt")
"""The suffixes that such a file may have."""

COLOURS = {"client": "cyan", "event loop": "green", "nowhere": "bold red"}
WORKERS_COLOUR = "yellow"
FAILURES_COLOUR = "bold red"
BEFORE = 0.2
"""How much of the client's wait before the request arrives is shown at most, as a part of the time
from then on."""


class Bar:
    """The time of an event on an axis from `first` to `last`, which is as wide as its cell.

    An event that began before `first` is shown from there on. One that took no time is a tick, and
    any other is at least one character long.
    """

    def __init__(self, event: Event, first: float, last: float) -> None:
        self.event = event
        self.first = first
        self.last = last

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self.event.start == inf:
            return
        scale = (options.max_width - 1) / (self.last - self.first)
        left = round(max(self.event.start - self.first, 0) * scale)
        right = round((self.event.end - self.first) * scale)
        bar, tick = ("=", "|") if options.ascii_only else ("━", "╹")
        mark = tick if self.event.end == self.event.start else bar * (right - left + 1)
        yield Segment(" " * left + mark, console.get_style(_colour(self.event)))

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(1, options.max_width)


def describe(answer: Answer) -> str:
    """The answer that the client got, and when, in words."""
    return f"{_status(answer)}, {_ms(answer.seconds)} ms after the client began to send"


def draw(recording: Recording, answer: Answer) -> Table:
    """The timeline of one request, in milliseconds since it arrived."""
    rows = [(event, event.what) for event in (*_client(answer), *recording.events)]
    rows += [(task, f"{task.what}: {task.outcome}") for task in recording.tasks]
    rows.sort(key=lambda row: row[0].start)
    zero, last = recording.events[0].start, max(e.end for e, _ in rows if e.end < inf)
    first = max(answer.sent, zero - BEFORE * (last - zero))
    table = Table(box=None, expand=True, pad_edge=False, title_style="bold", title_justify="left")
    table.title = "Milliseconds since the request arrived"
    table.add_column("from", justify="right", no_wrap=True)
    table.add_column("to", justify="right", no_wrap=True)
    table.add_column("where", no_wrap=True)
    table.add_column("what", no_wrap=True)
    table.add_column(ratio=1)
    for event, what in rows:
        end = "" if event.end == event.start else _ms(event.end - zero)
        bar = Bar(event, first, last)
        table.add_row(_ms(event.start - zero), end, event.place, what, bar, style=_colour(event))
    return table


def _client(answer: Answer) -> tuple[Event, Event]:
    what = "has the answer" if answer.status else "loses the connection"
    return (
        Event("sends and waits", "client", answer.sent, answer.received),
        Event(what, "client", answer.received, answer.received),
    )


def compare(recording: Recording, answer: Answer) -> str:
    """How long the client waited, and how long it would have waited without background tasks."""
    waited, worked = answer.seconds, sum(task.seconds for task in recording.tasks)
    return (
        f"The client waited {_ms(waited)} ms. Had the endpoint done the tasks itself, their "
        f"{_ms(worked)} ms would have come on top: {(waited + worked) / waited:.1f} times as long."
    )


def summarize(answers: Sequence[Answer], recordings: Sequence[Recording]) -> Table:
    """What became of many deliveries."""
    statuses = Counter(_status(answer) for answer in answers)
    waits = [answer.seconds for answer in answers]
    outcomes = Counter(task.outcome for recording in recordings for task in recording.tasks)
    run = outcomes["ended"] + outcomes["failed"]
    elapsed = answers[-1].received - answers[0].sent
    table = Table.grid(padding=(0, 2))
    table.add_row("deliveries", str(len(answers)))
    table.add_row("answers", ", ".join(f"{n} x {status}" for status, n in statuses.items()))
    table.add_row("answer time", f"median {_ms(median(waits))} ms, slowest {_ms(max(waits))} ms")
    table.add_row(
        "tasks", f"{run} run, {outcomes['failed']} of them failed; {outcomes['not run']} not run"
    )
    table.add_row("rate", f"{len(answers) / elapsed:,.0f} a second, one after another")
    return table


def _colour(event: Event) -> str:
    return FAILURES_COLOUR if event.failed else COLOURS.get(event.place, WORKERS_COLOUR)


def _status(answer: Answer) -> str:
    if answer.status is None:
        return "connection lost"
    return f"{answer.status} {HTTPStatus(answer.status).phrase}"


def _ms(seconds: float) -> str:
    return "" if seconds == inf else f"{seconds * 1000:.2f}"


def save(path: Path, picture: RenderableType) -> None:
    """Write what a terminal shows, as SVG or as text.

    Raises:
        ValueError: If the name of the file ends neither in `.svg` nor in `.txt`.
    """
    if path.suffix not in FORMATS:
        raise ValueError(f"a picture ends in {' or '.join(FORMATS)}, and {path.name} does not")
    console = Console(record=True, width=WIDTH, file=StringIO(), highlight=False, markup=False)
    console.print(picture)
    text = console.export_text() if path.suffix == ".txt" else _svg(console)
    path.write_text(text, encoding="utf-8")


def _svg(console: Console) -> str:
    """Rich's SVG without the fonts that it would fetch from another host."""
    svg = console.export_svg(title="minibg")
    return re.sub(r"\s*@font-face \{.*?\}", "", svg, flags=re.DOTALL)
