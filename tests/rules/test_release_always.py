"""**release** and **nothing lost**, at whichever of its awaits a request is cancelled.

What may live here: every kind of request, cancelled at its first await, at its second, and so on.
"""

import asyncio
import gc
import re
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from anyio.to_thread import current_default_thread_limiter
from starlette import responses as starlette

from minibg import (
    BackgroundTasks,
    Depends,
    HTTPException,
    MiniBG,
    Request,
    Response,
    StreamingResponse,
    UploadFile,
)
from minibg.concurrency import background_limiter
from minibg.types import Message
from tests.rules.language import SECONDS
from tests.rules.language.programs import hold

UPLOAD = (
    b'--xXx\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    + b"x" * (1 << 20)  # more than is kept in memory
    + b"\r\n--xXx--\r\n"
)


class Notes:
    """What one request has opened, closed, added and run."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin anew, for the next request."""
        self.opened: list[str] = []
        self.closed: list[str] = []
        self.files: list[UploadFile] = []
        self.added: list[str] = []
        self.started: list[str] = []
        self.ended: list[str] = []


notes = Notes()


def sync_held() -> Generator[None]:
    notes.opened.append("sync")
    try:
        yield
    finally:
        notes.closed.append("sync")


async def held() -> AsyncGenerator[None]:
    await checkpoint()
    notes.opened.append("async")
    try:
        yield
    finally:
        notes.closed.append("async")  # asyncio may cancel what comes after it
        await checkpoint()


def sync_pieces() -> Generator[bytes]:
    notes.opened.append("pieces")
    try:
        yield b"one"
        yield b"two"
    finally:
        notes.closed.append("pieces")


async def pieces() -> AsyncGenerator[bytes]:
    notes.opened.append("pieces")
    try:
        yield b"one"
        await checkpoint()
        yield b"two"
    finally:
        notes.closed.append("pieces")


def add(tasks: BackgroundTasks, kinds: str) -> None:
    """Add tasks: a sync one for each "s", an async one for each "a"."""
    for place, kind in enumerate(kinds):
        tasks.add_task(task_of(kind, f"task{place}"))
        notes.added.append(f"task{place}")


def task_of(kind: str, name: str) -> Callable[[], Any]:
    def sync() -> None:
        notes.started.append(name)
        notes.ended.append(name)

    async def on_the_loop() -> None:
        notes.started.append(name)
        await checkpoint()
        notes.ended.append(name)

    task: Callable[[], Any] = sync if kind == "s" else on_the_loop
    task.__qualname__ = name
    return task


app = MiniBG()


@app.post("/upload")
async def upload(
    tasks: BackgroundTasks,
    file: UploadFile,
    first: None = Depends(held),
    second: None = Depends(sync_held),
    third: None = Depends(sync_held, use_cache=False, scope="function"),
) -> None:
    notes.files.append(file)
    add(tasks, "ssassa")
    await checkpoint()


@app.post("/sync")
def sync(
    tasks: BackgroundTasks, first: None = Depends(sync_held), second: None = Depends(held)
) -> None:
    add(tasks, "sas")


@app.post("/raises")
async def raises(
    tasks: BackgroundTasks, first: None = Depends(held), second: None = Depends(sync_held)
) -> None:
    add(tasks, "sa")
    await checkpoint()
    raise HTTPException(418)


async def stream(request: Request, tasks: BackgroundTasks, response: Response) -> Response:
    notes.files += [file for file in (await request.form()).values() if not isinstance(file, str)]
    add(tasks, "as")
    return response


@app.post("/stream")
async def streams(
    request: Request, tasks: BackgroundTasks, first: None = Depends(sync_held)
) -> Response:
    return await stream(request, tasks, StreamingResponse(pieces()))


@app.post("/sync-stream")
async def sync_streams(
    request: Request, tasks: BackgroundTasks, first: None = Depends(held)
) -> Response:
    return await stream(request, tasks, StreamingResponse(sync_pieces()))


@app.post("/starlette")
async def starlettes(
    tasks: BackgroundTasks, first: None = Depends(held), second: None = Depends(sync_held)
) -> Any:
    add(tasks, "as")
    return starlette.StreamingResponse(pieces())


def request_for(path: str) -> Awaitable[None]:
    headers = [(b"content-type", b"multipart/form-data; boundary=xXx")]
    coming = [UPLOAD[: 1 << 19], UPLOAD[1 << 19 :]]

    async def receive() -> Message:
        await checkpoint()
        if not coming:
            await anyio.sleep_forever()
        body = coming.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(coming)}

    async def send(message: Message) -> None:
        await checkpoint()

    scope = {"type": "http", "method": "POST", "path": path, "headers": headers}
    return app(scope, receive, send)


class Cancelling:
    """Awaits a request, and calls `cancel` when it waits for the n-th time, and `times` in all."""

    cancel: Callable[[], object]

    def __init__(self, request: Awaitable[None], n: int, times: int = 1) -> None:
        self.request = request
        self.cancelled_at = range(n, n + times)
        self.waited = 0

    def __await__(self) -> Generator[Any, Any, None]:
        steps: Any = self.request.__await__()
        step, given = steps.send, None
        while True:
            try:
                waits_for = step(given)
            except StopIteration:
                return
            self.waited += 1
            if self.waited in self.cancelled_at:
                self.cancel()
            try:
                step, given = steps.send, (yield waits_for)
            except BaseException as exc:  # noqa: BLE001  # thrown into the request
                step, given = steps.throw, exc


async def cancelled_by_a_scope(path: str, n: int) -> bool:
    """Serve a request and cancel it at its n-th await; whether it waits that often."""
    request = Cancelling(request_for(path), n)
    with anyio.CancelScope() as scope:
        request.cancel = scope.cancel
        await request
    return request.waited >= n


async def cancelled_by_asyncio(path: str, n: int, times: int = 1) -> bool:
    """Likewise, by `task.cancel()`."""
    request = Cancelling(request_for(path), n, times)

    async def serve() -> None:
        await request

    task = asyncio.create_task(serve())
    request.cancel = task.cancel
    await asyncio.wait([task])
    assert task.cancelled() == (request.waited >= n)
    return task.cancelled()


async def cancelled_thrice_by_asyncio(path: str, n: int) -> bool:
    """Likewise, as uvicorn does, and then what runs the loop, when the grace time is over."""
    return await cancelled_by_asyncio(path, n, times=3)


ways = pytest.mark.parametrize(
    "cancelled", [cancelled_by_a_scope, cancelled_by_asyncio, cancelled_thrice_by_asyncio]
)
each_request = pytest.mark.parametrize(
    "path", ["/upload", "/sync", "/raises", "/stream", "/sync-stream", "/starlette"]
)


@ways
@each_request
def test_a_request_may_be_cancelled_at_any_await(
    backend: str,
    cancelled: Callable[[str, int], Awaitable[bool]],
    path: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Wherever a request is cancelled, all that it holds is closed, and no task is lost."""
    if backend == "trio" and cancelled is not cancelled_by_a_scope:
        pytest.skip("trio has scopes only")

    async def server() -> int:
        n = 0
        while True:
            n += 1
            notes.forget()
            caplog.clear()
            with anyio.fail_after(SECONDS):
                if not await cancelled(path, n):
                    return n
            request = f"{path}, {cancelled.__name__} at await {n}"
            hold("release", request, sorted(notes.opened), sorted(notes.closed))
            hold("release", request, [], [file for file in notes.files if not file.file.closed])
            gc.collect(0)
            named = re.findall(r"task\d", " ".join(r.getMessage() for r in caplog.records))
            hold("nothing lost", request, sorted(notes.added), sorted(notes.ended + named))
            hold("order", request, sorted(set(notes.started)), sorted(notes.started))
            hold("room", request, 0, background_limiter().borrowed_tokens)
            hold("room", request, 0, current_default_thread_limiter().borrowed_tokens)

    assert anyio.run(server, backend=backend) > 5, "it was cancelled at several awaits"


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("endpoint_waits_in", ["loop", "thread"])
def test_the_lifespan_waits_for_what_a_cancelled_request_closes(
    times: int, endpoint_waits_in: str
) -> None:
    """As when uvicorn's grace time is over: it cancels, and ends the lifespan at once."""
    events: list[str] = []
    runs, may_go_on = threading.Event(), threading.Event()

    def held_in_a_thread() -> Generator[None]:
        try:
            yield
        finally:
            assert may_go_on.wait(SECONDS)
            events.append("closed")

    @asynccontextmanager
    async def lifespan(app: MiniBG) -> AsyncGenerator[None]:
        yield
        events.append("the lifespan is over")

    served = MiniBG(lifespan=lifespan)

    @served.get("/loop")
    async def on_the_loop(first: None = Depends(held_in_a_thread)) -> None:
        runs.set()
        await anyio.sleep_forever()

    @served.get("/thread")
    def in_a_thread(first: None = Depends(held_in_a_thread)) -> None:
        runs.set()
        assert may_go_on.wait(SECONDS)

    async def receive() -> Message:
        await anyio.sleep_forever()
        raise AssertionError("unreachable")

    async def send(message: Message) -> None: ...

    async def server() -> None:
        messages: asyncio.Queue[Message] = asyncio.Queue()
        messages.put_nowait({"type": "lifespan.startup"})
        life = asyncio.create_task(served({"type": "lifespan", "state": {}}, messages.get, send))
        scope = {"type": "http", "method": "GET", "path": f"/{endpoint_waits_in}", "headers": []}
        request = asyncio.create_task(served(scope, receive, send))
        assert await anyio.to_thread.run_sync(runs.wait, SECONDS)
        request.cancel()
        messages.put_nowait({"type": "lifespan.shutdown"})
        for _ in range(20):
            await asyncio.sleep(0)
        if times == 2:
            request.cancel()
        for _ in range(20):
            await asyncio.sleep(0)
        assert events == []
        may_go_on.set()
        await asyncio.wait_for(life, SECONDS)
        await asyncio.wait([request])
        assert request.cancelled()

    asyncio.run(server())
    assert events == ["closed", "the lifespan is over"]
