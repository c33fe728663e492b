"""A body that nobody reads, on real servers: one beyond `max_body_size` above all.

It is refused before it has come, and the client sees the answer though it is still sending (RFC
9112, section 9.6).

What may live here: clients that announce or send more than is taken, and clients as people use
them. One that is not installed is skipped.
"""

import http.client
import json
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import psutil
import pytest
from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request as StarletteRequest
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from minibg import BackgroundTasks, MiniBG, Request, requests
from tests.servers.live import LIMIT, SERVERS, Connection, Server, on_each
from tests.servers.test_middleware import dispatch

HEAD = b"POST / HTTP/1.1\r\nhost: localhost\r\n"


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client is waited for while it sends, for on a busy machine it pauses now and then."""
    monkeypatch.setattr(requests, "SHORT_PAUSE", LIMIT)


@pytest.fixture
def impatient(patient: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that sends no more is given up early; on a busy machine so is one that does."""
    monkeypatch.setattr(requests, "SHORT_PAUSE", 0.1)
    monkeypatch.setattr(requests, "LINGERING_TIMEOUT", 0.2)


silent = pytest.mark.usefixtures("impatient")
"""For tests of a client that sends no more, and waits for the end of the connection."""


@pytest.fixture
def app() -> MiniBG:
    """Takes bodies of at most ten bytes, and answers with their length."""
    app = MiniBG(max_body_size=10)

    @app.post("/")
    async def endpoint(request: Request) -> int:
        return len(await request.body())

    return app


def assert_refused(connection: Connection) -> None:
    answer = connection.read()
    assert (answer.status, answer.headers["connection"]) == (413, "close")
    assert connection.is_at_its_end()


def test_a_body_that_fills_the_limit_is_taken(server: Server, app: MiniBG) -> None:
    with server(app) as live, live.connect() as connection:
        connection.socket.sendall(HEAD + b"content-length: 10\r\n\r\n0123456789")
        assert connection.read().body == b"10"


@silent
def test_a_length_beyond_the_limit_is_refused_before_the_body(server: Server, app: MiniBG) -> None:
    """A length beyond the limit is refused before any of the body has come."""
    with server(app) as live, live.connect() as connection:
        connection.socket.sendall(HEAD + b"content-length: 11\r\n\r\n")
        assert_refused(connection)


@silent
def test_a_chunked_body_is_refused_when_it_exceeds_the_limit(server: Server, app: MiniBG) -> None:
    """A chunked body is refused when it exceeds the limit, and not at its end."""
    with server(app) as live, live.connect() as connection:
        connection.socket.sendall(HEAD + b"transfer-encoding: chunked\r\n\r\n")
        for _ in range(2):
            connection.socket.sendall(b"6\r\n012345\r\n")
        assert_refused(connection)


@silent
@pytest.mark.parametrize("framing", [b"content-length: 11", b"transfer-encoding: chunked"])
def test_a_returned_application_is_refused_like_an_endpoint(server: Server, framing: bytes) -> None:
    """The application reads the body itself, and does not know the limit."""

    async def answer(request: StarletteRequest) -> PlainTextResponse:
        return PlainTextResponse(await request.body())

    returned = Starlette(routes=[Route("/", answer, methods=["POST"])])
    app = MiniBG(max_body_size=10)

    @app.post("/")
    async def endpoint() -> Any:
        return returned

    with server(app) as live, live.connect() as connection:
        connection.socket.sendall(HEAD + framing + b"\r\n\r\n")
        if b"chunked" in framing:
            for _ in range(2):
                connection.socket.sendall(b"6\r\n012345\r\n")
        assert_refused(connection)


@silent
@on_each(SERVERS, "says_continue", uvicorn=False, hypercorn=True, granian=False)
def test_a_client_that_expects_a_100_is_refused_without_it(
    server: Server, says_continue: bool, app: MiniBG
) -> None:
    """A client that expects 100 Continue is refused without it.

    hypercorn says it before the application is asked.
    """
    with server(app) as live, live.connect() as connection:
        head = HEAD + b"content-length: 11\r\nexpect: 100-continue\r\n\r\n"
        connection.socket.sendall(head)
        if says_continue:
            assert connection.read_head().status == 100
        assert_refused(connection)


# --- clients as people use them ------------------------------------------------------------------

Refusal = tuple[int, bytes]
"""The status and the body that a client shows to its user."""


def pieces(size: int) -> Iterator[bytes]:
    for start in range(0, size, 65536):
        yield b"x" * min(65536, size - start)


def by_http_client(url: str, size: int, chunked: bool) -> Refusal:
    where = httpx.URL(url)
    connection = http.client.HTTPConnection(where.host, where.port, timeout=3 * LIMIT)
    body: Any = pieces(size) if chunked else b"x" * size
    headers = {"transfer-encoding": "chunked"} if chunked else {}
    connection.request("POST", where.path, body, headers, encode_chunked=chunked)
    answer = connection.getresponse()
    try:
        return answer.status, answer.read()
    finally:
        connection.close()


def by_httpx(url: str, size: int, chunked: bool) -> Refusal:
    content: Any = pieces(size) if chunked else b"x" * size
    answer = httpx.post(url, content=content, timeout=3 * LIMIT)
    return answer.status_code, answer.content


def by_requests(url: str, size: int, chunked: bool) -> Refusal:
    client = pytest.importorskip("requests")
    answer = client.post(url, data=pieces(size) if chunked else b"x" * size, timeout=3 * LIMIT)
    return answer.status_code, answer.content


def by_curl(url: str, size: int, chunked: bool) -> Refusal:
    return _by_program(
        [*CURL, *(["-H", "transfer-encoding: chunked"] if chunked else []), url], b"x" * size
    )


def by_curl_without_expect(url: str, size: int, chunked: bool) -> Refusal:
    head = ["-H", "transfer-encoding: chunked"] if chunked else []
    return _by_program([*CURL, "-H", "expect:", *head, url], b"x" * size)


CURL = ["curl", "-sS", "--data-binary", "@-", "-w", "\n%{http_code}"]

FETCH = """
const [url, size, chunked] = process.argv.slice(1);
let left = +size;
const stream = () => new ReadableStream({ pull(to) {
  if (left <= 0) return to.close();
  to.enqueue(new Uint8Array(Math.min(left, 65536)));
  left -= 65536;
} });
const body = +chunked ? stream() : new Uint8Array(+size);
const answer = await fetch(url, { method: "POST", body, duplex: "half" });
process.stdout.write(await answer.text() + "\\n" + answer.status);
"""

NODES_HTTP = """
import http from "node:http";
const [url, size, chunked] = process.argv.slice(1);
let left = +size;
const headers = +chunked ? {} : { "content-length": size };
const request = http.request(url, { method: "POST", headers }, async (answer) => {
  let text = "";
  for await (const piece of answer) text += piece;
  process.stdout.write(text + "\\n" + answer.statusCode, () => process.exit());
});
const send = () => {
  while (left > 0) {
    const more = request.write(Buffer.alloc(Math.min(left, 65536)));
    left -= 65536;
    if (!more) return request.once("drain", send);
  }
  request.end();
};
send();
"""


def by_fetch(url: str, size: int, chunked: bool) -> Refusal:
    return _by_program([*NODE, FETCH, url, str(size), str(int(chunked))])


def by_nodes_http(url: str, size: int, chunked: bool) -> Refusal:
    return _by_program([*NODE, NODES_HTTP, url, str(size), str(int(chunked))])


NODE = ["node", "--input-type=module", "-e"]


def _by_program(command: list[str], content: bytes = b"") -> Refusal:
    """What a program prints: the body, a line feed, and the status."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run(
        command, input=content, capture_output=True, timeout=3 * LIMIT, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    body, _, status = done.stdout.rpartition(b"\n")
    return int(status), body


CLIENTS = {
    "http.client": by_http_client,
    "httpx": by_httpx,
    "requests": by_requests,
    "curl": by_curl,
    "curl without expect": by_curl_without_expect,
    "fetch of Node": by_fetch,
    "http of Node": by_nodes_http,
}

clients = pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS)
Client = Callable[[str, int, bool], Refusal]


@pytest.mark.parametrize(
    ("size", "chunked"),
    [(11, False), (300_000, True), (20_000_000, False), (20_000_000, True)],
    ids=["11, length", "300000, chunked", "20000000, length", "20000000, chunked"],
)
@clients
def test_a_client_sees_the_refusal_however_much_it_sends(
    server: Server, app: MiniBG, client: Client, size: int, chunked: bool
) -> None:
    with server(app) as live:
        status, body = client(f"http://127.0.0.1:{live.port}/", size, chunked)
    assert (status, json.loads(body)) == (413, {"detail": "the body is larger than 10 bytes"})


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_a_refusal_passes_through_middleware(server: Server, app: MiniBG, chunked: bool) -> None:
    with server(BaseHTTPMiddleware(app, dispatch)) as live:
        url = f"http://127.0.0.1:{live.port}/"
        assert by_http_client(url, 20_000_000, chunked)[0] == 413


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize(("path", "status"), [("nowhere", 404), ("ignoring", 200)])
def test_a_client_sees_any_answer_to_a_body_that_nobody_reads(
    server: Server, app: MiniBG, path: str, status: int, chunked: bool
) -> None:
    """A client sees any answer to a body that nobody reads, and its tasks run."""
    ran = threading.Event()

    @app.route("/ignoring", methods=["POST"])
    async def ignoring(tasks: BackgroundTasks) -> None:
        tasks.add_task(ran.set)

    with server(app) as live:
        url = f"http://127.0.0.1:{live.port}/{path}"
        assert by_http_client(url, 20_000_000, chunked)[0] == status
    assert ran.is_set() == (status == 200)


def test_what_is_refused_is_not_kept(server: Server, app: MiniBG) -> None:
    def memory() -> int:
        return int(psutil.Process().memory_info().rss)

    with server(app) as live:
        url = f"http://127.0.0.1:{live.port}/"
        by_http_client(url, 20_000_000, True)
        before = memory()
        by_http_client(url, 60_000_000, True)
        assert memory() - before < 30_000_000
