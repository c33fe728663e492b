"""Hostile bytes on real sockets: requests that no HTTP library would send, written by hand.

How a server itself answers is its own business. What may live here: that the application takes no
harm from the requests that get through, and that the next client is served.
"""

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from queue import Queue
from struct import pack

import pytest

from minibg import BackgroundTasks, MiniBG, Request, UploadFile, WebSocket
from minibg.types import Receive, Scope, Send
from tests.servers.live import LIMIT, Connection, Live, Server, uvicorn_with

HEAD = b"POST / HTTP/1.1\r\nhost: localhost\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n"
FORM = b"content-type: multipart/form-data; boundary=xXx\r\n"
FILE = b'--xXx\r\ncontent-disposition: form-data; name="file"; filename="f"\r\n\r\n'


class Attacked:
    """An application, what its requests came to, which of its tasks ran, and what it raised."""

    def __init__(self) -> None:
        self.ends: Queue[str] = Queue()
        self.ran: list[str] = []
        self.raised: list[BaseException] = []
        self.app = MiniBG(max_body_size=1000)
        self.app.post("/")(self.read)
        self.app.post("/upload")(self.upload)
        self.app.get("/{path:path}")(self.serve)
        self.app.websocket("/")(self.echo)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self.app(scope, receive, send)
        except BaseException as exc:
            self.raised.append(exc)
            raise

    async def read(self, request: Request) -> int:
        try:
            body = await request.body()
        except BaseException as exc:
            self.ends.put(type(exc).__name__)
            raise
        self.ends.put(f"read {len(body)}")
        return len(body)

    async def upload(self, file: UploadFile) -> int:
        return file.size

    def serve(self, path: str, tasks: BackgroundTasks) -> str:
        tasks.add_task(self.ran.append, path)
        return path

    async def echo(self, websocket: WebSocket, tasks: BackgroundTasks) -> None:
        tasks.add_task(self.ran.append, "a WebSocket")
        await websocket.accept()
        async for text in websocket.iter_text():
            await websocket.send_text(text)


@contextmanager
def attacked(server: Server) -> Iterator[tuple[Attacked, Live]]:
    """Serve that, and assert in the end that it took no harm and serves the next client."""
    target = Attacked()
    with server(target) as live:
        yield target, live
        assert live.get("/next").body == b'"next"'
    assert target.ran.count("next") == 1
    assert target.raised == []


def status_of(live: Live, raw: bytes) -> int | None:
    """The status of the answer to that, None if the server hangs up without one."""
    answer = b""
    with live.connect() as connection:
        with suppress(OSError):  # a server that has seen enough reads no more
            connection.socket.sendall(raw)
            connection.socket.shutdown(socket.SHUT_WR)
        with suppress(ConnectionError):
            answer = connection.file.read()
    status = re.match(rb"HTTP/1.1 (\d+)", answer)
    return status and int(status[1])


# --- HTTP ----------------------------------------------------------------------------------------


NO_HTTP = [
    b"\r\n" * 50 + b"\0\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\xff" * 100 + b"\r\n\r\n",
    b"GET\r\n\r\n",
    b"G\xffT / HTTP/1.1\r\nhost: a\r\n\r\n",
    b"GET /\xff\0 HTTP/1.1\r\nhost: a\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost: a\r\nno colon\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost: a\r\nx\0y: 1\r\n\r\n",
    CHUNKED + b"\r\nno number\r\n",
    CHUNKED + b"\r\n-5\r\nhello\r\n0\r\n\r\n",
    CHUNKED + b"\r\n" + b"f" * 40 + b"\r\n",
    CHUNKED + b"\r\n2\r\nhello\r\n0\r\n\r\n",
    HEAD + b"content-length: five\r\n\r\nhello",
    HEAD + b"content-length: -5\r\n\r\nhello",
    HEAD + b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello",
]


def test_what_is_no_http_is_refused(server: Server) -> None:
    with attacked(server) as (_, live):
        for raw in NO_HTTP:
            assert status_of(live, raw) in (400, 404, None), raw


HEADS_OF_MEGABYTES = {
    "header": b"GET / HTTP/1.1\r\nhost: a\r\nx-a: " + b"a" * 2**21 + b"\r\n\r\n",
    "headers": b"GET / HTTP/1.1\r\nhost: a\r\n" + b"x-a: a\r\n" * 2**17 + b"\r\n",
    "query": b"GET /?" + b"a=1&" * 2**18 + b" HTTP/1.1\r\nhost: a\r\n\r\n",
    "path": b"GET /" + b"%ff" * 2**18 + b" HTTP/1.1\r\nhost: a\r\n\r\n",
}


def test_a_head_of_megabytes_is_served_or_refused(server: Server) -> None:
    with attacked(server) as (_, live):
        for what, raw in HEADS_OF_MEGABYTES.items():
            assert status_of(live, raw) in (200, 400, 404, 414, 431, None), what


def test_a_length_and_chunks_are_refused_or_read_as_chunks(server: Server) -> None:
    """A length and chunks together are refused, or read as chunks.

    Else what follows might be a request for one server, and a body for another.
    """
    smuggled = b"GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n"
    raw = CHUNKED + b"content-length: 1\r\n\r\n5\r\nhello\r\n0\r\n\r\n" + smuggled
    with attacked(server) as (_, live), live.connect() as connection:
        connection.socket.sendall(raw)
        served = []
        while len(served) < 2 and not connection.is_at_its_end():
            served += [answer.body] if (answer := connection.read()).status == 200 else []
        assert served in ([], [b"5"], [b"5", b'"smuggled"'])


BROKEN_OFF = {
    "a length that is too large": HEAD + b"content-length: 10\r\n\r\nhello",
    "between two chunks": CHUNKED + b"\r\n5\r\nhello\r\n",
    "within a chunk": CHUNKED + b"\r\nff\r\nhello",
    "garbage between two chunks": CHUNKED + b"\r\n5\r\nhello\r\nno number\r\n",
}


def test_a_body_that_breaks_off_is_a_client_that_went_away(server: Server) -> None:
    with attacked(server) as (target, live):
        for where, raw in BROKEN_OFF.items():
            with live.connect() as connection:
                connection.socket.sendall(raw)
            assert target.ends.get(timeout=LIMIT) == "ClientDisconnect", where


def test_what_follows_the_announced_length_is_not_the_body(server: Server) -> None:
    """What follows the length that was announced is no part of the body."""
    with attacked(server) as (target, live), live.connect() as connection:
        connection.socket.sendall(HEAD + b"content-length: 2\r\n\r\nhello\0\r\n\r\n")
        assert target.ends.get(timeout=LIMIT) == "read 2"
        answer = connection.read()
        assert (answer.status, answer.body) == (200, b"2") or answer.status == 400


UNREADABLE = [
    (FILE + b"no end", b"ends before its last boundary"),
    (FILE + b"\r\n--xXx?", b"ends before its last boundary"),
    (b"--xXx\r\n" + b"x: 1\r\n" * 20, b"header count"),
    (FILE + b"x" * 1001, b"larger than 1000 bytes"),
]


def test_a_form_that_cannot_be_read_is_refused_with_the_reason(server: Server) -> None:
    head = b"POST /upload HTTP/1.1\r\nhost: localhost\r\n" + FORM
    with attacked(server) as (_, live):
        for body, why in UNREADABLE:
            with live.connect() as connection:
                connection.socket.sendall(head + b"content-length: %d\r\n\r\n" % len(body) + body)
                answer = connection.read()
            assert answer.status in (400, 413)
            assert why in answer.body


def test_a_500_shows_nothing_of_what_failed(server: Server) -> None:
    app = MiniBG()

    @app.get("/")
    def endpoint() -> None:
        raise LookupError("the password is 1234")

    with server(app) as live:
        answer = live.get("/")
    assert (answer.status, answer.body) == (500, b"Internal Server Error")
    assert "password" not in str(answer.headers)


# --- WebSockets ----------------------------------------------------------------------------------

UPGRADE = (
    b"GET / HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
    b"sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\nsec-websocket-version: 13\r\n\r\n"
)
WITH_WEBSOCKETS = {
    ws: uvicorn_with("auto", "auto", ws=ws) for ws in ("websockets-sansio", "wsproto")
}


def frame(first: int, payload: bytes, *, masked: bool = True) -> bytes:
    """A frame with that first byte: 0x80 for the last of a message, and the opcode (RFC 6455)."""
    if not masked:
        return bytes([first, len(payload)]) + payload
    return bytes([first, 0x80 | len(payload)]) + b"\0\0\0\0" + payload


def open_websocket(connection: Connection) -> None:
    connection.socket.sendall(UPGRADE)
    assert connection.read_head().status == 101


OUT_OF_ORDER = {
    "a continuation first": frame(0x80, b"continued"),
    "a message begun twice": frame(0x01, b"begun") + frame(0x81, b"begun again"),
    "unmasked": frame(0x81, b"unmasked", masked=False),
    "a reserved opcode": frame(0x83, b"reserved"),
    "a reserved control": frame(0x8B, b"reserved"),
    "a reserved bit": frame(0xC1, b"reserved"),
    "a ping in pieces": frame(0x09, b"ping"),
    "a close of one byte": frame(0x88, b"\x03"),
    "a close code that is none": frame(0x88, pack(">H", 5)),
    "a close within a message": frame(0x01, b"begun") + frame(0x88, pack(">H", 1000)),
    "text that is no UTF-8": frame(0x81, b"\xff\xfe"),
    "text that is no UTF-8, in pieces": frame(0x01, b"\xed") + frame(0x80, b"\xa0\x80"),
    "a terabyte": b"\x81\xff" + pack(">Q", 2**40),
    "half a frame": frame(0x81, b"text")[:-1],
    "no frame": b"GET / HTTP/1.1\r\n\r\n",
}


@pytest.mark.parametrize("implementation", WITH_WEBSOCKETS)
def test_frames_out_of_order_end_only_their_own_connection(
    implementation: str,
) -> None:
    """Frames out of order end their own connection, and its tasks run."""
    server = WITH_WEBSOCKETS[implementation]
    with attacked(server) as (target, live), live.connect() as bystander:
        open_websocket(bystander)
        for frames in OUT_OF_ORDER.values():
            with live.connect() as connection:
                open_websocket(connection)
                connection.socket.sendall(frames)
                connection.socket.shutdown(socket.SHUT_WR)
                connection.file.read()
            bystander.socket.sendall(frame(0x81, b"still here"))
            assert bystander.file.read(12) == b"\x81\x0astill here"
    assert target.ran.count("a WebSocket") == len(OUT_OF_ORDER) + 1


@pytest.mark.parametrize("implementation", WITH_WEBSOCKETS)
def test_bytes_where_text_is_asked_for_close_the_connection(
    implementation: str,
) -> None:
    """Bytes where text is asked for close the connection and are not an error."""
    server = WITH_WEBSOCKETS[implementation]
    with attacked(server) as (_, live), live.connect() as connection:
        open_websocket(connection)
        connection.socket.sendall(frame(0x82, b"\xff\xfe"))
        assert connection.file.read(4)[2:] == pack(">H", 1008)
