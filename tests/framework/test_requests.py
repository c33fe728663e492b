"""A request: its data, and its body as it comes in."""

import json
import re
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from itertools import pairwise
from typing import Any
from urllib.parse import unquote, urlsplit

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import example, given, settings
from hypothesis import strategies as st
from starlette.requests import Request as StarletteRequest
from starlette.requests import cookie_parser

from minibg import (
    ClientDisconnect,
    HTTPException,
    InvalidJSON,
    MiniBG,
    Request,
    Response,
    Route,
    WebSocket,
    inbox,
)
from minibg.types import Message
from tests.framework.asgi import LIMIT, Answer, ask, http_scope

Read = Callable[[Request], Awaitable[Any]]

paths = st.text(st.characters(codec="utf-8"), max_size=10).map("/".__add__)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
    max_leaves=10,
)


def read_by(read: Read, body: list[bytes], **options: Any) -> tuple[Any, Answer]:
    """What `read` gives in an endpoint that is sent that body, and the answer to the client."""
    results = []

    async def endpoint(request: Request) -> None:
        results.append(await read(request))

    limit = options.pop("max_body_size", None)
    app = MiniBG(routes=[Route("/", endpoint, methods=["POST"])], max_body_size=limit)
    answer = ask(app, "POST", "/", body=body, **options)
    return (results[0] if results else None), answer


async def pieces_of(request: Request) -> list[bytes]:
    return [piece async for piece in request.stream()]


async def text_of(request: Request) -> str:
    return (await request.body()).decode()


# --- what was asked ------------------------------------------------------------------------------


def test_a_request_tells_what_the_scope_says() -> None:
    app = MiniBG()
    request = Request(
        http_scope(
            "PUT", "/a/b", [(b"x-a", b"1")], query_string=b"q=1&q=2", path_params={"n": 1}, app=app
        )
    )
    assert request.method == "PUT"
    assert request.headers["X-A"] == "1"
    assert request.query_params.getlist("q") == ["1", "2"]
    assert request.path_params == {"n": 1}
    assert request.client == ("127.0.0.1", 50000)
    assert request.client.host == "127.0.0.1"
    assert request.client.port == 50000
    assert request.app is app


def test_a_server_need_not_know_the_client() -> None:
    assert Request(http_scope(client=None)).client is None


def test_a_request_has_one_state() -> None:
    """The state of a request is one, however often it is asked for."""
    request = Request(http_scope(state={"pool": "a pool"}))
    request.state.user = "a user"
    assert (request.state.pool, request.state.user) == ("a pool", "a user")


@given(path=paths, query=st.text("aZ0=&%+/?", max_size=8))
@example(path="//other/x", query="")
@example(path="/a?b#c\\d e", query="x=?")
def test_a_url_has_the_path_and_the_query_that_were_asked_for(path: str, query: str) -> None:
    scope = http_scope(path=path, headers=[(b"host", b"example.org:81")])
    url = Request({**scope, "query_string": query.encode()}).url
    for parts in (url, urlsplit(str(url))):
        assert (parts.scheme, parts.hostname, parts.port) == ("http", "example.org", 81)
        assert (unquote(parts.path), parts.query, parts.fragment) == (path, query, "")


@pytest.mark.parametrize(
    ("server", "scheme", "netloc"),
    [
        (("127.0.0.1", 8000), "http", "127.0.0.1:8000"),
        (["example.org", 80], "http", "example.org"),
        (("example.org", 443), "http", "example.org:443"),
        (("example.org", 443), "wss", "example.org"),
        (("example.org", None), "https", "example.org"),
        (("::1", 8000), "http", "[::1]:8000"),
        (("fe80::1%eth0", 80), "http", "[fe80::1]"),
        (("/run/socket", None), "http", "localhost"),
        (("unix:/run/socket", None), "http", "localhost"),
        (None, "http", "localhost"),
    ],
)
def test_without_a_host_header_the_url_names_the_server(
    server: Any, scheme: str, netloc: str
) -> None:
    """An "http" URL has a host, and one of IPv6 stands in brackets (RFC 9110, section 4.2.1)."""
    url = Request(http_scope(path="/a", server=server, scheme=scheme)).url
    assert str(url) == f"{scheme}://{netloc}/a"
    assert urlsplit(str(url)).port == url.port


@given(sent=st.text("aZ09-._~!$&'()*+,;=:@%[]|^`{}/", max_size=8).map("/".__add__))
@example(sent="/users/tom:x@home,(now)!;a=b+c")
@example(sent="/a%2fb%2C%c3%bc")
def test_the_path_of_a_url_is_written_as_it_was_sent(sent: str) -> None:
    scope = http_scope(path=unquote(sent), raw_path=sent.encode())
    assert Request(scope).url.path == sent


@given(path=paths)
def test_a_path_without_raw_bytes_is_quoted_sparingly(path: str) -> None:
    """A path of which the server tells no bytes is quoted as little as can be."""
    url = Request(http_scope(path=path, raw_path=None)).url
    assert unquote(url.path) == path
    kept = re.sub(r"[^A-Za-z0-9\-._~!$&'()*+,;=:@/]", "", path)  # RFC 3986, section 3.3
    assert re.sub("%[0-9A-F]{2}", "", url.path) == kept


@pytest.mark.parametrize("path", ["*", "@evil", "http://evil/x", "//evil/x"])
def test_no_path_becomes_the_host_of_a_url(path: str) -> None:
    url = Request(http_scope(path=path)).url
    assert (url.hostname, url.path) == ("127.0.0.1", path if path[0] == "/" else "/" + path)
    assert urlsplit(str(url)) == tuple(url)


def test_a_port_may_have_zeros_before_it() -> None:
    for zeros in (b"", b"00", b"0" * 9):
        url = Request(http_scope(headers=[(b"host", b"example.org:" + zeros + b"80")])).url
        assert (url.hostname, url.port) == ("example.org", 80)


def test_a_path_changed_by_middleware_is_not_the_one_sent() -> None:
    """A path that middleware has changed is not the one that was sent."""
    assert Request(http_scope(path="/new", raw_path=b"/old")).url.path == "/new"


def test_a_query_of_any_bytes_is_ascii_in_a_url() -> None:
    scope = http_scope(query_string="a=ü&b[]=%C3%BC&c={x|y}#".encode())
    assert Request(scope).url.query == "a=%C3%BC&b[]=%C3%BC&c={x|y}%23"


@pytest.mark.parametrize("root_path", ["", "/", "/api", "/api/", "/ü:a"])
def test_the_base_url_is_the_root_path_as_starlettes(root_path: str) -> None:
    scope = http_scope(path="/api/a", root_path=root_path, query_string=b"q=1")
    assert unquote(str(Request(scope).base_url)) == str(StarletteRequest(scope).base_url)
    assert str(Request(scope).base_url).isascii()


@pytest.mark.parametrize("cls", [Request, lambda scope: WebSocket(scope, *[None] * 2)])
def test_a_scope_may_leave_out_what_asgi_lets_it_leave_out(cls: Any) -> None:
    """ASGI specification, HTTP and WebSocket connection scope: "Optional", and the defaults."""
    kind, scheme = ("http", "http") if cls is Request else ("websocket", "ws")
    connection = cls({"type": kind, "path": "/ü", "headers": iter([(b"x-a", b"1")])})
    assert connection.url == f"{scheme}://localhost/%C3%BC"
    assert connection.base_url == f"{scheme}://localhost/"
    assert connection.client is None
    assert connection.query_params.multi_items() == []
    assert connection.path_params == {}
    assert cls(connection.scope).headers["x-a"] == connection.headers["x-a"] == "1"
    assert connection.cookies == {}


@given(host=st.binary(max_size=12) | st.text("a[]:/?#@.0", max_size=8).map(str.encode))
def test_no_host_header_makes_an_error(host: bytes) -> None:
    url = Request(http_scope(path="/a", headers=[(b"host", host)])).url
    assert str(url).endswith("/a")
    assert url.path == "/a"
    assert url.hostname is None or isinstance(url.hostname, str)


@pytest.mark.parametrize(
    "host",
    [
        b"evil/b?",
        b"evil#",
        b"a@evil",
        b"evil:port",
        b"[::1",
        b"\xff",
        b"evil:65536",
        b"evil:99999999999999999999",
        b"[:::]",
        b"[::ffff:999.9.9.9]",
        b"[1.2.3.4]",
    ],
)
def test_a_host_header_that_is_no_host_is_not_believed(host: bytes) -> None:
    scope = http_scope(path="/a", headers=[(b"host", host)])
    assert str(Request(scope).url) == str(StarletteRequest(scope).url) == "http://127.0.0.1:8000/a"


# --- cookies -------------------------------------------------------------------------------------


@given(cookies=st.dictionaries(st.text("azAZ09_-", min_size=1), st.text(max_size=10), max_size=3))
def test_a_cookie_comes_back_as_it_was_set(cookies: dict[str, str]) -> None:
    response, sent = Response(), {}
    for name, value in cookies.items():
        try:
            response.set_cookie(name, value)
        except ValueError:
            continue
        sent[name] = value
    header = "; ".join(c.split(";")[0] for c in response.headers.getlist("set-cookie"))
    request = Request(http_scope(headers=[(b"cookie", header.encode("latin-1"))]))
    assert request.cookies == sent


@given(
    header=st.text(st.characters(codec="latin-1"), max_size=30) | st.text('ab=;" \\0', max_size=20)
)
def test_any_cookie_header_reads_as_starlette_reads_it(header: str) -> None:
    # Starlette gives what has no "=" under an empty name; here it is passed over.
    pairs = ";".join(part for part in header.split(";") if "=" in part)
    request = Request(http_scope(headers=[(b"cookie", header.encode("latin-1"))]))
    expected = cookie_parser(pairs)
    assert {k: v for k, v in request.cookies.items() if k} == {
        k: v for k, v in expected.items() if k
    }


@pytest.mark.parametrize("header", [b"=", b"=a", b"=a; =; b=1", b"\t=a;b=1", b"b=1;;  ; a"])
def test_a_cookie_without_a_name_is_none(header: bytes) -> None:
    cookies = Request(http_scope(headers=[(b"cookie", header)])).cookies
    assert cookies == ({"b": "1"} if b"b" in header else {})


def test_cookies_may_come_in_several_headers() -> None:
    headers = [(b"cookie", b"a=1"), (b"cookie", b"b=2; c")]
    assert Request(http_scope(headers=headers)).cookies == {"a": "1", "b": "2"}
    assert Request(http_scope()).cookies == {}


# --- the body ------------------------------------------------------------------------------------


@given(pieces=st.lists(st.binary(max_size=5), min_size=1, max_size=6))
def test_a_body_is_the_same_however_it_is_cut(pieces: list[bytes], backend: str) -> None:
    body, _ = read_by(Request.body, pieces, backend=backend)
    assert body == b"".join(pieces)
    streamed, _ = read_by(pieces_of, pieces, backend=backend)
    assert streamed == [piece for piece in pieces if piece]


@given(body=st.binary(max_size=20), cuts=st.sets(st.integers(1, 19)), limit=st.integers(0, 20))
@pytest.mark.parametrize("declared", [True, False])
def test_only_a_body_larger_than_the_limit_is_refused(
    body: bytes, cuts: set[int], limit: int, declared: bool
) -> None:
    """A body is refused if and only if it is larger than the limit."""
    edges = [0, *sorted(cut for cut in cuts if cut < len(body)), len(body)]
    pieces = [body[start:end] for start, end in pairwise(edges)]
    headers = [(b"content-length", str(len(body)).encode())] if declared else []
    read, answer = read_by(Request.body, pieces, headers=headers, max_body_size=limit)
    if len(body) <= limit:
        assert (answer.status, read) == (200, body)
        return
    assert (answer.status, read) == (413, None)
    assert answer.unread == [], "the client may send all, so that it sees the answer"


def test_what_follows_a_refused_body_is_no_request() -> None:
    """What follows a refused body on its connection is not read as a request."""
    _, answer = read_by(Request.body, [b"too large"], max_body_size=3)
    assert (b"connection", b"close") in answer.headers
    assert json.loads(answer.body) == {"detail": "the body is larger than 3 bytes"}


def test_the_limit_is_16_mib_unless_the_application_has_another() -> None:
    assert MiniBG().max_body_size == 16 * 1024 * 1024
    body, _ = read_by(Request.body, [b"x" * 1024] * (16 * 1024 + 1), max_body_size=None)
    assert len(body) == 16 * 1024 * 1024 + 1024


@given(declared=st.binary(max_size=8) | st.integers().map(lambda number: str(number).encode()))
def test_a_content_length_that_says_nothing_is_passed_over(declared: bytes) -> None:
    _, answer = read_by(
        Request.body, [b"ab"], headers=[(b"content-length", declared)], max_body_size=10
    )
    is_larger = declared.isdigit() and int(declared) > 10
    assert answer.status == (413 if is_larger else 200)


def test_a_content_length_beyond_pythons_digits_is_too_large() -> None:
    """A content length of more digits than Python converts is too large."""
    headers = [(b"content-length", b"9" * 5000)]
    assert read_by(Request.body, [b""], headers=headers, max_body_size=10)[1].status == 413


def test_a_body_that_was_read_can_be_read_again_in_every_way() -> None:
    async def read(request: Request) -> list[Any]:
        first = await request.body()
        return [first, await request.body(), await pieces_of(request), await request.json()]

    assert read_by(read, [b"[", b"1]"])[0] == [b"[1]", b"[1]", [b"[1]"], [1]]


@pytest.mark.parametrize("again", [pieces_of, Request.body, Request.json])
def test_a_body_that_was_streamed_is_gone(again: Read) -> None:
    async def read(request: Request) -> Any:
        assert await pieces_of(request) == [b"ab"]
        with pytest.raises(RuntimeError, match="streamed already"):
            await again(request)
        return "refused"

    assert read_by(read, [b"ab"])[0] == "refused"


def test_a_client_that_leaves_before_the_bodys_end_is_an_error(backend: str) -> None:
    """A client that goes away before the end of the body is an error."""
    messages: list[Message] = [
        {"type": "http.request", "body": b"a", "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> Message:
        return messages.pop(0)

    async def main() -> None:
        request = Request(http_scope(), receive)
        with pytest.raises(ClientDisconnect):
            await request.body()
        assert await request.is_disconnected()

    anyio.run(main, backend=backend)


def test_a_request_made_without_receive_has_no_body() -> None:
    with pytest.raises(RuntimeError, match="without `receive`"):
        anyio.run(Request(http_scope()).body)


# --- JSON ----------------------------------------------------------------------------------------


@given(value=json_values)
def test_json_is_read_as_the_standard_library_wrote_it(value: Any) -> None:
    for ensure_ascii in (True, False):
        body = json.dumps(value, ensure_ascii=ensure_ascii).encode()
        assert read_by(Request.json, [body])[0] == value


@given(body=st.binary() | st.text('[]{}":,0123456789.eE+- truefalsn\\u"').map(str.encode))
@example(b"")
@example(b"NaN")
@example(b"[" * 100_000)
@example(b"9" * 5000)
@example(b"1e999")
@example(b'"\\ud800"')
@example(b'"\xff"')
@example(b"\xef\xbb\xbf1")
def test_any_body_is_json_or_a_400(body: bytes) -> None:
    value, answer = read_by(Request.json, [body])
    if answer.status == 200:
        assert value == json.loads(body)
    else:
        assert answer.status == 400
        assert list(json.loads(answer.body)) == ["detail"]


def test_malformed_json_is_an_error_that_says_where() -> None:
    """Malformed JSON is an error that says where, and a 400 if nobody catches it."""

    async def read(request: Request) -> None:
        with pytest.raises(ValueError, match=r"malformed.*byte 4") as raised:
            await request.json()
        assert isinstance(raised.value, InvalidJSON)
        raise raised.value

    _, answer = read_by(read, [b"[1, oops]"])
    assert answer.status == 400
    assert "byte 4" in json.loads(answer.body)["detail"]


# --- is the client still there -------------------------------------------------------------------


@given(polls=st.lists(st.integers(0, 3), min_size=3, max_size=3))
@settings(deadline=None)  # the first time, a server has a moment to answer
def test_to_ask_whether_the_client_has_gone_loses_nothing(polls: list[int], backend: str) -> None:
    async def read(request: Request) -> bytes:
        received = b""
        for _ in range(polls[0]):
            assert not await request.is_disconnected()
        async for piece in request.stream():
            received += piece
            for _ in range(polls[1]):
                assert not await request.is_disconnected()
        for _ in range(polls[2]):
            assert not await request.is_disconnected()
        return received

    assert read_by(read, [b"a", b"b", b"c"], backend=backend)[0] == b"abc"


@pytest.mark.parametrize("read_first", [True, False])
def test_a_client_that_has_gone_is_noticed_beside_any_body(read_first: bool, backend: str) -> None:
    """A client that has gone is noticed, whether the body was read or not."""

    async def read(request: Request) -> bool:
        if read_first:
            await request.body()
        return await request.is_disconnected() and await request.is_disconnected()

    assert read_by(read, [b"a"], gone_after=0, backend=backend)[0]


def test_to_ask_does_not_wait_for_a_client_that_is_still_there(backend: str) -> None:
    async def read(request: Request) -> bool:
        await request.body()
        return await request.is_disconnected()

    assert read_by(read, [b"a"], backend=backend)[0] is False


def test_all_who_wait_for_the_client_to_go_away_are_told(backend: str) -> None:
    """Also where the body came in meanwhile, which is kept for the one who reads it."""
    told: list[int] = []

    async def server() -> None:
        say, hear = anyio.create_memory_object_stream[Message](3)
        request = Request(http_scope(), hear.receive)

        async def wait(number: int) -> None:
            await request.receive_disconnect()
            told.append(number)

        async with say, hear, anyio.create_task_group() as group:
            for number in range(2):
                group.start_soon(wait, number)
            await say.send({"type": "http.request", "body": b"one ", "more_body": True})
            await anyio.wait_all_tasks_blocked()
            await say.send({"type": "http.request", "body": b"two", "more_body": False})
            assert await request.body() == b"one two"
            await say.send({"type": "http.disconnect"})

    with anyio.from_thread.start_blocking_portal(backend) as portal:
        portal.start_task_soon(server).result(timeout=LIMIT)
    assert sorted(told) == [0, 1]


class Talk:
    """A client that speaks when it is told to, to a server that is as careless as one may be.

    Where its `receive` is cancelled while a message comes, the message is lost.
    """

    def __init__(self) -> None:
        self.say, self.hear = anyio.create_memory_object_stream[Message](100)

    def send(self, body: bytes, more_body: bool = True) -> None:
        self.say.send_nowait({"type": "http.request", "body": body, "more_body": more_body})

    def hang_up(self) -> None:
        self.say.send_nowait({"type": "http.disconnect"})

    async def receive(self) -> Message:
        message = await self.hear.receive()
        await checkpoint()  # it is taken, and not yet handed over
        return message

    @property
    def unheard(self) -> int:
        """How many messages the server has not been asked for."""
        return self.say.statistics().current_buffer_used


def talk_to(
    backend: str, endpoint: Callable[[Request, Talk], Awaitable[None]], limit: int | None = None
) -> None:
    """Have the function talk to a request, whose body may have so many bytes."""

    async def main() -> None:
        talk = Talk()
        app = MiniBG(max_body_size=limit)
        with talk.say, talk.hear, anyio.fail_after(LIMIT):
            await endpoint(Request(http_scope("POST", app=app), talk.receive), talk)
            talk.hang_up()
            await anyio.wait_all_tasks_blocked()

    anyio.run(main, backend=backend)


def test_waiting_for_the_disconnect_loses_no_piece_of_the_body(backend: str) -> None:
    """Whoever stops waiting for the disconnect has lost no piece of the body."""

    async def endpoint(request: Request, talk: Talk) -> None:
        talk.send(b"one ")
        for piece in (b"two ", b"three"):
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as group:
                    group.start_soon(request.receive_disconnect)
                    await anyio.wait_all_tasks_blocked()
                    talk.send(piece, more_body=piece != b"three")
                    scope.cancel()
        assert await request.body() == b"one two three"

    talk_to(backend, endpoint)


@pytest.fixture
def little_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten bytes of a body are kept for its reader."""
    monkeypatch.setattr(inbox, "MAX_UNREAD", 10)


@pytest.mark.usefixtures("little_room")
def test_asking_for_the_client_keeps_only_what_has_room(backend: str) -> None:
    """Asked for the client, a request keeps no more of the body than there is room for."""

    async def endpoint(request: Request, talk: Talk) -> None:
        for _ in range(9):
            talk.send(b"four")
        talk.send(b"four", more_body=False)
        for _ in range(5):
            assert not await request.is_disconnected()
            await anyio.wait_all_tasks_blocked()
        assert talk.unheard == 10 - 3
        assert await request.body() == b"four" * 10

    talk_to(backend, endpoint)


@pytest.mark.usefixtures("little_room")
def test_a_body_that_is_read_slowly_is_kept_by_the_server(backend: str) -> None:
    """A body that is read slowly is kept by the server, and is whole."""

    async def endpoint(request: Request, talk: Talk) -> None:
        for _ in range(50):
            talk.send(b"four")
        received = b""
        async with anyio.create_task_group() as group:
            group.start_soon(request.receive_disconnect)
            async with aclosing(request.stream()) as stream:
                async for piece in stream:
                    received += piece
                    await anyio.wait_all_tasks_blocked()
                    assert len(received) + 4 * talk.unheard >= 4 * 50 - 12
                    if talk.unheard == 0 and len(received) == 4 * 50:
                        break
            talk.hang_up()
        assert received == b"four" * 50

    talk_to(backend, endpoint)


@pytest.mark.usefixtures("little_room")
@pytest.mark.parametrize("limit", [None, 5, 10, 20])
def test_the_disconnect_is_heard_behind_any_body(limit: int | None, backend: str) -> None:
    """Whoever waits for the disconnect hears of it behind any body, which is then refused."""

    async def endpoint(request: Request, talk: Talk) -> None:
        for _ in range(20):
            talk.send(b"four")
        talk.hang_up()
        await request.receive_disconnect()
        with pytest.raises(HTTPException, match="larger than") as raised:
            await request.body()
        assert raised.value.status_code == 413

    talk_to(backend, endpoint, limit)


def test_a_disconnect_is_heard_behind_a_body_that_is_too_large(backend: str) -> None:
    """Whoever asks hears of a disconnect behind a body that is too large."""

    async def endpoint(request: Request, talk: Talk) -> None:
        for _ in range(20):
            talk.send(b"four")
        talk.hang_up()
        while not await request.is_disconnected():
            await anyio.wait_all_tasks_blocked()

    talk_to(backend, endpoint, limit=10)


@pytest.mark.usefixtures("little_room")
def test_a_body_without_its_reader_does_not_hide_a_disconnect(backend: str) -> None:
    """A body whose reader has left does not hide the disconnect."""

    async def endpoint(request: Request, talk: Talk) -> None:
        talk.send(b"x" * 11)
        async with anyio.create_task_group() as group:
            async with aclosing(request.stream()) as stream:
                assert await anext(stream)
                group.start_soon(request.receive_disconnect)
                for _ in range(5):
                    talk.send(b"x" * 11)
                await anyio.wait_all_tasks_blocked()
            talk.hang_up()

    talk_to(backend, endpoint)


def test_an_error_of_the_servers_receive_reaches_who_waits(backend: str) -> None:
    """What the server's `receive` raises is raised where somebody waits for it."""

    async def receive() -> Message:
        await checkpoint()
        raise OSError("the server has failed")

    async def main() -> None:
        request = Request(http_scope(), receive)
        for wait in (request.receive_disconnect, request.is_disconnected, request.body):
            with pytest.raises(OSError, match="the server has failed"):
                await wait()

    anyio.run(main, backend=backend)


# --- session -------------------------------------------------------------------------------------


def test_the_session_is_what_the_middleware_keeps_in_the_scope() -> None:
    session: dict[str, Any] = {}
    request = Request(http_scope(session=session))
    request.session["user"] = "ada"
    assert session == {"user": "ada"}


def test_a_session_without_its_middleware_says_what_is_missing() -> None:
    with pytest.raises(AssertionError, match="SessionMiddleware must be installed to access"):
        _ = Request(http_scope()).session


@pytest.mark.parametrize("fails", [False, True])
def test_nobody_listens_when_the_request_is_over(fails: bool, backend: str) -> None:
    """Some servers would never say anything again, and the listener would wait for ever."""
    app = MiniBG()
    log: list[str] = []

    @app.post("/")
    async def endpoint(request: Request) -> None:
        assert not await request.is_disconnected()
        assert log == ["asked"]
        if fails:
            raise HTTPException(409)

    async def receive() -> Message:
        log.append("asked")
        try:
            await anyio.sleep_forever()
        finally:
            log.append("let go")

    async def send(message: Message) -> None: ...

    async def main() -> None:
        with anyio.fail_after(LIMIT):
            await app(http_scope("POST"), receive, send)
            while log[-1] != "let go":
                await checkpoint()

    anyio.run(main, backend=backend)
    assert log == ["asked", "let go"]
