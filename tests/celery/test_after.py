"""When a list is sent, and what the client gets if the broker refuses it or is silent."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import anyio
import pytest
from celery import Celery
from httpx import ASGITransport, AsyncClient

from minibg import Depends, HTTPException, MiniBG
from minibg.ext.celery import CeleryTasks, safe_settings
from tests.celery.conftest import RABBITMQ, Broker, Marks, each_broker, waiting
from tests.celery.program import program
from tests.framework.asgi import ask, untraced
from tests.processes import free_port
from tests.rules.language.logs import logged

SECONDS = 2.0
"""How long a list waits for a broker that says nothing."""
IN_TIME = 10 * SECONDS
"""Within how many seconds a client is answered, however busy the machine is besides."""


class Impatient(CeleryTasks):
    seconds = SECONDS


def app_of(*tasks: Any) -> MiniBG:
    """An application whose endpoint leaves these to their brokers, and others that need none."""
    app = MiniBG()

    def add_first(given: Impatient) -> None:
        given.add_task(tasks[0], 0)

    @app.get("/")
    async def endpoint(given: Impatient, _: None = Depends(add_first)) -> None:
        for task in tasks:
            given.add_task(task, 1)

    @app.get("/raises")
    async def raising(given: Impatient) -> None:
        given.add_task(tasks[0], 1)
        raise HTTPException(404)

    @app.get("/other")
    def other() -> str:
        return "served by a thread"

    return app


def sender_of(url: str) -> Any:
    """A task of an application with that broker."""
    celery = Celery(broker=url, set_as_current=False)
    celery.conf.update(safe_settings(url))

    @celery.task(shared=False)
    def task(key: int) -> None: ...

    return task


@each_broker
def test_the_broker_has_the_list_before_the_answer_leaves(broker: Broker, marks: Marks) -> None:
    """And it is one list, of the endpoint and its dependencies, in its order (**own list**)."""
    sender = program(broker.url, marks.file)
    app = app_of(sender.work, sender.fail)
    found: list[Any] = []

    async def served(scope: Any, receive: Any, send: Any) -> None:
        async def look(message: Any) -> None:
            if message["type"] == "http.response.start":
                found.extend(waiting(sender.app))
            await send(message)

        await app(scope, receive, look)

    assert ask(served).status == 200
    assert found == [("work", [0]), ("work", [1]), ("fail", [1])]


@each_broker
def test_an_endpoint_that_raises_sends_nothing(broker: Broker, marks: Marks) -> None:
    """An endpoint that raises sends nothing to the broker, and names its tasks."""
    sender = program(broker.url, marks.file)
    with logged() as log:
        assert ask(app_of(sender.work), path="/raises").status == 404
    assert len(log.warnings) == 1
    assert "the endpoint raised HTTPException" in log.warnings[0]
    assert waiting(sender.app) == []


@each_broker
def test_each_task_is_sent_to_the_broker_of_its_own_application(
    broker: Broker, marks: Marks, tmp_path_factory: pytest.TempPathFactory
) -> None:
    one = program(broker.url, marks.file)
    other = program("memory://", tmp_path_factory.mktemp("other") / "marks", safe=False)
    assert ask(app_of(one.work, other.fail, one.grow)).status == 200
    assert waiting(one.app) == [("work", [0]), ("work", [1]), ("grow", [1])]
    assert waiting(other.app) == [("fail", [1])]


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_of_several_brokers_one_that_serves_is_enough(
    scheme: str, marks: Marks, brokers: Any
) -> None:
    if scheme == "amqp" and RABBITMQ is None:
        pytest.skip("rabbitmq-server is not installed")
    broker = brokers("rabbitmq" if scheme == "amqp" else "redis")
    sender = program(f"{scheme}://127.0.0.1:{free_port()}/0;{broker.url}", marks.file)
    assert ask(app_of(sender.work)).status == 200
    assert waiting(program(broker.url, marks.file).app) == [("work", [0]), ("work", [1])]


async def statuses(app: MiniBG, silent: int) -> tuple[list[int], float, int]:
    """Ask for so many lists at once, and for something else meanwhile, on the same loop.

    Returns:
        The statuses, the seconds until the last of them, and how many of them came before the
        other answer.
    """
    found: list[int] = []
    transport = ASGITransport(app, raise_app_exceptions=False)
    async with AsyncClient(transport=transport, base_url="http://test", timeout=30) as client:

        async def leave() -> None:
            found.append((await client.get("/")).status_code)

        began = time.monotonic()
        async with anyio.create_task_group() as group:
            for _ in range(silent):
                group.start_soon(leave)
            await anyio.sleep(SECONDS / 5)  # by then all are being sent
            assert (await client.get("/other")).status_code == 200
            before = len(found)
        return found, time.monotonic() - began, before


@contextmanager
def listening() -> Iterator[int]:
    """A port where connections are accepted, by the kernel, and nobody says anything."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@contextmanager
def deaf() -> Iterator[int]:
    """A port where connections are not even accepted: as many wait as may."""
    with ExitStack() as stack, socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        for _ in range(2):
            waits = stack.enter_context(socket.socket())
            waits.setblocking(False)
            waits.connect_ex(server.getsockname())
        yield server.getsockname()[1]


@untraced
@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_a_broker_that_refuses_is_a_500_at_once(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However patient the list is with a broker that says nothing."""
    monkeypatch.setattr(Impatient, "seconds", IN_TIME)
    app = app_of(sender_of(f"{scheme}://127.0.0.1:{free_port()}/"))
    with logged() as log:
        found, slowest, _ = anyio.run(statuses, app, 1)
    assert found == [500]
    assert slowest < IN_TIME
    assert "not handed over, OperationalError" in log.warnings[0]


@untraced
@pytest.mark.parametrize("scheme", ["redis", "amqp"])
@pytest.mark.parametrize("port", [listening, deaf])
def test_a_broker_that_never_says_anything_is_a_500_in_time(scheme: str, port: Any) -> None:
    with port() as silent:
        app = app_of(sender_of(f"{scheme}://127.0.0.1:{silent}/"))
        with logged() as log:
            found, slowest, before = anyio.run(statuses, app, 1)
    assert found == [500]
    assert SECONDS <= slowest < IN_TIME
    assert before == 0, "the other endpoint has waited for them"
    assert "not handed over, OperationalError" in log.warnings[0]


@untraced
@each_broker
def test_a_broker_that_falls_silent_is_a_500_in_time(broker: Broker, marks: Marks) -> None:
    """And the next list is sent when it speaks again."""
    app = app_of(program(broker.url, marks.file).work)
    assert ask(app).status == 200
    with broker.silent(), logged() as log:
        found, slowest, before = anyio.run(statuses, app, 1)
    assert found == [500]
    assert SECONDS <= slowest < IN_TIME
    assert before == 0, "the other endpoint has waited for them"
    assert "not handed over, OperationalError" in log.warnings[0]
    assert ask(app).status == 200


@untraced
def test_a_silent_broker_takes_no_thread_from_other_endpoints() -> None:
    """**room**: more lists wait than there are threads that send, and a sync endpoint has one."""
    with listening() as silent, logged() as log:
        app = app_of(sender_of(f"amqp://127.0.0.1:{silent}/"))
        found, slowest, before = anyio.run(statuses, app, 60)
    assert found == [500] * 60
    assert sum("not handed over, OperationalError" in warning for warning in log.warnings) == 60
    assert slowest < IN_TIME
    assert before == 0, "the other endpoint has waited for them"
