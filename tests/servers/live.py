"""Real servers in a thread of their own, and a client that writes and reads one connection.

What may live here: starting and ending a server, and talking HTTP/1.1 to it. Every wait has `LIMIT`
as its time limit. What is served, and what must be seen of it, is said by the tests.
"""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http.client import parse_headers
from types import TracebackType
from typing import NamedTuple, Self

import uvicorn

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
        headers = {name.lower(): value for name, value in parse_headers(self.file).items()}
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


class _Uvicorn(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    def stop(self) -> None:
        self.should_exit = True


def uvicorn_with(http: str, loop: str, *, ws: str = "none") -> Server:
    """uvicorn with that HTTP parser, that event loop and that implementation of WebSockets."""

    @contextmanager
    def serve(app: ASGIApp) -> Iterator[Live]:
        server = _Uvicorn(uvicorn.Config(app, http=http, loop=loop, ws=ws, log_config=None))
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
            thread.start()
            try:
                assert server.listening.wait(LIMIT), "the server did not start"
                yield Live(port, server.stop)
            finally:
                server.stop()
                thread.join(2 * LIMIT)  # a task that it waits for may itself wait for `LIMIT`
                assert not thread.is_alive(), "the server did not end"

    return serve


SERVERS = {
    "uvicorn, h11, asyncio": uvicorn_with("h11", "asyncio"),
    "uvicorn, httptools, uvloop": uvicorn_with("httptools", "uvloop"),
}
"""Each parser once and each loop once: neither knows of the other."""
