"""Costs measured in turns, and the ratios between them.

What may live here: the order of the measurements, and statistics. The callers define what a cost is
and how to measure it. Lower is better, always.
"""

from collections.abc import Callable, Mapping
from statistics import median, quantiles
from typing import NamedTuple, TypeVar

Name = TypeVar("Name")

Samples = dict[str, list[float]]
"""The costs of each contender, round by round."""


def in_turns(
    contenders: Mapping[Name, Callable[[], float]], rounds: int
) -> dict[Name, list[float]]:
    """Let each contender tell its cost once a round; another one begins each round.

    Noise of the machine that lasts longer than a round so comes to all of them.
    """
    samples: dict[Name, list[float]] = {name: [] for name in contenders}
    names = list(contenders)
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            samples[name].append(contenders[name]())
    return samples


class Ratio(NamedTuple):
    """How many times as much the one costs as the other: the median over rounds, and quartiles."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.3g} ({self.low:.3g} to {self.high:.3g})"


def ratio(samples: Samples, one: str, other: str) -> Ratio:
    """How many times as much `one` costs as `other`, within each round."""
    ratios = [a / b for a, b in zip(samples[one], samples[other], strict=True)]
    if len(ratios) == 1:
        return Ratio(*ratios * 3)
    low, middle, high = quantiles(ratios, n=4, method="inclusive")
    return Ratio(middle, low, high)


class Row(NamedTuple):
    """A row of the table: what was measured, in which unit, and of whom."""

    name: str
    unit: str
    samples: Samples
    details: dict[str, list[dict[str, float]]]
    """What else was seen of each contender, round by round."""

    def best(self, name: str) -> float:
        return min(self.samples[name])

    def median(self, name: str) -> float:
        return median(self.samples[name])
