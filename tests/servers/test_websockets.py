"""WebSockets on a real server, and a client that knows nothing of ours: the library `websockets`.

What may live here: facts that only a real connection shows. A server ends when all tasks have, so
what a task did is known after the context of the server.
"""

import logging
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any, Literal

import anyio
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
    WebSocketException,
)
from tests.servers.live import LIMIT, SERVERS, Live, Server, on_each, uvicorn_with

IMPLEMENTATIONS = {
    **SERVERS,
    "uvicorn, wsproto": uvicorn_with("h11", "asyncio", ws="wsproto"),
    "uvicorn, websockets": uvicorn_with("h11", "asyncio", ws="websockets"),
}
"""uvicorn has three implementations of WebSockets; that of `SERVERS` is "websockets-sansio"."""

DEPRECATED = {"uvicorn, websockets": pytest.mark.filterwarnings("ignore")}
each_implementation = pytest.mark.parametrize(
    "implementation",
    [pytest.param(name, marks=DEPRECATED.get(name, ())) for name in IMPLEMENTATIONS],
)


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


@pytest.fixture
def refusing() -> MiniBG:
    app = MiniBG()

    @app.websocket("/closes")
    async def closes(websocket: WebSocket) -> None:
        await websocket.close()

    @app.websocket("/raises")
    async def raises(websocket: WebSocket) -> None:
        raise WebSocketException(3000)

    @app.websocket("/http")
    async def http(websocket: WebSocket) -> None:
        raise HTTPException(401, "who?", {"www-authenticate": "Bearer"})

    @app.websocket("/value")
    async def value(websocket: WebSocket, n: int) -> None: ...

    @app.websocket("/bug")
    async def bug(websocket: WebSocket) -> None:
        raise LookupError("lost")

    return app


def refusal(live: Live, path: str) -> tuple[int, str | None, bytes]:
    """The status, the challenge and the body by which a connection is refused."""
    with pytest.raises(InvalidStatus) as refused:
        open_connection(live, path)
    response = refused.value.response
    challenge = response.headers.get("www-authenticate")
    return response.status_code, challenge, bytes(response.body or b"")


@each_implementation
def test_a_connection_is_refused_with_the_status_that_fits(
    implementation: str, refusing: MiniBG, caplog: pytest.LogCaptureFixture
) -> None:
    """A connection that is not accepted is refused with the status that fits."""
    with IMPLEMENTATIONS[implementation](refusing) as live:
        assert refusal(live, "/closes")[0] == 403
        assert refusal(live, "/raises")[0] == 403
        assert refusal(live, "/http") == (401, "Bearer", b'{"detail":"who?"}')
        assert refusal(live, "/nobody")[0] == 404
        assert refusal(live, "/value?n=x")[0] == 422
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


@each_implementation
def test_an_error_before_accept_is_a_500_and_the_server_logs_it(
    implementation: str, refusing: MiniBG, caplog: pytest.LogCaptureFixture
) -> None:
    with IMPLEMENTATIONS[implementation](refusing) as live:
        assert refusal(live, "/bug") == (500, None, b"Internal Server Error")
    assert "LookupError: lost" in caplog.text


def test_an_endpoint_that_fails_closes_with_1011(
    server: Server,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An endpoint that fails closes with 1011, and the server logs it."""
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


def test_a_client_need_not_wait_for_the_tasks(
    server: Server,
) -> None:
    """A client need not wait for the tasks of an endpoint that has returned."""
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


def vanish(connection: ClientConnection) -> None:
    """Reset the connection without a Close frame, as a client does whose power is cut."""
    connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.socket.shutdown(socket.SHUT_RDWR)


@each_implementation
@pytest.mark.parametrize("leave", [ClientConnection.close, vanish])
def test_a_client_that_has_gone_ends_whatever_is_tried(
    implementation: str, leave: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A client that has gone is an end for all that is tried afterwards."""
    closed = threading.Event()
    events: list[str] = []
    app = MiniBG()

    @app.websocket("/")
    async def endpoint(websocket: WebSocket, tasks: BackgroundTasks) -> None:
        tasks.add_task(events.append, "task")
        await websocket.accept()
        try:
            async for _ in websocket.iter_text():
                pass
            for _ in range(2):
                with pytest.raises(WebSocketDisconnect):
                    await websocket.receive_text()
                with pytest.raises(WebSocketDisconnect):
                    await websocket.send_text("x")
            await websocket.receive()
        finally:
            await websocket.close()
            events.append("closed")
            closed.set()

    with IMPLEMENTATIONS[implementation](app) as live, open_connection(live) as connection:
        leave(connection)
        assert closed.wait(LIMIT)
    assert events == ["closed", "task"]
    assert caplog.records == []


@each_implementation
def test_a_close_wakes_all_who_wait_for_a_message(
    implementation: str, caplog: pytest.LogCaptureFixture
) -> None:
    events: list[object] = []
    app = MiniBG()

    async def wait(websocket: WebSocket) -> None:
        with pytest.raises(WebSocketDisconnect) as raised:
            await websocket.receive_text()
        events.append((raised.value.code, raised.value.reason))

    @app.websocket("/")
    async def endpoint(websocket: WebSocket, tasks: BackgroundTasks) -> None:
        tasks.add_task(events.append, "task")
        await websocket.accept()
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(wait, websocket)
            await anyio.wait_all_tasks_blocked()
            await websocket.close(3000, "enough")

    serve = IMPLEMENTATIONS[implementation]
    with serve(app) as live, open_connection(live) as connection, pytest.raises(ConnectionClosed):
        connection.recv(LIMIT)
    assert events == [*3 * [(3000, "enough")], "task"]
    assert caplog.records == []
