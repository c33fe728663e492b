"""Server-Sent Events: a response that keeps sending events (WHATWG HTML, section 9.2).

What may live here: the form of an event, and keeping the stream alive. `responses.py` sends the
stream, and ends it when the client goes away.
"""

import re
from collections.abc import AsyncIterable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from anyio import sleep
from anyio.abc import TaskGroup

from minibg.responses import StreamingResponse
from minibg.types import Background, Receive, Send


@dataclass
class ServerSentEvent:
    """One event of an `EventSourceResponse` (WHATWG HTML, section 9.2).

    Args:
        data: Its data, sent as JSON.
        raw_data: Its data as text, in place of `data`.
        event: Its type: the browser calls the listeners for it; without one, those for "message".
        id: What the browser sends as `Last-Event-ID` when it connects again.
        retry: After how many milliseconds the browser should connect again.
        comment: Text that the browser ignores.

    Raises:
        ValueError: If the type or the id holds a line break or NUL, or `retry` is not an int >= 0.
    """

    data: Any = None
    raw_data: str | None = None
    event: str | None = None
    id: str | None = None
    retry: int | None = None
    comment: str | None = None

    def __post_init__(self) -> None:
        for field in ("event", "id"):
            if re.search(r"[\r\n\0]", getattr(self, field) or ""):
                raise ValueError(f"the {field} of an event must be one line, without NUL")
        if self.retry is not None and not (type(self.retry) is int and self.retry >= 0):
            raise ValueError(f"an event's retry is a number of milliseconds, not {self.retry!r}")

    def encode(self) -> bytes:
        """The bytes of the event."""
        text = self.raw_data
        if text is None and self.data is not None:
            text = msgspec.json.encode(self.data).decode()
        fields = {"": self.comment, "event": self.event, "id": self.id, "retry": self.retry}
        lines = [
            f"{name}: {line}\n"
            for name, value in (*fields.items(), ("data", text))
            if value is not None
            for line in re.split(r"\r\n|\r|\n", str(value))
        ]
        return "".join([*lines, "\n"]).encode()


class EventSourceResponse(StreamingResponse):
    """A stream of Server-Sent Events, kept alive by a comment at regular intervals.

    Args:
        content: An iterable of events: `ServerSentEvent`, or values that become the data of one.
        ping: The seconds between two comments.

    The other arguments are those of `Response`.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        content: AsyncIterable[Any] | Iterable[Any],
        status_code: int = 200,
        headers: Mapping[str, str] | None = None,
        background: Background | None = None,
        ping: float = 15.0,
    ) -> None:
        headers = {"cache-control": "no-cache", "x-accel-buffering": "no", **(headers or {})}
        super().__init__(content, status_code, headers, background=background)
        self.ping = ping

    def _encode(self, chunk: Any) -> bytes:
        if isinstance(chunk, ServerSentEvent):
            return chunk.encode()
        return ServerSentEvent(raw_data=msgspec.json.encode(chunk).decode()).encode()

    def _start_companions(self, group: TaskGroup, receive: Receive, send: Send) -> None:
        super()._start_companions(group, receive, send)
        group.start_soon(self._keep_alive, send)

    async def _keep_alive(self, send: Send) -> None:
        comment = ServerSentEvent(comment="keep-alive").encode()
        while True:
            await sleep(self.ping)
            await send({"type": "http.response.body", "body": comment, "more_body": True})
