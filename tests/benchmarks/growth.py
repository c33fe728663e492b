"""How costs grow: with the tasks in a list, and with the connections."""

from collections.abc import Iterable, Mapping
from statistics import median

from tests.benchmarks import in_process
from tests.benchmarks.apps import MINIBG
from tests.benchmarks.measure import Row
from tests.benchmarks.under_uvicorn import name_of
from tests.benchmarks.work import Call, in_a_thread, on_the_loop, row_of

ASYNC_TASKS = (10, 100, 1_000, 10_000, 100_000)
SYNC_TASKS = (1, 3, 10, 30, 100, 300, 1_000)
CONNECTIONS = (1, 4, 16, 64, 256)

Curve = dict[str, dict[int, float]]
"""For each peer, the median cost at each size."""


def of_tasks(
    call: Call,
    numbers: Iterable[int],
    peers: Iterable[str],
    rounds: int,
    seconds: float,
    loop_factory: in_process.LoopFactory,
) -> Curve:
    """The seconds a task takes in a request that leaves so many of them."""
    curve: Curve = {}
    for number in numbers:
        rows = {"": row_of(*[call] * number)}
        samples = in_process.measure_rows(rows, peers, rounds, seconds, loop_factory)[""]
        for peer, costs in samples.items():
            curve.setdefault(peer, {})[number] = median(costs) / number
    return curve


def of_connections(rows: Mapping[str, Row]) -> Curve:
    """The requests a second at each number of connections that was measured."""
    curve: Curve = {}
    for number in CONNECTIONS:
        if row := rows.get(name_of("no task", number)):
            for peer in row.samples:
                curve.setdefault(peer, {})[number] = 1 / row.median(peer)
    return curve


def measure_all(
    peers: Iterable[str],
    rounds: int,
    seconds: float,
    loop_factory: in_process.LoopFactory,
    rows: Mapping[str, Row],
    is_quick: bool,
) -> dict[str, Curve]:
    """All curves; in a hurry, without the longest lists."""
    few = [number for number in ASYNC_TASKS if not is_quick or number <= 1_000]
    fewer = [number for number in SYNC_TASKS if not is_quick or number <= 30]
    how = (peers, rounds, seconds, loop_factory)
    curves = {
        "async tasks": of_tasks(on_the_loop, few, *how),
        "sync tasks": of_tasks(in_a_thread, fewer, *how),
        "connections": of_connections(rows),
    }
    return {name: curve for name, curve in curves.items() if curve}


def sentences(curves: Mapping[str, Curve]) -> list[str]:
    """One sentence on what each curve shows of minibg."""
    return [SENTENCES[name](curve[MINIBG]) for name, curve in curves.items()]


def _of_async(costs: dict[int, float]) -> str:
    low, high = min(costs.values()) * 1e6, max(costs.values()) * 1e6
    return (
        f"Whether {min(costs):,} or {max(costs):,} async tasks stand in the list, minibg takes "
        f"{low:.2g} to {high:.2g} us for each."
    )


def _of_sync(costs: dict[int, float]) -> str:
    first, last = min(costs), max(costs)
    return (
        f"A row of sync tasks shares one way to a thread: alone a task takes minibg "
        f"{costs[first] * 1e6:.3g} us, as one of {last:,} it takes {costs[last] * 1e6:.3g} us."
    )


def _of_connections(rates: dict[int, float]) -> str:
    best = max(rates, key=lambda number: rates[number])
    return (
        f"minibg serves most requests a second at {best} connections, {rates[best]:,.0f}, and at "
        f"{max(rates)} connections {rates[max(rates)] / rates[best]:.0%} of that."
    )


SENTENCES = {"async tasks": _of_async, "sync tasks": _of_sync, "connections": _of_connections}
