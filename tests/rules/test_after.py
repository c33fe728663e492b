"""**after**: the first task starts when the response has been sent; without that, none does."""

from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minibg import (
    BackgroundTasks,
    HTMLResponse,
    HTTPException,
    JSONResponse,
    MiniBG,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from minibg.types import Message, Receive, Scope, Send
from tests.rules.language.exchange import Exchange
from tests.rules.language.generators import Kind, both_kinds, on_the_loop
from tests.rules.language.programs import PROGRAMS, AnyProgram, check
from tests.rules.language.tasks import any_kind, make


def pieces() -> Generator[str]:
    yield "two "
    yield "pieces"


ANSWERS: dict[str, Callable[[], Any]] = {
    "a value": lambda: {"some": "value"},
    "nothing": lambda: None,
    "a response": lambda: Response(b"bytes"),
    "text": lambda: PlainTextResponse("text"),
    "HTML": lambda: HTMLResponse("<p>text"),
    "JSON": lambda: JSONResponse([1]),
    "a redirect": lambda: RedirectResponse("/elsewhere"),
    "a stream": lambda: StreamingResponse(on_the_loop(pieces)()),
    "a stream from a thread": lambda: StreamingResponse(pieces()),
}


def app_that(answers: Callable[[], Any], kinds: list[str], events: list[Any]) -> MiniBG:
    """An application whose endpoint adds the tasks, then answers."""
    app = MiniBG()

    @app.get("/")
    async def endpoint(tasks: BackgroundTasks) -> Any:
        for number, kind in enumerate(kinds):
            tasks.add_task(make(kind, events.append), number)
        events.append("endpoint")
        return answers()

    return app


@pytest.mark.parametrize("answer", ANSWERS)
@given(kinds=st.lists(any_kind(), max_size=4))
def test_tasks_start_when_the_last_byte_has_been_taken(
    backend: str, answer: str, kinds: list[str]
) -> None:
    events: list[Any] = []
    app = app_that(ANSWERS[answer], kinds, events)
    anyio.run(Exchange(events=events), app, backend=backend)
    assert events == ["endpoint", "response", *range(len(kinds))]


@pytest.mark.parametrize("answer", ["a response", "JSON", "a stream", "a stream from a thread"])
@given(kinds=st.lists(any_kind(), max_size=4))
def test_a_responses_own_background_starts_then_too(
    backend: str, answer: str, kinds: list[str]
) -> None:
    """Also where the response is the whole application, with no framework around it."""
    events: list[Any] = []
    response = ANSWERS[answer]()
    response.background = BackgroundTasks()
    for number, kind in enumerate(kinds):
        response.background.add_task(make(kind, events.append), number)
    anyio.run(Exchange(events=events), response, backend=backend)
    assert events == ["response", *range(len(kinds))]


@pytest.mark.parametrize("failure", [HTTPException(418), ValueError("the endpoint failed")])
@given(kinds=st.lists(any_kind(), min_size=1, max_size=4))
def test_no_task_starts_where_the_endpoint_raised(
    backend: str, failure: Exception, kinds: list[str]
) -> None:
    def fail() -> None:
        raise failure

    events: list[Any] = []
    exchange = Exchange(events=events)
    app = app_that(fail, kinds, events)
    if isinstance(failure, HTTPException):
        anyio.run(exchange, app, backend=backend)
    else:
        with pytest.raises(ValueError, match="the endpoint failed"):
            anyio.run(exchange, app, backend=backend)
    assert events == ["endpoint", "response"]


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("part", ["http.response.start", "http.response.body"])
def test_no_task_starts_where_the_response_was_not_sent(
    backend: str, answer: str, part: str
) -> None:
    events: list[Any] = []
    exchange = Exchange(events=events, client_gone=lambda message: message["type"] == part)
    app = app_that(ANSWERS[answer], ["a function", "a coroutine function"], events)
    with pytest.raises(OSError, match="the client is gone"):
        anyio.run(exchange, app, backend=backend)
    assert events == ["endpoint"]


@both_kinds
def test_no_task_starts_where_a_stream_failed_on_its_way(backend: str, kind: Kind) -> None:
    def pieces() -> Generator[str]:
        yield "one piece"
        raise ValueError("no second piece")

    events: list[Any] = []
    app = app_that(lambda: StreamingResponse(kind(pieces)()), ["a function"], events)
    with pytest.raises(ValueError, match="no second piece"):
        anyio.run(Exchange(events=events), app, backend=backend)
    assert events == ["endpoint"]


async def hang_up() -> Message:
    """The `receive` of a server whose client has left."""
    return {"type": "http.disconnect"}


@pytest.mark.parametrize("answer", ["a stream", "a stream from a thread"])
def test_no_task_starts_where_the_client_leaves_a_stream(backend: str, answer: str) -> None:
    """The last byte is never taken. Nothing is raised, as nobody is left to answer."""
    events: list[Any] = []
    app = app_that(ANSWERS[answer], ["a function"], events)

    async def app_whose_client_leaves(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, hang_up, send)

    anyio.run(Exchange(events=events), app_whose_client_leaves, backend=backend)
    assert events == ["endpoint"]


def test_an_endless_stream_ends_when_its_client_leaves(backend: str) -> None:
    """Also where neither the stream nor the server ever waits."""

    async def endless() -> AsyncGenerator[str]:
        while True:
            yield "one more"

    events: list[Any] = []
    app = app_that(lambda: StreamingResponse(endless()), ["a function"], events)

    async def take(message: Message) -> None: ...

    async def app_whose_client_leaves(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, hang_up, take)

    anyio.run(Exchange(events=events), app_whose_client_leaves, backend=backend)
    assert events == ["endpoint"]


def test_no_task_starts_where_an_asgi_answer_was_given_up(backend: str) -> None:
    """An application that an endpoint has returned ends before it has sent the last byte."""

    async def half(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})

    events: list[Any] = []
    app = app_that(lambda: half, ["a function"], events)
    anyio.run(Exchange(events=events), app, backend=backend)
    assert events == ["endpoint"]


@pytest.mark.basic
@given(program=PROGRAMS["after"])
def test_tasks_start_after_the_response_of_any_request(backend: str, program: AnyProgram) -> None:
    check("after", backend, program)
