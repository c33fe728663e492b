"""The exercises on lists that are handed over: `TaskiqTasks` and `RelayedTasks`."""

from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from kombu.exceptions import OperationalError

from minibg import HTTPException, MiniBG
from minibg.examples.handed_over import RelayedTasks, TaskiqTasks
from minibg.ext.durable import Journal
from tests.framework.asgi import ask
from tests.rules.language.logs import logged

app = Celery("relayed", broker="memory://")
app.conf.task_default_queue = "relayed"


@app.task
def relayed(key: int) -> None: ...


def keys_in_the_queue(count: int) -> list[int]:
    with app.connection_for_read() as connection:
        queue = connection.SimpleQueue("relayed")
        found = []
        for _ in range(count):
            message = queue.get(timeout=5)
            found.append(message.payload[0][0])
            message.ack()
        return found


@pytest.fixture
def relaying(tmp_path: Path) -> type[RelayedTasks]:
    class Own(RelayedTasks):
        journal = Journal(tmp_path / "tasks.sqlite")
        first_delay = 0.01

    return Own


def serve(cls: type[RelayedTasks], events: list[str]) -> None:
    """Serve one request in an application whose lifespan holds the journal."""
    import anyio  # noqa: PLC0415

    server = MiniBG()

    @server.get("/")
    async def endpoint(tasks: cls) -> None:  # type: ignore[valid-type]
        tasks.add_task(relayed, 1)  # type: ignore[attr-defined]
        tasks.add_task(relayed, 2)  # type: ignore[attr-defined]

    async def main() -> None:
        async def send(message: Any) -> None:
            events.append(message["type"])

        async def receive() -> Any:
            return {"type": "http.request"}

        scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b""}
        async with cls.lifespan():
            await server(scope, receive, send)

    anyio.run(main)


def test_a_relayed_list_is_sent_after_the_answer(
    relaying: type[RelayedTasks], monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    send = relayed.apply_async

    def noted(*args: Any, **kwargs: Any) -> Any:
        events.append("sent")
        return send(*args, **kwargs)

    monkeypatch.setattr(relayed._get_current_object(), "apply_async", noted)
    serve(relaying, events)
    assert events == ["http.response.start", "http.response.body", "sent", "sent"]
    assert keys_in_the_queue(2) == [1, 2]


def test_a_broker_away_for_a_while_costs_the_client_nothing(
    relaying: type[RelayedTasks], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker that is away for a while costs the client nothing."""
    send, failures = relayed.apply_async, [OperationalError(), OperationalError()]

    def refused(*args: Any, **kwargs: Any) -> Any:
        if failures:
            raise failures.pop()
        return send(*args, **kwargs)

    monkeypatch.setattr(relayed._get_current_object(), "apply_async", refused)
    serve(relaying, [])
    assert keys_in_the_queue(2) == [1, 2]


def test_a_list_of_taskiqs_is_sent_before_the_answer() -> None:
    taskiq = pytest.importorskip("taskiq", reason="taskiq is not installed")
    broker, ran = taskiq.InMemoryBroker(await_inplace=True), list[int]()

    @broker.task
    async def work(key: int) -> None:
        ran.append(key)

    server = MiniBG()

    @server.get("/{status:int}")
    async def endpoint(status: int, tasks: TaskiqTasks) -> None:
        tasks.add_task(work, status)
        tasks.add_task(work, status + 1)
        if status != 200:
            raise HTTPException(status)

    assert ask(server, path="/200").status == 200
    assert ran == [200, 201]
    with logged() as log:
        assert ask(server, path="/404").status == 404
    assert (ran, len(log.warnings)) == ([200, 201], 1)
