"""The pictures: the cost of each framework beside minibg, and how costs grow.

Only minibg has a colour. Everything is readable on light and on dark.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from tests.benchmarks.apps import MINIBG, PEERS, RAW
from tests.benchmarks.growth import Curve
from tests.benchmarks.measure import Row, ratio

ACCENT = "#e8590c"
INK = "#808891"
MARKERS = dict(zip(PEERS, "|os^DPx", strict=True))

mpl.use("svg")
mpl.rcParams.update(
    {
        "svg.hashsalt": "minibg",
        "svg.fonttype": "none",
        "font.family": "sans-serif",
        "font.size": 11,
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "xtick.color": INK,
        "ytick.color": INK,
        "grid.color": INK,
        "grid.alpha": 0.25,
        "legend.frameon": False,
        "savefig.transparent": True,
    }
)


def number(value: float, _: Any = None) -> str:
    """A number as a person writes it: no exponent, no zeros at its end."""
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


def save(figure: Figure, file: Path) -> None:
    metadata = {"Date": None, "Creator": None}
    figure.savefig(file, format="svg", bbox_inches="tight", metadata=metadata)


def draw_results(rows: Mapping[str, Row], file: Path) -> None:
    """For each row, what every peer takes as a multiple of what minibg takes."""
    figure = Figure(figsize=(9, 1.2 + 0.36 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    axes.axvline(1, color=ACCENT, linewidth=2.5, label=MINIBG)
    for place, row in enumerate(rows.values()):
        for peer in row.samples:
            if peer == MINIBG:
                continue
            found = ratio(row.samples, peer, MINIBG)
            axes.hlines(place, found.low, found.high, color=INK, linewidth=1)
            first = peer not in axes.get_legend_handles_labels()[1]
            axes.plot(
                *([found.median], [place], MARKERS[peer]),
                color=INK,
                markersize=7,
                markerfacecolor=INK if peer == RAW else "none",
                label=peer if first else None,
                linestyle="none",
            )
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(FuncFormatter(number))
    axes.set_yticks(range(len(rows)), list(rows))
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.grid(axis="x", which="major")
    axes.set_xlabel("times what minibg takes (right of the line: minibg is faster, or smaller)")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=7)
    save(figure, file)


TITLES = {
    "async tasks": ("async tasks in a list", "us a task", 1e6),
    "sync tasks": ("sync tasks in a row", "us a task", 1e6),
    "connections": ("connections, no task", "requests a second", 1),
}


def draw_growth(curves: Mapping[str, Curve], file: Path) -> None:
    """A plot for each curve, side by side."""
    figure = Figure(figsize=(4 * len(curves), 3.8), layout="constrained")
    plots = figure.subplots(1, len(curves), squeeze=False)[0]
    for axes, (name, curve) in zip(plots, curves.items(), strict=True):
        draw_curve(axes, curve, *TITLES[name])
    figure.legend(*plots[0].get_legend_handles_labels(), loc="outside upper center", ncols=7)
    save(figure, file)


def draw_curve(axes: Axes, curve: Curve, across: str, up: str, scale: float) -> None:
    for peer in curve:
        is_ours = peer == MINIBG
        axes.plot(
            list(curve[peer]),
            [cost * scale for cost in curve[peer].values()],
            color=ACCENT if is_ours else INK,
            linewidth=2.5 if is_ours else 1,
            marker="o" if is_ours else MARKERS[peer],
            markersize=5,
            markerfacecolor=ACCENT if is_ours else INK if peer == RAW else "none",
            zorder=3 if is_ours else 2,
            label=peer,
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(number))
        axis.set_minor_formatter(NullFormatter())
    axes.set_xticks(sorted({size for costs in curve.values() for size in costs}))
    axes.grid(which="major")
    axes.set_xlabel(across)
    axes.set_title(up, fontsize=11, loc="left")
