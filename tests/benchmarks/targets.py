"""The targets that minibg has to reach, beside each framework and in each row."""

from typing import Literal, NamedTuple

from tests.benchmarks import crowd
from tests.benchmarks.apps import MINIBG
from tests.benchmarks.measure import Ratio, Row, ratio

ONE_MORE = "one more async task"
IMPORT = "import"
MEMORY = "bytes a queued task"


class Target(NamedTuple):
    """A bound on a ratio.

    "at most" bounds what minibg costs, as a multiple of what the peer costs; "at least" bounds how
    many times as fast it is: requests a second, where that is the row.
    """

    row: str
    peer: str
    bound: Literal["at most", "at least"]
    limit: float

    def measured(self, row: Row) -> Ratio:
        if self.bound == "at most":
            return ratio(row.samples, MINIBG, self.peer)
        return ratio(row.samples, self.peer, MINIBG)

    def is_reached(self, measured: Ratio) -> bool:
        if self.bound == "at most":
            return measured.median <= self.limit
        return measured.median >= self.limit


def of_row(row: str, *bounds: tuple[str, Literal["at most", "at least"], float]) -> list[Target]:
    return [Target(row, *bound) for bound in bounds]


TARGETS = [
    *of_row(
        "no task",
        ("raw ASGI", "at most", 1.6),
        ("Starlette", "at least", 2.5),
        ("FastAPI", "at least", 12),
    ),
    *of_row(ONE_MORE, ("Starlette", "at most", 0.6)),
    *of_row(
        "3 sync tasks",
        ("raw ASGI", "at most", 0.5),
        ("Starlette", "at least", 2.5),
        ("FastAPI", "at least", 3),
    ),
    *of_row(
        "10 sync tasks",
        ("raw ASGI", "at most", 0.2),
        ("Starlette", "at least", 7),
        ("FastAPI", "at least", 8),
    ),
    *of_row(
        "uvicorn, no task, 16 connections",
        ("raw ASGI", "at least", 0.85),
        ("Starlette", "at least", 1.7),
        ("FastAPI", "at least", 4),
    ),
    *of_row(
        "uvicorn, 3 sync tasks, 16 connections",
        ("raw ASGI", "at least", 1.2),
        ("Starlette", "at least", 2.5),
        ("FastAPI", "at least", 2.8),
        ("Litestar", "at least", 1),
    ),
    *of_row("path, query and tasks", ("FastAPI", "at least", 8)),
    *of_row("10 tasks, async and sync in turn", ("Litestar", "at least", 1)),
    *of_row("uvicorn, an empty list, 16 connections", ("Starlette", "at least", 1.3)),
    *of_row("uvicorn, 1 async task, 16 connections", ("Starlette", "at least", 1.15)),
    *of_row("uvicorn, 1 sync task, 16 connections", ("Starlette", "at least", 1.1)),
    *of_row("instructions, no task", ("Starlette", "at most", 0.41)),
    *of_row("instructions, an empty list", ("Starlette", "at most", 0.6)),
    *of_row("instructions, 1 async task", ("Starlette", "at most", 0.7)),
    *of_row("instructions, 5 async tasks", ("Starlette", "at most", 0.75)),
    *of_row("instructions, 1 sync task", ("Starlette", "at most", 0.88)),
    *of_row("instructions, 3 sync tasks", ("Starlette", "at most", 0.42)),
    *of_row(IMPORT, ("Starlette", "at most", 0.5)),
    *of_row(MEMORY, ("Starlette", "at most", 0.75)),
    *of_row(crowd.MEMORY, ("Starlette", "at most", 1)),
]
