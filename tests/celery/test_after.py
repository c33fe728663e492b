"""When a list is sent, and what the client hears where the broker refuses or says nothing."""

import os
import signal
import time
from itertools import count
from pathlib import Path

import anyio
import pytest
from celery import Celery
from kombu.exceptions import OperationalError

from minibg import HTTPException, MiniBG, PlainTextResponse
from minibg.ext.celery import CeleryTasks, safe_settings
from tests.celery.conftest import RABBITMQ, Broker, each_broker, free_port, rabbitmq, redis
from tests.framework.asgi import ask
from tests.rules.logs import logged


class Impatient(CeleryTasks):
    seconds = 1.0


numbers = count()


def app_of(url: str, *, raises: bool = False) -> MiniBG:
    """An application whose endpoint leaves a task to that broker."""
    celery = Celery("sender")
    celery.conf.update(safe_settings(url), task_default_queue="sent")

    @celery.task(name=f"task of {next(numbers)}")
    def task(key: int) -> None: ...

    app = MiniBG()

    @app.get("/")
    async def endpoint(tasks: Impatient) -> None:
        tasks.add_task(task, 1)
        if raises:
            raise HTTPException(404)

    @app.get("/other")
    async def other() -> PlainTextResponse:
        return PlainTextResponse("served")

    return app


@each_broker
def test_the_broker_has_the_tasks_before_the_answer_leaves(broker: Broker) -> None:
    assert ask(app_of(broker.url)).status == 200


@each_broker
def test_an_endpoint_that_raises_sends_nothing_and_names_its_tasks(broker: Broker) -> None:
    with logged() as log:
        assert ask(app_of(broker.url, raises=True)).status == 404
    assert len(log.warnings) == 1
    assert "the endpoint raised HTTPException" in log.warnings[0]


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_a_broker_that_refuses_is_a_500_at_once(scheme: str) -> None:
    url = f"{scheme}://127.0.0.1:{free_port()}/"
    began = time.monotonic()
    with logged() as log:
        assert ask(app_of(url), fails=OperationalError).status == 500
    assert time.monotonic() - began < 5 * Impatient.seconds
    assert "not handed over, OperationalError" in log.warnings[0]


@pytest.mark.parametrize("name", ["redis", "rabbitmq"])
def test_a_broker_that_is_silent_is_a_500_in_time_and_holds_nobody(
    name: str, tmp_path: Path
) -> None:
    if name == "rabbitmq" and RABBITMQ is None:
        pytest.skip("rabbitmq-server is not installed")
    start = redis if name == "redis" else rabbitmq
    with start(tmp_path) as broker:
        app = app_of(broker.url)
        assert ask(app).status == 200
        os.killpg(broker.process.pid, signal.SIGSTOP)
        began = time.monotonic()
        slowest = 0.0

        async def both() -> None:
            nonlocal slowest
            async with anyio.create_task_group() as group:
                group.start_soon(anyio.to_thread.run_sync, lambda: ask(app, fails=Exception))
                await anyio.sleep(0.2)
                asked = time.monotonic()
                await anyio.to_thread.run_sync(lambda: ask(app, path="/other"))
                slowest = time.monotonic() - asked

        anyio.run(both)
        assert slowest < 0.5
        assert time.monotonic() - began < 5 * Impatient.seconds
