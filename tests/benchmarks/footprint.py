"""A framework's cost before it serves: the time of its import, and the memory of queued tasks."""

import os
import sys
import tracemalloc
from collections.abc import Callable, Iterable
from functools import partial
from subprocess import run
from typing import Any

from tests.benchmarks import measure
from tests.benchmarks.apps import module_of
from tests.benchmarks.under_uvicorn import ROOT

QUEUED = 10_000
IMPORT = "import time; began = time.process_time(); exec({!r}); print(time.process_time() - began)"


def import_row(name: str, peers: Iterable[str], rounds: int) -> measure.Row:
    """The time of the processor that the imports of an application take in a fresh process."""
    imports = {
        peer: partial(import_seconds, statement)
        for peer in peers
        if (statement := module_of(peer).IMPORT) is not None
    }
    measure.in_turns(imports, 1)  # so that all is compiled, and in the file system's cache
    return measure.Row(name, "s", measure.in_turns(imports, rounds), {})


def import_seconds(statement: str) -> float:
    command = [sys.executable, "-c", IMPORT.format(statement)]
    # Compiled once, as where it is installed; otherwise what is installed has an advantage.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = run(command, cwd=ROOT, check=True, capture_output=True, text=True, env=env)
    return float(done.stdout)


def memory_row(name: str, peers: Iterable[str]) -> measure.Row:
    """The bytes that one queued task takes, of many of one function with two arguments."""
    queues = {
        peer: partial(queued_bytes, module_of(peer).queue)
        for peer in peers
        if hasattr(module_of(peer), "queue")
    }
    return measure.Row(name, "bytes", measure.in_turns(queues, 1), {})


def queued_bytes(queue: Callable[[int], Any]) -> float:
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        queued = queue(QUEUED)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    queued.tasks.clear()  # minibg would name tasks that never run
    return (after - before) / QUEUED
