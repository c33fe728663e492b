"""Real servers in a thread of their own, and a client that writes and reads one connection.

What may live here: starting and ending a server, and talking HTTP/1.1 to it. Every wait has `LIMIT`
as its time limit. The tests say what is served, and what must be seen of it.
"""

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from types import TracebackType
from typing import Any, NamedTuple, Self

import anyio
import granian.server.embed
import hypercorn
import hypercorn.asyncio
import hypercorn.trio
import pytest
import uvicorn
from anyio import CapacityLimiter, to_thread
from granian.constants import Interfaces
from granian.log import LogLevels

from minibg.types import ASGIApp

LIMIT = 10.0
"""How many seconds a test waits for what must happen."""


class Answer(NamedTuple):
    """What a client read: the head's status and headers (names in lower case), and the body."""

    status: int
    headers: dict[str, str]
    body: bytes


class Connection:
    """One connection of a client. Requests go out as they are written, answers come in order."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=LIMIT)
        self.file = self.socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, cls: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.hang_up()

    def hang_up(self) -> None:
        """Close the connection, whatever is still on its way."""
        self.file.close()
        self.socket.close()

    def ask(self, *paths: str) -> None:
        """Send a GET request for each path, all in one piece."""
        head = "GET {} HTTP/1.1\r\nhost: localhost\r\n\r\n"
        self.socket.sendall("".join(head.format(path) for path in paths).encode())

    def read_head(self) -> Answer:
        """Read the next answer up to its body."""
        status = int(self.file.readline().split()[1])
        headers = {}
        while line := self.file.readline().decode("latin-1").strip():
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        return Answer(status, headers, b"")

    def read(self) -> Answer:
        """Read the next answer whole."""
        answer = self.read_head()
        if "content-length" in answer.headers:
            return answer._replace(body=self.file.read(int(answer.headers["content-length"])))
        return answer._replace(body=b"".join(self._chunks()))

    def is_at_its_end(self) -> bool:
        """Whether the server has closed the connection, and no answer is left to be read."""
        return self.file.peek(1) == b""

    def _chunks(self) -> Iterator[bytes]:
        size = -1
        while size != 0:
            size = int(self.file.readline(), 16)
            yield self.file.read(size)
            self.file.readline()


class Live(NamedTuple):
    """A running server: where it listens, and how it is told to end without waiting for it."""

    port: int
    stop: Callable[[], None]

    def connect(self) -> Connection:
        """Open a connection."""
        return Connection(self.port)

    def get(self, path: str) -> Answer:
        """The answer to a GET request on a connection of its own."""
        with self.connect() as connection:
            connection.ask(path)
            return connection.read()


Server = Callable[[ASGIApp], AbstractContextManager[Live]]
"""Serves an application until the context is left, which waits for the server's end."""


@contextmanager
def _in_a_thread(run: Callable[[], Any], stop: Callable[[], None]) -> Iterator[None]:
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop()
        thread.join(2 * LIMIT)  # a task that it waits for may itself wait for `LIMIT`
        assert not thread.is_alive(), "the server did not end"


async def _until(event: threading.Event) -> None:
    """Wait for an event of another thread, in a thread that nobody else may need."""
    await to_thread.run_sync(event.wait, limiter=CapacityLimiter(1), abandon_on_cancel=True)


def listening() -> socket.socket:
    """A socket that listens on a free port, whose connections send all they have at once.

    asyncio sets that for sockets of its own making only.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


class _Uvicorn(uvicorn.Server):
    """uvicorn that ends as soon as it is told to, and does not look for that ten times a second."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening, self.told_to_end = threading.Event(), threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    async def main_loop(self) -> None:
        await self.on_tick(0)
        await _until(self.told_to_end)

    def stop(self) -> None:
        self.should_exit = True
        self.told_to_end.set()


def uvicorn_with(http: str, loop: str, *, ws: str = "websockets-sansio", **options: Any) -> Server:
    """uvicorn with that HTTP parser, event loop, implementation of WebSockets, and options."""

    @contextmanager
    def serve(app: ASGIApp) -> Iterator[Live]:
        config = uvicorn.Config(app, http=http, loop=loop, ws=ws, log_config=None, **options)
        server = _Uvicorn(config)
        with (
            listening() as listener,
            _in_a_thread(partial(server.run, [listener]), server.stop),
        ):
            assert server.listening.wait(LIMIT), "the server did not start"
            yield Live(listener.getsockname()[1], server.stop)

    return serve


def hypercorn_with(worker: str) -> Server:
    """hypercorn with that class of worker, which is the event loop's name."""
    serve_forever = {"asyncio": hypercorn.asyncio.serve, "trio": hypercorn.trio.serve}[worker]

    @contextmanager
    def serve(app: ASGIApp) -> Iterator[Live]:
        listener = listening()  # who connects early waits in its queue
        port = listener.getsockname()[1]
        config = hypercorn.Config()
        config.bind = [f"fd://{listener.detach()}"]  # hypercorn closes it
        config.errorlog = logging.getLogger("hypercorn.error")  # as it is: with no handler
        config.graceful_timeout = 2 * LIMIT
        stop = threading.Event()
        run = partial(serve_forever, app, config, shutdown_trigger=partial(_until, stop))
        with _in_a_thread(partial(anyio.run, run, backend=worker), stop.set):
            yield Live(port, stop.set)

    return serve


@contextmanager
def reserved_port() -> Iterator[int]:
    """A port for a server that sets SO_REUSEADDR or SO_REUSEPORT; nobody else is given it."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(("127.0.0.1", 0))  # bound and not listening, it is given no connection
        yield holder.getsockname()[1]


def wait_until_listening(port: int) -> None:
    """Wait until a server takes connections at the port."""
    give_up = time.monotonic() + LIMIT
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=LIMIT).close()
        except ConnectionRefusedError:
            assert time.monotonic() < give_up, "the server did not start"
            time.sleep(0.01)
        else:
            return


@contextmanager
def granian_embedded(app: ASGIApp) -> Iterator[Live]:
    """granian in a thread, as the application of a test is in this process and cannot leave it.

    It ends without what still runs. So that is waited for here, as a test may.
    """
    stop = threading.Event()

    async def run(server: granian.server.embed.Server) -> None:
        serving = asyncio.create_task(server.serve())
        await _until(stop)
        server.stop()
        await serving
        left = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*left, return_exceptions=True)

    with reserved_port() as port:
        server = granian.server.embed.Server(
            app,
            port=port,
            interface=Interfaces.ASGI,
            log_level=LogLevels.error,
            log_dictconfig={"incremental": True, "handlers": {}, "loggers": {}},
        )
        with _in_a_thread(lambda: asyncio.run(run(server)), stop.set):
            wait_until_listening(port)
            yield Live(port, stop.set)


SERVERS: dict[str, Server] = {
    "uvicorn, h11, asyncio": uvicorn_with("h11", "asyncio"),
    "uvicorn, httptools, uvloop": uvicorn_with("httptools", "uvloop"),
    "hypercorn, asyncio": hypercorn_with("asyncio"),
    "hypercorn, trio": hypercorn_with("trio"),
    "granian": granian_embedded,
}
"""Each loop and each parser at least once: in uvicorn, neither of the two knows of the other."""


def on_each(names: Iterable[str], facts: str, **of: object) -> pytest.MarkDecorator:
    """Run the test on each server, and pass it the facts that hold there.

    What holds is said by the first word of the name. Several facts are a tuple.
    """
    cases = []
    for name in names:
        held = of[name.partition(",")[0]]
        cases.append(pytest.param(name, *(held if isinstance(held, tuple) else (held,)), id=name))
    return pytest.mark.parametrize(("server", *facts.split(", ")), cases, indirect=["server"])
