"""A raw ASGI client: one request to an application in process, and every message of the answer.

It holds the application to the protocol (ASGI specification, HTTP): one start, then the body, and
nothing after its end. The tests say what an answer must be.
"""

import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from anyio.lowlevel import checkpoint

from minibg.types import ASGIApp, Message, Scope

untraced = pytest.mark.skipif(sys.gettrace() is not None, reason="tracing takes time of its own")
"""For tests that measure time, as `coverage` multiplies that of functions written in Python."""

LIMIT = 30.0
"""Seconds after which an application is taken to hang, on a machine that is busy besides."""

JSON = [(b"content-type", b"application/json")]
"""The headers of a request whose body is JSON."""


@dataclass
class Answer:
    """What the server was handed, and what was left unread of the request's body.

    `error` is what the application raised in the end.
    """

    unread: list[bytes]
    messages: list[Message] = field(default_factory=list)
    error: BaseException | None = None

    @property
    def status(self) -> int:
        return int(self.messages[0]["status"])

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        return list(self.messages[0]["headers"])

    @property
    def body(self) -> bytes:
        return b"".join(message["body"] for message in self.messages[1:])

    @property
    def complete(self) -> bool:
        return len(self.messages) > 1 and not self.messages[-1].get("more_body", False)

    def take(self, message: Message) -> None:
        expected = "http.response.body" if self.messages else "http.response.start"
        assert message["type"] == expected
        assert not self.complete, "the response had ended"
        self.messages.append(message)


_loop: ContextVar[tuple[str, BlockingPortal] | None] = ContextVar("the loop", default=None)


@contextmanager
def one_loop(backend: str = "asyncio") -> Iterator[None]:
    """Let one event loop, with its threads, serve all that is asked until the context is left.

    To make both anew takes several times as long as a small request. Applications must behave: no
    time limit ends one that holds the loop, what is no `Exception` ends the loop itself, and a task
    that is left behind lives on.
    """
    with start_blocking_portal(backend) as portal:
        token = _loop.set((backend, portal))
        try:
            yield
        finally:
            _loop.reset(token)


def ask(
    app: ASGIApp,
    method: str = "GET",
    path: str = "/",
    headers: Iterable[tuple[bytes, bytes]] = (),
    body: Iterable[bytes] = (b"",),
    *,
    gone_after: int | None = None,
    fails: type[BaseException] | None = None,
    backend: str = "asyncio",
    **scope: Any,
) -> Answer:
    """Send the request and return its answer.

    Args:
        body: The pieces in which the request's body comes.
        gone_after: The client goes away when it has sent its body and has taken so many messages.
        fails: What the application is expected to raise to the server.
        scope: What else stands in the connection scope.
    """
    answer = Answer(list(body))

    async def converse() -> None:
        gone = anyio.Event()

        async def receive() -> Message:
            if answer.unread:
                piece = answer.unread.pop(0)
                return {"type": "http.request", "body": piece, "more_body": bool(answer.unread)}
            if gone_after != len(answer.messages):
                await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            answer.take(message)
            if gone_after == len(answer.messages):
                gone.set()
            await checkpoint()

        with anyio.fail_after(LIMIT):
            await app(http_scope(method, path, headers, **scope), receive, send)

    if fails is None:
        _run(converse, backend)
    else:
        with pytest.raises(fails) as raised:
            _run(converse, backend)
        answer.error = raised.value
    return answer


def _run(converse: Callable[[], Awaitable[None]], backend: str) -> None:
    match _loop.get():
        case None:
            anyio.run(converse, backend=backend)
        case (kind, portal):
            assert kind == backend, "the loop is of another kind"
            portal.call(converse)


def http_scope(
    method: str = "GET",
    path: str = "/",
    headers: Iterable[tuple[bytes, bytes]] = (),
    **more: Any,
) -> Scope:
    """A connection scope as a server makes it."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "scheme": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode("utf-8", "surrogatepass"),
        "query_string": b"",
        "root_path": "",
        "headers": list(headers),
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8000),
        **more,
    }
