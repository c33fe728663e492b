"""What becomes of tasks when the worker that has them is killed, or their broker."""

import logging
from pathlib import Path
from typing import Any

import anyio
import pytest

from minibg.ext.celery import CeleryTasks
from tests.celery.conftest import (
    BROKERS,
    LIMIT,
    START,
    Broker,
    Marks,
    each_broker,
    until,
    waiting,
    worker,
)
from tests.celery.program import program
from tests.processes import free_port

TASKS = 100


def send(task: Any, *calls: tuple[Any, ...]) -> None:
    """Send a list of these calls."""

    async def handed_over() -> None:
        async with CeleryTasks() as tasks:
            for args in calls:
                tasks.add_task(task, *args)

    anyio.run(handed_over)


@each_broker
def test_safe_settings_lose_no_task_when_the_worker_is_killed(
    broker: Broker, marks: Marks, caplog: pytest.LogCaptureFixture
) -> None:
    """With Redis a worker may lose the one that it was about to begin, as `safe_settings` says."""
    may_lose = 1 if broker.url.startswith("redis") else 0
    send(program(broker.url, marks.file).work, *((key,) for key in range(TASKS)))
    assert not caplog.records
    with worker(broker, marks) as kill:
        until(lambda: len(marks.counted("ended")) >= TASKS // 4)
        kill()
    with worker(broker, marks):
        until(lambda: len(marks.counted("ended")) >= TASKS - may_lose)
    twice = [key for key, times in marks.counted("started").items() if times > 1]
    assert len(twice) <= 2  # those that ran


@each_broker
def test_celerys_defaults_lose_what_a_killed_worker_has(
    broker: Broker, marks: Marks, caplog: pytest.LogCaptureFixture
) -> None:
    """The first task holds one of two processes: when others have ended, it is acknowledged."""
    with caplog.at_level(logging.WARNING):
        sender = program(broker.url, marks.file, safe=False)
        send(sender.work, (0, 2.0 * LIMIT), *((key,) for key in range(1, TASKS)))
    assert "lose tasks" in caplog.text
    with worker(broker, marks, safe=False) as kill:
        until(lambda: len(marks.counted("ended")) >= TASKS // 4)
        kill()
    left = {args[0] for _, args in waiting(sender.app)}
    assert marks.counted("started")[0] == 1
    assert 0 not in left | set(marks.counted("ended"))


@each_broker
def test_a_task_whose_own_process_is_killed_runs_again(broker: Broker, marks: Marks) -> None:
    """As by the kernel, where memory is short: the worker lives, one of its processes does not."""
    with worker(broker, marks):
        send(program(broker.url, marks.file).die_once, (0,))
        until(lambda: "ended 0" in marks.lines)
    assert marks.lines == ["started 0", "started 0", "ended 0"]


@pytest.mark.parametrize("name", BROKERS)
def test_what_the_broker_has_confirmed_survives_its_death(
    name: str, tmp_path: Path, marks: Marks
) -> None:
    """And a list that is sent then does not fail by the connection that was left."""
    port = free_port()
    with START[name](tmp_path, port) as broker:
        sender = program(broker.url, marks.file)
        send(sender.work, (0,), (1,))
        broker.kill()
    with START[name](tmp_path, port):
        send(sender.work, (2,))
        assert waiting(sender.app) == [("work", [0]), ("work", [1]), ("work", [2])]
