"""WebSockets in process: what is received and sent, how it ends, and the endpoint's arguments.

`converse` plays the server's side and holds the application to the protocol (ASGI specification,
WebSocket): nothing but a refusal before it is accepted, nothing after it is closed, and no call of
`receive` after the disconnect.
"""

import logging
import pickle
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from typing import Annotated, Any, Literal
from uuid import UUID

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given
from hypothesis import strategies as st

from minibg import (
    BackgroundTasks,
    Depends,
    FailFastTasks,
    HTTPException,
    JSONResponse,
    Middleware,
    MiniBG,
    PlainTextResponse,
    Request,
    StreamingResponse,
    WebSocket,
    WebSocketDisconnect,
    WebSocketException,
    WebSocketRoute,
)
from minibg.types import Message, Receive, Scope, Send
from minibg.websockets import WebSocketDisconnected
from tests.framework.asgi import LIMIT, ask, http_scope
from tests.rules.language.exchange import refuse
from tests.rules.language.generators import Kind, both_kinds

Endpoint = Callable[..., Awaitable[None]]
ANSWERS = (
    "websocket.accept",
    "websocket.close",
    "websocket.http.response.start",
    "websocket.http.response.body",
)
"""What the application may send to a client that still waits for the connection."""
CAN_DENY = {"extensions": {"websocket.http.response": {}}}
"""The scope of a server that has denial responses (ASGI, "Websocket Denial Response")."""


def text(data: str) -> Message:
    return {"type": "websocket.receive", "text": data}


def binary(data: bytes) -> Message:
    return {"type": "websocket.receive", "bytes": data, "text": None}


def converse(
    app: MiniBG,
    *said: Message,
    path: str = "/",
    fails: type[Exception] | None = None,
    gone: bool = False,
    backend: str = "asyncio",
    **scope: Any,
) -> list[Message]:
    """Connect, say all that, go away with the code 1001; and what the application sent.

    Args:
        fails: What the application is expected to raise to the server.
        gone: Whether sending fails once the connection is accepted, as the specification says.
    """
    heard: list[Message] = []
    messages = [
        {"type": "websocket.connect"},
        *said,
        {"type": "websocket.disconnect", "code": 1001, "reason": "bye"},
    ]

    async def receive() -> Message:
        await checkpoint()
        return messages.pop(0)

    async def send(message: Message) -> None:
        await checkpoint()
        kinds = [message["type"] for message in heard]
        assert "websocket.close" not in kinds, "the connection was closed"
        accepted = "websocket.accept" in kinds
        assert message["type"] in (("websocket.send", "websocket.close") if accepted else ANSWERS)
        if gone and accepted:
            await refuse(message)
        heard.append(message)

    async def server() -> None:
        with anyio.fail_after(LIMIT):
            connection = {**http_scope("GET", path, **scope), "type": "websocket"}
            del connection["method"]
            await app(connection, receive, send)

    if fails is None:
        anyio.run(server, backend=backend)
    else:
        with pytest.raises(fails):
            anyio.run(server, backend=backend)
    return heard


def serving(endpoint: Endpoint, path: str = "/") -> MiniBG:
    return MiniBG(routes=[WebSocketRoute(path, endpoint)])


def close(code: int, reason: str = "") -> Message:
    return {"type": "websocket.close", "code": code, "reason": reason}


# --- what is received and sent -------------------------------------------------------------------


def test_a_connection_is_accepted_with_a_subprotocol_and_headers(backend: str) -> None:
    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept("chat", [(b"x-a", b"1")])
        await websocket.close(3000, "enough")

    assert converse(serving(endpoint), backend=backend, subprotocols=["chat"]) == [
        {"type": "websocket.accept", "subprotocol": "chat", "headers": [(b"x-a", b"1")]},
        close(3000, "enough"),
    ]


async def echo_text(websocket: WebSocket) -> None:
    await websocket.accept()
    while True:
        await websocket.send_text(await websocket.receive_text())


async def echo_each_text(websocket: WebSocket) -> None:
    await websocket.accept()
    async for data in websocket.iter_text():
        await websocket.send_text(data)


def test_an_endpoint_may_speak_asgi_itself(backend: str) -> None:
    received: list[Message] = []

    async def endpoint(websocket: WebSocket) -> None:
        received.append(await websocket.receive())
        await websocket.accept()
        received.append(await websocket.receive())
        await websocket.send({"type": "websocket.send", "text": "heard"})
        received.append(await websocket.receive())

    sent = converse(serving(endpoint), text("hello"), backend=backend)
    assert sent[1:] == [{"type": "websocket.send", "text": "heard"}]
    assert received == [
        {"type": "websocket.connect"},
        text("hello"),
        {"type": "websocket.disconnect", "code": 1001, "reason": "bye"},
    ]


@pytest.mark.parametrize("echo", [echo_text, echo_each_text])
@given(said=st.lists(st.text(st.characters(codec="utf-8"))))
def test_text_comes_back_as_it_was_sent(echo: Endpoint, said: list[str]) -> None:
    _, *heard = converse(serving(echo), *map(text, said))
    assert [m["text"] for m in heard if m["type"] == "websocket.send"] == said


async def echo_bytes(websocket: WebSocket) -> None:
    await websocket.accept()
    while True:
        await websocket.send_bytes(await websocket.receive_bytes())


async def echo_each_bytes(websocket: WebSocket) -> None:
    await websocket.accept()
    async for data in websocket.iter_bytes():
        await websocket.send_bytes(data)


@pytest.mark.parametrize("echo", [echo_bytes, echo_each_bytes])
@given(said=st.lists(st.binary()))
def test_bytes_come_back_as_they_were_sent(echo: Endpoint, said: list[bytes]) -> None:
    _, *heard = converse(serving(echo), *map(binary, said))
    assert [m["bytes"] for m in heard if m["type"] == "websocket.send"] == said


async def echo_json(websocket: WebSocket) -> None:
    await websocket.accept()
    while True:
        await websocket.send_json(await websocket.receive_json())


async def echo_each_json(websocket: WebSocket) -> None:
    await websocket.accept()
    async for data in websocket.iter_json():
        await websocket.send_json(data)


@pytest.mark.parametrize("echo", [echo_json, echo_each_json])
def test_json_comes_as_text_or_bytes_and_goes_as_text(echo: Endpoint) -> None:
    said = [text('{"a": "ü"}'), binary(b"[1, null]"), text('"x"')]
    _, *heard = converse(serving(echo), *said)
    assert [m["text"] for m in heard if m["type"] == "websocket.send"] == [
        '{"a":"ü"}',
        "[1,null]",
        '"x"',
    ]


@pytest.mark.parametrize("said", [text("{"), text(""), binary(b"\xff"), text("[" * 100_000)])
def test_a_message_that_is_no_json_is_a_value_error(said: Message) -> None:
    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        with pytest.raises(ValueError, match="no JSON"):
            await websocket.receive_json()
        await websocket.close()

    assert converse(serving(endpoint), said)[-1] == close(1000)


# --- how it ends ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "receive", [WebSocket.receive_text, WebSocket.receive_bytes, WebSocket.receive_json]
)
def test_a_client_that_goes_away_is_a_websocket_disconnect(
    receive: Callable[[WebSocket], Awaitable[Any]], backend: str
) -> None:
    ends: list[tuple[int, str]] = []

    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        try:
            await receive(websocket)
        except WebSocketDisconnect as exc:
            ends.append((exc.code, exc.reason))

    converse(serving(endpoint), backend=backend)
    assert ends == [(1001, "bye")]


def test_a_websocket_disconnect_reads_as_its_code_and_reason() -> None:
    assert str(WebSocketDisconnect(1001, "bye")) == "1001 bye"
    assert str(WebSocketDisconnect(1006)) == "1006"


def test_an_uncaught_disconnect_ends_the_endpoint(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An uncaught disconnect ends the endpoint and is not an error."""
    heard = converse(serving(echo_text), text("a"))
    assert [message["type"] for message in heard] == ["websocket.accept", "websocket.send"]
    assert caplog.records == []


@pytest.mark.parametrize(
    "send",
    [
        lambda websocket: websocket.send_text("x"),
        lambda websocket: websocket.send_bytes(b"x"),
        lambda websocket: websocket.send_json(1),
    ],
)
def test_sending_to_a_client_that_has_gone_is_a_disconnect(
    send: Callable[[WebSocket], Awaitable[None]], backend: str
) -> None:
    """To send to a client that has gone is a `WebSocketDisconnect`."""
    ends: list[int] = []

    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        try:
            await send(websocket)
        except WebSocketDisconnect as exc:
            ends.append(exc.code)

    converse(serving(endpoint), gone=True, backend=backend)
    assert ends == [1006]


def test_what_the_endpoint_raises_closes_with_1011(backend: str) -> None:
    """What the endpoint raises closes with 1011 and goes to the server."""

    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        raise LookupError

    heard = converse(serving(endpoint), fails=LookupError, backend=backend)
    assert heard[-1] == close(1011)


def test_an_endpoints_error_reaches_the_server_without_a_client(
    backend: str,
) -> None:
    """What the endpoint raises goes to the server also where the client has gone."""

    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        raise LookupError

    converse(serving(endpoint), fails=LookupError, gone=True, backend=backend)


@pytest.mark.parametrize("accepts", [True, False])
def test_an_http_exception_closes_with_1008_and_is_no_error(accepts: bool, backend: str) -> None:
    async def endpoint(websocket: WebSocket) -> None:
        if accepts:
            await websocket.accept()
        raise HTTPException(403)

    assert converse(serving(endpoint), backend=backend)[-1] == close(1008)


def test_nothing_is_sent_after_an_endpoint_that_closed_raises() -> None:
    """Nothing is sent after the endpoint has closed the connection and raised."""

    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.close(3000)
        raise LookupError

    assert converse(serving(endpoint), fails=LookupError)[-1] == close(3000)


def test_a_path_that_nobody_serves_is_refused() -> None:
    app = serving(echo_text, "/ws")

    @app.get("/http")
    def http() -> None: ...

    assert converse(app, path="/elsewhere") == [close(1008)]
    assert converse(app, path="/http") == [close(1008)]


def test_to_receive_before_accepting_is_an_error_that_says_so() -> None:
    async def endpoint(websocket: WebSocket) -> None:
        await websocket.receive_text()

    assert converse(serving(endpoint), fails=RuntimeError) == []


RECEIVE: list[Callable[[WebSocket], Awaitable[Any]]] = [
    WebSocket.receive,
    WebSocket.receive_text,
    WebSocket.receive_bytes,
    WebSocket.receive_json,
]
SEND: list[Callable[[WebSocket], Awaitable[Any]]] = [
    lambda websocket: websocket.send_text("x"),
    lambda websocket: websocket.send_bytes(b"x"),
    lambda websocket: websocket.send_json(1),
]


async def wait_for_the_end(websocket: WebSocket) -> None:
    await websocket.accept()
    async for _ in websocket.iter_text():
        pass


async def close_it(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.close(1001, "bye")


@pytest.mark.parametrize("receive", RECEIVE)
@pytest.mark.parametrize("end", [wait_for_the_end, close_it])
def test_to_receive_after_the_end_raises_at_once_every_time(
    receive: Callable[[WebSocket], Awaitable[Any]], end: Endpoint, backend: str
) -> None:
    ends: list[str] = []

    async def endpoint(websocket: WebSocket) -> None:
        await end(websocket)
        for _ in range(3):
            with pytest.raises(WebSocketDisconnected) as raised:
                await receive(websocket)
            ends.append(str(raised.value))

    converse(serving(endpoint), text("unread") if end is close_it else text("1"), backend=backend)
    assert ends == 3 * ["1001 bye"]


@pytest.mark.parametrize("end", [wait_for_the_end, close_it])
def test_close_after_the_end_does_nothing_and_costs_no_tasks(end: Endpoint, backend: str) -> None:
    ran: list[bool] = []

    async def endpoint(websocket: WebSocket, tasks: BackgroundTasks) -> None:
        tasks.add_task(ran.append, True)
        try:
            await end(websocket)
            await websocket.receive_text()
        finally:
            await websocket.close(3000)

    heard = converse(serving(endpoint), backend=backend)
    assert [message.get("code") for message in heard[1:]] == ([1001] if end is close_it else [])
    assert ran == [True]


def test_closing_after_an_unseen_disconnect_is_no_error(
    backend: str,
) -> None:
    """To close is not an error where only the server knows that the client has gone."""
    ran: list[bool] = []

    async def endpoint(websocket: WebSocket, tasks: BackgroundTasks) -> None:
        tasks.add_task(ran.append, True)
        await websocket.accept()
        await websocket.close()

    converse(serving(endpoint), gone=True, backend=backend)
    assert ran == [True]


@pytest.mark.parametrize("send", SEND)
@pytest.mark.parametrize(
    ("end", "error"), [(wait_for_the_end, WebSocketDisconnect), (close_it, RuntimeError)]
)
def test_sending_after_the_end_is_a_disconnect_or_a_fault(
    send: Callable[[WebSocket], Awaitable[Any]], end: Endpoint, error: type[Exception], backend: str
) -> None:
    """To send after the client has gone is a disconnect, and after `close` a fault."""

    async def endpoint(websocket: WebSocket) -> None:
        await end(websocket)
        with pytest.raises(error):
            await send(websocket)

    converse(serving(endpoint), backend=backend)


def play(endpoint: Endpoint, receive: Receive, send: Send, backend: str) -> None:
    """Serve one connection whose server does that, within `LIMIT`."""

    async def server() -> None:
        with anyio.fail_after(LIMIT):
            connection = {**http_scope(), "type": "websocket"}
            await serving(endpoint)(connection, receive, send)

    anyio.run(server, backend=backend)


def test_what_came_is_received_after_sending_has_failed(
    backend: str,
) -> None:
    """What came before the client went is received after sending has failed."""
    received: list[str] = []
    queue: list[Message] = [{"type": "websocket.connect"}, text("1"), text("2")]

    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        with pytest.raises(WebSocketDisconnect):
            await websocket.send_text("x")
        received.extend([data async for data in websocket.iter_text()])

    async def receive() -> Message:  # as a queue does, it waits only where it is empty
        if not queue:
            await anyio.sleep_forever()
        return queue.pop(0)

    async def send(message: Message) -> None:
        if message["type"] != "websocket.accept":
            await refuse(message)

    play(endpoint, receive, send, backend)
    assert received == ["1", "2"]


@pytest.mark.parametrize("closes", [True, False])
def test_all_who_wait_for_a_message_hear_of_the_end(closes: bool, backend: str) -> None:
    """Where the application closes and the server is silent, and where the server says it once."""
    messages: list[Message] = [{"type": "websocket.connect"}]
    waiting: list[None] = []
    ends: list[int] = []
    gone = anyio.Event()

    async def wait(websocket: WebSocket) -> None:
        with pytest.raises(WebSocketDisconnect) as raised:
            await websocket.receive_text()
        ends.append(raised.value.code)

    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(wait, websocket)
            await anyio.wait_all_tasks_blocked()
            if closes:
                await websocket.close(1001)
            else:
                gone.set()

    async def receive() -> Message:
        if messages:
            return messages.pop()
        waiting.append(None)
        await gone.wait()
        return {"type": "websocket.disconnect", "code": 1001}

    async def send(message: Message) -> None: ...

    play(endpoint, receive, send, backend)
    assert ends == [1001, 1001, 1001]
    assert len(waiting) == 1


DO: dict[str, Callable[[WebSocket], Awaitable[Any]]] = {
    "accept": WebSocket.accept,
    "close": WebSocket.close,
    "close with 3000": lambda websocket: websocket.close(3000),
    "close with 1006": lambda websocket: websocket.close(1006),
    "receive": WebSocket.receive,
    "receive text": WebSocket.receive_text,
    "send": lambda websocket: websocket.send_text("x"),
    "send a message": lambda websocket: websocket.send({"type": "websocket.send", "text": "x"}),
    "deny": lambda websocket: websocket.send_denial_response(PlainTextResponse("no", 402)),
}


@given(
    deeds=st.lists(st.sampled_from(list(DO)), max_size=8),
    ends=st.sampled_from([None, LookupError(), HTTPException(401), WebSocketException(3001)]),
    said=st.integers(0, 3),
    gone=st.booleans(),
    scope=st.sampled_from([CAN_DENY, {}]),
)
def test_whatever_an_endpoint_does_the_conversation_is_legal(
    backend: str,
    deeds: list[str],
    ends: Exception | None,
    said: int,
    gone: bool,
    scope: dict[str, Any],
) -> None:
    """Whatever an endpoint does, its server sees a legal conversation.

    `converse` asserts it. Nothing hangs, and the tasks of an endpoint that returned have run.
    """
    ran: list[bool] = []

    async def endpoint(websocket: WebSocket, tasks: BackgroundTasks) -> None:
        tasks.add_task(ran.append, True)
        for deed in deeds:
            try:
                await DO[deed](websocket)
            except (RuntimeError, ValueError, WebSocketDisconnect):
                continue
        if ends is not None:
            raise ends

    fails = LookupError if isinstance(ends, LookupError) else None
    said_texts = [text("x")] * said
    converse(serving(endpoint), *said_texts, backend=backend, gone=gone, fails=fails, **scope)
    assert ran == ([] if ends else [True])


def test_accept_comes_once_and_takes_no_message(backend: str) -> None:
    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        with pytest.raises(RuntimeError, match="once"):
            await websocket.accept()
        assert await websocket.receive_text() == "hello"

    converse(serving(endpoint), text("hello"), backend=backend)


@pytest.mark.parametrize("send", SEND)
def test_nothing_is_sent_before_accept(send: Callable[[WebSocket], Awaitable[Any]]) -> None:
    async def endpoint(websocket: WebSocket) -> None:
        with pytest.raises(RuntimeError, match="CONNECTING"):
            await send(websocket)

    assert converse(serving(endpoint)) == [close(1000)]


def test_a_subprotocol_that_was_not_offered_is_a_value_error() -> None:
    """A subprotocol that the client does not offer is a `ValueError`."""

    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept("chat")

    assert converse(serving(endpoint), fails=ValueError, subprotocols=["other"]) == []


def test_text_and_bytes_are_not_sent_as_each_other() -> None:
    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        with pytest.raises(TypeError, match="str, not bytes"):
            await websocket.send_text(b"x")  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="bytes, not str"):
            await websocket.send_bytes("x")  # type: ignore[arg-type]
        await websocket.send_bytes(memoryview(b"x"))

    assert converse(serving(endpoint))[1:] == [
        {"type": "websocket.send", "bytes": b"x"},
        close(1000),
    ]


def may_be_sent(code: int, reason: str) -> bool:
    """Whether a Close frame may hold that (RFC 6455, sections 7.4 and 5.5, and IANA's registry)."""
    reserved = {1004, 1005, 1006, 1015}
    return (
        (1000 <= code <= 1014 or 3000 <= code <= 4999)
        and code not in reserved
        and len(reason.encode()) <= 123
    )


@given(
    code=st.sampled_from([*range(998, 1018)]) | st.integers(-1, 70_000),
    reason=st.text(st.characters(codec="utf-8"), max_size=10)
    | st.builds(
        lambda letter, times: letter * times, st.sampled_from("xü語😀"), st.integers(29, 125)
    ),
)
def test_a_close_that_may_not_be_sent_is_a_value_error(code: int, reason: str) -> None:
    """A close that may be sent is sent, and any other is a `ValueError`."""

    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        if may_be_sent(code, reason):
            await websocket.close(code, reason)
        else:
            with pytest.raises(ValueError, match="close"):
                await websocket.close(code, reason)
            with pytest.raises(ValueError, match="close"):
                WebSocketException(code, reason)

    expected = close(code, reason) if may_be_sent(code, reason) else close(1000)
    assert converse(serving(endpoint))[1:] == [expected]


@pytest.mark.parametrize("accepts", [True, False])
def test_a_websocket_exception_closes_with_its_code(accepts: bool, backend: str) -> None:
    """A `WebSocketException` closes with its code and is not an error."""

    async def endpoint(websocket: WebSocket) -> None:
        if accepts:
            await websocket.accept()
        raise WebSocketException(code=3001, reason="enough")

    assert converse(serving(endpoint), backend=backend, **CAN_DENY)[-1] == close(3001, "enough")


def test_exceptions_of_websockets_can_be_pickled() -> None:
    for exc in (WebSocketException(code=3001, reason="enough"), WebSocketDisconnect(1001, "bye")):
        again = pickle.loads(pickle.dumps(exc))
        assert (again.code, again.reason, str(again)) == (exc.code, exc.reason, str(exc))


def test_a_disconnect_in_a_task_group_costs_no_tasks(backend: str) -> None:
    """A disconnect in a task group is not an error and costs no tasks."""
    ran: list[bool] = []

    async def endpoint(websocket: WebSocket, tasks: BackgroundTasks) -> None:
        tasks.add_task(ran.append, True)
        await websocket.accept()
        async with anyio.create_task_group() as group:
            group.start_soon(websocket.receive_text)
            group.start_soon(websocket.receive_text)

    converse(serving(endpoint), backend=backend)
    assert ran == [True]


def test_the_disconnect_of_another_connection_is_an_error(backend: str) -> None:
    """Uncaught it must not leave this client waiting, as if it had gone."""

    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        raise WebSocketDisconnect(1001)

    heard = converse(serving(endpoint), fails=WebSocketDisconnect, backend=backend)
    assert heard[-1] == close(1011)


# --- what answers an exception before accept() ---------------------------------------------------


def denied(heard: list[Message]) -> tuple[int, dict[bytes, bytes], bytes]:
    """The status, the headers and the body by which a connection was refused, in two messages."""
    start, body = heard
    assert start["type"] == "websocket.http.response.start"
    assert body["type"] == "websocket.http.response.body"
    return start["status"], dict(start["headers"]), body["body"]


@pytest.fixture
def refusing() -> MiniBG:
    async def never(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/middleware":
            raise LookupError
        await app.router(scope, receive, send)

    app = MiniBG(middleware=[Middleware(lambda _: never)])

    @app.websocket("/http")
    async def http() -> None:
        raise HTTPException(401, "who?", {"www-authenticate": "Bearer"})

    @app.websocket("/bug")
    async def bug() -> None:
        raise LookupError

    @app.websocket("/value")
    async def value(n: int) -> None: ...

    @app.websocket("/handled")
    async def handled() -> None:
        raise KeyError("k")

    @app.exception_handler(KeyError)
    async def handler(request: Request, exc: KeyError) -> JSONResponse:
        return JSONResponse([request.method, request.url.path], 409)

    return app


def test_an_http_exception_before_accept_answers_the_client(refusing: MiniBG, backend: str) -> None:
    """An `HTTPException` before `accept` is answered as that of a request."""
    status, headers, body = denied(converse(refusing, path="/http", backend=backend, **CAN_DENY))
    assert (status, headers[b"www-authenticate"]) == (401, b"Bearer")
    assert body == b'{"detail":"who?"}'


@pytest.mark.parametrize(("path", "status"), [("/none", 404), ("/value", 422), ("/handled", 409)])
def test_what_answers_a_request_refuses_a_connection_as_well(
    refusing: MiniBG, path: str, status: int
) -> None:
    """What answers a request refuses a connection also elsewhere."""
    assert denied(converse(refusing, path=path, **CAN_DENY))[0] == status
    assert converse(refusing, path=path) == [close(1008)]


def test_a_handler_is_given_the_handshake_as_a_request(refusing: MiniBG) -> None:
    assert denied(converse(refusing, path="/handled", **CAN_DENY))[2] == b'["GET","/handled"]'


@pytest.mark.parametrize("path", ["/bug", "/middleware"])
def test_an_error_before_accept_is_a_500_and_goes_to_the_server(
    refusing: MiniBG, path: str, backend: str
) -> None:
    heard = converse(refusing, path=path, fails=LookupError, backend=backend, **CAN_DENY)
    assert denied(heard)[0] == 500
    assert converse(refusing, path=path, fails=LookupError, backend=backend) == []


def test_a_denial_response_is_sent_whole_before_its_background(backend: str) -> None:
    """A denial response is sent in one piece before its background runs."""
    events: list[str] = []

    async def endpoint(websocket: WebSocket) -> None:
        async def note() -> None:
            events.append("ended" if websocket.is_closed else "open")

        response = StreamingResponse(iter(["a", "b"]), 402, background=note)
        await websocket.send_denial_response(response)

    status, _, body = denied(converse(serving(endpoint), backend=backend, **CAN_DENY))
    assert (status, body, events) == (402, b"ab", ["ended"])


def test_a_denial_response_needs_a_server_that_has_them() -> None:
    async def endpoint(websocket: WebSocket) -> None:
        with pytest.raises(RuntimeError, match="no denial responses"):
            await websocket.send_denial_response(PlainTextResponse("no", 402))

    assert converse(serving(endpoint)) == [close(1000)]


# --- what an endpoint is given -------------------------------------------------------------------


def test_an_endpoint_is_given_what_an_http_endpoint_is(backend: str) -> None:
    given_: list[Any] = []

    def dependency(q: int, websocket: WebSocket) -> Any:
        return [q, websocket]

    app = MiniBG()

    @app.websocket("/{item}")
    async def endpoint(
        item: UUID,
        websocket: WebSocket,
        tags: list[str],
        below: Annotated[Any, Depends(dependency)],
    ) -> None:
        given_.append([item, tags, below[0], below[1] is websocket])
        given_.append([websocket.path_params["item"], websocket.headers["x-a"]])
        await websocket.accept()

    item = UUID(int=1)
    converse(
        app,
        path=f"/{item}",
        query_string=b"q=1&tags=a&tags=b",
        headers=[(b"x-a", b"1")],
        backend=backend,
    )
    assert given_ == [[item, ["a", "b"], 1, True], [str(item), "1"]]


def test_values_that_do_not_fit_refuse_the_connection() -> None:
    """Values that do not fit refuse the connection before the endpoint is called."""

    async def endpoint(websocket: WebSocket, n: int) -> None:
        pytest.fail("it was called")

    assert converse(serving(endpoint), query_string=b"n=x") == [close(1008)]


def test_dependencies_are_overridden_as_elsewhere() -> None:
    def token() -> str:
        raise HTTPException(401)

    async def endpoint(websocket: WebSocket, value: str = Depends(token)) -> None:
        await websocket.accept()
        await websocket.send_text(value)

    app = serving(endpoint)
    assert converse(app) == [close(1008)]
    app.dependency_overrides[token] = lambda: "instead"
    assert converse(app)[1]["text"] == "instead"


@both_kinds
@pytest.mark.parametrize("scope", ["function", "request"])
@pytest.mark.parametrize("ending", ["it returns", "the client goes away"])
def test_dependencies_close_and_then_the_tasks_run(
    backend: str,
    kind: Kind,
    scope: Literal["function", "request"],
    ending: str,
) -> None:
    """When the endpoint has ended, the dependencies close, and then the tasks run."""
    events: list[str] = []

    def resource() -> Generator[None]:
        try:
            yield
        finally:
            events.append("close")

    async def endpoint(
        websocket: WebSocket,
        tasks: BackgroundTasks,
        held: None = Depends(kind(resource), scope=scope),
    ) -> None:
        await websocket.accept()
        tasks.add_task(events.append, "task")
        if ending == "the client goes away":
            await websocket.receive_text()
        events.append("returned")

    converse(serving(endpoint), backend=backend)
    returned = ["returned"] if ending == "it returns" else []
    assert events == [*returned, "close", "task"]


def test_the_conversation_is_over_when_the_first_task_starts(backend: str) -> None:
    """As an answer is complete by then; else the client would wait for the tasks as well."""
    ended: list[bool] = []
    heard: list[Message] = []

    async def endpoint(websocket: WebSocket, tasks: BackgroundTasks) -> None:
        await websocket.accept()
        tasks.add_task(lambda: ended.append(websocket.is_closed))

    heard = converse(serving(endpoint), backend=backend)
    assert ended == [True]
    assert heard[-1] == close(1000)


def test_tasks_of_an_endpoint_that_raised_are_named(
    backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def endpoint(websocket: WebSocket, tasks: BackgroundTasks) -> None:
        await websocket.accept()
        tasks.add_task(print)
        raise LookupError

    converse(serving(endpoint), fails=LookupError, backend=backend)
    reason = "the endpoint raised LookupError"
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.WARNING, f"background tasks not run ({reason}): builtins.print")
    ]


def test_tasks_of_other_lists_are_named_where_one_ends_the_run(
    backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Tasks of other lists are named where the policy of one ends the run."""

    def fail() -> None:
        raise LookupError

    async def endpoint(strict: FailFastTasks, others: BackgroundTasks) -> None:
        strict.add_task(fail)
        others.add_task(fail)

    converse(serving(endpoint), fails=LookupError, backend=backend)
    name = f"{__name__}.{fail.__qualname__}"
    assert caplog.messages == [
        f"background tasks not run (an earlier failure, LookupError): {name}"
    ]


def test_a_disconnect_made_of_an_error_is_still_an_error(backend: str) -> None:
    """An error is not taken for the disconnect that a generator makes of it."""

    async def farewell(websocket: WebSocket) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await websocket.send_text("farewell")

    async def endpoint(
        websocket: WebSocket, held: Annotated[None, Depends(farewell, scope="request")]
    ) -> None:
        await websocket.accept()
        raise LookupError

    converse(serving(endpoint), fails=WebSocketDisconnect, gone=True, backend=backend)


def test_an_http_request_never_reaches_a_websocket_route() -> None:
    """An HTTP request never reaches a WebSocket route, whatever its method."""

    async def endpoint(websocket: WebSocket) -> None:
        raise AssertionError("an HTTP request reached it")

    app = MiniBG()
    app.websocket("/")(endpoint)
    assert ask(app, "WEBSOCKET").status == 404
