"""**nothing lost**: an application's lifespan is left when its background runs are over."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from minibg import BackgroundTask, BackgroundTasks, MiniBG, Response, WebSocket
from minibg.types import Message
from tests.rules.cancelling import Blocked, let_it_be_delivered
from tests.rules.exchange import Exchange

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
        with anyio.fail_after(10):
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


def test_a_run_that_the_server_has_cancelled_is_not_waited_for_though_its_thread_works() -> None:
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
