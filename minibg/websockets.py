"""Both sides of a WebSocket connection (ASGI specification, "WebSocket").

Each side of a connection has a state, and the states decide what may be received and sent:
`SENDABLE` is the application's side. Two ends are kept apart. Where the *client* has gone, both
receiving and sending raise `WebSocketDisconnect`, each time and at once, and `close` does nothing.
Where the *application* has closed, receiving raises the same, but sending is a fault of the
endpoint, a plain `RuntimeError`.

What may live here: turning messages of ASGI into text, bytes and JSON, and back, and what an
exception of the endpoint means to the client.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import suppress
from enum import Enum
from typing import Any, TypeVar, cast

import msgspec
from anyio import CancelScope, Lock, sleep_forever
from anyio.lowlevel import checkpoint

from minibg.exceptions import BadRequest, HTTPException, WebSocketException
from minibg.requests import HTTPConnection, Request
from minibg.types import ASGIApp, Message, Receive, Scope, Send

T = TypeVar("T")


class WebSocketState(Enum):
    """How far one side of the connection is. RESPONSE is an HTTP answer that refuses it."""

    CONNECTING = 0
    CONNECTED = 1
    DISCONNECTED = 2
    RESPONSE = 3


CONNECTING, CONNECTED, DISCONNECTED, RESPONSE = WebSocketState

SENDABLE: dict[WebSocketState, dict[str, WebSocketState]] = {
    CONNECTING: {
        "websocket.accept": CONNECTED,
        "websocket.close": DISCONNECTED,
        "websocket.http.response.start": RESPONSE,
    },
    CONNECTED: {"websocket.send": CONNECTED, "websocket.close": DISCONNECTED},
    RESPONSE: {"websocket.http.response.body": RESPONSE},
    DISCONNECTED: {},
}
"""What the application may send in each of its states, and the state that follows."""


class WebSocketDisconnect(Exception):
    """The client went away.

    Args:
        code: Why, as a close code (RFC 6455, section 7.4).
        reason: Why, in words.
    """

    def __init__(self, code: int = 1000, reason: str | None = None) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason or ""

    def __str__(self) -> str:
        return f"{self.code} {self.reason}".rstrip()


class WebSocketDisconnected(WebSocketDisconnect, RuntimeError):
    """The connection was over before the call; a `RuntimeError` as well, as in Starlette."""


class InvalidMessage(BadRequest, ValueError):
    """A message of the wrong kind. If uncaught, it closes with 1008, and is not an error."""


class WebSocket(HTTPConnection):
    """A WebSocket connection. Several tasks may receive at a time, and several may send.

    Args:
        scope: The connection scope, of type "websocket".
        receive: The source of messages.
        send: Their destination.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        super().__init__(scope)
        self._receive = receive
        self._send = send
        self.client_state = self.application_state = CONNECTING
        self._end: tuple[Any, ...] = ()  # once the connection is over, its code and reason
        self._one_receives = Lock(fast_acquire=True)
        self._waiting: CancelScope | None = None

    @property
    def is_closed(self) -> bool:
        """Whether the connection is over, whoever has ended it, or an HTTP answer refuses it."""
        return bool(self._end) or self.application_state is RESPONSE

    async def receive(self) -> Message:
        """The next message of ASGI, "websocket.disconnect" among them.

        Raises:
            WebSocketDisconnected: If the connection is over, as that message has said, or `close`.
        """
        async with self._one_receives:
            if DISCONNECTED not in (self.client_state, self.application_state):
                message = await self._next_message()
                if message is not None:
                    return message
        await checkpoint()  # a loop that catches this for ever does not hold the event loop
        raise WebSocketDisconnected(*self._end)

    async def _next_message(self) -> Message | None:
        """Wait for the next message; None if the connection ends meanwhile."""
        with CancelScope() as self._waiting:
            if self._end:  # sending has failed: only what has come already is received
                self._waiting.cancel()
            message = await self._receive()
            self.client_state = CONNECTED
            if message["type"] == "websocket.disconnect":
                self.client_state = DISCONNECTED
                self._end = message.get("code") or 1005, message.get("reason")
            return message
        self.client_state = DISCONNECTED
        return None

    async def send(self, message: Message) -> None:
        """Send a message of ASGI.

        Raises:
            RuntimeError: If the application may not send that now.
            WebSocketDisconnect: If the client has gone, as far as the server says so.
        """
        kind, sendable = message["type"], SENDABLE[self.application_state]
        if kind not in sendable:
            may = " or ".join(sendable) or "nothing"
            now = self.application_state.name
            raise RuntimeError(f"{kind} cannot be sent while the WebSocket is {now}, but {may} can")
        if self._end:
            raise WebSocketDisconnected(*self._end)
        state = sendable[kind]
        if state is RESPONSE and kind.endswith("body") and not message.get("more_body"):
            state = DISCONNECTED
        if state is DISCONNECTED:  # before it is sent, so that nobody sends, or waits, meanwhile
            self.application_state = state
            self._end = message.get("code", 1000), message.get("reason")
            if self._waiting is not None:
                self._waiting.cancel()
        try:
            await self._send(message)
        except OSError as exc:  # ASGI specification, "Disconnected client - send exception"
            self._end = (1006,)
            raise WebSocketDisconnect(*self._end) from exc
        self.application_state = state

    async def accept(
        self, subprotocol: str | None = None, headers: Iterable[tuple[bytes, bytes]] = ()
    ) -> None:
        """Accept the connection; before that no text and no bytes can be received or sent.

        Raises:
            RuntimeError: If it was accepted or refused before.
            ValueError: If the client does not offer the subprotocol (RFC 6455, section 4.2.2).
            WebSocketDisconnect: If the client has gone.
        """
        if self.application_state is not CONNECTING:
            raise RuntimeError("accept() is called once, and not after close()")
        offered = list(self.scope.get("subprotocols", ()))
        if subprotocol is not None and subprotocol not in offered:
            raise ValueError(f"the client offers the subprotocols {offered}, not {subprotocol!r}")
        if self.client_state is CONNECTING:
            await self.receive()  # "websocket.connect", or that the client has gone, as `send` says
        await self.send(
            {"type": "websocket.accept", "subprotocol": subprotocol, "headers": list(headers)}
        )

    async def close(self, code: int = 1000, reason: str | None = None) -> None:
        """Close the connection; one that was not accepted is refused with HTTP's 403.

        Does nothing where the connection is over, whoever has ended it.

        Raises:
            ValueError: If the code may not be sent, or the reason does not fit.
        """
        told = WebSocketException(code, reason)
        if not self.is_closed:
            with suppress(WebSocketDisconnect):
                await self.send({"type": "websocket.close", "code": code, "reason": told.reason})

    async def receive_text(self) -> str:
        """The next message, as text. Raises `WebSocketDisconnect` when the client goes away.

        Raises:
            InvalidMessage: If the message is bytes that are not UTF-8.
        """
        message = await self._next()
        text = message.get("text")
        try:
            return text if text is not None else bytes(message["bytes"]).decode()
        except UnicodeDecodeError as exc:
            raise InvalidMessage(f"the message is no text: {exc}") from exc

    async def receive_bytes(self) -> bytes:
        """The next message, as bytes. Raises `WebSocketDisconnect` when the client goes away."""
        message = await self._next()
        raw = message.get("bytes")
        return raw if raw is not None else str(message["text"]).encode()

    async def receive_json(self) -> Any:
        """The next message, as JSON. Raises `WebSocketDisconnect` when the client goes away.

        Raises:
            InvalidMessage: If the message is not JSON.
        """
        try:
            return msgspec.json.decode(await self.receive_bytes())
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise InvalidMessage(f"the message is no JSON: {exc}") from exc

    def iter_text(self) -> AsyncIterator[str]:
        """The messages, as text, until the client goes away."""
        return self._until_disconnect(self.receive_text)

    def iter_bytes(self) -> AsyncIterator[bytes]:
        """The messages, as bytes, until the client goes away."""
        return self._until_disconnect(self.receive_bytes)

    def iter_json(self) -> AsyncIterator[Any]:
        """The messages, as JSON, until the client goes away."""
        return self._until_disconnect(self.receive_json)

    async def send_text(self, data: str) -> None:
        """Send text. Raises the errors of `send`, and a `TypeError` for anything but text."""
        if not isinstance(data, str):
            raise TypeError(f"send_text() sends a str, not {type(data).__name__}")
        await self.send({"type": "websocket.send", "text": data})

    async def send_bytes(self, data: bytes) -> None:
        """Send bytes. Raises the errors of `send`, and a `TypeError` for anything but bytes."""
        if not isinstance(data, bytes | bytearray | memoryview):
            raise TypeError(f"send_bytes() sends bytes, not {type(data).__name__}")
        await self.send({"type": "websocket.send", "bytes": bytes(data)})

    async def send_json(self, data: Any) -> None:
        """Send JSON, as text. Raises the errors of `send`."""
        await self.send_text(msgspec.json.encode(data).decode())

    @property
    def can_deny(self) -> bool:
        """Whether the server can refuse with a response (ASGI, "Websocket Denial Response")."""
        return "websocket.http.response" in (self.scope.get("extensions") or {})

    @property
    def handshake(self) -> Request:
        """The request by which the client asks for the connection (RFC 6455, section 4.1)."""
        return Request({**self.scope, "type": "http", "method": "GET", "extensions": {}})

    async def send_denial_response(self, response: ASGIApp) -> None:
        """Refuse the connection with a response, any of ASGI's. It is sent in one piece.

        Raises:
            RuntimeError: If the server cannot do so, or the connection was accepted or refused.
            WebSocketDisconnect: If the client has gone.
        """
        if not self.can_deny:
            raise RuntimeError("this server has no denial responses; close() refuses with 403")
        start: Message = {}
        body = bytearray()  # some servers take a single piece

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                start.update(message, type="websocket.http.response.start")
                return
            body.extend(message.get("body", b""))
            if not message.get("more_body"):
                await self.send(start)
                await self.send({"type": "websocket.http.response.body", "body": bytes(body)})
                await checkpoint()  # uvicorn logs an error where the application returns at once

        await response(self.handshake.scope, cast("Receive", sleep_forever), send)

    async def refuse(self, response: ASGIApp, code: int = 1008, reason: str | None = None) -> None:
        """Refuse the connection with a response, or where the server cannot do so as `close` does.

        Does nothing where the client has gone.
        """
        with suppress(WebSocketDisconnect):
            await (
                self.send_denial_response(response) if self.can_deny else self.close(code, reason)
            )

    def was_ended_by(self, exc: BaseException) -> bool:
        """Whether that only says, alone or as all of a group, that this connection is over."""
        if isinstance(exc, BaseExceptionGroup):
            return all(map(self.was_ended_by, exc.exceptions))
        return self.is_closed and isinstance(exc, WebSocketDisconnect)

    async def fail(
        self, exc: BaseException, recover: Callable[[Request, BaseException], Awaitable[ASGIApp]]
    ) -> None:
        """Tell the client of the endpoint's exception, and raise it if it is an error.

        Before `accept` the client awaits an HTTP answer, so `recover` gives the one that a request
        would have, or raises the exception again. Afterwards there are close codes only: 1008 for
        an `HTTPException`, 1011 for an error (RFC 6455, section 7.4.1). Where the connection is
        over nothing is sent.
        """
        if isinstance(exc, WebSocketException):
            await self.close(exc.code, exc.reason)
        elif self.application_state is CONNECTING:
            await self.refuse(await recover(self.handshake, exc))
        else:
            if self.application_state is CONNECTED:
                await self.close(1008 if isinstance(exc, HTTPException) else 1011)
            if not isinstance(exc, HTTPException):
                raise exc from None

    async def _next(self) -> Message:
        if self.application_state is CONNECTING:
            raise RuntimeError("nothing can be received before accept()")
        message = await self.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(*self._end)
        return message

    @staticmethod
    async def _until_disconnect(receive: Callable[[], Awaitable[T]]) -> AsyncIterator[T]:
        try:
            while True:
                yield await receive()
        except WebSocketDisconnect:
            return
