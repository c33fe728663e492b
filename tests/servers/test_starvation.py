"""**room** on a real server: blocked tasks hold up no endpoint, and blocked endpoints no task.

What may live here: tests that block every thread of one kind, and see what goes on meanwhile.
"""

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice, takewhile
from statistics import median
from time import perf_counter

from anyio.to_thread import current_default_thread_limiter

from minibg import BackgroundTasks, Depends, MiniBG
from minibg.concurrency import background_limiter
from tests.servers.live import LIMIT, Live, Server

ASKED = 100
"""How often each endpoint is asked at least, unloaded."""


def seconds_of_answers(live: Live, path: str) -> Iterator[float]:
    """How many seconds each of endless answers takes, on one connection."""
    with live.connect() as connection:
        while True:
            began = perf_counter()
            connection.ask(path)
            assert connection.read().status == 200
            yield perf_counter() - began


def is_had_within(live: Live, path: str, seconds: float) -> bool:
    """Whether an answer is; what a busy machine takes for itself, it does not take each time."""
    give_up = perf_counter() + LIMIT
    taken = takewhile(lambda taken: perf_counter() < give_up, seconds_of_answers(live, path))
    return any(each <= seconds for each in taken)


def test_endpoints_answer_while_background_threads_are_blocked(
    server: Server,
) -> None:
    """Endpoints answer within twice their usual time while every background thread is blocked."""
    blocked, release = threading.Semaphore(0), threading.Event()
    app = MiniBG()

    def block() -> None:
        blocked.release()
        assert release.wait(6 * LIMIT)

    @app.get("/block")
    async def leave_tasks_that_block(tasks: BackgroundTasks) -> None:
        tasks.add_task(block)

    @app.get("/threads")
    async def threads() -> int:
        return int(background_limiter().total_tokens)

    @app.get("/sync")
    def sync() -> None: ...

    def dependency() -> None: ...

    @app.get("/dependency")
    async def with_a_sync_dependency(value: None = Depends(dependency)) -> None: ...

    @app.get("/async")
    async def on_the_loop() -> None: ...

    paths = ["/sync", "/dependency", "/async"]
    with server(app) as live:
        try:
            unloaded = {
                path: median(islice(seconds_of_answers(live, path), ASKED)) for path in paths
            }
            for _ in range(int(live.get("/threads").body)):
                assert live.get("/block").status == 200
                assert blocked.acquire(timeout=LIMIT)
            for path in paths:
                assert is_had_within(live, path, 2 * unloaded[path]), path
        finally:
            release.set()


def test_tasks_go_on_while_every_endpoint_thread_is_blocked(server: Server) -> None:
    """Background tasks go on while every thread of the endpoints is blocked."""
    blocked, release = threading.Semaphore(0), threading.Event()
    ran = {name: threading.Event() for name in ("sync", "async")}
    app = MiniBG()

    @app.get("/block")
    def block() -> None:
        blocked.release()
        assert release.wait(LIMIT)

    @app.get("/threads")
    async def threads() -> int:
        return int(current_default_thread_limiter().total_tokens)

    async def set_on_the_loop() -> None:
        ran["async"].set()

    @app.get("/")
    async def endpoint(tasks: BackgroundTasks) -> None:
        tasks.add_task(ran["sync"].set)
        tasks.add_task(set_on_the_loop)

    with server(app) as live, ExitStack() as clients:
        try:
            for _ in range(int(live.get("/threads").body)):
                clients.enter_context(live.connect()).ask("/block")
                assert blocked.acquire(timeout=LIMIT)
            assert live.get("/").status == 200
            assert all(event.wait(LIMIT) for event in ran.values())
        finally:
            release.set()
