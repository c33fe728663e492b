"""A request's resources are let go once, however it ends: cancelled, refused, disconnected.

The tests of the rule **release** show the ordinary ends, and their order.
"""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import Annotated, Any

import anyio
import pytest
from anyio import CancelScope
from anyio.lowlevel import checkpoint

from minibg import (
    BackgroundTasks,
    Depends,
    HTTPException,
    MiniBG,
    Request,
    Response,
    StreamingResponse,
    UploadFile,
    WebSocket,
    WebSocketDisconnect,
)
from minibg.formparsers import MAX_MEMORY_FILE_SIZE, FormData
from minibg.types import Message, Receive, Scope, Send
from tests.framework.asgi import ask, http_scope
from tests.rules.language.exchange import refuse

LIMIT = 5
MULTIPART = [(b"content-type", b"multipart/form-data; boundary=xXx")]
FILE = b'--xXx\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n'


async def nothing_comes() -> Message:
    await anyio.sleep_forever()
    raise AssertionError


async def nothing_is_sent(message: Message) -> None:
    pytest.fail(f"it sent {message}")


def is_cancelled(
    app: MiniBG,
    backend: str,
    connection: Scope,
    receive: Receive = nothing_comes,
    send: Send = nothing_is_sent,
) -> bool:
    """Serve the connection within `app.state.scope`, and say whether that scope was cancelled."""

    async def serve() -> bool:
        with CancelScope() as app.state.scope:
            await app(connection, receive, send)
        return bool(app.state.scope.cancelled_caught)

    return anyio.run(serve, backend=backend)


# --- generators that hold a cancel scope ---------------------------------------------------------


async def task_group() -> AsyncIterator[CancelScope]:
    async with anyio.create_task_group() as group:
        yield group.cancel_scope


async def time_limit() -> AsyncIterator[CancelScope]:
    with anyio.fail_after(LIMIT) as scope:
        yield scope


@pytest.mark.parametrize("scope", ["function", "request"])
@pytest.mark.parametrize(
    ("dependency", "fails"), [(task_group, False), (time_limit, False), (time_limit, True)]
)
def test_a_generator_may_hold_a_cancel_scope_across_its_yield(
    dependency: Callable[..., Any], fails: bool, scope: Any, backend: str
) -> None:
    app, ran = MiniBG(), []

    @app.get("/")
    async def endpoint(
        tasks: BackgroundTasks,
        outer: Annotated[CancelScope, Depends(dependency, scope=scope)],
        inner: Annotated[CancelScope, Depends(dependency, scope=scope, use_cache=False)],
    ) -> None:
        assert outer is not inner
        tasks.add_task(ran.append, "task")
        if fails:
            raise HTTPException(418)

    assert ask(app, backend=backend).status == (418 if fails else 200)
    assert ran == ([] if fails else ["task"])


def test_a_generator_with_a_cancel_scope_closes_undisturbed(
    backend: str,
) -> None:
    """A generator that holds a cancel scope closes undisturbed in a request that is cancelled."""
    closed: list[bool] = []

    async def dependency() -> AsyncIterator[None]:
        with CancelScope():
            try:
                yield
            finally:
                await checkpoint()
                closed.append(True)

    app = MiniBG()

    @app.get("/")
    async def endpoint(held: Annotated[None, Depends(dependency)]) -> None:
        app.state.scope.cancel()
        await checkpoint()

    assert is_cancelled(app, backend, http_scope())
    assert closed == [True]


def test_a_generators_own_cancellation_is_a_500(backend: str) -> None:
    """What a generator cancels itself is a 500 where nothing else answers."""

    async def dependency() -> AsyncIterator[CancelScope]:
        with CancelScope() as scope:
            yield scope

    app = MiniBG()

    @app.get("/")
    async def endpoint(scope: Annotated[CancelScope, Depends(dependency)]) -> None:
        scope.cancel()
        await checkpoint()

    answer = ask(app, fails=RuntimeError, backend=backend)
    assert answer.status == 500
    assert "swallowed" in str(answer.error)


# --- cancellation --------------------------------------------------------------------------------


async def swallows() -> AsyncIterator[None]:
    with suppress(BaseException):
        yield


def test_a_swallowed_cancellation_is_not_an_answer(backend: str) -> None:
    """A generator that swallows a cancellation does not make it an answer."""
    app = MiniBG()

    @app.exception_handler(Exception)
    async def answer(request: Request, exc: Exception) -> Response:
        return Response(status_code=500)

    @app.get("/")
    async def endpoint(held: Annotated[None, Depends(swallows)]) -> None:
        app.state.scope.cancel()
        await checkpoint()

    assert is_cancelled(app, backend, http_scope())


def test_asyncios_swallowed_cancellation_is_not_an_answer() -> None:
    """A generator that swallows a cancellation of asyncio's does not make it an answer."""
    app = MiniBG()

    @app.get("/")
    async def endpoint(held: Annotated[None, Depends(swallows)]) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await checkpoint()

    async def serve() -> None:
        with pytest.raises(asyncio.CancelledError):
            await app(http_scope(), nothing_comes, nothing_is_sent)

    asyncio.run(serve())


@pytest.mark.parametrize("swallowed", [False, True])
def test_a_sync_generator_cancelled_as_it_is_entered_is_closed(
    swallowed: bool,
) -> None:
    """A sync generator that asyncio cancels while it is entered is closed."""
    entering, may_enter = threading.Event(), threading.Event()
    closed: list[str] = []

    def dependency() -> Iterator[None]:
        entering.set()
        assert may_enter.wait(LIMIT)
        try:
            yield
        except asyncio.CancelledError:
            closed.append(threading.current_thread().name)
            if not swallowed:
                raise

    app = MiniBG()

    @app.get("/")
    async def endpoint(held: Annotated[None, Depends(dependency)]) -> None:
        pytest.fail("it was called")

    async def serve() -> None:
        serving = asyncio.ensure_future(app(http_scope(), nothing_comes, nothing_is_sent))
        assert await asyncio.to_thread(entering.wait, LIMIT)
        serving.cancel()
        may_enter.set()
        with pytest.raises(asyncio.CancelledError):
            await serving

    asyncio.run(serve())
    assert len(closed) == 1
    assert closed != [threading.current_thread().name]


# --- forms ---------------------------------------------------------------------------------------


def test_a_file_is_closed_where_its_form_is_cancelled(
    backend: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """A file is closed where the request is cancelled while its form is read.

    It is not left to the garbage collector, which would be heard as a warning.
    """
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    app, unread = MiniBG(), [FILE + b"x" * (MAX_MEMORY_FILE_SIZE + 1)]

    @app.post("/")
    async def endpoint(f: UploadFile) -> None:
        pytest.fail("it was called")

    async def receive() -> Message:
        if unread:
            return {"type": "http.request", "body": unread.pop(), "more_body": True}
        app.state.scope.cancel()
        return await nothing_comes()

    closed: list[bool] = []
    close = UploadFile.close

    async def close_and_note(self: UploadFile) -> None:
        await close(self)
        closed.append(self.file.closed)

    monkeypatch.setattr(UploadFile, "close", close_and_note)
    assert is_cancelled(app, backend, http_scope("POST", headers=MULTIPART), receive)
    assert closed == [True]


def test_a_form_read_by_a_stream_is_closed_before_the_tasks(backend: str) -> None:
    """A form that a streamed body reads is closed before the first task."""
    app, seen = MiniBG(), []

    @app.post("/")
    async def endpoint(request: Request, tasks: BackgroundTasks) -> StreamingResponse:
        async def body() -> AsyncIterator[bytes]:
            file = (await request.form())["f"]
            assert isinstance(file, UploadFile)
            tasks.add_task(lambda: seen.append(file.file.closed))
            yield await file.read()

        return StreamingResponse(body())

    content = FILE + b"text\r\n--xXx--\r\n"
    answer = ask(app, "POST", headers=MULTIPART, body=[content], backend=backend)
    assert answer.body == b"text"
    assert seen == [True]


@pytest.mark.parametrize("failing", [0, 1])
def test_a_file_that_cannot_be_closed_leaves_no_other_open(failing: int, backend: str) -> None:
    """A file that cannot be closed leaves none of the others open."""
    closed: list[int] = []

    class File(UploadFile):
        def __init__(self, number: int) -> None:
            self.number = number

        async def close(self) -> None:
            await checkpoint()
            closed.append(self.number)
            if self.number == failing:
                raise OSError("no space left")

    form = FormData([("f", File(0)), ("f", File(1))])
    with pytest.raises(OSError, match="no space left"):
        anyio.run(form.close, backend=backend)
    assert sorted(closed) == [0, 1]


# --- WebSockets ----------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["fails", "is cancelled"])
def test_a_websocket_whose_closing_fails_is_released(
    end: str, backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A WebSocket whose closing fails is released, and its tasks are named."""
    app, events = MiniBG(), []

    async def dependency() -> AsyncIterator[None]:
        try:
            yield
        finally:
            await checkpoint()
            events.append("closed")

    async def endpoint(
        websocket: WebSocket, tasks: BackgroundTasks, held: Annotated[None, Depends(dependency)]
    ) -> None:
        await websocket.accept()
        tasks.add_task(events.append, "task")

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        if message["type"] == "websocket.close":
            if end == "fails":
                raise RuntimeError("closed twice")
            app.state.scope.cancel()
            await checkpoint()

    app.websocket("/")(endpoint)
    connection = {**http_scope(), "type": "websocket"}
    if end == "fails":
        with pytest.raises(RuntimeError, match="closed twice"):
            is_cancelled(app, backend, connection, receive, send)
    else:
        assert is_cancelled(app, backend, connection, receive, send)
    assert events == ["closed"]
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "append" in caplog.text


@pytest.mark.parametrize("swallowed", [False, True])
def test_an_uncaught_disconnect_is_thrown_into_the_generators(
    swallowed: bool, backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A disconnect that the endpoint does not catch is thrown into the generators."""
    app, events = MiniBG(), []
    messages: list[Message] = [{"type": "websocket.connect"}, {"type": "websocket.disconnect"}]

    async def dependency() -> AsyncIterator[None]:
        try:
            yield
            events.append("commit")
        except WebSocketDisconnect:
            events.append("rollback")
            if not swallowed:
                raise

    async def endpoint(
        websocket: WebSocket, tasks: BackgroundTasks, held: Annotated[None, Depends(dependency)]
    ) -> None:
        await websocket.accept()
        tasks.add_task(events.append, "task")
        await websocket.receive_text()

    async def receive() -> Message:
        return messages.pop(0)

    async def send(message: Message) -> None:
        assert message["type"] == "websocket.accept"

    app.websocket("/")(endpoint)
    assert not is_cancelled(app, backend, {**http_scope(), "type": "websocket"}, receive, send)
    assert events == ["rollback", "task"]
    assert caplog.records == []


def test_a_generator_may_swallow_the_failure_of_sending(
    backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A generator may swallow the error that the response could not be sent."""
    app = MiniBG()

    @app.get("/")
    async def endpoint(held: Annotated[None, Depends(swallows)]) -> None: ...

    async def serve() -> None:
        with pytest.raises(OSError, match="the client is gone"):
            await app(http_scope(), nothing_comes, refuse)

    anyio.run(serve, backend=backend)
    assert caplog.records == []
