"""The command line of the benchmarks: `python -m tests.benchmarks`.

It needs the extra `bench`, and wrk, and takes about ten minutes on a machine that does nothing
else. It names what is not installed, and leaves it out.

What may live here: options, what is measured in which order, and where the results are written.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from tests.benchmarks import (
    crowd,
    footprint,
    growth,
    in_process,
    instructions,
    machine,
    under_uvicorn,
)
from tests.benchmarks.apps import PEERS, installed, versions
from tests.benchmarks.measure import Row
from tests.benchmarks.report import print_row, print_targets
from tests.benchmarks.targets import IMPORT, MEMORY, ONE_MORE
from tests.benchmarks.work import ROWS, on_the_loop, row_of

RESULTS = Path(__file__).parent / "results"
UNDER_UVICORN = {
    "no task": growth.CONNECTIONS,
    "an empty list": (16,),
    "1 async task": (16,),
    "1 sync task": (16,),
    "3 sync tasks": (1, 16, 256),
}
PICTURED = ("10 tasks, async and sync in turn", "1 sync task", "an empty list", "3 sync tasks")
"""The rows of the picture: the price first, then the gain. All others are in the file."""
MORE = 100
"""By how many tasks two lists differ, of which the cost of one more is told."""


class Effort(NamedTuple):
    """How much time is spent."""

    rounds: int
    slice_seconds: float
    load_rounds: int
    load_seconds: int
    growth_rounds: int


THOROUGH = Effort(20, 0.05, 3, 2, 5)
QUICK = Effort(3, 0.002, 1, 1, 1)


def in_process_rows(
    effort: Effort, peers: list[str], loop_factory: in_process.LoopFactory, only: str
) -> Iterator[Row]:
    how = (peers, effort.rounds, effort.slice_seconds, loop_factory)
    for name, row in ROWS.items():
        if only in name:
            yield Row(name, "s", in_process.measure_rows({name: row}, *how)[name], {})
    if only in ONE_MORE:
        lists = {"few": row_of(on_the_loop), "many": row_of(*[on_the_loop] * (1 + MORE))}
        found = in_process.measure_rows(lists, *how)
        yield Row(ONE_MORE, "s", in_process.one_more(found["few"], found["many"], MORE), {})


UNDER_GUNICORN = ("an empty list", "1 async task", "1 sync task")


def gunicorn_rows(effort: Effort, peers: list[str], only: str) -> Iterator[Row]:
    how = ([16], effort.load_rounds, effort.load_seconds, "gunicorn")
    for row in UNDER_GUNICORN:
        if only in under_uvicorn.name_of(row, 16, "gunicorn"):
            yield from under_uvicorn.measure_row(row, peers, *how)


def uvicorn_rows(effort: Effort, peers: list[str], only: str, is_quick: bool) -> Iterator[Row]:
    for row, connections in UNDER_UVICORN.items():
        wanted = [
            number
            for number in (connections if not is_quick else (16,))
            if only in under_uvicorn.name_of(row, number)
        ]
        if wanted:
            yield from under_uvicorn.measure_row(
                row, peers, wanted, effort.load_rounds, effort.load_seconds
            )


def all_rows(
    effort: Effort,
    peers: list[str],
    loop_factory: in_process.LoopFactory,
    only: str,
    is_quick: bool,
) -> Iterator[Row]:
    yield from in_process_rows(effort, peers, loop_factory, only)
    if only in IMPORT:
        yield footprint.import_row(IMPORT, peers, effort.rounds)
    if only in MEMORY:
        yield footprint.memory_row(MEMORY, peers)
    if only in crowd.WAIT:
        yield crowd.wait_row(peers, effort.load_rounds)
    if only in crowd.MEMORY:
        yield crowd.memory_row(peers)
    if instructions.is_possible() and not is_quick:
        yield from instructions.rows(peers, only)
    if under_uvicorn.is_possible():
        yield from uvicorn_rows(effort, peers, only, is_quick)
    if under_uvicorn.is_possible("gunicorn") and not is_quick:
        yield from gunicorn_rows(effort, peers, only)


def parser_of_options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    add = parser.add_argument
    add("--quick", action="store_true", help="less time and fewer rounds: a look, no measurement")
    add("--only", default="", metavar="TEXT", help="only rows with this in their names, or growth")
    add("--loop", default="uvloop", choices=["asyncio", "uvloop"], help="in process (uvloop)")
    add("--out", type=Path, metavar="DIRECTORY", help="where files go (results/, if all ran)")
    return parser


def main() -> None:
    parser = parser_of_options()
    options = parser.parse_args()
    console, peers = Console(), installed()
    effort = QUICK if options.quick else THOROUGH
    loop, loop_factory = in_process.event_loop(options.loop)
    say_what_is_missing(console, peers, loop, options.loop)
    rows: dict[str, Row] = {}
    for row in all_rows(effort, peers, loop_factory, options.only, options.quick):
        rows[row.name] = row
        print_row(console, row, peers)
    curves: dict[str, growth.Curve] = {}
    if options.only in "growth":
        how = (effort.growth_rounds, effort.slice_seconds, loop_factory, rows, options.quick)
        curves = growth.measure_all(peers, *how)
    sentences = growth.sentences(curves)
    for sentence in sentences:
        console.print(sentence)
    if not (rows or curves):
        parser.error(f"no row has {options.only!r} in its name")
    results = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine.describe(),
        "versions": versions(),
        "loop": loop,
        "effort": effort._asdict(),
        "rows": {name: row._asdict() for name, row in rows.items()},
        "growth": {"curves": curves, "sentences": sentences},
        "targets": print_targets(console, rows),
    }
    is_whole = not (options.quick or options.only)
    directory = options.out or (RESULTS if is_whole else None)
    if directory is not None:
        write(results, rows, curves, directory, console.print)


def say_what_is_missing(console: Console, peers: list[str], loop: str, wanted: str) -> None:
    for peer in PEERS:
        if peer not in peers:
            console.print(f"left out, as it is not installed: {peer}")
    if not under_uvicorn.is_possible():
        console.print("left out, as wrk is not installed: the rows under uvicorn")
    if under_uvicorn.is_possible() and not under_uvicorn.is_possible("gunicorn"):
        console.print("left out, as gunicorn or uvicorn-worker is not installed: its rows")
    if not instructions.is_possible():
        console.print(f"left out, as {instructions.MISSING}: the counts of instructions")
    if loop != wanted:
        console.print(f"on {loop}, as {wanted} is not installed")


def write(
    results: dict[str, Any],
    rows: dict[str, Row],
    curves: dict[str, growth.Curve],
    directory: Path,
    say: Callable[[str], None],
) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    try:
        from tests.benchmarks import picture  # noqa: PLC0415  # the rest works without matplotlib
    except ModuleNotFoundError as exc:
        say(f"left out, as {exc.name} is not installed: the pictures")
        return
    pictured = {name: rows[name] for name in PICTURED if name in rows}
    if pictured:
        picture.draw_results(pictured, directory / "results.svg")
    if curves:
        picture.draw_growth(curves, directory / "growth.svg")


if __name__ == "__main__":
    main()
