"""The tasks whose worker the tests kill: `celery -A tests.celery.program worker`.

The worker's environment names its broker, its settings, and the place for its tasks' marks. A test
makes an application of its own, with the same tasks, and sends them from there.
"""

import asyncio
import os
import signal
import time
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from celery import Celery

from minibg.ext.celery import AwaitingTask, safe_settings

variable: ContextVar[int] = ContextVar("variable", default=0)


def program(broker: str, marks: Path, *, safe: bool = True) -> Any:
    """An application of Celery's, and its tasks by their names."""
    app = Celery("tests.celery.program", broker=broker, task_cls=AwaitingTask, set_as_current=False)
    app.conf.update(
        task_ignore_result=True,
        worker_hijack_root_logger=False,
        task_default_queue=f"{marks.parent.name}-{marks.name}",  # that of no other test
    )
    if safe:
        app.conf.update(safe_settings(broker))
        if broker.startswith("redis"):
            app.conf.broker_transport_options["visibility_timeout"] = 2  # a test waits for it

    task = partial(app.task, shared=False)  # with the applications of other tests

    def mark(what: str, key: object) -> None:
        """Leave a mark, whole, whoever else leaves one."""
        with marks.open("ab", buffering=0) as file:
            file.write(f"{what} {key}\n".encode())

    @task(name="work")
    def work(key: int, seconds: float = 0.02) -> None:
        mark("started", key)
        time.sleep(seconds)
        mark("ended", key)

    @task(name="work_async")
    async def work_async(key: int) -> None:
        mark("started", key)
        await asyncio.sleep(0.01)
        mark("ended", key)

    @task(name="fail")
    def fail(key: int) -> None:
        mark("started", key)
        raise ValueError

    @task(name="take_long", time_limit=1)
    def take_long(key: int) -> None:
        mark("started", key)
        time.sleep(60)

    @task(name="die_once")
    def die_once(key: int) -> None:
        has_died = f"started {key}" in marks.read_text()
        mark("started", key)
        if not has_died:
            os.kill(os.getpid(), signal.SIGKILL)
        mark("ended", key)

    @task(name="grow")
    def grow(key: int) -> None:
        work.delay(key)

    @task(name="tell")
    def tell() -> None:
        mark("told", variable.get())

    return SimpleNamespace(
        app=app,
        work=work,
        work_async=work_async,
        fail=fail,
        take_long=take_long,
        die_once=die_once,
        grow=grow,
        tell=tell,
    )


if "TEST_BROKER" in os.environ:
    app = program(
        os.environ["TEST_BROKER"],
        Path(os.environ["TEST_MARKS"]),
        safe=bool(os.environ["TEST_SAFE"]),
    ).app
