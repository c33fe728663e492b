"""WebSockets in process: what is received and sent, how it ends, and what an endpoint is given.

The server's side is played by `converse`, which holds the application to the protocol (ASGI
specification, WebSocket): nothing but a refusal before it is accepted, nothing after it is closed.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
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
    MiniBG,
    WebSocket,
    WebSocketDisconnect,
    WebSocketRoute,
)
from minibg.types import Message
from tests.framework.asgi import ask, http_scope

Endpoint = Callable[..., Awaitable[None]]


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
        assert accepted or message["type"] in ("websocket.accept", "websocket.close")
        if gone and accepted:
            raise OSError("the client is gone")
        heard.append(message)

    async def server() -> None:
        with anyio.fail_after(5):
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

    assert converse(serving(endpoint), backend=backend) == [
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


def test_an_uncaught_disconnect_ends_the_endpoint_and_is_no_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
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
def test_to_send_to_a_client_that_is_gone_is_a_websocket_disconnect(
    send: Callable[[WebSocket], Awaitable[None]], backend: str
) -> None:
    ends: list[int] = []

    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        try:
            await send(websocket)
        except WebSocketDisconnect as exc:
            ends.append(exc.code)

    converse(serving(endpoint), gone=True, backend=backend)
    assert ends == [1006]


def test_what_the_endpoint_raises_closes_with_1011_and_goes_to_the_server(backend: str) -> None:
    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        raise LookupError

    heard = converse(serving(endpoint), fails=LookupError, backend=backend)
    assert heard[-1] == close(1011)


def test_what_the_endpoint_raises_goes_to_the_server_also_where_the_client_is_gone(
    backend: str,
) -> None:
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


def test_nothing_is_sent_after_the_endpoint_has_closed_and_raised() -> None:
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

    assert converse(serving(endpoint), fails=RuntimeError) == [close(1011)]


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


def test_values_that_do_not_fit_refuse_the_connection_before_the_endpoint() -> None:
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


def sync_resource(events: list[str]) -> Callable[..., Any]:
    def dependency() -> Iterator[None]:
        try:
            yield
        finally:
            events.append("close")

    return dependency


def async_resource(events: list[str]) -> Callable[..., Any]:
    async def dependency() -> AsyncIterator[None]:
        try:
            yield
        finally:
            await checkpoint()
            events.append("close")

    return dependency


@pytest.mark.parametrize("kind", [sync_resource, async_resource])
@pytest.mark.parametrize("scope", ["function", "request"])
@pytest.mark.parametrize("ending", ["it returns", "the client goes away"])
def test_dependencies_close_and_then_the_tasks_run_when_the_endpoint_has_ended(
    backend: str,
    kind: Callable[..., Any],
    scope: Literal["function", "request"],
    ending: str,
) -> None:
    events: list[str] = []

    async def endpoint(
        websocket: WebSocket,
        tasks: BackgroundTasks,
        held: None = Depends(kind(events), scope=scope),
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


def test_tasks_of_other_lists_are_named_where_one_policy_ends_the_run(
    backend: str, caplog: pytest.LogCaptureFixture
) -> None:
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


def test_an_error_is_not_taken_for_a_disconnect_that_a_generator_makes_of_it(backend: str) -> None:
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


def test_an_http_request_never_reaches_a_websocket_route_whatever_its_method() -> None:
    async def endpoint(websocket: WebSocket) -> None:
        raise AssertionError("an HTTP request reached it")

    app = MiniBG()
    app.websocket("/")(endpoint)
    assert ask(app, "WEBSOCKET").status == 404
