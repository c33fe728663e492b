"""Server-Sent Events, read by a parser that is the algorithm of the specification, step by step.

WHATWG HTML, section 9.2.6, "Interpreting an event stream".
"""

import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given
from hypothesis import strategies as st

from minibg import (
    BackgroundTasks,
    EventSourceResponse,
    MiniBG,
    Request,
    Response,
    Route,
    ServerSentEvent,
)
from minibg.types import Message
from tests.framework.asgi import LIMIT, ask, http_scope
from tests.rules.language.exchange import Exchange


@dataclass
class Browser:
    """What a browser makes of an event stream: the events that it dispatches, and its state."""

    events: list[tuple[str, str, str]] = field(default_factory=list)
    """Of each event its type, its data, and the last event ID by then."""

    comments: list[str] = field(default_factory=list)
    last_event_id: str = ""
    reconnection_time: int | None = None
    _data: str = ""
    _type: str = ""
    _id: str = ""

    def read(self, stream: bytes) -> "Browser":
        text = stream.decode("utf-8", "replace").removeprefix("\ufeff")
        *lines, incomplete = re.split(r"\r\n|\n|\r", text)
        assert incomplete == "", "the stream ended within a line"
        for line in lines:
            self._line(line)
        return self

    def _line(self, line: str) -> None:
        if not line:
            self._dispatch()
        elif line.startswith(":"):
            self.comments.append(line[1:])
        else:
            name, _, value = line.partition(":")
            self._field(name, value.removeprefix(" "))

    def _field(self, name: str, value: str) -> None:
        if name == "event":
            self._type = value
        elif name == "data":
            self._data += value + "\n"
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and re.fullmatch("[0-9]+", value):
            self.reconnection_time = int(value)

    def _dispatch(self) -> None:
        self.last_event_id = self._id
        if self._data:
            data = self._data.removesuffix("\n")
            self.events.append((self._type or "message", data, self.last_event_id))
        self._data = self._type = ""


def browse(*events: Any, **options: Any) -> Browser:
    """What a browser makes of those events."""

    async def endpoint() -> Response:
        return EventSourceResponse(list(events), **options)

    return Browser().read(ask(MiniBG(routes=[Route("/", endpoint)])).body)


texts = st.text(st.characters(codec="utf-8")) | st.text("\r\n :ad\0\ufeff\x85\u2028", max_size=12)
lines = texts.map(lambda text: re.sub(r"[\r\n\0]", "", text))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts,
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
    max_leaves=6,
)
events = st.builds(
    ServerSentEvent,
    raw_data=st.none() | texts,
    event=st.none() | lines,
    id=st.none() | lines,
    retry=st.none() | st.integers(0, 10**6),
    comment=st.none() | texts,
)


def as_one_line_break(text: str) -> str:
    """A text as a browser gives it back, whose every line break is one."""
    return re.sub(r"\r\n|\r", "\n", text)


@given(sent=st.lists(events, max_size=5))
def test_a_browser_dispatches_what_was_sent(sent: list[ServerSentEvent]) -> None:
    last_id, expected, retry = "", [], None
    for event in sent:
        last_id = last_id if event.id is None else event.id
        retry = retry if event.retry is None else event.retry
        if event.raw_data is not None:
            data = as_one_line_break(event.raw_data)
            expected.append((event.event or "message", data, last_id))
    browser = browse(*sent)
    assert browser.events == expected
    assert browser.last_event_id == last_id
    assert browser.reconnection_time == retry


@given(comment=texts)
def test_a_comment_is_nothing_to_a_browser(comment: str) -> None:
    before, after = ServerSentEvent(raw_data="a"), ServerSentEvent(raw_data="b")
    browser = browse(before, ServerSentEvent(comment=comment), after)
    assert browser.events == [("message", "a", ""), ("message", "b", "")]
    assert "\n".join(line[1:] for line in browser.comments) == as_one_line_break(comment)


@given(value=json_values.filter(lambda value: value is not None))
@pytest.mark.parametrize("wrap", [ServerSentEvent, lambda value: value])
def test_data_is_sent_as_json_whether_it_is_in_an_event_or_not(
    wrap: Callable[[Any], Any], value: Any
) -> None:
    [(kind, data, _)] = browse(wrap(value)).events
    assert (kind, json.loads(data)) == ("message", value)


def test_none_is_data_where_it_is_yielded() -> None:
    """What yields something else than an event sends it, and nothing is passed over."""
    assert [data for _, data, _ in browse(1, None, 2).events] == ["1", "null", "2"]


@pytest.mark.parametrize("attribute", ["event", "id"])
@pytest.mark.parametrize("character", ["\r", "\n", "\0"])
def test_a_type_and_an_id_are_one_line(attribute: str, character: str) -> None:
    with pytest.raises(ValueError, match=f"the {attribute} of an event"):
        ServerSentEvent(**{attribute: f"a{character}b"})


def test_a_reconnection_time_is_not_negative() -> None:
    """A browser would pass over it."""
    for retry in (-1, True):
        with pytest.raises(ValueError, match="retry"):
            ServerSentEvent(retry=retry)


# --- the response --------------------------------------------------------------------------------


def sync_numbers() -> Iterator[int]:
    yield from range(3)


async def async_numbers() -> AsyncIterator[int]:
    for number in range(3):
        await checkpoint()
        yield number


@pytest.mark.parametrize("content", [sync_numbers, async_numbers])
def test_events_are_sent_one_by_one_and_then_the_tasks_run(
    content: Callable[[], Any], backend: str
) -> None:
    ran: list[str] = []

    async def endpoint(tasks: BackgroundTasks) -> Response:
        tasks.add_task(ran.append, "task")
        return EventSourceResponse(content())

    answer = ask(MiniBG(routes=[Route("/", endpoint)]), backend=backend)
    assert [m["body"] for m in answer.messages[1:]] == [
        b"data: 0\n\n",
        b"data: 1\n\n",
        b"data: 2\n\n",
        b"",
    ]
    assert ran == ["task"]


def test_the_headers_say_that_nobody_shall_keep_the_stream() -> None:
    """The headers say what the stream is, and that nobody shall keep it."""

    def headers_of(**options: Any) -> dict[bytes, bytes]:
        def endpoint() -> Response:
            return EventSourceResponse([], **options)

        return dict(ask(MiniBG(routes=[Route("/", endpoint)])).headers)

    headers = headers_of(headers={"x-a": "1"})
    assert headers[b"content-type"].startswith(b"text/event-stream")
    assert headers[b"cache-control"] == b"no-cache"
    assert headers[b"x-a"] == b"1"
    assert b"content-length" not in headers
    assert headers_of(headers={"Cache-Control": "no-store"})[b"cache-control"] == b"no-store"


def test_the_id_that_a_browser_saw_last_reaches_the_endpoint() -> None:
    """The id that a browser saw last comes back to the endpoint."""

    def endpoint(request: Request) -> Response:
        seen = int(request.headers.get("last-event-id", "-1"))
        return EventSourceResponse(
            ServerSentEvent(number, id=str(number)) for number in range(seen + 1, 5)
        )

    app = MiniBG(routes=[Route("/", endpoint)])
    first = Browser().read(ask(app).body)
    assert [data for _, data, _ in first.events] == ["0", "1", "2", "3", "4"]
    _, _, seen = first.events[2]
    again = Browser().read(ask(app, headers=[(b"last-event-id", seen.encode())]).body)
    assert [data for _, data, _ in again.events] == ["3", "4"]


def test_a_comment_keeps_a_silent_stream_alive(backend: str) -> None:
    """The stream goes on when two comments have been sent, so that it is they that it waits for."""
    bodies: list[bytes] = []

    async def server() -> None:
        twice = anyio.Event()

        async def silent() -> AsyncIterator[str]:
            await twice.wait()
            yield "at last"

        async def receive() -> Message:
            await anyio.sleep_forever()
            raise AssertionError("unreachable")

        async def send(message: Message) -> None:
            await checkpoint()
            bodies.append(message.get("body", b""))
            if sum(body.startswith(b":") for body in bodies) == 2:
                twice.set()

        response = EventSourceResponse(silent(), ping=0.001)
        with anyio.fail_after(LIMIT):
            await response(http_scope(), receive, send)

    anyio.run(server, backend=backend)
    browser = Browser().read(b"".join(bodies))
    assert browser.events == [("message", '"at last"', "")]
    assert len(browser.comments) >= 2


def test_a_comment_that_cannot_be_sent_raises_the_servers_error(backend: str) -> None:
    """A comment that cannot be sent raises what the server raises."""

    async def server() -> None:
        async def silent() -> AsyncIterator[str]:
            await anyio.sleep_forever()
            yield "never"

        def before_the_comment(message: Message) -> bool:
            return bool(message["type"] == "http.response.body")

        with anyio.fail_after(LIMIT):
            stream = EventSourceResponse(silent(), ping=0.001)
            await Exchange(client_gone=before_the_comment)(stream)

    with pytest.raises(OSError, match="the client is gone"):
        anyio.run(server, backend=backend)


def test_a_client_that_goes_away_ends_a_silent_stream(backend: str) -> None:
    closed: list[bool] = []

    async def silent() -> AsyncIterator[str]:
        try:
            yield "first"
            await anyio.sleep_forever()
        finally:
            closed.append(True)

    def endpoint() -> Response:
        return EventSourceResponse(silent())

    ask(MiniBG(routes=[Route("/", endpoint)]), gone_after=2, backend=backend)
    assert closed == [True]
