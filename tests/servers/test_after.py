"""**after** on a real server: what the client has read, and whether it is there, when a task runs.

What may live here: the moments of a connection at which tasks start, or do not. A server ends when
all tasks have, so what they did is known after the context of the server.
"""

import logging
import threading
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import asynccontextmanager, closing

import pytest
from anyio import to_thread
from anyio.lowlevel import checkpoint

from minibg import BackgroundTasks, Middleware, MiniBG, Request, Response, StreamingResponse
from minibg.types import ASGIApp, Message, Receive, Scope, Send
from tests.servers.live import LIMIT, Server
from tests.servers.pieces import MEGABYTE, endless


def pieces(body: bytes) -> Generator[bytes]:
    for start in range(0, len(body), MEGABYTE):
        yield body[start : start + MEGABYTE]


async def pieces_async(body: bytes) -> AsyncIterator[bytes]:
    for piece in pieces(body):
        yield piece


ANSWERS: dict[str, Callable[[bytes], Response]] = {
    "at once": Response,
    "by a sync iterator": lambda body: StreamingResponse(pieces(body)),
    "by an async iterator": lambda body: StreamingResponse(pieces_async(body)),
}


@pytest.mark.parametrize("sent", ANSWERS)
@pytest.mark.parametrize("size", [1, 8 * MEGABYTE])
def test_the_client_has_the_answer_before_the_first_task_ends(
    server: Server, size: int, sent: str
) -> None:
    """The client has the whole answer before the first task ends."""
    body = b"x" * size
    client_has_it = threading.Event()
    ran: list[str] = []
    app = MiniBG()

    def sync_task() -> None:
        assert client_has_it.wait(LIMIT)
        ran.append("sync")

    async def async_task() -> None:
        assert await to_thread.run_sync(client_has_it.wait, LIMIT)
        ran.append("async")

    @app.get("/{first}")
    async def endpoint(first: str, tasks: BackgroundTasks) -> Response:
        tasks.add_task({"sync": sync_task, "async": async_task}[first])
        return ANSWERS[sent](body)

    with server(app) as live:
        assert live.get("/sync").body == body
        assert live.get("/async").body == body
        client_has_it.set()
    assert sorted(ran) == ["async", "sync"]


class SlowToReturn:
    """Middleware whose `send` returns a while after the server has taken the last byte."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_slowly(message: Message) -> None:
            await send(message)
            for _ in range(10):
                await checkpoint()

        await self.app(scope, receive, send_slowly if scope["type"] == "http" else send)


def test_a_disconnect_after_the_last_byte_stops_no_task(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """A server that says goodbye after the last byte does not stop the tasks.

    uvicorn's `receive` gives `http.disconnect` as soon as the response is complete.
    """
    ran: list[str] = []
    app = MiniBG(middleware=[Middleware(SlowToReturn)])

    @app.get("/")
    def endpoint(tasks: BackgroundTasks) -> Response:
        tasks.add_task(ran.append, "task")
        return StreamingResponse(pieces(b"body"))

    with server(app) as live:
        assert live.get("/").body == b"body"
    assert ran == ["task"]
    assert caplog.messages == []


def test_tasks_run_for_a_client_that_does_not_wait(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """The tasks of a client that does not wait for the answer run."""
    asked, gone = threading.Event(), threading.Event()
    ran: list[str] = []
    app = MiniBG()

    async def async_task() -> None:
        ran.append("async")

    @app.get("/")
    async def endpoint(request: Request, tasks: BackgroundTasks) -> None:
        tasks.add_task(ran.append, "sync")
        tasks.add_task(async_task)
        asked.set()
        await request.receive_disconnect()
        gone.set()

    with server(app) as live:
        with live.connect() as connection:
            connection.ask("/")
            assert asked.wait(LIMIT)  # granian need not begin with what nobody waits for
        assert gone.wait(LIMIT)
    assert ran == ["sync", "async"]
    assert caplog.messages == []


def send_mail() -> None:
    raise AssertionError("a task ran where none may start")


def not_run(reason: str) -> tuple[str, int, str]:
    """The record that names `send_mail` as not run, for that reason."""
    message = f"background tasks not run ({reason}): {__name__}.send_mail"
    return ("minibg.background", logging.WARNING, message)


def test_no_task_runs_for_half_a_request(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """No task runs for a client that hangs up in the middle of its request."""
    asked = threading.Event()
    app = MiniBG()

    @app.post("/")
    async def endpoint(request: Request, tasks: BackgroundTasks) -> None:
        tasks.add_task(send_mail)
        asked.set()
        await request.body()

    with server(app) as live:
        with live.connect() as connection:
            connection.socket.sendall(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{")
        assert asked.wait(LIMIT)
    assert caplog.record_tuples == [not_run("the endpoint raised ClientDisconnect")]


async def endless_async(closed: threading.Event) -> AsyncIterator[bytes]:
    with closing(endless(closed)) as content:
        for piece in content:
            yield piece


@pytest.mark.parametrize("content", [endless, endless_async])
def test_a_client_that_hangs_up_ends_an_endless_answer(
    server: Server,
    content: Callable[[threading.Event], Generator[bytes] | AsyncIterator[bytes]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A client that hangs up in an endless answer ends it, and no task runs.

    The async iterator never waits, so that nothing but the framework lets the loop turn.
    """
    closed = threading.Event()
    iterator = content(closed)  # held here, so that it is not closed merely because it is forgotten
    app = MiniBG()

    @app.get("/")
    def endpoint(tasks: BackgroundTasks) -> Response:
        tasks.add_task(send_mail)
        return StreamingResponse(iterator)

    with server(app) as live:
        with live.connect() as connection:
            connection.ask("/")
            assert connection.read_head().status == 200
            assert len(connection.file.read(MEGABYTE)) == MEGABYTE
        assert closed.wait(LIMIT)
    assert caplog.record_tuples == [not_run("the response was not sent, ClientDisconnect")]


def test_the_application_does_not_end_before_its_tasks(server: Server) -> None:
    started, release, ended = threading.Event(), threading.Event(), threading.Event()
    ran: list[str] = []

    @asynccontextmanager
    async def lifespan(app: MiniBG) -> AsyncIterator[None]:
        yield
        ended.set()

    app = MiniBG(lifespan=lifespan)

    def slow() -> None:
        started.set()
        assert release.wait(LIMIT)
        ran.append("slow")

    @app.get("/")
    def endpoint(tasks: BackgroundTasks) -> None:
        tasks.add_task(slow)
        tasks.add_task(ran.append, "next")

    with server(app) as live:
        assert live.get("/").status == 200
        assert started.wait(LIMIT)
        live.stop()
        assert not ended.wait(0.5)
        release.set()
    assert ended.is_set()
    assert ran == ["slow", "next"]
