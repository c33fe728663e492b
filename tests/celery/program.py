"""The application of Celery's whose worker the tests kill: `celery -A tests.celery.program`.

Where its tasks leave marks, with which broker and with which settings is said by the environment.
"""

import asyncio
import os
import time
from pathlib import Path

from celery import Celery

from minibg.ext.celery import AwaitingTask, safe_settings

BROKER = os.environ.get("TEST_BROKER", "memory://")
MARKS = Path(os.environ.get("TEST_MARKS", os.devnull))

app = Celery("tests.celery.program", broker=BROKER, task_cls=AwaitingTask)
app.conf.update(
    task_ignore_result=True,
    worker_hijack_root_logger=False,
    task_default_queue=os.environ.get("TEST_QUEUE", "tests"),
)
if os.environ.get("TEST_SAFE"):
    app.conf.update(safe_settings(BROKER))
    if BROKER.startswith("redis"):
        app.conf.broker_transport_options["visibility_timeout"] = 2  # the test waits for it


def mark(what: str, key: object) -> None:
    """Leave a mark, whole, whoever else leaves one."""
    with MARKS.open("ab", buffering=0) as file:
        file.write(f"{what} {key}\n".encode())


@app.task
def work(key: int, seconds: float = 0.02) -> None:
    mark("started", key)
    time.sleep(seconds)
    mark("ended", key)


@app.task
async def work_async(key: int) -> None:
    mark("started", key)
    await asyncio.sleep(0.01)
    mark("ended", key)


@app.task
def fail(key: int) -> None:
    mark("started", key)
    raise ValueError
