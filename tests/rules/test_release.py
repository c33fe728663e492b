"""**release**: what a request held is let go after its response and before the first task."""

from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any

import anyio
import pytest

from minibg import BackgroundTasks, MiniBG, StreamingResponse
from minibg.types import Message
from tests.rules.exchange import Exchange


def pieces(events: list[Any]) -> Generator[str]:
    try:
        yield "one"
        yield "two"
    finally:
        events.append("release")


async def async_pieces(events: list[Any]) -> AsyncGenerator[str]:
    try:
        yield "one"
        yield "two"
    finally:
        await anyio.lowlevel.checkpoint()
        events.append("release")


streams = pytest.mark.parametrize("content", [pieces, async_pieces])


def app_that_streams(content: Callable[[list[Any]], Any], events: list[Any]) -> MiniBG:
    app = MiniBG()

    @app.get("/")
    async def endpoint(tasks: BackgroundTasks) -> StreamingResponse:
        tasks.add_task(events.append, "task")
        return StreamingResponse(content(events))

    return app


@streams
def test_a_stream_is_closed_before_the_first_task_starts(
    backend: str, content: Callable[[list[Any]], Any]
) -> None:
    events: list[Any] = []
    anyio.run(Exchange(events=events), app_that_streams(content, events), backend=backend)
    assert sorted(events[:2]) == ["release", "response"]
    assert events[2:] == ["task"]


@streams
def test_a_stream_that_is_left_before_its_end_is_closed_too(
    backend: str, content: Callable[[list[Any]], Any]
) -> None:
    async def refuse_the_second_piece(message: Message) -> None:
        if message.get("body") == b"two":
            raise OSError("the client is gone")

    events: list[Any] = []
    exchange = Exchange(events=events, on_send=refuse_the_second_piece)
    with pytest.raises(OSError, match="the client is gone"):
        anyio.run(exchange, app_that_streams(content, events), backend=backend)
    assert events == ["release"]
