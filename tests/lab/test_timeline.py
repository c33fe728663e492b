"""The timeline of a recording whose times are known."""

from io import BytesIO, TextIOWrapper

import pytest
from rich.console import Console, RenderableType

from minibg.lab.delivery import Answer
from minibg.lab.recorder import Event, Recording
from minibg.lab.timeline import compare, draw, summarize

ANSWER = Answer(202, sent=0.999, received=1.003)

RECORDING = Recording(
    events=[Event("request received", "event loop", 1.0, 1.0)],
    tasks=[
        Event("verify", "event loop", 1.002, 1.0021),
        Event("call", "worker 1", 1.004, 1.008, failed=True),
        Event("store"),
    ],
)


def text_of(renderable: RenderableType, width: int = 80, encoding: str = "utf-8") -> list[str]:
    """The lines that are printed on a terminal of that width and encoding."""
    console = Console(file=TextIOWrapper(BytesIO(), encoding), width=width, color_system=None)
    with console.capture() as capture:
        console.print(renderable)
    return [line.rstrip() for line in capture.get().splitlines()]


def test_each_event_is_a_line_with_its_time_place_and_outcome() -> None:
    assert text_of(draw(RECORDING, ANSWER), width=62) == [
        "Milliseconds since the request arrived",
        " from    to  where       what",
        "-1.00  3.00  client      sends and waits   ━━━━━━━━━",
        " 0.00        event loop  request received    ╹",
        " 2.00  2.10  event loop  verify: ended           ━",
        " 3.00        client      has the answer            ╹",
        " 4.00  8.00  worker 1    call: failed                ━━━━━━━━━",
        "             nowhere     store: not run",
    ]


@pytest.mark.parametrize("width", [60, 80, 120, 300])
def test_no_line_of_the_timeline_is_wrapped(width: int) -> None:
    lines = text_of(draw(RECORDING, ANSWER), width=width)
    assert len(lines) == 8
    assert len(lines[6]) == width


def test_what_cannot_show_a_line_gets_ascii() -> None:
    lines = text_of(draw(RECORDING, ANSWER), width=62, encoding="ascii")
    assert "".join(lines).isascii()
    assert lines[2].endswith(" =========")
    assert lines[3].endswith(" |")


def test_the_wait_without_background_tasks_counts_what_was_run() -> None:
    assert compare(RECORDING, ANSWER) == (
        "The client waited 4.00 ms. Had the endpoint done the tasks itself, their 4.10 ms would "
        "have come on top: 2.0 times as long."
    )


def test_a_summary_counts_answers_and_tasks() -> None:
    lost = Answer(None, sent=1.003, received=1.009)
    assert text_of(summarize([ANSWER, ANSWER, lost], [RECORDING, RECORDING])) == [
        "deliveries   3",
        "answers      2 x 202 Accepted, 1 x connection lost",
        "answer time  median 4.00 ms, slowest 6.00 ms",
        "tasks        4 run, 2 of them failed; 2 not run",
        "rate         300 a second, one after another",
    ]
