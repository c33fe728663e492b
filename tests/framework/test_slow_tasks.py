"""Tasks that hold the event loop are named, with the time; nothing else changes.

The clock is the tests' own: a task "holds" the loop by moving the clock on.
"""

import asyncio
import re
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator
from contextlib import aclosing
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.responses import Response as StarletteResponse
from starlette.routing import Route as StarletteRoute

import minibg.ext.slow_tasks
from minibg import (
    BackgroundTask,
    BackgroundTasks,
    FailFastTasks,
    Middleware,
    MiniBG,
    Response,
)
from minibg.background import around_tasks
from minibg.ext.slow_tasks import SlowTaskMiddleware
from tests.framework.asgi import ask
from tests.rules.language.exchange import Exchange
from tests.rules.language.logs import Log, logged

LIMIT = 1.0
"""`slow_task_seconds` here."""


class Clock:
    """What `perf_counter` says in `minibg.ext.slow_tasks`."""

    now = 1000.0

    def hold(self, seconds: float) -> None:
        """Hold the event loop for that long."""
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(minibg.ext.slow_tasks, "perf_counter", lambda: clock.now)
    return clock


def slow(log: Log) -> list[tuple[str, float]]:
    """The name and the seconds of each slow task that is reported, and nothing else is."""
    found = []
    for warning in log.warnings:
        report = re.match(
            r"background task (\S+) held the event loop for (\S+) s; as a plain function", warning
        )
        assert report is not None, warning
        found.append((report[1].rpartition(".")[2], float(report[2])))
    assert len(found) == len(log.records)
    return found


@pytest.fixture
def log() -> Iterator[Log]:
    with logged("minibg.ext.slow_tasks") as log:
        yield log


WATCHED = Middleware(SlowTaskMiddleware, slow_task_seconds=LIMIT)


def serving(
    leave: Callable[[BackgroundTasks], object], middleware: Iterable[Middleware] = (WATCHED,)
) -> MiniBG:
    """An application whose only endpoint leaves those tasks."""
    app = MiniBG(middleware=middleware)

    @app.get("/")
    async def endpoint(tasks: BackgroundTasks) -> None:
        leave(tasks)

    return app


# In eighths, so that the sums are exact.
steps = st.lists(st.integers(0, 16).map(lambda eighths: eighths / 8), min_size=1, max_size=4)


@given(tasks=st.lists(steps, max_size=4))
def test_each_step_of_a_task_that_takes_too_long_is_reported(
    backend: str, tasks: list[list[float]]
) -> None:
    """Each step of an async task that takes too long is reported."""
    clock = Clock()

    async def task(seconds: list[float]) -> None:
        for number, step in enumerate(seconds):
            if number:
                await anyio.lowlevel.checkpoint()
            clock.hold(step)

    def leave(added: BackgroundTasks) -> None:
        for seconds in tasks:
            added.add_task(task, seconds)

    with pytest.MonkeyPatch.context() as patch, logged("minibg.ext.slow_tasks") as log:
        patch.setattr(minibg.ext.slow_tasks, "perf_counter", lambda: clock.now)
        anyio.run(Exchange(), serving(leave), backend=backend)
    assert slow(log) == [("task", s) for seconds in tasks for s in seconds if s > LIMIT]


def test_without_the_middleware_nothing_is_watched(backend: str, clock: Clock, log: Log) -> None:
    watches: list[object] = []

    async def task() -> None:
        watches.append(around_tasks.get())
        clock.hold(2 * LIMIT)

    app = serving(lambda tasks: tasks.add_task(task), middleware=[])
    anyio.run(Exchange(), app, backend=backend)
    assert (watches, slow(log)) == ([None], [])


def test_the_time_that_a_task_waits_is_not_held_against_it(
    backend: str, clock: Clock, log: Log
) -> None:
    async def waiting() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(elsewhere)
            await anyio.lowlevel.checkpoint()

    async def elsewhere() -> None:
        clock.hold(2 * LIMIT)

    anyio.run(Exchange(), serving(lambda tasks: tasks.add_task(waiting)), backend=backend)
    assert slow(log) == []


def test_a_sync_task_holds_its_thread_and_not_the_loop(
    backend: str, clock: Clock, log: Log
) -> None:
    app = serving(lambda tasks: tasks.add_task(clock.hold, 2 * LIMIT))
    anyio.run(Exchange(), app, backend=backend)
    assert slow(log) == []


def test_a_coroutine_that_a_sync_task_hands_back_is_watched(
    backend: str, clock: Clock, log: Log
) -> None:
    async def task() -> None:
        clock.hold(2 * LIMIT)

    def handing_back() -> Awaitable[None]:
        return task()

    anyio.run(Exchange(), serving(lambda tasks: tasks.add_task(handing_back)), backend=backend)
    assert slow(log) == [("handing_back", 2 * LIMIT)]


def test_a_task_that_fails_is_reported_too(
    backend: str, clock: Clock, log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    async def failing() -> None:
        clock.hold(2 * LIMIT)
        raise ValueError

    anyio.run(Exchange(), serving(lambda tasks: tasks.add_task(failing)), backend=backend)
    assert slow(log) == [("failing", 2 * LIMIT)]
    assert caplog.messages[1].endswith("failing failed")


@pytest.mark.parametrize("depth", [1, 2])
def test_a_task_of_a_list_within_a_list_is_reported_once(
    backend: str, clock: Clock, log: Log, depth: int
) -> None:
    """A task of a list within a list is reported once, by its own name."""

    async def task() -> None:
        clock.hold(2 * LIMIT)

    def leave(tasks: BackgroundTasks) -> None:
        inner = BackgroundTasks()
        inner.add_task(task)
        for _ in range(depth):
            inner = BackgroundTasks([inner])
        tasks.add_task(inner)

    anyio.run(Exchange(), serving(leave), backend=backend)
    assert slow(log) == [("task", 2 * LIMIT)]


@pytest.mark.parametrize("background", [BackgroundTask, lambda task: BackgroundTasks([task])])
def test_the_responses_own_background_is_watched(
    backend: str, clock: Clock, log: Log, background: Callable[[Any], Any]
) -> None:
    async def task() -> None:
        clock.hold(2 * LIMIT)

    app = MiniBG(middleware=[WATCHED])

    @app.get("/")
    async def endpoint() -> Response:
        return Response(background=background(task))

    anyio.run(Exchange(), app, backend=backend)
    assert slow(log) == [("task", 2 * LIMIT)]


def test_minibgs_lists_are_watched_in_starlettes_application(
    backend: str, clock: Clock, log: Log
) -> None:
    async def task() -> None:
        clock.hold(2 * LIMIT)

    async def endpoint(request: object) -> StarletteResponse:
        return StarletteResponse(background=BackgroundTasks([BackgroundTask(task)]))  # type: ignore[arg-type]  # any async callable will do

    app = Starlette(routes=[StarletteRoute("/", endpoint)])
    app.add_middleware(SlowTaskMiddleware, slow_task_seconds=LIMIT)
    anyio.run(Exchange(), app, backend=backend)
    assert slow(log) == [("task", 2 * LIMIT)]


async def futures_result() -> str:
    """Waits for what asyncio's loop has to hand on as it is."""
    future = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(future.set_result, "result")
    return await future


async def cancelled_and_going_on() -> str:
    with anyio.CancelScope() as scope:
        scope.cancel()
        await anyio.sleep_forever()
    await anyio.lowlevel.checkpoint()
    return "result"


async def from_a_thread() -> str:
    return await anyio.to_thread.run_sync(lambda: "result")


async def of_a_generator() -> str:
    async def generator() -> AsyncGenerator[str]:
        yield "result"

    async with aclosing(generator()) as results:
        return await anext(results)


@pytest.mark.parametrize("waits", [cancelled_and_going_on, from_a_thread, of_a_generator])
def test_a_watched_task_awaits_as_it_does_without(
    backend: str, waits: Callable[[], Awaitable[str]]
) -> None:
    results: list[str] = []

    async def task() -> None:
        results.append(await waits())

    anyio.run(Exchange(), serving(lambda tasks: tasks.add_task(task)), backend=backend)
    assert results == ["result"]


def test_a_watched_task_awaits_asyncios_futures() -> None:
    """A watched task awaits asyncio's futures as it does without the watch."""
    results: list[str] = []

    async def task() -> None:
        results.append(await futures_result())

    anyio.run(Exchange(), serving(lambda tasks: tasks.add_task(task)))
    assert results == ["result"]


def test_a_watched_task_is_cancelled_at_its_await(
    backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A watched task that is cancelled is stopped at its await, and the rest is named."""
    events: list[str] = []

    async def request() -> None:
        async def task() -> None:
            scope.cancel()
            try:
                await anyio.sleep_forever()
            finally:
                events.append("stopped")

        def leave(tasks: BackgroundTasks) -> None:
            tasks.add_task(task)
            tasks.add_task(events.append, "must not run")

        with anyio.CancelScope() as scope:
            await Exchange()(serving(leave))

    anyio.run(request, backend=backend)
    assert events == ["stopped"]
    assert "background tasks not run (cancelled" in caplog.text


def test_a_watched_tasks_failure_reaches_the_server(backend: str) -> None:
    """A failure of a watched task under fail-fast reaches the server."""
    app = MiniBG(middleware=[WATCHED])

    async def failing() -> None:
        await anyio.lowlevel.checkpoint()
        raise LookupError("the first failure")

    @app.get("/")
    async def endpoint(tasks: FailFastTasks) -> None:
        tasks.add_task(failing)

    with pytest.raises(LookupError, match="the first failure"):
        anyio.run(Exchange(), app, backend=backend)


def test_a_task_that_really_blocks_is_reported_by_default(log: Log) -> None:
    """A task that really blocks is reported with the default limit."""

    async def blocking() -> None:
        time.sleep(0.11)  # noqa: ASYNC251  # the mistake that is looked for

    app = serving(lambda tasks: tasks.add_task(blocking), [Middleware(SlowTaskMiddleware)])
    ask(app)
    ((name, seconds),) = slow(log)
    assert name == "blocking"
    assert 0.11 <= seconds < 10


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_a_limit_that_is_no_positive_number_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match=f"positive number of seconds, not {seconds!r}"):
        SlowTaskMiddleware(MiniBG(), slow_task_seconds=seconds)
