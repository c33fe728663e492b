"""The figures in the walkthrough, taken from the results of the benchmarks.

All are of the run in `results.json`: microseconds of a request in process, its tasks included.
"""

from pathlib import Path
from typing import Any, NamedTuple

from tests.benchmarks import measure
from tests.benchmarks.apps import MINIBG, RAW
from tests.benchmarks.measure import Row
from tests.benchmarks.targets import ONE_MORE

FILE = Path(measure.__file__).parent / "results" / "results.json"


class Figures(NamedTuple):
    """The names that a paragraph may use. A ratio tells how many times as much the other takes."""

    hop: float
    """What one sync task costs minibg over no task: a way to a thread and back, mostly."""
    more_sync: float
    """What one more sync task costs minibg in a row that has ten: no way to a thread."""
    starlette_hop: float
    """What one sync task costs Starlette over no task."""
    more_async: float
    """What one more async task costs minibg."""
    starlette_more_async: float
    """What one more async task costs Starlette."""
    no_task: float
    """What a request without a task costs minibg."""
    raw_no_task: float
    """What it costs raw ASGI."""
    sync10_times_starlette: float
    """Starlette's time for ten sync tasks, as a multiple of minibg's."""
    sync3_times_starlette: float
    """For three sync tasks."""
    no_task_times_starlette: float
    """For none."""
    no_task_times_fastapi: float
    """FastAPI's time for none, as a multiple of minibg's."""
    machine: str
    """Where that was measured: "two cores of an AMD EPYC, Python 3.11"."""


def figures_of(results: dict[str, Any]) -> Figures:
    rows = {name: Row(**row) for name, row in results["rows"].items()}

    def cost(row: str, peer: str = MINIBG) -> float:
        return rows[row].median(peer) * 1e6

    def times(peer: str, row: str) -> float:
        return measure.ratio(rows[row].samples, peer, MINIBG).median

    return Figures(
        hop=cost("1 sync task") - cost("no task"),
        more_sync=(cost("1,000 sync tasks") - cost("10 sync tasks")) / (1000 - 10),
        starlette_hop=cost("1 sync task", "Starlette") - cost("no task", "Starlette"),
        more_async=cost(ONE_MORE),
        starlette_more_async=cost(ONE_MORE, "Starlette"),
        no_task=cost("no task"),
        raw_no_task=cost("no task", RAW),
        sync10_times_starlette=times("Starlette", "10 sync tasks"),
        sync3_times_starlette=times("Starlette", "3 sync tasks"),
        no_task_times_starlette=times("Starlette", "no task"),
        no_task_times_fastapi=times("FastAPI", "no task"),
        machine=sentence_of(results["machine"]),
    )


def sentence_of(machine: dict[str, Any]) -> str:
    """A machine, as `tests.benchmarks.machine` describes it, in words."""
    words = {1: "one core", 2: "two cores", 4: "four cores", 8: "eight cores"}
    cores = words.get(machine["cores"], f"{machine['cores']} cores")
    article = "an" if machine["cpu"][0] in "AEIOU" else "a"
    version = machine["python"].split()[-1].rpartition(".")[0]
    return f"{cores} of {article} {machine['cpu']}, Python {version}"
