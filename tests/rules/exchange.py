"""One request to an application in this process, and a record of what came when.

What may live here: the server's side of ASGI, as small as a rule's test needs it.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import anyio

from minibg.types import ASGIApp, Message


class Exchange:
    """A request for `path`; `events` gets "response" when the last byte of the answer is taken.

    Args:
        path: What is asked for.
        events: Where to note it, besides what the test itself notes there.
        on_send: Awaited with each message before it is taken; it may raise, as a server does whose
            client is gone.
    """

    def __init__(
        self,
        path: str = "/",
        events: list[Any] | None = None,
        on_send: Callable[[Message], Awaitable[None]] | None = None,
    ) -> None:
        self.path = path
        self.events = [] if events is None else events
        self.on_send = on_send
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
        await anyio.lowlevel.checkpoint()
        self.messages.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self.events.append("response")
