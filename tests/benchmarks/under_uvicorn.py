"""Requests under uvicorn: a process for each application, loaded in turns by wrk.

Under gunicorn, it is one uvicorn worker, as in a deployment: one process serves alone, beside wrk.

A request is done when its tasks have run. Otherwise a server that accepts more requests than it
finishes would seem fast. So the time goes on until the last task has run.
"""

import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from subprocess import PIPE, Popen, run
from threading import Timer
from time import perf_counter, sleep

from tests.benchmarks import measure
from tests.benchmarks.apps import make_app
from tests.benchmarks.work import ROWS

LIMIT = 60.0
"""How many seconds a server may take to start, and to run the tasks that are left."""

ROOT = Path(__file__).parents[2]
APP = "tests.benchmarks.served:app"
WORKER = "uvicorn_worker.UvicornWorker"
SERVERS = {
    "uvicorn": ["uvicorn", APP, "--port", "0", "--no-access-log"],
    "gunicorn": ["gunicorn", APP, "--bind", "127.0.0.1:0", "--worker-class", WORKER],
}
"""The commands that start a server, as modules of Python."""
SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


def is_possible(server: str = "uvicorn") -> bool:
    """Whether the machine has what makes the load, and the server."""
    modules = ["uvicorn", *(["gunicorn", "uvicorn_worker"] if server == "gunicorn" else [])]
    return shutil.which("wrk") is not None and all(map(find_spec, modules))


class Server:
    """A running application, and how it is loaded."""

    def __init__(self, process: Popen[str], port: int, runs: int) -> None:
        self.process = process
        self.url = f"http://127.0.0.1:{port}/"
        self.runs = runs
        self.details: list[dict[str, float]] = []

    def ran(self) -> int:
        """How many tasks have run so far."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(file=self.process.stdin, flush=True)
        return int(self.process.stdout.readline())

    def load(self, connections: int, seconds: int) -> float:
        """Load the server, and return how many seconds it took for one request."""
        ran_before = self.ran()
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", self.url]
        told = run(command, check=True, capture_output=True, text=True).stdout
        if "Non-2xx" in told:
            raise RuntimeError(told)
        requests, took = find(r"(\d+) requests in ([\d.]+)(\w+)", told)
        began = perf_counter()
        while self.ran() - ran_before < requests * self.runs:
            if perf_counter() - began > LIMIT:
                raise TimeoutError(f"tasks are left {LIMIT:.0f} seconds after the last answer")
            sleep(0.005)
        cost = (took + (perf_counter() - began if self.runs else 0)) / requests
        (median,), (worst,) = find(r"50%\s+([\d.]+)(\w+)", told), find(r"99%\s+([\d.]+)(\w+)", told)
        self.details.append(
            {"answered": requests / took, "done": 1 / cost, "p50": median, "p99": worst}
        )
        return cost


def find(pattern: str, told: str) -> list[float]:
    """The numbers of a line of wrk, those with a unit of time in seconds."""
    found = re.search(pattern, told)
    if found is None:
        raise RuntimeError(f"wrk told nothing like {pattern!r}:\n{told}")
    *numbers, unit = found.groups()
    return [*map(float, numbers[:-1]), float(numbers[-1]) * SECONDS[unit]]


@contextmanager
def serving(peer: str, row: str, server: str) -> Iterator[Server]:
    """Serve the peer's application for that row."""
    environment = {**os.environ, "BENCHMARK": f"{peer}: {row}"}
    command = [sys.executable, "-m", *SERVERS[server]]
    with Popen(
        command, cwd=ROOT, env=environment, stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True
    ) as process:
        assert process.stderr is not None
        timer = Timer(LIMIT, process.kill)
        timer.start()
        try:
            log = ""
            for line in process.stderr:
                log += line
                if found := re.search(
                    r"(?:running on|Listening at:) http://127\.0\.0\.1:(\d+)", line
                ):
                    timer.cancel()
                    yield Server(process, int(found[1]), ROWS[row].runs)
                    break
            else:
                raise RuntimeError(f"{server} did not serve {peer}:\n{log}")
        finally:
            timer.cancel()
            process.kill()


def measure_row(
    row: str,
    peers: Iterable[str],
    connections: Iterable[int],
    rounds: int,
    seconds: int,
    server: str = "uvicorn",
) -> list[measure.Row]:
    """A row of the table for each number of connections."""
    rows = []
    with ExitStack() as stack:
        servers = {
            peer: stack.enter_context(serving(peer, row, server))
            for peer in peers
            if make_app(peer, ROWS[row]) is not None
        }
        for number in connections:
            loads: dict[str, Callable[[], float]] = {}
            for peer, served in servers.items():
                served.details = []
                loads[peer] = partial(served.load, number, seconds)
            samples = measure.in_turns(loads, rounds)
            details = {peer: served.details for peer, served in servers.items()}
            rows.append(measure.Row(name_of(row, number, server), "s", samples, details))
    return rows


def name_of(row: str, connections: int, server: str = "uvicorn") -> str:
    return f"{server}, {row}, {connections} connection{'s' if connections > 1 else ''}"
