"""The pictures of the walkthrough: `python -m tests.walkthrough.pictures` draws all of them anew.

Each is a function that returns shapes. The colours are those of Okabe and Ito, which the
colour-blind can tell apart; a style sheet in each file serves light and dark.

What may live here: the content of each picture, and its layout. STYLE alone says how shapes look.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from html import escape
from pathlib import Path

from tests.walkthrough.blocks import recorded

DIRECTORY = Path(__file__).parent / "pictures"
WIDTH = 760
STYLE = """
text { font: 14px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; fill: #1f2328 }
.small { font-size: 12px; fill: #59636e }
.mono { font: 13px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace }
.strong { font-weight: 600 }
.middle { text-anchor: middle }
.end { text-anchor: end }
.on { fill: #ffffff }
.box { fill: #f6f8fa; stroke: #8c959f }
.loop { fill: #0072b2 }
.thread { fill: #b35900 }
.hop { fill: none; stroke: #8c959f; stroke-dasharray: 4 3 }
.bad { fill: #f6f8fa; stroke: #b3261e; stroke-dasharray: 5 3 }
.line { stroke: #8c959f; fill: none }
.mark { stroke: #1f2328; stroke-width: 2; fill: none }
.tip { fill: #8c959f }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .small { fill: #9198a1 }
  .box, .bad { fill: #161b22 }
  .bad { stroke: #ff8a80 }
  .loop { fill: #1f7fc0 }
  .thread { fill: #c06a10 }
  .mark { stroke: #e6edf3 }
}
"""

Shapes = Iterable[str]


def text(x: float, y: float, said: str, kind: str = "") -> str:
    return f'<text x="{x:g}" y="{y:g}" class="{kind}">{escape(said, quote=False)}</text>'


def box(x: float, y: float, width: float, height: float, kind: str, radius: int = 4) -> str:
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="{radius}" '
        f'class="{kind}"/>'
    )


def labelled(x: float, y: float, width: float, said: str, kind: str, height: int = 30) -> Shapes:
    """A box with a text in its middle."""
    yield box(x, y, width, height, kind)
    on = " on" if kind in ("loop", "thread") else ""
    yield text(x + width / 2, y + height / 2 + 5, said, f"middle{on}")


def line(x: float, y: float, to_x: float, to_y: float, kind: str = "line") -> str:
    return f'<line x1="{x:g}" y1="{y:g}" x2="{to_x:g}" y2="{to_y:g}" class="{kind}"/>'


def arrow(x: float, y: float, to_x: float, to_y: float) -> Shapes:
    """A line along one axis, with a tip."""
    yield line(x, y, to_x, to_y)
    across, down = (to_x > x) - (to_x < x), (to_y > y) - (to_y < y)
    base_x, base_y = to_x - 8 * across, to_y - 8 * down
    points = [(to_x, to_y)] + [(base_x + side * down, base_y + side * across) for side in (-4, 4)]
    spoken = " ".join(f"{a:g},{b:g}" for a, b in points)
    yield f'<polygon points="{spoken}" class="tip"/>'


def the_list() -> Iterator[str]:
    """Whatever is in the list has not started."""
    yield text(150, 24, "has started", "middle strong")
    yield text(490, 24, "is in the list, has not started", "middle strong")
    yield from labelled(30, 60, 100, "welcome", "box")
    yield text(80, 108, "has ended", "middle small")
    yield from labelled(150, 60, 100, "send_bill", "loop")
    yield text(200, 108, "is running", "middle small")
    yield line(290, 36, 290, 128, "mark")
    for place, name in enumerate(("welcome", "report", "clean_up")):
        yield from labelled(320 + 115 * place, 60, 100, name, "box")
    yield from arrow(325, 132, 262, 132)
    yield text(333, 136, "popleft()", "mono")
    yield from arrow(WIDTH, 75, 672, 75)
    yield text(WIDTH, 60, "append()", "mono end")


def hops() -> Iterator[str]:
    """Three sync tasks: three hops against one."""
    for top, title, tasks in ((20, "a hop each (version 5)", False), (150, "a row", True)):
        yield text(0, top + 4, title, "strong")
        yield text(100, top + 38, "event loop", "end")
        yield text(100, top + 80, "worker thread", "end")
        yield line(110, top + 33, WIDTH, top + 33)
        yield line(110, top + 75, WIDTH, top + 75)
        yield from (_row(top) if tasks else _hop_each(top))
    yield text(WIDTH, 262, "time", "end small")


def _hop_each(top: int) -> Iterator[str]:
    x = 120
    for number in (1, 2, 3):
        yield box(x, top + 20, 30, 26, "loop")
        yield from arrow(x + 35, top + 33, x + 35, top + 62)
        yield text(x + 42, top + 54, "wake", "small")
        yield from labelled(x + 80, top + 62, 70, f"task {number}", "thread", 26)
        yield from arrow(x + 155, top + 75, x + 155, top + 46)
        x += 195
    yield box(x, top + 20, 30, 26, "loop")


def _row(top: int) -> Iterator[str]:
    yield box(120, top + 20, 30, 26, "loop")
    yield from arrow(155, top + 33, 155, top + 62)
    yield text(162, top + 54, "wake", "small")
    for number in (1, 2, 3):
        yield from labelled(125 + 75 * number, top + 62, 70, f"task {number}", "thread", 26)
    yield from arrow(427, top + 75, 427, top + 46)
    yield box(432, top + 20, 30, 26, "loop")


def pools() -> Iterator[str]:
    """Two pools of threads, and a third door."""
    pools_of = (
        (0, "endpoints, sync dependencies", "anyio's 40, as in Starlette", "loop", 40),
        (260, "background tasks", "40 of their own", "thread", 40),
        (520, "closing what a request holds", "always one more", "box", 0),
    )
    for x, title, below, kind, places in pools_of:
        yield text(x, 20, title, "strong")
        for place in range(places):
            yield box(x + 22 * (place % 10), 36 + 22 * (place // 10), 18, 18, kind, 3)
        if not places:
            yield box(x, 36, 18, 18, kind, 3)
            yield text(x + 28, 50, "and another, and another ...", "small")
        yield text(x, 144, below, "small")


def hop() -> Iterator[str]:
    """One hop on the recorded timeline: what happens in the gap."""
    times = [_times("verify_signature"), _times("call_downstream"), _times("on_error")]
    first, last = times[0][0], times[1][0]

    def at(moment: float) -> float:
        return 120 + (moment - first) / (last - first) * 420

    yield text(110, 55, "event loop", "end")
    yield text(110, 115, "worker thread", "end")
    yield line(115, 50, WIDTH, 50)
    yield line(115, 110, WIDTH, 110)
    ended = at(times[0][1])
    yield box(at(first), 36, ended - at(first), 28, "loop")
    yield text(at(first), 28, "verify_signature", "small")
    yield box(ended, 36, at(last) - ended, 88, "hop")
    yield text((ended + at(last)) / 2, 80, f"the hop: {last - times[0][1]:.2f} ms", "middle strong")
    yield text((ended + at(last)) / 2, 98, "wake a thread, wait for its lock", "middle small")
    yield box(at(last), 96, WIDTH - at(last), 28, "thread")
    yield text(at(last), 142, "call_downstream", "small")
    yield text(115, 166, "as recorded by python -m minibg; time runs to the right", "small")


def _times(name: str) -> tuple[float, float]:
    """From when to when the recorded timeline has it, in milliseconds."""
    found = re.search(rf"^ *([\d.]+) +([\d.]+) .* {name}: ", "\n".join(recorded("timeline")), re.M)
    assert found is not None, f"the recorded timeline has no {name}"
    return float(found[1]), float(found[2])


def request() -> Iterator[str]:
    """The four steps of a request, as a sequence."""
    places = {"client": 60, "server": 240, "event loop": 450, "worker thread": 680}
    for name, x in places.items():
        yield from labelled(x - 60, 6, 120, name, "box")
        yield line(x, 36, x, 408)
    client, server, loop, thread = places.values()
    steps: list[tuple[float, float, float, str]] = [
        (client, server, 62, "POST /register"),
        (server, loop, 88, "app(scope, receive, send)"),
        (loop, server, 172, "send: start, body"),
        (server, client, 198, "202 Accepted"),
        (loop, thread, 320, "hop: a row of sync tasks"),
        (thread, loop, 352, "back, perhaps with a failure"),
        (loop, server, 398, "app returns"),
    ]
    for x, to_x, y, said in steps:
        yield from arrow(x, y, to_x, y)
        yield text((x + to_x) / 2, y - 6, said, "middle small")
    for y, said in ((104, "endpoint: add_task, return"), (216, "release: close what it holds")):
        yield from labelled(loop - 105, y, 210, said, "box", 34)
    yield from labelled(loop - 105, 258, 210, "background: an async task", "loop", 34)


def hang_up() -> Iterator[str]:
    """When a client hangs up: three moments, two kinds of answer."""
    columns = (
        (180, "while its body is read"),
        (375, "while the answer is sent"),
        (570, "after it"),
    )
    for x, title in columns:
        yield text(x + 90, 20, title, "middle strong")
    cells = (
        (36, "an answer in one piece", (False, True, True)),
        (92, "a stream", (False, False, True)),
    )
    for y, title, runs in cells:
        yield text(165, y + 27, title, "end")
        for (x, _), do_run in zip(columns, runs, strict=True):
            said = "the tasks run" if do_run else "none runs, all named"
            yield from labelled(x, y, 180, said, "loop" if do_run else "bad", 42)


def cancel() -> Iterator[str]:
    """Who hears of a shutdown, and when."""
    moments = {"SIGTERM": 260, "grace time is over": 450, "exit": 660}
    term, over, ended = moments.values()
    rows = (
        ("an async task", over, "loop", "cut off at its await, and named"),
        ("a row, in its thread", ended, "thread", ""),
        ("tasks in the list", over, "box", "named in the log"),
    )
    for place, (name, end, kind, told) in enumerate(rows):
        y = 48 + 44 * place
        yield text(140, y + 19, name, "end")
        yield box(150, y, end - 150, 28, kind)
        yield text(end + 10, y + 19, told, "small")
    yield text(over + 10, 111, "works on; the run waits", "on")
    yield text(ended + 10, 111, "ends with it", "small")
    for title, x in moments.items():
        yield line(x, 30, x, 176, "mark")
        yield text(x, 20, title, "middle strong")
    yield text(term + 10, 192, "the server waits", "small")
    yield text(over + 10, 192, "the server cancels", "small")


def failure() -> Iterator[str]:
    """A recorded failure, and what its parts mean."""
    lines = recorded("failure_isolate_0")
    notes = {
        0: "the rule, and its sentence",
        1: "where this book tells of it",
        2: "the smallest list that breaks it",
        3: "left: what the rule asks for; right: what was seen",
        len(lines) - 1: "> marks what differs",
    }
    y = 24
    for number, said in enumerate(lines):
        for part in re.findall(r".{1,92}(?:\s|$)", said) if len(said) > 92 else [said]:
            yield f'<text x="10" y="{y}" class="mono" xml:space="preserve">{escape(part)}</text>'
            y += 20
        if number in notes:
            yield text(34, y, "\N{UPWARDS ARROW} " + notes[number], "small strong")
            y += 26


PICTURES: dict[str, tuple[int, Callable[[], Shapes]]] = {
    "list": (150, the_list),
    "hops": (270, hops),
    "pools": (152, pools),
    "hop": (174, hop),
    "request": (414, request),
    "hang_up": (140, hang_up),
    "cancel": (198, cancel),
    "failure": (270, failure),
}
"""Each picture by its name: how high it is, and what draws it."""


def drawn(name: str) -> str:
    """The picture as SVG."""
    height, draw = PICTURES[name]
    title = escape((draw.__doc__ or name).strip())
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-6 -6 {WIDTH + 12} {height + 12}" '
            f'width="{WIDTH + 12}" role="img">',
            f"<title>{title}</title>",
            f"<style>{STYLE}</style>",
            *draw(),
            "</svg>\n",
        ]
    )


if __name__ == "__main__":
    for name in PICTURES:
        (DIRECTORY / f"{name}.svg").write_text(drawn(name), encoding="utf-8")
