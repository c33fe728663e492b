"""Both sides of a WebSocket connection (ASGI specification, "WebSocket").

What may live here: turning messages of ASGI into text, bytes and JSON, and back. Who may call what
is checked by the server.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, TypeVar

import msgspec

from minibg.exceptions import HTTPException
from minibg.requests import HTTPConnection
from minibg.types import Message, Receive, Scope, Send

T = TypeVar("T")


class WebSocketDisconnect(Exception):
    """The client went away.

    Args:
        code: Why, as a close code (RFC 6455, section 7.4).
        reason: Why, in words.
    """

    def __init__(self, code: int = 1000, reason: str | None = None) -> None:
        self.code = code
        self.reason = reason or ""

    def __str__(self) -> str:
        return f"{self.code} {self.reason}".rstrip()


class InvalidMessage(HTTPException, ValueError):
    """A message is not what was asked for. Uncaught it closes with 1008, and is no error."""

    def __init__(self, detail: str) -> None:
        super().__init__(400, detail)


class WebSocket(HTTPConnection):
    """A WebSocket connection.

    Args:
        scope: The connection scope, of type "websocket".
        receive: Where messages come from.
        send: Where they go.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        super().__init__(scope)
        self._receive = receive
        self._send = send
        self.is_accepted = False
        self.is_closed = False

    async def accept(
        self, subprotocol: str | None = None, headers: Iterable[tuple[bytes, bytes]] = ()
    ) -> None:
        """Accept the connection; before that nothing can be received or sent."""
        await self._next("websocket.connect")
        self.is_accepted = True
        await self._send(
            {"type": "websocket.accept", "subprotocol": subprotocol, "headers": list(headers)}
        )

    async def close(self, code: int = 1000, reason: str | None = None) -> None:
        """Close the connection; one that was not accepted is refused with HTTP's 403."""
        self.is_closed = True
        await self._send({"type": "websocket.close", "code": code, "reason": reason or ""})

    async def receive_text(self) -> str:
        """The next message, as text. Raises `WebSocketDisconnect` when the client goes away.

        Raises:
            InvalidMessage: If the message is bytes, and those are no UTF-8.
        """
        message = await self._next("websocket.receive")
        text = message.get("text")
        try:
            return text if text is not None else bytes(message["bytes"]).decode()
        except UnicodeDecodeError as exc:
            raise InvalidMessage(f"the message is no text: {exc}") from exc

    async def receive_bytes(self) -> bytes:
        """The next message, as bytes. Raises `WebSocketDisconnect` when the client goes away."""
        message = await self._next("websocket.receive")
        raw = message.get("bytes")
        return raw if raw is not None else str(message["text"]).encode()

    async def receive_json(self) -> Any:
        """The next message, as JSON. Raises `WebSocketDisconnect` when the client goes away.

        Raises:
            InvalidMessage: If the message is no JSON.
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
        """Send text. Raises `WebSocketDisconnect` where the server says that the client is gone."""
        await self._send_message({"type": "websocket.send", "text": data})

    async def send_bytes(self, data: bytes) -> None:
        """Send bytes. Raises what `send_text` raises."""
        await self._send_message({"type": "websocket.send", "bytes": data})

    async def send_json(self, data: Any) -> None:
        """Send JSON, as text. Raises what `send_text` raises."""
        await self.send_text(msgspec.json.encode(data).decode())

    async def _send_message(self, message: Message) -> None:
        try:
            await self._send(message)
        except OSError as exc:  # ASGI specification, "Disconnect - send"
            raise WebSocketDisconnect(1006) from exc

    async def _next(self, expected: str) -> Message:
        message = await self._receive()
        if message["type"] == "websocket.disconnect":
            self.is_closed = True
            raise WebSocketDisconnect(message.get("code", 1005), message.get("reason"))
        if message["type"] != expected:
            raise RuntimeError(f"accept() is called once, before all else: got {message['type']!r}")
        return message

    @staticmethod
    async def _until_disconnect(receive: Callable[[], Awaitable[T]]) -> AsyncIterator[T]:
        try:
            while True:
                yield await receive()
        except WebSocketDisconnect:
            return
