"""The client of a contender: `python -m minibg.lab.client PORT CLIENT`, in a process outside.

It speaks HTTP over a socket of its own, so that it can hang up wherever a visitor wants it to, and
tells on standard output what it sees, an event a line. It ends when the server has, or in time.

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
"""How long it waits for anything."""


OTHERS = 40
"""How many requests come before, where the client comes after others."""


def tell(event: str, /, **fields: object) -> None:
    """Write one event."""
    print(json.dumps({"event": event, "t": time.perf_counter(), **fields}), flush=True)


def mark(what: str, detail: str = "") -> None:
    """Tell of a moment in the client's lane."""
    tell("mark", lane="client", what=what, detail=detail, request=1)


class Exchange:
    """A connection on which requests are sent and answers read."""

    def __init__(self, port: int, path: str = "/") -> None:
        self.connection = socket.create_connection(("127.0.0.1", port), timeout=SECONDS)
        self.http = h11.Connection(h11.CLIENT)
        self.request = h11.Request(method="GET", target=path, headers=[("host", "lab")])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.connection.close()

    def ask(self, times: int = 1) -> None:
        """Send the request, or as many of them one behind the other."""
        data = self.http.send(self.request) or b""
        self.http.send(h11.EndOfMessage())
        self.connection.sendall(data * times)

    def expect_next(self) -> None:
        """Turn to the answer of the next request, which has been sent."""
        self.http.start_next_cycle()
        self.http.send(self.request)
        self.http.send(h11.EndOfMessage())

    def read_head(self) -> str:
        """The status of the answer, when its head is there."""
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
        """Wait until the server closes the connection, on which it sends nothing more."""
        self.connection.recv(1)


def ask(port: int, client: str) -> None:
    """Send the request, and behave as that client does."""
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
