"""The application of each framework for each row, as far as the framework can serve the row.

A framework's module in `peers/` has a function for each kind of row that it can serve. A row leaves
out a framework that lacks the feature, without a workaround, and one that is not installed.
"""

from functools import cache
from importlib import import_module, metadata
from typing import Any

from tests.benchmarks.work import Row

MINIBG = "minibg"
RAW = "raw ASGI"

PEERS = {
    MINIBG: "minibg",
    RAW: "raw_asgi",
    "Starlette": "starlette",
    "FastAPI": "fastapi",
    "Litestar": "litestar",
    "Falcon": "falcon",
    "BlackSheep": "blacksheep",
}
"""The frameworks, and the names of their modules, which are those of their distributions too."""


@cache
def module_of(peer: str) -> Any:
    """The peer's module, or None where the framework is not installed."""
    try:
        return import_module(f"tests.benchmarks.peers.{PEERS[peer]}")
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.startswith("tests."):
            raise
        return None


def installed() -> list[str]:
    """The frameworks that are there."""
    return [peer for peer in PEERS if module_of(peer) is not None]


def make_app(peer: str, row: Row) -> Any:
    """The peer's application for that row, or None where it lacks the feature."""
    make = getattr(module_of(peer), row.kind, None)
    if make is None:
        return None
    return make(row.calls) if row.kind == "tasks" else make()


def versions() -> dict[str, str]:
    """The version of each framework, and of what all of them run on."""
    names = [PEERS[peer] for peer in installed() if peer != RAW]
    names += ["anyio", "httptools", "msgspec", "pydantic", "uvicorn", "uvloop"]
    return {name: found.version for name in names for found in metadata.distributions(name=name)}
