"""Counts and the limit on real servers: what Prometheus scrapes, and what clients get meanwhile.

What may live here: facts that only a real connection shows. `tests/framework/test_monitoring.py`
shows what is counted when.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    generate_latest,
    make_asgi_app,
)
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from minibg import MiniBG, Response, WebSocket
from minibg.ext.monitoring import BacklogLimit, MonitoredTasks, TaskMetrics
from minibg.types import ASGIApp
from tests.servers.live import LIMIT, Live, Server

registry = CollectorRegistry()


class NotingMetrics(TaskMetrics):
    """Counts, and says when a task's end is counted."""

    ended = threading.Semaphore(0)

    def end(self, name: str, seconds: float, *, failed: bool) -> None:
        super().end(name, seconds, failed=failed)
        self.ended.release()


class Tasks(MonitoredTasks):
    metrics = NotingMetrics(registry)


class Work:
    """A sync task that is at work until it is let go."""

    def __init__(self) -> None:
        self.started, self.leave = threading.Semaphore(0), threading.Event()

    def __call__(self) -> None:
        self.started.release()
        assert self.leave.wait(LIMIT)


def fail() -> None:
    raise ValueError("failed on purpose")


def end_of(number: int) -> None:
    """Wait until so many tasks have ended, and that is counted."""
    for _ in range(number):
        assert NotingMetrics.ended.acquire(timeout=LIMIT)


def add_to(tasks: Any, work: Work) -> None:
    tasks.add_task(work)
    tasks.add_task(fail)


def minibg_app(work: Work) -> ASGIApp:
    app = MiniBG()
    limits = {"max_tasks": 3, "retry_after": 7, "exempt": ["/metrics/"]}
    app.add_middleware(BacklogLimit, **limits, metrics=Tasks.metrics)

    @app.get("/work")
    async def leave_work(tasks: Tasks) -> str:
        add_to(tasks, work)
        return "accepted"

    @app.get("/metrics/")
    async def metrics() -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    @app.websocket("/")
    async def chat(websocket: WebSocket) -> None:
        await websocket.accept()

    return app


def starlette_app(work: Work) -> ASGIApp:
    async def leave_work(request: Request) -> JSONResponse:
        tasks = Tasks()
        add_to(tasks, work)
        return JSONResponse("accepted", background=tasks)  # type: ignore[arg-type]  # it is called

    metrics = Mount("/metrics", make_asgi_app(registry))
    app = Starlette(routes=[Route("/work", leave_work), metrics])
    limits: dict[str, Any] = {"max_tasks": 3, "retry_after": 7, "exempt": ["/metrics/"]}
    app.add_middleware(BacklogLimit, **limits, metrics=Tasks.metrics)
    return app


@contextmanager
def at_work(server: Server, app: Callable[[Work], ASGIApp]) -> Iterator[tuple[Live, Work]]:
    """Serve the application; what is still at work is let go at the end."""
    work, NotingMetrics.ended = Work(), threading.Semaphore(0)
    with server(app(work)) as live:
        try:
            yield live, work
        finally:
            work.leave.set()


def scrape(live: Live) -> dict[str, float]:
    """What Prometheus reads: each metric of tasks, summed over the functions."""
    sums: dict[str, float] = {}
    answer = live.get("/metrics/")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    for family in text_string_to_metric_families(answer.body.decode()):
        for sample in family.samples:
            if "le" not in sample.labels and not sample.name.endswith("_created"):
                assert sample.labels["task"].startswith("tests.servers.test_monitoring.")
                name = sample.name.removeprefix("minibg_")
                sums[name] = sums.get(name, 0) + sample.value
    return sums


def grown(live: Live, before: dict[str, float]) -> dict[str, float]:
    """By how much each count has grown."""
    found = {name: value - before.get(name, 0) for name, value in scrape(live).items()}
    return {name: value for name, value in found.items() if value and not name.endswith("_sum")}


apps = pytest.mark.parametrize("app", [minibg_app, starlette_app])


@apps
def test_a_scrape_shows_what_waits_runs_and_has_ended(
    server: Server, app: Callable[[Work], ASGIApp]
) -> None:
    with at_work(server, app) as (live, work):
        before = scrape(live)
        with live.connect() as connection:
            connection.ask("/work")
            assert connection.read().status == 200
            assert work.started.acquire(timeout=LIMIT)
            assert grown(live, before) == {
                "tasks_added_total": 2,
                "tasks_running": 1,
                "tasks_pending": 1,
            }
            work.leave.set()
            end_of(2)
            assert grown(live, before) == {
                "tasks_added_total": 2,
                "tasks_done_total": 1,
                "tasks_failed_total": 1,
                "task_duration_seconds_count": 2,
            }


@apps
def test_beyond_the_limit_clients_are_told_when_to_come_back(
    server: Server, app: Callable[[Work], ASGIApp]
) -> None:
    """Beyond the limit clients are told when to come back, and are then served."""
    with at_work(server, app) as (live, work):
        for _ in range(2):
            assert live.get("/work").body == b'"accepted"'
            assert work.started.acquire(timeout=LIMIT)
        refused = live.get("/work")
        assert (refused.status, refused.headers["retry-after"]) == (503, "7")
        assert b"too many background tasks" in refused.body
        assert scrape(live)["tasks_running"] == 2
        work.leave.set()
        end_of(4)
        assert live.get("/work").body == b'"accepted"'


def test_a_refused_request_leaves_its_connection_open(server: Server) -> None:
    with at_work(server, minibg_app) as (live, _), live.connect() as connection:
        connection.ask("/work", "/work", "/work", "/metrics/")
        assert [connection.read().status for _ in range(4)] == [200, 200, 503, 200]


def test_beyond_the_limit_a_websocket_is_refused_likewise(server: Server) -> None:
    with at_work(server, minibg_app) as (live, _):
        for _ in range(2):
            assert live.get("/work").status == 200
        with (
            pytest.raises(InvalidStatus) as refused,
            connect(f"ws://127.0.0.1:{live.port}/", open_timeout=LIMIT, proxy=None),
        ):
            pass
        answer = refused.value.response
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "7")
