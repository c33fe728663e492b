"""What it costs to send a list to a broker: `python -m tests.celery`.

On a real uvicorn in a process of its own, with a real broker that no worker empties. The costs are
ratios to `BackgroundTasks` with the same tasks, and to an endpoint that sends the same messages
itself, by `delay`, each the quickest of rounds that alternate between the three.
"""

import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.celery.conftest import RABBITMQ, START
from tests.durable.__main__ import quickest
from tests.durable.killing import Killable
from tests.processes import free_port
from tests.servers.live import reserved_port

COST = """
from celery import Celery

from minibg import BackgroundTasks, MiniBG
from minibg.ext.celery import CeleryTasks, safe_settings

celery = Celery("cost")
celery.conf.update(safe_settings({url!r}), task_ignore_result=True)
app = MiniBG()


@celery.task
def task(n: int) -> None: ...


@app.post("/delay/{{count}}", status_code=202)
def by_hand(count: int):
    for n in range(count):
        task.delay(n)


def serve(name, cls):
    @app.post("/" + name + "/{{count}}", status_code=202)
    async def endpoint(count: int, tasks: cls):
        for n in range(count):
            tasks.add_task(task, n)


serve("plain", BackgroundTasks)
serve("celery", CeleryTasks)
"""


def costs(url: str, count: int) -> list[float]:
    """The seconds of a request with so many tasks: run here, sent by hand, and sent as a list."""
    with tempfile.TemporaryDirectory() as name, reserved_port() as port:
        (Path(name) / "cost.py").write_text(COST.format(url=url))
        with Killable(Path(name), port).serving("cost:app", "--no-access-log"):
            return quickest(port, [f"/{how}/{count}" for how in ("plain", "delay", "celery")])


def main() -> None:
    """Measure on each broker that is installed, and print a table."""
    table = Table("broker", "tasks", "plain, ms", "delay, ms", "list, ms", "to plain", "to delay")
    for name, start in START.items():
        if name == "rabbitmq" and RABBITMQ is None:
            continue
        with (
            tempfile.TemporaryDirectory() as directory,
            start(Path(directory), free_port()) as broker,
        ):
            for count in (1, 10):
                plain, delay, sent = costs(broker.url, count)
                times = [f"{1000 * each:.2f}" for each in (plain, delay, sent)]
                ratios = f"{sent / plain:.1f}", f"{sent / delay:.2f}"
                table.add_row(name, str(count), *times, *ratios)
    Console().print(table)


if __name__ == "__main__":
    main()
