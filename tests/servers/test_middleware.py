"""Middleware around the application never cancels its tasks, delays its answer or hides its errors.

What may live here: plain ASGI middleware and Starlette's `BaseHTTPMiddleware`, inside and outside
of the application, each on real servers. A server ends when all tasks have, so what they did is
known after the context of the server.
"""

import logging
import re
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from anyio import to_thread
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request as StarletteRequest
from starlette.responses import Response as StarletteResponse

from minibg import (
    BackgroundTasks,
    FailFastTasks,
    MiniBG,
    Request,
    Response,
    StreamingResponse,
)
from minibg.types import ASGIApp, Receive, Scope, Send
from tests.servers.live import LIMIT, Server
from tests.servers.pieces import MEGABYTE, endless


class PassThrough:
    """Plain ASGI middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


async def dispatch(
    request: StarletteRequest, call_next: RequestResponseEndpoint
) -> StarletteResponse:
    """What most middleware of this kind does: something with the headers."""
    response = await call_next(request)
    response.headers["x-seen"] = "yes"
    return response


def added(app: MiniBG, cls: Any, **options: Any) -> ASGIApp:
    app.add_middleware(cls, **options)
    return app


def outside(app: MiniBG, dispatch: Any) -> ASGIApp:
    middleware: Any = BaseHTTPMiddleware
    return middleware(app, dispatch)


WRAPPED: dict[str, Callable[[MiniBG], ASGIApp]] = {
    "plain": lambda app: added(app, PassThrough),
    "Starlette's, added": lambda app: added(app, BaseHTTPMiddleware, dispatch=dispatch),
    "Starlette's, outside": lambda app: outside(app, dispatch),
}


@pytest.fixture(params=WRAPPED)
def wrap(request: pytest.FixtureRequest) -> Callable[[MiniBG], ASGIApp]:
    """Puts middleware around an application."""
    return WRAPPED[request.param]


async def pieces() -> AsyncIterator[bytes]:
    yield b"an"
    yield b"swer"


ANSWERS: dict[str, Callable[[], Response]] = {
    "plain": lambda: Response(b"answer"),
    "streaming": lambda: StreamingResponse(pieces()),
}

answers = pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)


class Tasks:
    """A sync and an async task that say when they run, and wait until they are let go."""

    def __init__(self) -> None:
        self.runs, self.leave = threading.Event(), threading.Event()
        self.ended: list[str] = []

    def sync_task(self) -> None:
        self.runs.set()
        assert self.leave.wait(LIMIT)
        self.ended.append("sync")

    async def async_task(self) -> None:
        self.runs.set()
        assert await to_thread.run_sync(self.leave.wait, LIMIT)
        self.ended.append("async")

    def add_to(self, tasks: BackgroundTasks) -> None:
        tasks.add_task(self.async_task)
        tasks.add_task(self.sync_task)


def not_run(reason: str) -> str:
    """What the log says of both."""
    names = f"{__name__}.Tasks.async_task, {__name__}.Tasks.sync_task"
    return f"background tasks not run ({reason}): {names}"


@answers
def test_the_client_has_the_answer_while_a_task_is_blocked(
    server: Server,
    wrap: Callable[[MiniBG], ASGIApp],
    answer: Callable[[], Response],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The client has the whole answer while a task is blocked, and may then hang up."""
    app, left = MiniBG(), Tasks()

    @app.get("/")
    async def endpoint(tasks: BackgroundTasks) -> Response:
        left.add_to(tasks)
        return answer()

    with server(wrap(app)) as live:
        with live.connect() as connection:
            connection.ask("/")
            assert connection.read().body == b"answer"
            assert left.runs.wait(LIMIT)
            assert left.ended == []
        left.leave.set()
    assert left.ended == ["async", "sync"]
    assert caplog.messages == []


@answers
def test_a_client_that_hangs_up_before_the_answer_stops_no_task(
    server: Server,
    wrap: Callable[[MiniBG], ASGIApp],
    answer: Callable[[], Response],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A client that hangs up before the answer stops no task unless it ends a stream."""
    app, left = MiniBG(), Tasks()
    asked, gone = threading.Event(), threading.Event()
    left.leave.set()

    @app.get("/")
    async def endpoint(request: Request, tasks: BackgroundTasks) -> Response:
        left.add_to(tasks)
        asked.set()
        await request.receive_disconnect()
        gone.set()
        return answer()

    with server(wrap(app)) as live:
        with live.connect() as connection:
            connection.ask("/")
            assert asked.wait(LIMIT)
        assert gone.wait(LIMIT)
    if isinstance(answer(), StreamingResponse):
        assert left.ended == []
        assert caplog.messages == [not_run("the response was not sent, ClientDisconnect")]
    else:
        assert left.ended == ["async", "sync"]
        assert caplog.messages == []


def send_mail() -> None:
    raise AssertionError("a task ran where none may start")


def test_a_client_that_hangs_up_within_the_answer_ends_it(
    server: Server, wrap: Callable[[MiniBG], ASGIApp], caplog: pytest.LogCaptureFixture
) -> None:
    """A client that hangs up within the answer ends it, and the log names the tasks."""
    closed = threading.Event()
    app = MiniBG()

    @app.get("/")
    async def endpoint(tasks: BackgroundTasks) -> Response:
        tasks.add_task(send_mail)
        return StreamingResponse(endless(closed))

    with server(wrap(app)) as live:
        with live.connect() as connection:
            connection.ask("/")
            assert connection.read_head().status == 200
            assert len(connection.file.read(MEGABYTE)) == MEGABYTE
        assert closed.wait(LIMIT)
    reason = "the response was not sent, ClientDisconnect"
    assert caplog.messages == [f"background tasks not run ({reason}): {__name__}.send_mail"]


@answers
def test_a_failing_task_is_logged_and_the_connection_goes_on(
    server: Server,
    wrap: Callable[[MiniBG], ASGIApp],
    answer: Callable[[], Response],
    caplog: pytest.LogCaptureFixture,
) -> None:
    app, ran = MiniBG(), list[str]()
    failure = LookupError("failed on purpose")

    def fail() -> None:
        raise failure

    @app.get("/")
    async def endpoint(tasks: BackgroundTasks) -> Response:
        tasks.add_task(fail)
        tasks.add_task(ran.append, "next")
        return answer()

    with server(wrap(app)) as live, live.connect() as connection:
        for _ in range(2):
            connection.ask("/")
            assert connection.read().body == b"answer"
        connection.ask("/missing")
        assert connection.read().status == 404
    assert ran == ["next", "next"]
    seen = [(r.name, r.levelno, r.exc_info and r.exc_info[1]) for r in caplog.records]
    assert seen == [("minibg.background", logging.ERROR, failure)] * 2


@answers
def test_under_fail_fast_a_failure_reaches_the_server(
    server: Server,
    wrap: Callable[[MiniBG], ASGIApp],
    answer: Callable[[], Response],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Under fail-fast the failure reaches the server after a whole answer."""
    app = MiniBG()
    failure = LookupError("failed on purpose")

    async def fail() -> None:
        raise failure

    @app.get("/")
    async def endpoint(tasks: FailFastTasks) -> Response:
        tasks.add_task(fail)
        tasks.add_task(send_mail)
        return answer()

    with server(wrap(app)) as live:
        assert live.get("/").body == b"answer"
    abandoned, error = caplog.records
    reason = "an earlier failure, LookupError"
    assert abandoned.getMessage() == f"background tasks not run ({reason}): {__name__}.send_mail"
    assert not error.name.startswith("minibg")
    assert "LookupError: failed on purpose" in caplog.text


# --- what middleware of Starlette's kind may do besides ------------------------------------------


async def raises(request: StarletteRequest, call_next: RequestResponseEndpoint) -> None:
    await call_next(request)
    raise LookupError("thrown away")


async def replaces(
    request: StarletteRequest, call_next: RequestResponseEndpoint
) -> StarletteResponse:
    await call_next(request)
    return StarletteResponse(status_code=418)


@answers
@pytest.mark.parametrize(("discard", "status"), [(raises, 500), (replaces, 418)])
def test_a_task_runs_or_is_named_where_the_answer_is_discarded(
    server: Server,
    answer: Callable[[], Response],
    discard: Any,
    status: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Where middleware throws the answer away, each task runs or is named.

    Starlette cancels, or ends, a response that is in the middle of being sent.
    """
    app, left = MiniBG(), Tasks()
    left.leave.set()

    @app.get("/")
    async def endpoint(tasks: BackgroundTasks) -> Response:
        left.add_to(tasks)
        return answer()

    with server(outside(app, discard)) as live:
        assert live.get("/").status == status
    named = [message for message in caplog.messages if message.startswith("background tasks")]
    if left.ended:
        assert (left.ended, named) == (["async", "sync"], [])
    else:
        [warning] = named
        assert re.sub(r"sent, \w+", "sent", warning) == not_run("the response was not sent")


@answers
def test_tasks_of_its_own_run_before_those_of_the_endpoint(
    server: Server, answer: Callable[[], Response]
) -> None:
    app, ran = MiniBG(), list[str]()

    async def leaves_a_task(
        request: StarletteRequest, call_next: RequestResponseEndpoint
    ) -> StarletteResponse:
        response: Any = await call_next(request)
        response.background = BackgroundTasks([lambda: ran.append("middleware's")])
        return response

    @app.get("/")
    async def endpoint(tasks: BackgroundTasks) -> Response:
        tasks.add_task(ran.append, "endpoint's")
        return answer()

    with server(added(app, BaseHTTPMiddleware, dispatch=leaves_a_task)) as live:
        assert live.get("/").body == b"answer"
    assert ran == ["middleware's", "endpoint's"]
