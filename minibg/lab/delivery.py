"""The sender of webhooks: GitHub's push event, and a client that delivers over a real socket.

What may live here: the other end of the connection, in place of GitHub.
"""

import json
from collections.abc import Generator, Mapping
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from multiprocessing import get_context
from multiprocessing.connection import Connection
from signal import SIG_IGN, SIGINT, signal
from time import perf_counter
from typing import NamedTuple
from urllib.parse import urlsplit
from uuid import uuid4

from minibg.lab.receiver import sign

_USER = {"name": "octocat", "email": "octocat@example.com"}

_COMMIT = {
    "id": "6113728f27ae82c7b1a177c8d03f9e96e0adf246",
    "tree_id": "f9d2a07e9488b91af2641b26b9407fe22a451433",
    "distinct": True,
    "message": "Say hello",
    "timestamp": "2025-01-31T12:00:00+01:00",
    "url": "https://github.example/octocat/hello/commit/6113728f27ae82c7b1a177c8d03f9e96e0adf246",
    "author": _USER,
    "committer": _USER,
    "added": ["hello.py"],
    "removed": [],
    "modified": ["README.md"],
}

PUSH_EVENT = json.dumps(
    {
        "ref": "refs/heads/main",
        "before": "76ae82c7b1a177c8d03f9e96e0adf2466113728f",
        "after": _COMMIT["id"],
        "base_ref": None,
        "created": False,
        "deleted": False,
        "forced": False,
        "compare": "https://github.example/octocat/hello/compare/76ae82c7b1a1...6113728f27ae",
        "commits": [_COMMIT],
        "head_commit": _COMMIT,
        "pusher": _USER,
        "repository": {
            "id": 1296269,
            "name": "hello",
            "full_name": "octocat/hello",
            "private": False,
            "html_url": "https://github.example/octocat/hello",
            "default_branch": "main",
            "owner": {"login": "octocat", "id": 583231, "type": "User"},
        },
        "sender": {"login": "octocat", "id": 583231, "type": "User"},
    }
).encode()
"""A push of one commit, in the shape that GitHub documents for the event `push`."""


class Answer(NamedTuple):
    """The status that the client got, or None if the connection was lost, and when it waited."""

    status: int | None
    sent: float
    received: float

    @property
    def seconds(self) -> float:
        """How long the client waited."""
        return self.received - self.sent


def deliver(url: str, body: bytes, secret: bytes, count: int) -> Generator[Answer]:
    """Deliver the body `count` times, one after another, over one connection.

    If the server closes the connection, the next delivery opens another.
    """
    target, signature = urlsplit(url), sign(secret, body)
    with closing(HTTPConnection(target.netloc, timeout=60)) as connection:
        connection.connect()  # now, so that connecting is not timed
        for _ in range(count):
            headers = {
                "content-type": "application/json",
                "x-github-delivery": str(uuid4()),
                "x-github-event": "push",
                "x-hub-signature-256": signature,
            }
            yield ask_once(connection, "POST", target.path, body, headers)


def ask_once(
    connection: HTTPConnection, method: str, path: str, body: bytes, headers: Mapping[str, str]
) -> Answer:
    """Send a request and read its answer. If the connection is lost, close it."""
    status, sent = None, perf_counter()
    try:
        connection.request(method, path, body, headers)
        with connection.getresponse() as response:
            response.read()
            status = response.status
    except (OSError, HTTPException):
        connection.close()
    return Answer(status, sent, perf_counter())


def deliver_from_outside(url: str, body: bytes, secret: bytes, count: int) -> Generator[Answer]:
    """`deliver` from a process of its own, like a real client, so that they share no GIL.

    `perf_counter` is system-wide, so client and server have the same clock.
    """
    outside = get_context("spawn")
    answers, send = outside.Pipe(duplex=False)
    client = outside.Process(target=_send_answers, args=(send, url, body, secret, count))
    client.start()
    send.close()
    try:
        while True:
            yield answers.recv()
    except EOFError:
        return
    finally:
        client.terminate()
        client.join()


def _send_answers(send: Connection, url: str, body: bytes, secret: bytes, count: int) -> None:
    signal(SIGINT, SIG_IGN)  # Ctrl-C is the server's to handle
    for answer in deliver(url, body, secret, count):
        send.send(answer)
