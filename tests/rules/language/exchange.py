"""Requests to an application in this process, and a record of what came when.

What may live here: the server's side of ASGI, as small as a rule's test needs it.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
from anyio.abc import TaskGroup

from minibg.types import ASGIApp, Message, Receive, Scope, Send


async def refuse(message: Message) -> None:
    """The `send` of a server whose client is gone: it raises an `OSError` (ASGI, HTTP, 2.4)."""
    raise OSError("the client is gone")


class Exchange:
    """A request for `path`; `events` gets "response" when the last byte of the answer is taken.

    Args:
        path: What is asked for.
        events: Where to note it, besides what the test itself notes there.
        on_send: Awaited with each message before it is taken.
        client_gone: Whether `send` refuses the messages; or a function that says so of each.
    """

    def __init__(
        self,
        path: str = "/",
        events: list[Any] | None = None,
        on_send: Callable[[Message], Awaitable[None]] | None = None,
        *,
        client_gone: bool | Callable[[Message], bool] = False,
    ) -> None:
        self.path = path
        self.events = [] if events is None else events
        self.on_send = on_send
        self.client_gone = client_gone
        self.messages: list[Message] = []

    async def __call__(self, app: ASGIApp) -> None:
        """Have the application serve the request, its background included."""
        scope = {
            "type": "http",
            "method": "GET",
            "path": self.path,
            "query_string": b"",
            "headers": [],
        }
        await app(scope, self._receive, self._send)

    @property
    def status(self) -> int:
        """The status that was answered."""
        return int(self.messages[0]["status"])

    async def _receive(self) -> Message:
        await anyio.sleep_forever()
        raise AssertionError("unreachable")

    async def _send(self, message: Message) -> None:
        if self.on_send is not None:
            await self.on_send(message)
        if self.client_gone(message) if callable(self.client_gone) else self.client_gone:
            await refuse(message)
        await anyio.lowlevel.checkpoint()
        self.messages.append(message)
        if is_last(message):
            self.events.append("response")


def is_last(message: Message) -> bool:
    """Whether the message holds the last byte of a response."""
    return message["type"] == "http.response.body" and not message.get("more_body", False)


class Connection:
    """A connection that is kept alive, and what uvicorn does with the requests on it.

    A request is begun when the one before it has been answered, whose background may still run. The
    connection closes when the client hangs up or the application raises; requests that wait by then
    are never begun.

    Args:
        app: What serves the requests.
        group: In which each request has a task of its own.
        name: What it is called where a test fails.
    """

    def __init__(self, app: ASGIApp, group: TaskGroup, name: str) -> None:
        self.app = app
        self.group = group
        self.name = name
        self.waiting: list[Exchange] = []
        self.answering: Exchange | None = None
        self.closed = anyio.Event()

    def __repr__(self) -> str:
        return self.name

    def serve(self, exchange: Exchange) -> None:
        """Have the request served in its turn; "over" is the last of its events."""
        self.waiting.append(exchange)
        self._begin_next()

    def _begin_next(self) -> None:
        if self.waiting and self.answering is None and not self.closed.is_set():
            self.answering = self.waiting.pop(0)
            self.group.start_soon(self._serve, self.answering)

    async def _serve(self, exchange: Exchange) -> None:
        try:
            await exchange(self._app)
        except Exception as exc:  # noqa: BLE001  # the test compares it
            exchange.events.append(f"{type(exc).__name__} reached the server")
            self.closed.set()
        exchange.events.append("over")

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_and_go_on(message: Message) -> None:
            await send(message)
            if is_last(message):
                self.answering = None
                self._begin_next()

        await self.app(scope, self._receive, send_and_go_on)

    async def _receive(self) -> Message:
        await self.closed.wait()
        return {"type": "http.disconnect"}
