"""The printed report: a table for each row as soon as it is measured, and then the targets."""

from collections.abc import Iterable, Mapping

from rich.console import Console
from rich.table import Table

from tests.benchmarks.apps import MINIBG
from tests.benchmarks.measure import Row, ratio
from tests.benchmarks.targets import TARGETS


def print_row(console: Console, row: Row, peers: Iterable[str]) -> None:
    """Print what the row costs each contender, and how many times as much as minibg."""
    table = Table(title=row.name, title_justify="left", title_style="bold", min_width=78)
    table.add_column("", min_width=10)
    for heading in ("best", "median", "times minibg's (quartiles)"):
        table.add_column(heading, justify="right")
    is_loaded = any(row.details.values())
    if is_loaded:
        table.add_column("p50, p99", justify="right")
    for peer in row.samples:
        cells = [peer, *(in_unit(cost, row) for cost in (row.best(peer), row.median(peer)))]
        cells.append("" if peer == MINIBG else str(ratio(row.samples, peer, MINIBG)))
        if is_loaded:
            best = min(row.details[peer], key=lambda seen: -seen["done"])
            cells.append(f"{best['p50'] * 1000:.2f}, {best['p99'] * 1000:.2f} ms")
        table.add_row(*cells, style="bold" if peer == MINIBG else None)
    left_out = [peer for peer in peers if peer not in row.samples]
    if left_out:
        table.caption = f"without {', '.join(left_out)}"
    console.print(table)


def in_unit(cost: float, row: Row) -> str:
    if row.unit in ("bytes", "instructions"):
        return f"{cost:,.0f} {row.unit}"
    if row.details:
        return f"{1 / cost:,.0f}/s"
    return f"{cost * 1e6:,.2f} us" if cost < 0.01 else f"{cost * 1e3:,.1f} ms"


def print_targets(console: Console, rows: Mapping[str, Row]) -> list[dict[str, object]]:
    """Print which targets are reached, and return that as data. What was not measured is left."""
    table = Table(title="targets", title_justify="left", title_style="bold", min_width=78)
    for heading in ("row", "against", "target", "measured (quartiles)", ""):
        table.add_column(heading)
    found: list[dict[str, object]] = []
    for target in TARGETS:
        if target.row not in rows or target.peer not in rows[target.row].samples:
            continue
        measured = target.measured(rows[target.row])
        reached = target.is_reached(measured)
        table.add_row(
            target.row,
            target.peer,
            f"{target.bound} {target.limit:g}",
            str(measured),
            "reached" if reached else "NOT REACHED",
            style=None if reached else "bold",
        )
        found.append({**target._asdict(), "measured": measured._asdict(), "reached": reached})
    if found:
        console.print(table)
    return found
