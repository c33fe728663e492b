"""A response: what it sends, in which pieces, and what cannot get into its headers."""

import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from copy import copy
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from http.cookies import Morsel
from pathlib import Path
from typing import Any, Generic, TypeVar

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import example, given
from hypothesis import strategies as st
from starlette import responses as oracle
from starlette.applications import Starlette
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import Mount

from minibg import (
    BackgroundTask,
    BackgroundTasks,
    ClientDisconnect,
    Depends,
    HTMLResponse,
    HTTPException,
    JSONResponse,
    MiniBG,
    PlainTextResponse,
    RedirectResponse,
    Request,
    Response,
    Route,
    StreamingResponse,
)
from minibg.concurrency import iterate_in_threadpool
from minibg.datastructures import MutableHeaders
from minibg.responses import ASGIResponse
from minibg.types import ASGIApp, Message, Receive, Scope, Send
from tests.framework.asgi import LIMIT, Answer, ask, http_scope
from tests.rules.language.exchange import refuse
from tests.rules.language.logs import logged

texts = st.text(st.characters(codec="utf-8"), max_size=10)
any_text = st.text(max_size=6) | st.text('a\r\n\0;=", é€', max_size=8)
chunks = st.lists(texts | st.binary(max_size=5), max_size=6)
statuses = st.sampled_from([200, 201, 307, 404, 500])
headers = st.dictionaries(
    st.sampled_from(["X-A", "x-b", "Content-Type", "content-length"]), st.text("a1", min_size=1)
)


class Pieces:
    """An iterator that knows whether it was closed, and in which threads it was driven."""

    def __init__(self, content: list[Any], failure: Exception | None = None) -> None:
        self.content = content
        self.failure = failure
        self.closed = False
        self.threads: set[int] = set()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        self.threads.add(threading.get_ident())
        if self.content:
            return self.content.pop(0)
        raise self.failure or StopIteration

    def close(self) -> None:
        self.closed = True


class AsyncPieces(Pieces):
    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        try:
            return self.__next__()
        except StopIteration:
            raise StopAsyncIteration from None

    async def aclose(self) -> None:
        self.close()


def _generator(content: list[Any]) -> Iterator[Any]:
    yield from content


async def _async_generator(content: list[Any]) -> AsyncIterator[Any]:
    for piece in content:
        yield piece


both_kinds = pytest.mark.parametrize("kind", [Pieces, AsyncPieces])
every_kind = pytest.mark.parametrize(
    "kind", [list, Pieces, AsyncPieces, _generator, _async_generator]
)


def same(answer: Answer, expected: Answer) -> bool:
    return (answer.status, sorted(answer.headers), answer.body) == (
        expected.status,
        sorted(expected.headers),
        expected.body,
    )


# --- content -------------------------------------------------------------------------------------


@given(
    content=st.none() | texts | st.binary(max_size=10),
    status=statuses,
    headers=headers,
    media_type=st.sampled_from([None, "text/csv", "image/png", "text/x; charset=latin-1"]),
)
@pytest.mark.parametrize("cls", [Response, PlainTextResponse, HTMLResponse])
def test_a_response_is_sent_as_starlette_sends_it(
    cls: type[Response], content: Any, status: int, headers: dict[str, str], media_type: str | None
) -> None:
    theirs = getattr(oracle, cls.__name__)
    options = (content, status, headers, media_type)
    assert same(ask(cls(*options)), ask(theirs(*options)))


@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**64) | texts,
        lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
        max_leaves=8,
    )
)
def test_json_is_sent_as_starlette_sends_it(value: Any) -> None:
    assert same(ask(JSONResponse(value)), ask(oracle.JSONResponse(value)))


def test_content_is_text_or_bytes() -> None:
    assert Response(bytearray(b"ab")).body == Response(memoryview(b"ab")).body == b"ab"
    with pytest.raises(TypeError, match="not dict"):
        Response({"a": 1})


def test_json_has_a_form_for_more_than_starlettes() -> None:
    """JSON has a form for more than Starlette's, but not for everything."""
    moment = datetime(2024, 2, 29, tzinfo=UTC)
    assert json.loads(JSONResponse({"at": moment, "ids": {1}}).body) == {
        "at": "2024-02-29T00:00:00Z",
        "ids": [1],
    }
    assert JSONResponse(float("nan")).body == b"null"
    with pytest.raises(TypeError, match="complex"):
        JSONResponse(1j)


@pytest.mark.parametrize("status", [101, 204, 304])
@pytest.mark.parametrize(
    "response",
    [
        PlainTextResponse,
        JSONResponse,
        lambda content, status: StreamingResponse([content], status, media_type="text/plain"),
    ],
)
def test_a_status_without_content_is_sent_without(
    response: Callable[[str, int], Response], status: int
) -> None:
    answer = ask(response("content", status))
    assert (answer.status, answer.body) == (status, b"")
    assert not {b"content-length", b"content-type"} & set(dict(answer.headers))


@given(content=texts, status=statuses)
def test_head_is_answered_with_the_headers_of_get_alone(content: str, status: int) -> None:
    response = PlainTextResponse(content, status)
    get, head = ask(response, "GET"), ask(response, "HEAD")
    assert (head.status, head.headers, head.body) == (get.status, get.headers, b"")


def test_a_class_may_have_a_media_type_of_its_own() -> None:
    class CSVResponse(Response):
        media_type = "text/csv"

    assert CSVResponse("a").headers["content-type"] == "text/csv; charset=utf-8"


@given(url=any_text | st.text("/?#%:[]@é ", max_size=10))
def test_a_redirect_goes_where_starlettes_goes(url: str) -> None:
    try:
        location = RedirectResponse(url).headers["location"]
    except UnicodeEncodeError:
        assert any("\ud800" <= character <= "\udfff" for character in url)
        return
    assert location == oracle.RedirectResponse(url).headers["location"]
    assert location.isascii()
    assert not set(location) & set("\r\n\0")


def test_a_redirect_may_have_headers_and_a_background(backend: str) -> None:
    """A redirect has headers and a background like any response."""
    ran: list[str] = []
    background = BackgroundTask(ran.append, "background")
    response = RedirectResponse("/elsewhere", headers={"x-a": "b"}, background=background)
    answer = ask(response, backend=backend)
    assert (b"x-a", b"b") in answer.headers
    assert (b"location", b"/elsewhere") in answer.headers
    assert ran == ["background"]


def test_a_redirect_keeps_the_method_unless_told_otherwise() -> None:
    assert RedirectResponse("/").status_code == 307
    assert RedirectResponse("/", 303).status_code == 303


# --- headers -------------------------------------------------------------------------------------

INTO_HEADERS: dict[str, Callable[[str], Response]] = {
    "headers": lambda text: Response(headers={"x-a": text}),
    "headers of a stream": lambda text: StreamingResponse([], headers={"x-a": text}),
    "media_type": lambda text: Response(media_type="text/" + text),
    "headers[...]": lambda text: _with(Response(), lambda h: h.__setitem__("x-a", text)),
    "headers.append": lambda text: _with(Response(), lambda h: h.append("x-a", text)),
    "headers.update": lambda text: _with(Response(), lambda h: h.update({"x-a": text})),
    "headers.setdefault": lambda text: _with(Response(), lambda h: h.setdefault("x-a", text)),
    "redirect": RedirectResponse,
    "cookie value": lambda text: _with_cookie("a", text),
    "cookie path": lambda text: _with_cookie("a", path=text),
    "cookie domain": lambda text: _with_cookie("a", domain=text),
    "cookie expires": lambda text: _with_cookie("a", expires=text),
}


def _with(response: Response, change: Callable[[MutableHeaders], object]) -> Response:
    change(response.headers)
    return response


def _with_cookie(*args: Any, **options: Any) -> Response:
    response = Response()
    response.set_cookie(*args, **options)
    return response


@given(text=any_text)
@example(text="a\r\nset-cookie: b=c")
@example(text="a\0")
@pytest.mark.parametrize("way", INTO_HEADERS)
def test_no_text_breaks_out_of_its_header(way: str, text: str) -> None:
    try:
        response = INTO_HEADERS[way](text)
    except ValueError:
        return
    for name, value in ask(response).headers:
        assert not (set(name) | set(value)) & set(b"\r\n\0")


@pytest.mark.parametrize("way", ["cookie path", "cookie domain"])
def test_no_text_of_a_cookie_becomes_another_attribute_of_it(way: str) -> None:
    with pytest.raises(ValueError, match=way.removeprefix("cookie ")):
        INTO_HEADERS[way]("/; secure")


@pytest.mark.parametrize("name", ["", "a b", "a\r\nb", "a:", "é"])
def test_a_headers_name_is_a_token(name: str) -> None:
    with pytest.raises(ValueError, match="token"):
        Response(headers={name: "1"})


def test_what_is_changed_in_the_headers_is_sent() -> None:
    response = Response(headers={"x-a": "1", "x-b": "1"})
    response.headers["X-A"] = "2"
    del response.headers["x-b"]
    response.headers.append("x-a", "3")
    sent = ask(response).headers
    assert sent == [(b"content-length", b"0"), (b"x-a", b"2"), (b"x-a", b"3")]


@given(
    options=st.fixed_dictionaries(
        {},
        optional={
            "max_age": st.integers(0, 10**6),
            "expires": st.just("Thu, 01 Jan 1970 00:00:00 GMT"),
            "path": st.sampled_from([None, "/", "/a"]),
            "domain": st.just("example.org"),
            "secure": st.booleans(),
            "httponly": st.booleans(),
            "samesite": st.sampled_from([None, "lax", "strict", "none"]),
        },
    )
)
def test_a_cookie_is_set_as_starlette_sets_it(options: dict[str, Any]) -> None:
    expected = oracle.Response()
    expected.set_cookie("a", "a b;c", **options)
    assert same(ask(_with_cookie("a", "a b;c", **options)), ask(expected))


@given(
    moment=st.datetimes(
        datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(timezone(timedelta(hours=2)))
    )
)
def test_a_cookie_expires_at_the_second_that_was_given(moment: datetime) -> None:
    expected = oracle.Response()
    expected.set_cookie("a", expires=moment.astimezone(UTC))
    assert same(ask(_with_cookie("a", expires=moment)), ask(expected))


def test_combining_gives_a_copy_that_keeps_what_is_not_replaced() -> None:
    response, injected = Response("body", headers={"x-a": "own", "x-b": "own"}), Response()
    response.set_cookie("own")
    injected.raw_headers.clear()
    injected.headers["x-a"] = "injected"
    injected.set_cookie("injected")
    both = response.combined_with(injected)
    both.headers["x-c"] = "later"
    assert [(name, value.partition(b"=")[0]) for name, value in both.raw_headers] == [
        (b"content-length", b"4"),
        (b"x-b", b"own"),
        (b"set-cookie", b"own"),
        (b"x-a", b"injected"),
        (b"set-cookie", b"injected"),
        (b"x-c", b"later"),
    ]
    assert "x-c" not in response.headers


def test_a_cookie_expires_by_the_clock_of_greenwich(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        answer = ask(_with_cookie("a", expires=datetime(2000, 1, 1, tzinfo=UTC)))
    finally:
        monkeypatch.undo()
        time.tzset()
    assert b"expires=Sat, 01 Jan 2000 00:00:00 GMT" in dict(answer.headers)[b"set-cookie"]


def test_cookies_are_set_beside_each_other_and_deleted_by_expiry() -> None:
    response = Response()
    response.set_cookie("a", "1")
    response.delete_cookie("b", path="/x", domain="example.org")
    response.delete_cookie("c")
    first, second, third = response.headers.getlist("set-cookie")
    assert "Path=/" in third.split("; ")
    assert first.startswith("a=1;")
    assert second.split("; ")[0] == 'b=""'
    assert {"Max-Age=0", "Path=/x", "Domain=example.org"} <= set(second.split("; "))


@given(
    options=st.fixed_dictionaries(
        {},
        optional={
            "path": st.sampled_from(["/", "/x"]),
            "domain": st.none() | st.just("example.org"),
            "secure": st.booleans(),
            "httponly": st.booleans(),
            "samesite": st.sampled_from([None, "lax", "strict", "none"]),
        },
    )
)
@pytest.mark.parametrize("name", ["a", "__Host-a", "__Secure-a", "__secure-a"])
def test_a_cookie_is_deleted_with_the_attributes_it_was_set_with(
    name: str, options: dict[str, Any]
) -> None:
    """A `__Host-` or `__Secure-` cookie cannot be set, or deleted, without Secure (RFC 6265bis)."""
    response = Response()
    response.set_cookie(name, "", 0, **options)
    response.delete_cookie(name, **options)
    as_set, as_deleted = (set(h.split("; ")) for h in response.headers.getlist("set-cookie"))
    assert as_deleted == as_set | ({"Secure"} if name.startswith("__") else set())
    assert "Max-Age=0" in as_deleted


def test_a_partitioned_cookie_is_set_where_python_can_write_it() -> None:
    if "partitioned" in Morsel._reserved:  # type: ignore[attr-defined]  # from Python 3.14 on
        answer = ask(_with_cookie("a", "1", secure=True, partitioned=True))
        assert b"Partitioned" in dict(answer.headers)[b"set-cookie"]
    else:
        with pytest.raises(ValueError, match=r"'a' cannot be set.*partitioned"):
            _with_cookie("a", "1", partitioned=True)


@pytest.mark.parametrize("name", ["", "a b", "a=b", "a;b", "a\nb", "path"])
def test_a_name_that_no_cookie_can_have_is_a_value_error(name: str) -> None:
    with pytest.raises(ValueError, match=r"key|cookie"):
        _with_cookie(name, "1")


# --- streams -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("on_one_loop")
@given(content=chunks)
@every_kind
def test_a_stream_is_sent_piece_by_piece(
    kind: Callable[[list[Any]], Any], content: list[str | bytes], backend: str
) -> None:
    answer = ask(StreamingResponse(kind(list(content)), media_type="text/csv"), backend=backend)
    encoded = [piece.encode() if isinstance(piece, str) else piece for piece in content]
    assert [message["body"] for message in answer.messages[1:]] == [*encoded, b""]
    assert answer.complete
    assert answer.headers == [(b"content-type", b"text/csv; charset=utf-8")]


def test_a_sync_iterator_never_runs_on_the_event_loop(backend: str) -> None:
    pieces = Pieces(["a", "b"])
    ask(StreamingResponse(pieces), backend=backend)
    assert pieces.threads
    assert threading.get_ident() not in pieces.threads  # where `ask` has run the loop


@given(content=st.lists(st.integers()), taken=st.integers(0, 5))
def test_an_iterator_that_is_left_early_is_closed_in_a_thread(
    content: list[int], taken: int, backend: str
) -> None:
    closed_in: list[int] = []

    def generate() -> Iterator[int]:
        try:
            yield from content
        finally:
            closed_in.append(threading.get_ident())

    async def main() -> list[int]:
        iteration = iterate_in_threadpool(generate())
        received = []
        for _ in content[:taken]:
            received.append(await anext(iteration))
        await iteration.aclose()
        return received

    assert anyio.run(main, backend=backend) == content[:taken]
    assert threading.get_ident() not in closed_in
    assert len(closed_in) == bool(content[:taken]), (
        "a generator that never began has nothing to close"
    )


@given(before=st.integers(0, 2))
@both_kinds
def test_an_iterator_that_fails_ends_the_response_where_it_is(
    kind: type[Pieces], before: int, backend: str
) -> None:
    failure = ValueError("the iterator's own")
    pieces = kind(["a"] * before, failure)
    app = MiniBG(routes=[Route("/", lambda: StreamingResponse(pieces))])
    answer = ask(app, fails=ValueError, backend=backend)
    assert answer.error is failure
    assert (answer.status, answer.body, answer.complete) == (200, b"a" * before, False)
    assert pieces.closed


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@both_kinds
def test_an_iterator_is_closed_when_the_response_has_ended(
    kind: type[Pieces], method: str, backend: str
) -> None:
    pieces = kind(["a", "b"])
    answer = ask(StreamingResponse(pieces), method, backend=backend)
    assert answer.body == (b"ab" if method == "GET" else b"")
    assert answer.complete
    assert pieces.closed


def test_an_iterator_may_have_nothing_to_close(backend: str) -> None:
    class Endless:
        def __aiter__(self) -> "Endless":
            return self

        async def __anext__(self) -> str:
            return "a"

    answer = ask(StreamingResponse(Endless()), gone_after=3, backend=backend)
    assert (answer.body, answer.complete) == (b"aa", False)


def test_head_drives_no_iterator(backend: str) -> None:
    pieces = AsyncPieces(["a"])
    ask(StreamingResponse(pieces), "HEAD", backend=backend)
    assert pieces.content == ["a"]


@both_kinds
def test_a_client_that_goes_away_ends_the_stream(kind: type[Pieces], backend: str) -> None:
    pieces = kind(["a"] * 10_000)
    answer = ask(StreamingResponse(pieces), gone_after=3, backend=backend)
    assert not answer.complete
    assert pieces.content, "it was not driven to its end"
    assert pieces.closed


def test_who_holds_something_is_told_that_the_client_left() -> None:
    """Whoever holds something while a response is sent is told that the client went away."""
    told: list[str] = []

    async def held() -> AsyncIterator[None]:
        try:
            yield
        except ClientDisconnect as exc:
            told.append(str(exc.detail))
            raise

    async def endpoint(held: None = Depends(held)) -> StreamingResponse:
        return StreamingResponse(iter(["a"] * 10))

    ask(MiniBG(routes=[Route("/", endpoint)]), gone_after=2)
    assert told == ["the client went away before the response was complete"]


def test_a_client_that_goes_away_ends_a_stream_that_waits(backend: str) -> None:
    async def endless() -> AsyncIterator[str]:
        yield "a"
        await anyio.sleep_forever()

    app = MiniBG(routes=[Route("/", lambda: StreamingResponse(endless()))])
    answer = ask(app, gone_after=2, backend=backend)  # that a client leaves is no server's error
    assert (answer.body, answer.complete) == (b"a", False)


@pytest.mark.parametrize("length", [1, 2, 10])
def test_a_body_may_be_streamed_back_as_it_comes_in(length: int, backend: str) -> None:
    async def echo(request: Request) -> Response:
        return StreamingResponse(request.stream())

    app = MiniBG(routes=[Route("/", echo, methods=["POST"])])
    body = [bytes([number]) for number in range(length)]
    assert ask(app, "POST", body=body, backend=backend).body == b"".join(body)


@pytest.mark.parametrize("count", range(4))
def test_a_client_may_wait_for_each_piece_to_come_back(count: int, backend: str) -> None:
    """A client may wait for each piece to come back, and then leave.

    Two wait for its messages then: who reads the body, and who ends the stream.
    """

    async def echo(request: Request) -> Response:
        return StreamingResponse(request.stream())

    async def main() -> None:
        asked = 0
        say, listen = anyio.create_memory_object_stream[Message]()
        answer, hear = anyio.create_memory_object_stream[Message]()
        app = MiniBG(routes=[Route("/", echo, methods=["POST"])])

        async def receive() -> Message:
            nonlocal asked
            asked += 1
            return await listen.receive()

        with anyio.fail_after(LIMIT), say, listen, answer, hear:
            async with anyio.create_task_group() as group:
                group.start_soon(app, http_scope("POST"), receive, answer.send)
                assert (await hear.receive())["status"] == 200
                for number in range(count):
                    piece = bytes([number])
                    await say.send({"type": "http.request", "body": piece, "more_body": True})
                    assert (await hear.receive())["body"] == piece
                await say.send({"type": "http.disconnect"})
        assert asked == count + 1, "once for each message, and never after the last"

    anyio.run(main, backend=backend)


# --- background ----------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [PlainTextResponse, StreamingResponse])
def test_the_background_runs_when_the_last_byte_was_taken(
    make: Callable[..., Response], backend: str
) -> None:
    events: list[str] = []

    async def background() -> None:
        events.append("background")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def noted(message: Any) -> None:
            await send(message)
            events.append("last" if not message.get("more_body") else "more")

        content: Any = "ab" if make is PlainTextResponse else ["a", "b"]
        await make(content, background=background)(scope, receive, noted)

    ask(app, backend=backend)
    assert events[-2:] == ["last", "background"]
    assert events.count("background") == 1


def test_an_incomplete_responses_background_does_not_run(backend: str) -> None:
    """The background of a response that was not completed does not run."""

    async def background() -> None:
        pytest.fail("it ran")

    response = StreamingResponse(Pieces(["a"], ValueError()), background=background)
    assert not ask(response, fails=ValueError, backend=backend).complete


def test_a_response_of_ones_own_may_receive_while_it_is_sent(backend: str) -> None:
    received: list[str] = []

    class Listening(Response):
        async def send_response(self, scope: Scope, receive: Receive, send: Send) -> None:
            received.append((await receive())["type"])
            await super().send_response(scope, receive, send)

    app = MiniBG()

    @app.get("/")
    async def endpoint() -> Response:
        return Listening("answered")

    assert ask(app, gone_after=0, backend=backend).body == b"answered"
    assert received == ["http.disconnect"]


# --- sent again, and framed ----------------------------------------------------------------------


class Appending:
    """Middleware that changes the headers in place."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_more(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"].append((b"x-a", b"1"))
                message["headers"][0] = (b"x-b", b"2")
            await send(message)

        await self.app(scope, receive, send_more)


@pytest.mark.parametrize(
    "kept",
    [
        PlainTextResponse("a" * 1000),
        JSONResponse([1], headers={"x-c": "3"}),
        oracle.PlainTextResponse("a"),
        ASGIResponse(oracle.PlainTextResponse("a")),
    ],
)
@pytest.mark.parametrize("middleware", [Appending, partial(GZipMiddleware, minimum_size=10)])
def test_a_response_that_is_kept_is_sent_the_same_each_time(
    kept: Any, middleware: Callable[[ASGIApp], ASGIApp]
) -> None:
    app = MiniBG()
    app.add_middleware(middleware)

    @app.get("/")
    async def endpoint() -> Any:
        return kept

    accept = [(b"accept-encoding", b"gzip")]
    first, again, plain = ask(app, headers=accept), ask(app, headers=accept), ask(app)
    assert same(first, again)
    assert dict(plain.headers).get(b"content-encoding") is None


framings = st.lists(
    st.sampled_from([("transfer-encoding", "chunked"), ("content-length", "2"), ("x-a", "1")]),
    max_size=4,
)


@given(framings, st.sampled_from([200, 204, 205, 304]), st.booleans())
def test_one_framing_is_sent_whatever_was_set(
    given: list[tuple[str, str]], status: int, is_stream: bool
) -> None:
    """No `Transfer-Encoding`, one length at most (RFC 9112, 6.1 to 6.3; RFC 9110, 8.6)."""
    response = StreamingResponse(["a", "b"], status) if is_stream else Response("ab", status)
    for name, value in given:
        response.headers.append(name, value)
    for sent in (response, ASGIResponse(copy(response))):
        names = [name for name, _ in ask(sent).headers]
        assert b"transfer-encoding" not in names
        assert names.count(b"content-length") <= (0 if status == 204 else 1)


def test_a_reset_of_content_has_none() -> None:
    """RFC 9110, section 15.3.6."""
    for response in (Response("a", 205), JSONResponse(1, 205), StreamingResponse(["a"], 205)):
        answer = ask(response)
        assert (dict(answer.headers)[b"content-length"], answer.body) == (b"0", b"")


@pytest.mark.parametrize("content", ["abc", b"abc", bytearray(b"abc"), memoryview(b"abc")])
def test_a_stream_is_made_of_pieces_and_not_of_one(content: Any) -> None:
    with pytest.raises(TypeError, match="Response takes it whole"):
        StreamingResponse(content)


@pytest.mark.parametrize("piece", [{"a": 1}, 97, None])
def test_a_piece_that_is_neither_text_nor_bytes_is_not_sent(piece: Any) -> None:
    """A piece that is neither text nor bytes is refused and not sent."""
    answer = ask(StreamingResponse([piece]), fails=TypeError)
    assert (answer.body, answer.complete) == (b"", False)
    assert type(piece).__name__ in str(answer.error)


@pytest.mark.parametrize("kind", [Pieces, AsyncPieces])
@pytest.mark.parametrize("stream", [StreamingResponse, oracle.StreamingResponse])
def test_an_iterator_is_closed_where_no_response_can_begin(
    kind: type[Pieces], stream: Callable[[Any], Any], backend: str
) -> None:
    """An iterator is closed where the response could not begin."""
    if stream is oracle.StreamingResponse and kind is Pieces:
        pytest.skip("Starlette wraps it in a generator, and closing that closes nothing in it")
    pieces = kind(["a"])
    app = MiniBG()

    @app.get("/")
    async def endpoint() -> Any:
        return stream(pieces)

    async def refusing(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, refuse)

    ask(refusing, fails=BaseException, backend=backend)
    assert pieces.closed


def test_an_iterator_is_closed_where_a_dependency_fails_first(backend: str) -> None:
    """An iterator is closed where a dependency fails before the response."""
    pieces = AsyncPieces(["a"])
    app = MiniBG()

    def failing() -> Iterator[None]:
        yield
        raise LookupError

    @app.get("/")
    async def endpoint(held: None = Depends(failing, scope="function")) -> StreamingResponse:
        return StreamingResponse(pieces)

    assert ask(app, fails=LookupError, backend=backend).status == 500
    assert pieces.closed


# --- any ASGI response ---------------------------------------------------------------------------


class Own(Response):
    """A response whose `__call__` says what is sent."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.status_code = 201
        await super().__call__(scope, receive, send)


async def any_application(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 201})
    await send({"type": "http.response.body", "body": b"sent"})


@pytest.mark.parametrize(
    "make",
    [
        lambda path: Own("sent"),
        lambda path: oracle.PlainTextResponse("sent", 201),
        lambda path: oracle.StreamingResponse(iter(["se", "nt"]), 201),
        lambda path: oracle.FileResponse(path, 201),
        lambda path: any_application,
    ],
    ids=["own __call__", "plain", "stream", "file", "function"],
)
@pytest.mark.parametrize("answers_an_error", [False, True])
def test_any_asgi_application_may_be_the_response(
    make: Callable[[Path], Any], answers_an_error: bool, tmp_path: Path, backend: str
) -> None:
    """What was set on the injected response goes out with it, and the tasks run after it."""
    path = tmp_path / "file"
    path.write_bytes(b"sent")
    ran: list[str] = []
    app = MiniBG()

    @app.exception_handler(LookupError)
    async def handler(request: Request, exc: LookupError) -> Any:
        return make(path)

    @app.get("/")
    async def endpoint(response: Response, tasks: BackgroundTasks) -> Any:
        if answers_an_error:
            raise LookupError
        response.headers["x-a"] = "1"
        tasks.add_task(ran.append, "task")
        return make(path)

    answer = ask(app, backend=backend)
    assert (answer.status, answer.body) == (201, b"sent")
    assert dict(answer.headers).get(b"x-a") == (None if answers_an_error else b"1")
    assert ran == ([] if answers_an_error else ["task"])


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the body of the request, which it reads itself."""
    body, more_body = b"", True
    while more_body:
        message = await receive()
        assert message["type"] == "http.request"
        body += message.get("body", b"")
        more_body = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 201, "headers": []})
    await send({"type": "http.response.body", "body": body})
    assert (await receive())["type"] == "http.disconnect"


@pytest.mark.parametrize(
    "app", [echo, Starlette(routes=[Mount("/", echo)])], ids=["plain", "whole"]
)
@given(pieces=st.lists(st.binary(max_size=9), min_size=1), is_read=st.booleans())
def test_an_application_an_endpoint_returns_may_read_the_body(
    backend: str, app: Any, pieces: list[bytes], is_read: bool
) -> None:
    """An application that an endpoint returns may read the body: all, and also once more."""
    app_of_ours = MiniBG()

    @app_of_ours.post("/")
    async def endpoint(request: Request) -> Any:
        if is_read:
            await request.body()
        return app

    answer = ask(app_of_ours, "POST", body=pieces, gone_after=2, backend=backend)
    assert (answer.status, answer.body) == (201, b"".join(pieces))


async def streamed(request: Request) -> None:
    async for _ in request.stream():
        pass


async def listening(scope: Scope, receive: Receive, send: Send) -> None:
    """Streams its answer, and listens for the disconnect meanwhile, as Starlette's streams do."""
    async with anyio.create_task_group() as group:
        group.start_soon(receive)
        await anyio.wait_all_tasks_blocked()
        await send({"type": "http.response.start", "status": 201, "headers": []})
        await send({"type": "http.response.body", "body": b"sent"})
        group.cancel_scope.cancel()


@pytest.mark.parametrize("reads", [Request.form, streamed, Request.body])
def test_an_application_may_listen_when_the_body_was_read(
    backend: str, reads: Callable[[Request], Any]
) -> None:
    app = MiniBG()

    @app.post("/")
    async def endpoint(request: Request) -> Any:
        await reads(request)
        return listening

    form = [(b"content-type", b"application/x-www-form-urlencoded")]
    answer = ask(app, "POST", headers=form, body=[b"a=1"], backend=backend)
    assert (answer.status, answer.body) == (201, b"sent")


async def answering_whatever_came(scope: Scope, receive: Receive, send: Send) -> None:
    """Takes the disconnect for the end of the body, and answers."""
    while (await receive()).get("more_body"):
        pass
    assert (await receive())["type"] == "http.disconnect"
    await any_application(scope, receive, send)


async def giving_up(scope: Scope, receive: Receive, send: Send) -> None:
    """Takes the disconnect for the end of the request, and raises nothing."""
    while (message := await receive()).get("more_body"):
        pass
    if message["type"] == "http.request":
        await any_application(scope, receive, send)


READERS = [echo, Starlette(routes=[Mount("/", echo)]), answering_whatever_came, giving_up]


@pytest.mark.usefixtures("on_one_loop")
@pytest.mark.parametrize("app", READERS, ids=["raises", "Starlette", "answers", "gives up"])
@pytest.mark.parametrize("method", ["GET", "POST"])
@given(
    pieces=st.lists(st.binary(max_size=9), min_size=1).map(
        lambda pieces: pieces if sum(map(len, pieces)) > 5 else [*pieces, b"123456"]
    ),
    was_discarded=st.booleans(),
)
@example(pieces=[b"1234", b"5678"], was_discarded=True)
@example(pieces=[b"1234", b"5678"], was_discarded=False)
def test_a_body_too_large_for_an_application_is_refused(
    backend: str, app: Any, method: str, pieces: list[bytes], was_discarded: bool
) -> None:
    """With a 413, whatever the application does then; its tasks are named, and all is released."""
    log: list[str] = []
    app_of_ours = MiniBG(max_body_size=5)

    async def held() -> AsyncIterator[None]:
        try:
            yield
        finally:
            log.append("released")

    @app_of_ours.route("/", methods=[method])
    async def endpoint(request: Request, tasks: BackgroundTasks, held: None = Depends(held)) -> Any:
        tasks.add_task(log.append, "task")
        if was_discarded:  # somebody has waited for the disconnect
            with anyio.move_on_after(0.01):
                await request.receive_disconnect()
        return app

    with logged() as named:
        answer = ask(app_of_ours, method, body=pieces, gone_after=2, backend=backend)
    assert answer.status == 413
    assert json.loads(answer.body) == {"detail": "the body is larger than 5 bytes"}
    assert log == ["released"]
    (warning,) = named.warnings
    assert "not run (the response was not sent, " in warning
    assert warning.endswith(": list.append")


def test_an_application_that_has_begun_is_not_refused_any_more(backend: str) -> None:
    """The client has gone, as far as the application knows, and gets no second answer."""
    app_of_ours = MiniBG(max_body_size=5)

    async def beginning(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 201, "headers": []})
        while (message := await receive()).get("more_body"):
            pass
        assert message["type"] == "http.disconnect"

    @app_of_ours.post("/")
    async def endpoint() -> Any:
        return beginning

    answer = ask(app_of_ours, "POST", body=[b"1234", b"5678"], backend=backend)
    assert [message["type"] for message in answer.messages] == ["http.response.start"]


def test_a_body_that_an_application_has_read_is_not_read_twice(backend: str) -> None:
    """Not the rest of it as if it were the whole."""
    seen: list[str] = []
    app = MiniBG()

    async def held(request: Request) -> AsyncIterator[None]:
        yield
        with pytest.raises(RuntimeError) as raised:
            await request.body()
        seen.append(str(raised.value))

    async def reading_a_piece(scope: Scope, receive: Receive, send: Send) -> None:
        assert (await receive())["body"] == b"1234"
        await Response("sent")(scope, receive, send)

    @app.post("/")
    async def endpoint(held: None = Depends(held)) -> Any:
        return reading_a_piece

    assert ask(app, "POST", body=[b"1234", b"5678"], backend=backend).body == b"sent"
    assert seen == ["the body was streamed already; only `body()` keeps it"]


def test_a_response_may_be_of_any_other_kind_too() -> None:
    """Of a generic class, of one that registers its subclasses, of one that takes options."""
    T = TypeVar("T")
    registered: dict[str, type] = {}

    class Registry:
        def __init_subclass__(cls, name: str = "", **options: Any) -> None:
            super().__init_subclass__(**options)
            registered[name] = cls

    class Page(JSONResponse, Registry, Generic[T], name="page"):
        pass

    assert registered == {"page": Page}
    assert Page[int]({"a": 1}).body == b'{"a":1}'


def test_a_task_that_is_added_while_a_plain_answer_is_sent_runs(backend: str) -> None:
    """By a middleware, to a list that the endpoint has left empty."""
    ran: list[str] = []

    class Auditing:
        def __init__(self, app: ASGIApp) -> None:
            self.app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            async def send_and_audit(message: Message) -> None:
                if message["type"] == "http.response.start":
                    scope["state"]["tasks"].add_task(ran.append, "audit")
                await send(message)

            await self.app(scope, receive, send_and_audit)

    app = MiniBG()
    app.add_middleware(Auditing)

    @app.get("/")
    async def endpoint(request: Request, tasks: BackgroundTasks) -> str:
        request.state.tasks = tasks
        return "sent"

    assert ask(app, backend=backend).status == 200
    assert ran == ["audit"]


@pytest.mark.parametrize("cls", [oracle.Response, Own])
def test_its_background_runs_once_and_by_our_rules(
    cls: Callable[..., Any], backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Its background runs once, after the injected list and by our rules.

    Each time that it is sent: it stays as it was.
    """
    ran: list[str] = []

    async def failing() -> None:
        ran.append("its own")
        raise LookupError

    kept = cls("a", background=failing)
    app = MiniBG()

    @app.get("/")
    async def endpoint(tasks: BackgroundTasks) -> Any:
        tasks.add_task(ran.append, "injected")
        return kept

    for _ in range(2):
        assert ask(app, backend=backend).complete
    assert ran == ["injected", "its own"] * 2
    assert len([record for record in caplog.records if record.levelname == "ERROR"]) == 2
    assert kept.background is failing


def test_no_task_runs_where_it_ends_before_its_last_byte(
    backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Starlette's stream returns when the client has gone away, and says nothing."""
    app = MiniBG()

    async def endless() -> AsyncIterator[str]:
        while True:
            yield "a"
            await checkpoint()

    @app.get("/")
    async def endpoint(tasks: BackgroundTasks) -> Any:
        tasks.add_task(pytest.fail, "it ran")
        return oracle.StreamingResponse(endless())

    assert not ask(app, gone_after=3, backend=backend).complete
    assert "background tasks not run (the response was not sent" in caplog.text


def test_a_sync_callable_is_content_and_no_response() -> None:
    @dataclass
    class Callable1:
        a: int = 1

        def __call__(self) -> None: ...

    app = MiniBG()

    @app.get("/")
    async def endpoint() -> Any:
        return Callable1()

    assert ask(app).body == b'{"a":1}'


def test_a_returned_application_may_be_one_of_ours(backend: str) -> None:
    """It has a router of its own; what goes on is noted, and refused, by the one that was asked."""
    inner, app = MiniBG(), MiniBG(max_body_size=5)
    log: list[str] = []

    @inner.post("/")
    async def read(request: Request) -> int:
        return len(await request.body())

    async def held() -> AsyncIterator[None]:
        yield
        log.append("released")

    @app.exception_handler(413)
    async def handler(request: Request, exc: HTTPException) -> Response:
        return PlainTextResponse("ours", 413, background=BackgroundTask(log.append, "audited"))

    @app.post("/")
    async def endpoint(tasks: BackgroundTasks, held: None = Depends(held)) -> Any:
        tasks.add_task(log.append, "task")
        return inner

    assert ask(app, "POST", body=[b"1234"], backend=backend).body == b"4"
    assert log == ["released", "task"]
    log.clear()
    answer = ask(app, "POST", body=[b"1234", b"5678"], backend=backend)
    assert (answer.status, answer.body) == (413, b"ours")
    assert log == ["audited"]
    assert not app.router.runs._going_on


@pytest.mark.parametrize("reads_first", [False, True])
def test_a_refusal_may_be_answered_by_an_application_that_reads(
    reads_first: bool, backend: str
) -> None:
    """There is nothing more to read, and it does not wait for it."""
    app = MiniBG(max_body_size=5)

    @app.exception_handler(413)
    async def handler(request: Request, exc: HTTPException) -> Any:
        return echo

    @app.post("/")
    async def endpoint(request: Request) -> Any:
        if reads_first:
            await request.body()
        return echo

    answer = ask(app, "POST", body=[b"1234", b"5678"], gone_after=2, backend=backend)
    assert (answer.status, answer.body) == (201, b"")


def test_an_answer_begun_before_the_refusal_is_broken_off(backend: str) -> None:
    """Not ended, as if it were whole; the tasks are named."""
    app = MiniBG(max_body_size=5)
    ran: list[str] = []

    async def transforming(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 201, "headers": []})
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.body", "body": b""})

    @app.post("/")
    async def endpoint(tasks: BackgroundTasks) -> Any:
        tasks.add_task(ran.append, "task")
        return transforming

    with logged() as named:
        answer = ask(app, "POST", body=[b"1234", b"5678"], backend=backend)
    assert not answer.complete
    assert not ran
    assert len(named.warnings) == 1
