"""The client of a contender: `python -m minibg.lab.client PORT CLIENT`, in a process outside.

It speaks HTTP over a plain socket, so that it can hang up where a visitor wants it to, and tells on
stdout what it sees, an event a line.

What may live here: the client's end of the connection.
"""

import json
import select
import socket
import sys
import time

REQUEST = b"GET / HTTP/1.1\r\nhost: lab\r\n\r\n"
SECONDS = 15


def tell(event: str, /, **fields: object) -> None:
    """Write one event."""
    print(json.dumps({"event": event, "t": time.perf_counter(), **fields}), flush=True)


def mark(what: str, detail: str = "") -> None:
    """Tell of a moment in the client's lane."""
    tell("mark", lane="client", what=what, detail=detail)


class Answer:
    """One answer, as it comes in."""

    def __init__(self, connection: socket.socket, left: bytes = b"") -> None:
        self.connection = connection
        self.data = left
        self.has_begun = False

    def read_until_it(self, is_there: bool = False) -> None:
        """Read until the whole answer is there, or its first piece.

        Raises:
            ConnectionError: If the connection ends before.
        """
        while not (self.length if not is_there else b"\r\n\r\n" in self.data):
            piece = self.connection.recv(65536)
            if not piece:
                raise ConnectionError
            if not self.has_begun:
                self.has_begun = True
                mark("first byte")
            self.data += piece

    @property
    def length(self) -> int:
        """How many bytes the whole answer has; 0, if it is not complete."""
        head, there, body = self.data.partition(b"\r\n\r\n")
        if not there:
            return 0
        lengths = [line for line in head.lower().split(b"\r\n") if b"content-length:" in line]
        if lengths:
            whole = len(head) + 4 + int(lengths[0].split(b":")[1])
            return whole if len(self.data) >= whole else 0
        end = body.find(b"0\r\n\r\n")
        return len(head) + 4 + end + 5 if end >= 0 else 0

    @property
    def status(self) -> str:
        """Its status."""
        return self.data.split(b" ", 2)[1].decode()


def ask(port: int, client: str) -> None:
    """Send the request, and behave as that client does."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=SECONDS)
    tell("begin", id="client", lane="client", what="waits for the answer", kind="client", task=None)
    connection.sendall(REQUEST * (2 if client == "pipelines" else 1))
    how = "ended"
    try:
        if client == "hangs up before":
            mark("hung up")
            return
        answer = Answer(connection)
        if client == "hangs up within":
            answer.read_until_it(is_there=True)
            mark("hung up")
            return
        answer.read_until_it()
        mark("answer complete", answer.status)
        tell("finish", id="client", how="ended", detail=answer.status)
        if client == "hangs up after":
            mark("hung up")
            return
        if client == "pipelines":
            second = Answer(connection, answer.data[answer.length :])
            second.read_until_it()
            mark("second answer complete", second.status)
        if select.select([connection], [], [], SECONDS)[0] and not connection.recv(1):
            mark("connection closed", "by the server")
    except (ConnectionError, TimeoutError):
        how = "failed"
        mark("connection lost")
    finally:
        tell("finish", id="client", how=how, detail="")
        connection.close()


if __name__ == "__main__":
    ask(int(sys.argv[1]), sys.argv[2])
