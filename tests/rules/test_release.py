"""**release**: what a request holds is let go before its first task."""

import logging
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from typing import Any, Literal

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given

from minibg import (
    BackgroundTasks,
    Depends,
    HTTPException,
    MiniBG,
    Request,
    StreamingResponse,
    UploadFile,
)
from minibg.types import ASGIApp, Message, Receive, Scope, Send
from tests.rules.language import SECONDS
from tests.rules.language.exchange import Exchange
from tests.rules.language.generators import Kind, both_kinds
from tests.rules.language.programs import PROGRAMS, AnyProgram, check

DependsScope = Literal["function", "request"]


def pieces(events: list[Any]) -> Generator[str]:
    try:
        yield "one"
        yield "two"
    finally:
        events.append("release")


def app_that_streams(kind: Kind, events: list[Any]) -> MiniBG:
    app = MiniBG()

    @app.get("/")
    async def endpoint(tasks: BackgroundTasks) -> StreamingResponse:
        tasks.add_task(events.append, "task")
        return StreamingResponse(kind(pieces)(events))

    return app


@pytest.mark.basic
@both_kinds
def test_a_stream_is_closed_before_the_first_task_starts(backend: str, kind: Kind) -> None:
    events: list[Any] = []
    anyio.run(Exchange(events=events), app_that_streams(kind, events), backend=backend)
    assert events == ["release", "response", "task"]


@pytest.mark.basic
@both_kinds
def test_a_stream_that_is_left_before_its_end_is_closed_too(backend: str, kind: Kind) -> None:
    def at_the_second_piece(message: Message) -> bool:
        return message.get("body") == b"two"

    events: list[Any] = []
    exchange = Exchange(events=events, client_gone=at_the_second_piece)
    with pytest.raises(OSError, match="the client is gone"):
        anyio.run(exchange, app_that_streams(kind, events), backend=backend)
    assert events == ["release"]


# --- `yield` dependencies ------------------------------------------------------------------------


def resource(events: list[Any], fails: type[Exception] | None = None) -> Callable[..., Any]:
    """Notes in which thread it closes, after what; and fails then, if told so."""

    def dependency() -> Generator[None]:
        try:
            yield
        except Exception as exc:
            events.append(type(exc).__name__)
            raise
        finally:
            events.append("close on the loop" if anyio_runs_here() else "close")
        if fails is not None:
            raise fails("closing failed")

    return dependency


def async_resource(events: list[Any], fails: type[Exception] | None = None) -> Callable[..., Any]:
    async def dependency() -> AsyncGenerator[None]:
        try:
            yield
        except Exception as exc:
            events.append(type(exc).__name__)
            raise
        finally:
            await checkpoint()
            events.append("close")
        if fails is not None:
            raise fails("closing failed")

    return dependency


def anyio_runs_here() -> bool:
    """Whether this is the thread of the event loop."""
    try:
        anyio.get_current_task()
    except anyio.NoEventLoopError:
        return False
    return True


resources = pytest.mark.parametrize("holding", [resource, async_resource])
scopes = pytest.mark.parametrize("scope", ["function", "request"])


def app_that_holds(
    dependency: Callable[..., Any],
    events: list[Any],
    scope: DependsScope = "request",
    body: Callable[[], Any] = lambda: None,
) -> MiniBG:
    app = MiniBG()

    @app.get("/")
    async def endpoint(
        tasks: BackgroundTasks, held: None = Depends(dependency, scope=scope)
    ) -> Any:
        tasks.add_task(events.append, "task")
        events.append("endpoint")
        return body()

    return app


@resources
@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        ("request", ["endpoint", "response", "close", "task"]),
        ("function", ["endpoint", "close", "response", "task"]),
    ],
)
def test_the_scope_says_when_a_dependency_closes(
    backend: str, holding: Callable[..., Any], scope: DependsScope, expected: list[str]
) -> None:
    """A dependency closes after the response, or, with `scope="function"`, after the endpoint."""
    events: list[Any] = []
    app = app_that_holds(holding(events), events, scope)
    anyio.run(Exchange(events=events), app, backend=backend)
    assert events == expected


@resources
@scopes
def test_a_dependency_closes_before_an_error_is_answered(
    backend: str, holding: Callable[..., Any], scope: DependsScope
) -> None:
    def refuse() -> None:
        raise HTTPException(403)

    events: list[Any] = []
    app = app_that_holds(holding(events), events, scope, refuse)
    anyio.run(Exchange(events=events), app, backend=backend)
    assert events == ["endpoint", "HTTPException", "close", "response"]


@resources
def test_a_dependency_closes_where_the_response_was_not_sent(
    backend: str, holding: Callable[..., Any]
) -> None:
    events: list[Any] = []
    exchange = Exchange(events=events, client_gone=True)
    with pytest.raises(OSError, match="the client is gone"):
        anyio.run(exchange, app_that_holds(holding(events), events), backend=backend)
    assert events == ["endpoint", "OSError", "close"]


@resources
@scopes
def test_a_dependency_closes_where_the_endpoint_is_cancelled(
    backend: str, holding: Callable[..., Any], scope: DependsScope
) -> None:
    """A dependency closes where the request is cancelled in the endpoint.

    A sync one in a worker thread, as always: its closing may block.
    """
    events: list[Any] = []

    async def server() -> None:
        with anyio.CancelScope() as cancelled:
            app = MiniBG()

            @app.get("/")
            async def endpoint(held: None = Depends(holding(events), scope=scope)) -> None:
                cancelled.cancel()
                await anyio.sleep_forever()

            await Exchange(events=events)(app)

    anyio.run(server, backend=backend)
    assert events == ["close"]


@resources
def test_a_dependency_closes_where_sending_is_cancelled(
    backend: str, holding: Callable[..., Any]
) -> None:
    """A dependency closes where the request is cancelled while it is answered."""
    events: list[Any] = []

    async def server() -> None:
        with anyio.CancelScope() as cancelled:

            async def cancel(message: Message) -> None:
                cancelled.cancel()
                await checkpoint()

            app = app_that_holds(holding(events), events)
            await Exchange(events=events, on_send=cancel)(app)

    anyio.run(server, backend=backend)
    assert events == ["endpoint", "close"]


@resources
def test_all_dependencies_close_though_closing_is_cancelled(
    backend: str, holding: Callable[..., Any]
) -> None:
    """The request is cancelled while one dependency closes: the others close too."""
    events: list[Any] = []

    async def server() -> None:
        with anyio.CancelScope() as cancelled:

            async def cancels(before: None = Depends(holding(events))) -> AsyncGenerator[None]:
                yield
                cancelled.cancel()
                await checkpoint()
                events.append("cancelled, and closed")

            await Exchange(events=events)(app_that_holds(cancels, events))

    anyio.run(server, backend=backend)
    assert events == ["endpoint", "response", "cancelled, and closed", "close"]


@resources
def test_an_error_while_closing_is_logged_and_the_tasks_run(
    backend: str, holding: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    events: list[Any] = []
    app = app_that_holds(holding(events, LookupError), events)
    anyio.run(Exchange(events=events), app, backend=backend)
    assert events == ["endpoint", "response", "close", "task"]
    assert_logged(caplog)


@resources
def test_a_closing_error_is_logged_though_nothing_was_sent(
    backend: str, holding: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Two things fail: the response is not sent, and then closing. The log has the second."""
    events: list[Any] = []

    async def failing(below: None = Depends(holding(events))) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            raise LookupError("closing failed")

    exchange = Exchange(events=events, client_gone=True)
    with pytest.raises(OSError, match="the client is gone"):
        anyio.run(exchange, app_that_holds(failing, events), backend=backend)
    assert events == ["endpoint", "LookupError", "close"]
    assert_logged(caplog)


def assert_logged(caplog: pytest.LogCaptureFixture) -> None:
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [str(record.exc_info and record.exc_info[1]) for record in errors] == ["closing failed"]


def test_closing_never_waits_for_a_thread(backend: str) -> None:
    """Here the only one is held by a dependency that waits for what another request holds."""
    pool, waits = threading.Semaphore(1), threading.Event()
    app = MiniBG()

    def connection() -> Generator[None]:
        if not pool.acquire(blocking=False):
            waits.set()
            assert pool.acquire(timeout=SECONDS)
        yield
        pool.release()

    @app.get("/")
    async def endpoint(held: None = Depends(connection)) -> None:
        await anyio.to_thread.run_sync(waits.wait, SECONDS, limiter=anyio.CapacityLimiter(1))

    async def server() -> None:
        anyio.to_thread.current_default_thread_limiter().total_tokens = 1
        with anyio.fail_after(SECONDS / 2):
            async with anyio.create_task_group() as group:
                group.start_soon(Exchange(), app)
                group.start_soon(Exchange(), app)

    anyio.run(server, backend=backend)
    assert waits.is_set()


# --- uploads -------------------------------------------------------------------------------------

BODY = (
    b'--xXx\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    b"hello\r\n--xXx--\r\n"
)


def posting(app: ASGIApp) -> ASGIApp:
    """The application as one whose every request uploads a file."""

    async def posted(scope: Scope, receive: Receive, send: Send) -> None:
        messages = [{"type": "http.request", "body": BODY, "more_body": False}]

        async def receive_upload() -> Message:
            return messages.pop() if messages else await receive()

        headers = [(b"content-type", b"multipart/form-data; boundary=xXx")]
        await app({**scope, "method": "POST", "headers": headers}, receive_upload, send)

    return posted


def app_that_takes(
    files: list[UploadFile],
    body: Callable[[], Awaitable[None]] = checkpoint,
    dependency: Callable[..., Any] = lambda: None,
) -> ASGIApp:
    """An application whose endpoint notes the file; `body` is what else it does."""
    app = MiniBG()

    @app.post("/")
    async def endpoint(file: UploadFile, held: None = Depends(dependency)) -> None:
        files.append(file)
        await body()

    return posting(app)


def test_an_upload_is_closed_before_the_first_task(backend: str) -> None:
    """An upload is closed after the response and before the first task."""
    closed: list[bool] = []
    files: list[UploadFile] = []
    app = MiniBG()

    def note() -> None:
        closed.append(files[0].file.closed)

    async def note_it(message: Message) -> None:
        note()

    @app.post("/")
    async def endpoint(file: UploadFile, tasks: BackgroundTasks) -> None:
        files.append(file)
        tasks.add_task(note)

    anyio.run(Exchange(on_send=note_it), posting(app), backend=backend)
    assert closed == [False, False, True], "at the response's start, its body, and in the task"


def test_a_form_that_the_endpoint_read_itself_is_closed_too(backend: str) -> None:
    files: list[Any] = []
    app = MiniBG()

    @app.post("/")
    async def endpoint(request: Request) -> None:
        files.extend((await request.form()).values())

    anyio.run(Exchange(), posting(app), backend=backend)
    assert [file.file.closed for file in files] == [True]


def test_a_dependency_may_read_the_upload_while_it_closes(backend: str) -> None:
    read: list[bytes] = []
    app = MiniBG()

    async def reader(file: UploadFile) -> AsyncGenerator[None]:
        yield
        read.append(await file.read())

    @app.post("/")
    async def endpoint(held: None = Depends(reader)) -> None: ...

    anyio.run(Exchange(), posting(app), backend=backend)
    assert read == [b"hello"]


@pytest.mark.parametrize("failure", [HTTPException(403), LookupError("lost")])
@pytest.mark.parametrize("answers", [True, False])
def test_an_upload_is_closed_where_the_endpoint_raised(
    backend: str, failure: Exception, answers: bool
) -> None:
    """Also where a dependency makes another answer of it."""

    async def fail() -> None:
        raise failure

    async def dependency() -> AsyncGenerator[None]:
        try:
            yield
        except Exception as exc:
            if answers:
                raise HTTPException(409) from exc
            raise

    files: list[UploadFile] = []
    exchange = Exchange()
    app = app_that_takes(files, fail, dependency)
    if answers or isinstance(failure, HTTPException):
        anyio.run(exchange, app, backend=backend)
        assert exchange.status == (409 if answers else 403)
    else:
        with pytest.raises(LookupError):
            anyio.run(exchange, app, backend=backend)
    assert [file.file.closed for file in files] == [True]


@resources
def test_an_upload_is_closed_where_a_dependency_fails_to_close(
    backend: str, holding: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    files: list[UploadFile] = []
    app = app_that_takes(files, dependency=holding([], LookupError))
    anyio.run(Exchange(), app, backend=backend)
    assert [file.file.closed for file in files] == [True]
    assert_logged(caplog)


def test_an_upload_is_closed_where_the_response_was_not_sent(backend: str) -> None:
    files: list[UploadFile] = []
    with pytest.raises(OSError, match="the client is gone"):
        anyio.run(Exchange(client_gone=True), app_that_takes(files), backend=backend)
    assert [file.file.closed for file in files] == [True]


@pytest.mark.parametrize("when", ["in the endpoint", "while sending", "while closing"])
def test_an_upload_is_closed_where_the_request_is_cancelled(backend: str, when: str) -> None:
    files: list[UploadFile] = []

    async def server() -> None:
        with anyio.CancelScope() as cancelled:

            async def cancel(message: Message | None = None) -> None:
                cancelled.cancel()
                await checkpoint()

            async def dependency() -> AsyncGenerator[None]:
                yield
                if when == "while closing":
                    await cancel()

            body = cancel if when == "in the endpoint" else checkpoint
            app = app_that_takes(files, body, dependency)
            await Exchange(on_send=cancel if when == "while sending" else None)(app)

    anyio.run(server, backend=backend)
    assert [file.file.closed for file in files] == [True]


# --- any request ---------------------------------------------------------------------------------


@pytest.mark.basic
@given(program=PROGRAMS["release"])
def test_what_any_request_holds_closes_before_its_tasks(backend: str, program: AnyProgram) -> None:
    check("release", backend, program)
