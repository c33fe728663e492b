"""Which rules hold for lists that Celery's workers run, and which do not."""

import os
import subprocess
import sys

from tests.celery.conftest import (
    LIMIT,
    ROOT,
    Broker,
    Marks,
    each_broker,
    environment_of,
    until,
    worker,
)

SERVE = """
import anyio
from minibg import MiniBG
from minibg.ext.celery import CeleryTasks
from tests.celery.program import fail, mark, work

app = MiniBG()

@app.get("/")
async def endpoint(tasks: CeleryTasks):
    {added}

async def receive():
    return {{"type": "http.request", "body": b"", "more_body": False}}

async def send(message):
    if message["type"] == "http.response.start":
        await anyio.sleep({pause})
    mark("answered", -1)

scope = {{"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": []}}
anyio.run(app, scope, receive, send)
"""


def serve(broker: Broker, marks: Marks, added: str, pause: float = 0) -> None:
    """Serve one request, whose endpoint adds those tasks, and whose server takes its time."""
    environment = {**os.environ, **environment_of(broker, marks, safe=True)}
    source = SERVE.format(added=added, pause=pause)
    command = [sys.executable, "-c", source]
    subprocess.run(command, cwd=ROOT, env=environment, timeout=LIMIT, check=True)


def lines(marks: Marks) -> list[str]:
    return marks.file.read_text().splitlines()


@each_broker
def test_a_worker_may_be_quicker_than_the_answer(broker: Broker, marks: Marks) -> None:
    """**after** does not hold: the broker has the list before the answer leaves."""
    with worker(broker, marks, safe=True):
        serve(broker, marks, "tasks.add_task(work, 0)", pause=5)
        until(lambda: "ended 0" in lines(marks))
    assert lines(marks).index("started 0") < lines(marks).index("answered -1")


@each_broker
def test_one_worker_process_keeps_the_order(broker: Broker, marks: Marks) -> None:
    with worker(broker, marks, safe=True, processes=1):
        serve(broker, marks, "[tasks.add_task(work, key) for key in range(10)]")
        until(lambda: "ended 9" in lines(marks))
    told = [line for line in lines(marks) if "answered" not in line]
    assert told == [f"{what} {key}" for key in range(10) for what in ("started", "ended")]


@each_broker
def test_two_worker_processes_do_not_wait_for_each_other(broker: Broker, marks: Marks) -> None:
    """**order** does not hold: a quick task overtakes a slow one that was sent before it."""
    with worker(broker, marks, safe=True, processes=2):
        serve(broker, marks, "tasks.add_task(work, 0, 2.0); tasks.add_task(work, 1)")
        until(lambda: "ended 0" in lines(marks))
    assert lines(marks).index("ended 1") < lines(marks).index("ended 0")


@each_broker
def test_a_failure_stops_no_other_message(broker: Broker, marks: Marks) -> None:
    """**isolate**: and a task that failed is not delivered again."""
    with worker(broker, marks, safe=True, processes=1):
        serve(broker, marks, "tasks.add_task(fail, 0); tasks.add_task(work, 1)")
        until(lambda: "ended 1" in lines(marks))
    assert lines(marks).count("started 0") == 1
