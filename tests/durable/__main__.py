"""The costs of durable lists, and the effects of kills on them: `python -m tests.durable`.

Both are measured on a real uvicorn in a process of its own. The costs are ratios to
`BackgroundTasks` with the same tasks, each the quickest of rounds that alternate between the two.
The next request on the connection waits for the tasks of the one before, so the tasks are included.
"""

import random
import tempfile
import time
from collections import Counter
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.durable.killing import Killable
from tests.durable.test_nothing_lost import kill_three_times
from tests.servers.live import reserved_port

COST = """
from minibg import BackgroundTasks, MiniBG
from minibg.ext.durable import DurableTasks, Journal

DurableTasks.journal = Journal("tasks.sqlite", synchronous="{synchronous}")
app = MiniBG(lifespan=DurableTasks.lifespan)


def sync(n: int) -> None: ...


async def on_the_loop(n: int) -> None: ...


def serve(name, cls):
    @app.post("/" + name + "/{{kind}}/{{count}}", status_code=202)
    async def endpoint(kind: str, count: int, tasks: cls):
        for n in range(count):
            tasks.add_task(sync if kind == "sync" else on_the_loop, n)


serve("plain", BackgroundTasks)
serve("durable", DurableTasks)
"""
ROUNDS, REQUESTS = 60, 10
RUNS = 6
"""Runs of 200 tasks with three kills each."""


def seconds(connection: HTTPConnection, path: str, count: int = REQUESTS) -> float:
    """How long a request takes, on average."""
    began = time.perf_counter()
    for _ in range(count):
        connection.request("POST", path)
        response = connection.getresponse()
        response.read()
        assert response.status == 202
    return (time.perf_counter() - began) / count


def quickest(port: int, paths: list[str]) -> list[float]:
    """For each path the seconds of a request, in the quickest of rounds that alternate."""
    with closing(HTTPConnection("127.0.0.1", port)) as connection:
        for path in paths:
            seconds(connection, path, 30)
        rounds = [[seconds(connection, path) for path in paths] for _ in range(ROUNDS)]
    return [min(column) for column in zip(*rounds, strict=True)]


def costs(synchronous: str) -> dict[tuple[str, int], tuple[float, float]]:
    """For each kind and number of tasks, the seconds of a plain list and of a durable one."""
    found = {}
    with tempfile.TemporaryDirectory() as name, reserved_port() as port:
        served = Killable(Path(name), port)
        (Path(name) / "cost.py").write_text(COST.format(synchronous=synchronous))
        with served.serving("cost:app", "--no-access-log"):
            for kind, count in (("sync", 1), ("sync", 10), ("async", 1), ("async", 10)):
                paths = [f"/{cls}/{kind}/{count}" for cls in ("plain", "durable")]
                plain, durable = quickest(port, paths)
                found[kind, count] = plain, durable
    return found


def main() -> None:
    """Measure, and print two tables."""
    console = Console()
    table = Table("tasks", "synchronous", "plain, ms", "durable, ms", "ratio")
    for synchronous in ("NORMAL", "FULL"):
        for (kind, count), (plain, durable) in costs(synchronous).items():
            times = f"{1000 * plain:.2f}", f"{1000 * durable:.2f}", f"{durable / plain:.1f}"
            table.add_row(f"{count} {kind}", synchronous, *times)
    console.print(table)
    table = Table("accepted", "in flight at a death", "lost", "started twice", "ended twice")
    sums = Counter[str]()
    for seed in range(RUNS):
        with tempfile.TemporaryDirectory() as name, reserved_port() as port:
            moment = random.Random(seed)
            accepted, in_flight, marks = kill_three_times(Killable(Path(name), port), moment)
        told = {
            "accepted": len(accepted),
            "in flight at a death": len(in_flight),
            "lost": len(accepted - marks.ended.keys()),
            "started twice": sum(n > 1 for n in marks.started.values()),
            "ended twice": sum(n > 1 for n in marks.ended.values()),
        }
        sums.update(told)
        table.add_row(*map(str, told.values()))
    table.add_section()
    table.add_row(*(str(sums[name]) for name in told))
    console.print(table)


if __name__ == "__main__":
    main()
