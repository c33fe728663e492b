"""What becomes of tasks when the worker that has them is killed, with each broker."""

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

TASKS = 100

SEND = f"""
import anyio
from minibg.ext.celery import CeleryTasks
from tests.celery.program import work

async def main():
    async with CeleryTasks() as tasks:
        for key in range({TASKS}):
            tasks.add_task(work, key)

anyio.run(main)
"""


def send(broker: Broker, marks: Marks, *, safe: bool) -> str:
    """Send all tasks from a process of its own; what it logs."""
    done = subprocess.run(
        [sys.executable, "-c", SEND],
        cwd=ROOT,
        env={**os.environ, **environment_of(broker, marks, safe=safe)},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


@each_broker
def test_safe_settings_lose_no_task_when_the_worker_is_killed(broker: Broker, marks: Marks) -> None:
    assert send(broker, marks, safe=True) == ""
    with worker(broker, marks, safe=True) as kill:
        until(lambda: len(marks.counted("ended")) >= TASKS // 4)
        kill()
    with worker(broker, marks, safe=True):
        until(lambda: len(marks.counted("ended")) == TASKS)
    assert len(marks.counted("started") - marks.counted("ended")) <= 2  # those in flight, twice


@each_broker
def test_celerys_defaults_lose_what_a_killed_worker_has(broker: Broker, marks: Marks) -> None:
    assert "lose tasks" in send(broker, marks, safe=False)
    with worker(broker, marks, safe=False) as kill:
        until(lambda: len(marks.counted("ended")) >= TASKS // 4)
        kill()
    lost = marks.counted("started") - marks.counted("ended")
    with worker(broker, marks, safe=False) as kill:
        waiting = set(range(TASKS)) - set(marks.counted("started"))
        until(lambda: max(waiting) in marks.counted("ended"))
        kill()
    assert sum(lost.values()) >= 1


@each_broker
def test_async_tasks_are_awaited_in_the_worker(broker: Broker, marks: Marks) -> None:
    source = SEND.replace("import work", "import work_async as work").replace(str(TASKS), "3")
    environment = {**os.environ, **environment_of(broker, marks, safe=True)}
    with worker(broker, marks, safe=True):
        subprocess.run(
            [sys.executable, "-c", source], cwd=ROOT, env=environment, timeout=LIMIT, check=True
        )
        until(lambda: len(marks.counted("ended")) == 3)
