"""WebSockets on a real server, and a client that knows nothing of ours: the library `websockets`.

What may live here: what only a real connection shows. A server ends when all tasks have, so what a
task did is known once the context of the server has been left.
"""

import logging
import threading
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any, Literal

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from minibg import (
    BackgroundTasks,
    Depends,
    HTTPException,
    MiniBG,
    WebSocket,
    WebSocketDisconnect,
)
from tests.servers.live import LIMIT, SERVERS, Live, Server, on_each


def open_connection(live: Live, path: str = "/", **options: Any) -> ClientConnection:
    """A client's connection to that path. `options` are those of `websockets`."""
    url = f"ws://127.0.0.1:{live.port}{path}"
    return connect(url, open_timeout=LIMIT, close_timeout=LIMIT, proxy=None, **options)


def test_text_bytes_and_json_come_back_as_they_were_sent(server: Server) -> None:
    app = MiniBG()

    @app.websocket("/{kind}")
    async def echo(kind: str, websocket: WebSocket) -> None:
        await websocket.accept()
        if kind == "text":
            async for text in websocket.iter_text():
                await websocket.send_text(text)
        elif kind == "bytes":
            async for data in websocket.iter_bytes():
                await websocket.send_bytes(data)
        else:
            async for value in websocket.iter_json():
                await websocket.send_json(value)

    large = "ü" * 100_000
    with server(app) as live:
        for kind, said, heard in [
            ("text", large, large),
            ("bytes", b"\0\xff" * 1000, b"\0\xff" * 1000),
            ("json", '{"a": [1, null]}', '{"a":[1,null]}'),
        ]:
            with open_connection(live, f"/{kind}") as connection:
                for _ in range(3):
                    connection.send(said)
                    assert connection.recv(LIMIT) == heard


@on_each(SERVERS, "header", uvicorn="1", hypercorn="1", granian=None)
def test_a_subprotocol_and_headers_are_part_of_the_acceptance(
    server: Server, header: str | None
) -> None:
    app = MiniBG()

    @app.websocket("/")
    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept("chat", [(b"x-a", b"1")])
        await websocket.receive_text()

    with server(app) as live, open_connection(live, subprotocols=["other", "chat"]) as connection:
        assert connection.subprotocol == "chat"
        assert connection.response is not None
        assert connection.response.headers.get("x-a") == header


def test_a_close_has_the_code_and_the_reason_that_were_given(server: Server) -> None:
    app = MiniBG()

    @app.websocket("/")
    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.close(3001, "enough")

    with server(app) as live, open_connection(live) as connection:
        with pytest.raises(ConnectionClosed):
            connection.recv(LIMIT)
        assert (connection.close_code, connection.close_reason) == (3001, "enough")


@pytest.mark.parametrize("path", ["/closes", "/raises", "/nobody", "/wrong?n=x"])
def test_a_connection_that_is_not_accepted_is_answered_with_403(server: Server, path: str) -> None:
    app = MiniBG()

    @app.websocket("/closes")
    async def closes(websocket: WebSocket) -> None:
        await websocket.close()

    @app.websocket("/raises")
    async def raises(websocket: WebSocket) -> None:
        raise HTTPException(401)

    @app.websocket("/wrong")
    async def wrong(websocket: WebSocket, n: int) -> None: ...

    with server(app) as live:
        with pytest.raises(InvalidStatus) as refused:
            open_connection(live, path)
        assert refused.value.response.status_code == HTTPStatus.FORBIDDEN


def test_an_endpoint_that_fails_closes_with_1011_and_the_server_logs_it(
    server: Server,
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = MiniBG()

    @app.websocket("/")
    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        raise LookupError("lost")

    with server(app) as live, open_connection(live) as connection:
        with pytest.raises(ConnectionClosed):
            connection.recv(LIMIT)
        assert connection.close_code == 1011
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 1
    assert "LookupError: lost" in caplog.text


@pytest.mark.parametrize("scope", ["function", "request"])
@on_each(SERVERS, "code, reason", uvicorn=(3002, "bye"), hypercorn=(1006, ""), granian=(3002, ""))
def test_a_client_that_goes_away_ends_it_and_then_the_tasks_run(
    server: Server,
    code: int,
    reason: str,
    scope: Literal["function", "request"],
    caplog: pytest.LogCaptureFixture,
) -> None:
    events: list[object] = []
    app = MiniBG()

    def resource() -> Iterator[None]:
        try:
            yield
        finally:
            events.append("close")

    @app.websocket("/")
    async def endpoint(
        websocket: WebSocket,
        tasks: BackgroundTasks,
        held: None = Depends(resource, scope=scope),
    ) -> None:
        tasks.add_task(events.append, "task")
        await websocket.accept()
        try:
            await websocket.receive_text()
        except WebSocketDisconnect as exc:
            events.append((exc.code, exc.reason))
            raise

    with server(app) as live, open_connection(live) as connection:
        connection.close(3002, "bye")
    assert events == [(code, reason), "close", "task"]
    assert caplog.records == []


def test_a_client_need_not_wait_for_the_tasks_of_an_endpoint_that_has_returned(
    server: Server,
) -> None:
    client_knows = threading.Event()
    ran: list[bool] = []
    app = MiniBG()

    @app.websocket("/")
    async def endpoint(websocket: WebSocket, tasks: BackgroundTasks) -> None:
        await websocket.accept()
        tasks.add_task(lambda: ran.append(client_knows.wait(LIMIT)))

    with server(app) as live, open_connection(live) as connection:
        with pytest.raises(ConnectionClosed):
            connection.recv(LIMIT)
        client_knows.set()
        assert connection.close_code == 1000
    assert ran == [True]
