"""A client that goes away is noticed, whatever it has sent, and listening for it loses no body.

What may live here: requests with every kind of body, read or not, and clients that hang up. A
server ends when all requests have, so a stream that goes on would show there as well.
"""

import threading
from collections.abc import AsyncIterator, Callable
from typing import Annotated

import anyio
import pytest
from starlette.middleware.base import BaseHTTPMiddleware

from minibg import Depends, MiniBG, Request, StreamingResponse
from minibg.types import ASGIApp
from tests.servers.live import LIMIT, Server
from tests.servers.test_middleware import dispatch

LENGTH = "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n"
CHUNKED = "{method} {path} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n"

LARGE = b"x" * 300_000  # more than a server reads at once


def with_length(body: bytes, length: int | None = None) -> Callable[[str, str], bytes]:
    """A request with that body, and that length, the body's by default."""
    declared = len(body) if length is None else length
    return lambda method, path: (
        LENGTH.format(method=method, path=path, length=declared).encode() + body
    )


def chunked(*chunks: bytes, last: bytes = b"0\r\n\r\n") -> Callable[[str, str], bytes]:
    """A request with a body of those chunks."""
    body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return lambda method, path: CHUNKED.format(method=method, path=path).encode() + body + last


BODIES = {
    "none": lambda method, path: f"{method} {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode(),
    "whole": with_length(b"{}"),
    "incomplete": with_length(b"hello", 50),
    "large": with_length(LARGE),
    "large, incomplete": with_length(LARGE, 2 * len(LARGE)),
    "too large": with_length(b"x" * 3_000_000),
    "chunked": chunked(b"one", b"two"),
    "chunked, incomplete": chunked(b"one", last=b""),
    "chunked, large": chunked(*[LARGE[:10_000]] * 30),
}
"""What a client may have sent when it hangs up, by name: given method and path, the request."""

WRAPPED: dict[str, Callable[[MiniBG], ASGIApp]] = {
    "alone": lambda app: app,
    "inside BaseHTTPMiddleware": lambda app: BaseHTTPMiddleware(app, dispatch),
}

bodies = pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
wrapped = pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED)


@wrapped
@bodies
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_stream_ends_with_its_client_beside_any_unread_body(
    server: Server,
    method: str,
    body: Callable[[str, str], bytes],
    wrap: Callable[[MiniBG], ASGIApp],
) -> None:
    """A stream ends with its client, whatever body nobody has read."""
    app = MiniBG(max_body_size=1_000_000)
    stream_closed, dependency_closed = threading.Event(), threading.Event()

    async def held() -> AsyncIterator[None]:
        try:
            yield
        finally:
            dependency_closed.set()

    async def forever() -> AsyncIterator[str]:
        try:
            while True:
                yield "x"
                await anyio.sleep(0.01)
        finally:
            stream_closed.set()

    @app.route("/", methods=[method])
    async def endpoint(held: Annotated[None, Depends(held)]) -> StreamingResponse:
        return StreamingResponse(forever())

    with server(wrap(app)) as live, live.connect() as connection:
        connection.socket.sendall(body(method, "/"))
        assert connection.read_head().status == 200
        connection.hang_up()
        assert stream_closed.wait(LIMIT)
        assert dependency_closed.wait(LIMIT)


@wrapped
@pytest.mark.parametrize("times", [1, 20])
def test_asking_for_the_client_loses_nothing_of_a_slow_body(
    server: Server, times: int, wrap: Callable[[MiniBG], ASGIApp]
) -> None:
    """To ask for the client loses nothing of a body that comes slowly."""
    app = MiniBG()
    asked = threading.Semaphore(0)

    @app.route("/", methods=["POST"])
    async def endpoint(request: Request) -> int:
        for _ in range(times):
            assert not await request.is_disconnected()
            asked.release()
            with anyio.move_on_after(0.001):
                await request.receive_disconnect()
        return len(await request.body())

    with server(wrap(app)) as live, live.connect() as connection:
        request = with_length(LARGE)("POST", "/")
        connection.socket.sendall(request[:1000])
        size = len(request) // times + 1
        for position in range(1000, len(request), size):
            assert asked.acquire(timeout=LIMIT)
            connection.socket.sendall(request[position : position + size])
        assert connection.read().body == b"%d" % len(LARGE)


@wrapped
@bodies
def test_a_client_that_has_gone_is_noticed_by_asking(
    server: Server,
    body: Callable[[str, str], bytes],
    wrap: Callable[[MiniBG], ASGIApp],
) -> None:
    app = MiniBG(max_body_size=1_000_000)
    asked, gone = threading.Event(), threading.Event()

    @app.route("/", methods=["POST"])
    async def endpoint(request: Request) -> None:
        while not await request.is_disconnected():
            asked.set()
            await anyio.sleep(0.001)
        gone.set()

    with server(wrap(app)) as live, live.connect() as connection:
        connection.socket.sendall(body("POST", "/"))
        assert asked.wait(LIMIT)
        connection.hang_up()
        assert gone.wait(LIMIT)
