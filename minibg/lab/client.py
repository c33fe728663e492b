"""The client of a contender, in a process of its own: `python -m minibg.lab.client PORT CLIENT`.

It speaks HTTP over its own socket, so that it can hang up at the point that the visitor has chosen.
It writes what it sees to standard output, one event a line. It ends when it has hung up, when the
server has closed the connection, or when the server has been silent for `SECONDS`.

What may live here: the client's end of the connection.
"""

import json
import socket
import sys
import time
from contextlib import ExitStack
from typing import Self

import h11

SECONDS = 40
"""How many seconds it waits for data from the server."""


OTHERS = 40
"""How many requests of others the client "after 40 others" sends before its own."""


def tell(event: str, /, **fields: object) -> None:
    """Write one event."""
    print(json.dumps({"event": event, "t": time.perf_counter(), **fields}), flush=True)


def mark(what: str, detail: str = "") -> None:
    """Write an event that marks a moment in the client's lane."""
    tell("mark", lane="client", what=what, detail=detail, request=1)


class Exchange:
    """A connection that sends requests and reads the answers."""

    def __init__(self, port: int, path: str = "/") -> None:
        self.connection = socket.create_connection(("127.0.0.1", port), timeout=SECONDS)
        self.http = h11.Connection(h11.CLIENT)
        self.request = h11.Request(method="GET", target=path, headers=[("host", "lab")])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.connection.close()

    def ask(self, times: int = 1) -> None:
        """Send the request `times` times, without waiting for answers."""
        data = self.http.send(self.request) or b""
        self.http.send(h11.EndOfMessage())
        self.connection.sendall(data * times)

    def expect_next(self) -> None:
        """Get ready for the answer to the next request, which `ask` has already sent."""
        self.http.start_next_cycle()
        self.http.send(self.request)
        self.http.send(h11.EndOfMessage())

    def read_head(self) -> str:
        """Wait for the head of the answer, and return its status."""
        event = self._next()
        return str(event.status_code if isinstance(event, h11.Response) else "")

    def read_rest(self) -> None:
        """Read the answer to its end."""
        while not isinstance(self._next(), h11.EndOfMessage):
            pass

    def _next(self) -> object:
        while (event := self.http.next_event()) is h11.NEED_DATA:
            data = self.connection.recv(65536)
            if not data:
                raise ConnectionError("it was closed before the answer was complete")
            self.http.receive_data(data)
        return event

    def wait_until_closed(self) -> None:
        """Wait until the server closes the connection. It has nothing more to send."""
        self.connection.recv(1)


def ask(port: int, client: str) -> None:
    """Send the request, and then behave as the client of that name does."""
    with ExitStack() as stack:
        path = "/"
        if client == "after 40 others":
            path = "/sync"
            others = [stack.enter_context(Exchange(port)) for _ in range(OTHERS)]
            for other in others:
                other.ask()
                other.read_head()
                other.read_rest()
        exchange = stack.enter_context(Exchange(port, path))
        tell("asks")
        exchange.ask(2 if client == "pipelines" else 1)
        try:
            _behave(exchange, client)
        except (OSError, h11.RemoteProtocolError):
            mark("connection lost")


def _behave(exchange: Exchange, client: str) -> None:
    if client == "hangs up before":
        mark("hung up")
        return
    status = exchange.read_head()
    mark("first byte")
    if client == "hangs up within":
        mark("hung up")
        return
    exchange.read_rest()
    mark("answer complete", status)
    if client == "hangs up after":
        mark("hung up")
        return
    if client == "pipelines":
        exchange.expect_next()
        status = exchange.read_head()
        exchange.read_rest()
        mark("second answer complete", status)
    exchange.wait_until_closed()
    mark("connection closed", "by the server")


if __name__ == "__main__":
    ask(int(sys.argv[1]), sys.argv[2])
