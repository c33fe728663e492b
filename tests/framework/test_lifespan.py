"""The lifespan: the server is told how it went (ASGI specification, "Lifespan").

**nothing lost**: it is left when the background runs are over.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import product
from typing import Any

import anyio
import pytest
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware

from minibg import BackgroundTask, BackgroundTasks, Middleware, MiniBG, Response, WebSocket
from minibg.ext.monitoring import BacklogLimit
from minibg.ext.slow_tasks import SlowTaskMiddleware
from minibg.lab.recorder import RecordingMiddleware
from minibg.types import ASGIApp, Message, Receive, Scope, Send
from tests.framework.asgi import LIMIT
from tests.rules.language.cancelling import Blocked, let_it_be_delivered
from tests.rules.language.exchange import Exchange

Leave = Callable[[Any, Callable[[], Any]], None]


def leave_an_injected_task(app: MiniBG, task: Callable[[], Any]) -> None:
    @app.get("/")
    async def endpoint(tasks: BackgroundTasks) -> None:
        tasks.add_task(task)


def leave_the_responses_own(app: MiniBG, task: Callable[[], Any]) -> None:
    @app.get("/")
    async def endpoint() -> Response:
        return Response(background=BackgroundTask(task))


def leave_a_websockets(app: MiniBG, task: Callable[[], Any]) -> None:
    @app.websocket("/")
    async def endpoint(websocket: WebSocket, tasks: BackgroundTasks) -> None:
        tasks.add_task(task)


async def connect(app: MiniBG) -> None:
    """Have the application serve a WebSocket that its endpoint does not accept."""

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None: ...

    await app({"type": "websocket", "path": "/", "headers": []}, receive, send)


@pytest.mark.parametrize(
    ("leave", "serve"),
    [
        (leave_an_injected_task, Exchange()),
        (leave_the_responses_own, Exchange()),
        (leave_a_websockets, connect),
    ],
)
@pytest.mark.parametrize("is_async", [True, False])
def test_the_lifespan_is_left_when_the_last_task_has_ended(
    backend: str, leave: Leave, serve: Callable[[MiniBG], Awaitable[None]], is_async: bool
) -> None:
    events: list[str] = []

    @asynccontextmanager
    async def lifespan(app: MiniBG) -> AsyncIterator[None]:
        yield
        events.append("the lifespan is left")

    async def server() -> None:
        shutdown, released = anyio.Event(), anyio.Event()
        blocked = Blocked()

        async def task() -> None:
            await released.wait()
            events.append("the task has ended")

        def sync_task() -> None:
            blocked()
            events.append("the task has ended")

        async def receive() -> Message:
            if not shutdown.is_set():
                shutdown.set()
                return {"type": "lifespan.startup"}
            return {"type": "lifespan.shutdown"}

        async def send(message: Message) -> None:
            events.append(message["type"])

        app = MiniBG(lifespan=lifespan)
        leave(app, task if is_async else sync_task)
        with anyio.fail_after(LIMIT):
            async with anyio.create_task_group() as group:
                group.start_soon(serve, app)
                await anyio.wait_all_tasks_blocked()
                group.start_soon(app, {"type": "lifespan"}, receive, send)
                await anyio.wait_all_tasks_blocked()
                assert events == ["lifespan.startup.complete"]
                released.set()
                blocked.leave.set()

    anyio.run(server, backend=backend)
    assert events == [
        "lifespan.startup.complete",
        "the task has ended",
        "the lifespan is left",
        "lifespan.shutdown.complete",
    ]


def test_a_run_that_the_server_has_cancelled_is_not_awaited() -> None:
    """A run that the server has cancelled is not waited for, though its thread still works."""
    said: list[str] = []

    async def receive() -> Message:
        return {"type": "lifespan"}

    async def send(message: Message) -> None:
        said.append(message["type"])

    async def server() -> None:
        app, blocked = MiniBG(), Blocked()
        leave_an_injected_task(app, blocked)
        serving = asyncio.ensure_future(Exchange()(app))
        await blocked.is_running()
        serving.cancel()
        await let_it_be_delivered()
        async with asyncio.timeout(10):
            await app({"type": "lifespan"}, receive, send)
        assert not blocked.ended.is_set()
        blocked.leave.set()
        with pytest.raises(asyncio.CancelledError):
            await serving

    asyncio.run(server())
    assert said == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


# --- what the server is told ---------------------------------------------------------------------

BEFORE_IT_SERVES = [
    "middleware is built",
    "middleware begins",
    "the context is made",
    "startup",
]
LEAVE = [ValueError, SystemExit, KeyboardInterrupt, asyncio.CancelledError]


class Fails:
    """An application's lifespan, and middleware around it, that fail at one point."""

    def __init__(self, at: str, error: BaseException) -> None:
        self.at = at
        self.error = error

    def reach(self, point: str) -> None:
        if point == self.at:
            raise self.error

    def middleware(self, app: ASGIApp) -> ASGIApp:
        self.reach("middleware is built")

        async def around(scope: Scope, receive: Receive, send: Send) -> None:
            self.reach("middleware begins")
            await app(scope, receive, send)
            self.reach("middleware ends")

        return around

    def lifespan(self, app: MiniBG) -> Any:
        self.reach("the context is made")
        return self.context()

    @asynccontextmanager
    async def context(self) -> AsyncIterator[None]:
        self.reach("startup")
        async with anyio.create_task_group() as group:
            if self.at == "serving":
                group.start_soon(self.serve)
            yield
        self.reach("shutdown")

    async def serve(self) -> None:
        raise self.error


def live_through(
    app: ASGIApp, *, serves: bool = True
) -> tuple[list[Message], BaseException | None]:
    """What a server of the specification's is told in a lifespan, and what is raised to it.

    Args:
        serves: Whether it is the server that ends the application.
    """
    told: list[Message] = []
    error: BaseException | None = None

    async def server() -> None:
        nonlocal error
        asked: list[str] = []

        async def receive() -> Message:
            asked.append("shutdown" if asked else "startup")
            if asked[-1] == "shutdown" and not serves:
                await anyio.sleep_forever()
            return {"type": f"lifespan.{asked[-1]}"}

        async def send(message: Message) -> None:
            assert asked, "nothing is said before the server asks"
            told.append(message)

        with anyio.fail_after(LIMIT):
            try:
                await app({"type": "lifespan"}, receive, send)
            except BaseException as exc:  # noqa: BLE001  # it is what the test asks for
                error = exc

    anyio.run(server)
    return told, error


@pytest.mark.parametrize(
    ("at", "phase", "error"),
    [
        *product(BEFORE_IT_SERVES, ["startup"], LEAVE),
        *product(["shutdown"], ["shutdown"], LEAVE),
        ("serving", "shutdown", ValueError),
    ],
)
def test_the_end_of_a_lifespan_is_told_once_with_its_traceback(
    at: str, phase: str, error: type[BaseException]
) -> None:
    """Whatever ends a lifespan is told once, with its traceback."""
    fails = Fails(at, error("no database"))
    app = MiniBG(middleware=[Middleware(fails.middleware)], lifespan=fails.lifespan)
    told, raised = live_through(app, serves=at != "serving")
    completed = ["lifespan.startup.complete"] if phase == "shutdown" else []
    assert [message["type"] for message in told] == [*completed, f"lifespan.{phase}.failed"]
    assert "Traceback" in told[-1]["message"]
    assert f"{error.__name__}: no database" in told[-1]["message"]
    assert raised is fails.error or isinstance(raised, ExceptionGroup)


def test_after_the_shutdown_is_complete_nothing_is_told() -> None:
    fails = Fails("middleware ends", ValueError())
    told, raised = live_through(MiniBG(middleware=[Middleware(fails.middleware)]))
    types = [message["type"] for message in told]
    assert types == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert raised is fails.error


def test_what_a_server_makes_of_failure_does_not_replace_ctrl_c() -> None:
    """What a server makes of a failure does not replace Ctrl-C.

    hypercorn raises an error of its own when it is told of a failure.
    """

    async def receive() -> Message:
        return {"type": "lifespan.startup"}

    async def send(message: Message) -> None:
        raise LookupError

    for error, expected in ((ValueError(), LookupError), (KeyboardInterrupt(), KeyboardInterrupt)):
        app = MiniBG(lifespan=Fails("startup", error).lifespan)
        with pytest.raises(expected):
            anyio.run(app, {"type": "lifespan"}, receive, send)


class Passing(BaseHTTPMiddleware):
    async def dispatch(self, request: Any, call_next: Any) -> Any:
        return await call_next(request)


@pytest.mark.parametrize(
    "middleware",
    [
        Middleware(Passing),
        Middleware(CORSMiddleware),
        Middleware(GZipMiddleware),
        Middleware(SlowTaskMiddleware),
        Middleware(BacklogLimit, 0),
        Middleware(RecordingMiddleware, lambda recording: pytest.fail("a lifespan is no request")),
    ],
    ids=lambda middleware: middleware.cls.__name__,
)
def test_middleware_for_requests_lets_a_lifespan_through(middleware: Middleware) -> None:
    told, raised = live_through(MiniBG(middleware=[middleware]))
    types = [message["type"] for message in told]
    assert types == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert raised is None


def test_one_middleware_sees_the_lifespan_and_the_requests() -> None:
    """One instance of middleware sees the lifespan and the requests."""
    seen: list[tuple[int, str]] = []

    class Seeing:
        def __init__(self, app: ASGIApp) -> None:
            self.app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            seen.append((id(self), scope["type"]))
            await self.app(scope, receive, send)

    app = MiniBG(middleware=[Middleware(Seeing)])
    live_through(app)
    anyio.run(Exchange(), app)
    assert [kind for _, kind in seen] == ["lifespan", "http"]
    assert len({instance for instance, _ in seen}) == 1
