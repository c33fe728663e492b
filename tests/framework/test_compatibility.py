"""minibg beside Starlette, FastAPI and httpx: each takes the other's parts.

What may live here: applications and lists made of parts of both, driven in process.
"""

import logging
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
import httpx
import pytest
from fastapi import FastAPI
from starlette import background as starlette_background
from starlette import middleware as starlette_middleware
from starlette import responses as starlette_responses
from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request as StarletteRequest
from starlette.routing import Mount, Route

from minibg import (
    BackgroundTask,
    BackgroundTasks,
    HTTPException,
    Middleware,
    MiniBG,
    PlainTextResponse,
    Request,
    Response,
    StreamingResponse,
)
from minibg.types import ASGIApp, Background

with warnings.catch_warnings():
    # Starlette would rather have httpx's successor, and says so where it finds httpx.
    warnings.simplefilter("ignore")
    from starlette.testclient import TestClient


def failing() -> None:
    raise LookupError


def failed(name: str) -> tuple[str, int, str]:
    """The record of a task of that name that failed."""
    return ("minibg.background", logging.ERROR, f"background task {name} failed")


# minibg's tasks behind a response of Starlette and of FastAPI.

HostEndpoint = Callable[[StarletteRequest], Awaitable[starlette_responses.Response]]
Host = Callable[[HostEndpoint], ASGIApp]


def on_starlette(endpoint: HostEndpoint) -> ASGIApp:
    return Starlette(routes=[Route("/", endpoint)])


def on_fastapi(endpoint: HostEndpoint) -> ASGIApp:
    app = FastAPI()
    app.get("/")(endpoint)
    return app


@pytest.mark.parametrize("host", [on_starlette, on_fastapi])
def test_a_list_keeps_its_rules_behind_a_response_of_the_host(
    host: Host, backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    ran: list[str] = []

    async def endpoint(request: StarletteRequest) -> starlette_responses.Response:
        tasks = BackgroundTasks()
        tasks.add_task(failing)
        tasks.add_task(ran.append, "next")
        return starlette_responses.Response("body", background=tasks)

    assert TestClient(host(endpoint), backend=backend).get("/").text == "body"
    assert ran == ["next"]
    assert caplog.record_tuples == [failed(f"{__name__}.failing")]


@pytest.mark.parametrize("host", [on_starlette, on_fastapi])
def test_a_single_task_runs_behind_a_hosts_streamed_response(host: Host, backend: str) -> None:
    """A single task of minibg's runs behind a streamed response of the host."""
    ran: list[str] = []

    async def endpoint(request: StarletteRequest) -> starlette_responses.Response:
        task = BackgroundTask(ran.append, "task")
        return starlette_responses.StreamingResponse(iter(["bo", "dy"]), background=task)

    assert TestClient(host(endpoint), backend=backend).get("/").text == "body"
    assert ran == ["task"]


# Starlette's tasks behind a response of minibg.


def starlette_list(func: Callable[..., object], *args: object) -> Background:
    return starlette_background.BackgroundTasks([starlette_background.BackgroundTask(func, *args)])


@pytest.mark.parametrize("make", [starlette_background.BackgroundTask, starlette_list])
def test_starlettes_tasks_run_after_the_injected_ones(
    make: Callable[..., Background], backend: str
) -> None:
    """Starlette's tasks run behind a response, after the injected ones."""
    ran: list[str] = []
    app = MiniBG()

    @app.get("/")
    def endpoint(tasks: BackgroundTasks) -> Response:
        tasks.add_task(ran.append, "injected")
        return PlainTextResponse("body", background=make(ran.append, "own"))

    assert TestClient(app, backend=backend).get("/").text == "body"
    assert ran == ["injected", "own"]


@pytest.mark.parametrize("make", [starlette_background.BackgroundTask, starlette_list])
def test_a_failure_of_starlettes_tasks_is_isolated(
    make: Callable[..., Background], backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A failure of Starlette's tasks is isolated behind a response of minibg's."""
    app = MiniBG()

    @app.get("/")
    def endpoint() -> Response:
        return PlainTextResponse("body", background=make(failing))

    assert TestClient(app, backend=backend).get("/").text == "body"
    name = type(make(failing)).__name__
    assert caplog.record_tuples == [failed(f"starlette.background.{name}")]


# Lists of one inside lists of the other.


def test_minibgs_list_within_starlettes_keeps_its_rules(
    backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    ran: list[str] = []
    inner = BackgroundTasks()
    inner.add_task(failing)
    inner.add_task(ran.append, "inner")
    outer = starlette_background.BackgroundTasks()
    outer.add_task(inner)
    outer.add_task(ran.append, "outer")
    anyio.run(outer, backend=backend)
    assert ran == ["inner", "outer"]
    assert caplog.record_tuples == [failed(f"{__name__}.failing")]


def test_starlettes_list_within_minibgs_is_one_task(
    backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Starlette's list within minibg's is one task, which fails at its first failure."""
    ran: list[str] = []
    inner = starlette_background.BackgroundTasks()
    inner.add_task(ran.append, "inner")
    inner.add_task(failing)
    inner.add_task(ran.append, "never")
    outer = BackgroundTasks([inner])
    outer.add_task(ran.append, "outer")
    anyio.run(outer, backend=backend)
    assert ran == ["inner", "outer"]
    assert caplog.record_tuples == [failed("starlette.background.BackgroundTasks")]


# minibg's application, and who drives it, surrounds it or holds it.


@pytest.fixture
def ran() -> list[str]:
    """What the tasks of `app` did."""
    return []


@pytest.fixture
def app(ran: list[str]) -> MiniBG:
    """Answers at once, in pieces and with errors, and leaves a task each time."""

    @asynccontextmanager
    async def lifespan(app: MiniBG) -> AsyncIterator[dict[str, str]]:
        yield {"greeting": "hello"}
        ran.append("shutdown")

    app = MiniBG(lifespan=lifespan)

    @app.get("/whole")
    def whole(tasks: BackgroundTasks) -> str:
        tasks.add_task(ran.append, "whole")
        return "x" * 1000

    @app.get("/pieces/{count:int}")
    async def pieces(count: int, tasks: BackgroundTasks) -> Response:
        tasks.add_task(ran.append, "pieces")
        return StreamingResponse(iter(["piece "] * count))

    @app.get("/state")
    async def state(request: Request) -> str:
        return str(request.state.greeting)

    @app.get("/refused")
    async def refused() -> None:
        raise HTTPException(403)

    @app.get("/broken")
    async def broken() -> None:
        raise LookupError("broken")

    return app


def test_the_test_client_drives_the_lifespan(app: MiniBG, ran: list[str], backend: str) -> None:
    with TestClient(app, backend=backend) as client:
        assert client.get("/state").json() == "hello"
        assert ran == []
    assert ran == ["shutdown"]


def test_the_tasks_have_run_when_the_test_client_answers(
    app: MiniBG, ran: list[str], backend: str
) -> None:
    """The tasks have run when Starlette's test client has the answer."""
    client = TestClient(app, backend=backend)
    assert client.get("/whole").json() == "x" * 1000
    assert ran == ["whole"]
    assert client.get("/pieces/2").text == "piece piece "
    assert ran == ["whole", "pieces"]


def test_the_test_client_raises_or_shows_an_unexpected_error(app: MiniBG, backend: str) -> None:
    """The test client raises an error that nobody expected, or shows its answer if asked to."""
    with pytest.raises(LookupError, match="broken"):
        TestClient(app, backend=backend).get("/broken")
    quiet = TestClient(app, backend=backend, raise_server_exceptions=False)
    assert quiet.get("/broken").status_code == 500


def test_httpx_drives_an_application_by_asgi_transport(
    app: MiniBG, ran: list[str], backend: str
) -> None:
    async def main() -> None:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            assert (await client.get("/whole")).json() == "x" * 1000
            assert (await client.get("/pieces/2")).text == "piece piece "
            assert (await client.get("/refused")).json() == {"detail": "Forbidden"}

    anyio.run(main, backend=backend)
    assert ran == ["whole", "pieces"]


async def mark(
    request: StarletteRequest, call_next: RequestResponseEndpoint
) -> starlette_responses.Response:
    response = await call_next(request)
    response.headers["x-marked"] = "yes"
    return response


@pytest.mark.parametrize("kind", [Middleware, starlette_middleware.Middleware])
def test_starlettes_middleware_surrounds_an_application(
    kind: Callable[..., Middleware], backend: str
) -> None:
    ran: list[str] = []
    app = MiniBG(
        middleware=[
            kind(BaseHTTPMiddleware, dispatch=mark),
            kind(CORSMiddleware, allow_origins=["http://other"]),
            kind(GZipMiddleware, minimum_size=10),
        ]
    )

    @app.get("/")
    def endpoint(tasks: BackgroundTasks) -> str:
        tasks.add_task(failing)
        tasks.add_task(ran.append, "next")
        return "x" * 1000

    answer = TestClient(app, backend=backend).get("/", headers={"origin": "http://other"})
    assert answer.json() == "x" * 1000
    assert answer.headers["x-marked"] == "yes"
    assert answer.headers["access-control-allow-origin"] == "http://other"
    assert answer.headers["content-encoding"] == "gzip"
    assert ran == ["next"]


@pytest.mark.parametrize(
    ("cls", "options"),
    [
        (BaseHTTPMiddleware, {"dispatch": mark}),
        (CORSMiddleware, {"allow_origins": ["*"]}),
        (GZipMiddleware, {"minimum_size": 10}),
    ],
)
def test_tasks_run_after_a_stream_through_middleware(
    cls: Callable[..., ASGIApp],
    options: dict[str, object],
    app: MiniBG,
    ran: list[str],
    backend: str,
) -> None:
    """Tasks run after an answer that is streamed through middleware."""
    app.add_middleware(cls, **options)
    assert TestClient(app, backend=backend).get("/pieces/100").text == "piece " * 100
    assert ran == ["pieces"]


def test_a_refusal_passes_through_middleware_an_error_around(app: MiniBG, backend: str) -> None:
    """A refusal passes through middleware, and an unexpected error around it."""
    app.add_middleware(BaseHTTPMiddleware, dispatch=mark)
    client = TestClient(app, backend=backend, raise_server_exceptions=False)
    refused, broken = client.get("/refused"), client.get("/broken")
    assert (refused.status_code, refused.headers.get("x-marked")) == (403, "yes")
    assert (broken.status_code, broken.headers.get("x-marked")) == (500, None)


def test_a_session_lasts_from_request_to_request(app: MiniBG) -> None:
    app.add_middleware(SessionMiddleware, secret_key="secret", session_cookie="visits")

    @app.post("/visits")
    async def visit(request: Request) -> int:
        request.session["visits"] = request.session.get("visits", 0) + 1
        return int(request.session["visits"])

    client = TestClient(app)
    assert [client.post("/visits").json() for _ in range(3)] == [1, 2, 3]
    assert TestClient(app).post("/visits").json() == 1


def mounted_on_starlette(app: ASGIApp) -> ASGIApp:
    return Starlette(routes=[Mount("/api", app)])


def mounted_on_fastapi(app: ASGIApp) -> ASGIApp:
    host = FastAPI()
    host.mount("/api", app)
    return host


@pytest.mark.parametrize("mounted", [mounted_on_starlette, mounted_on_fastapi])
def test_a_mounted_application_serves_the_paths_below_it(
    mounted: Callable[[ASGIApp], ASGIApp], app: MiniBG, ran: list[str], backend: str
) -> None:
    """An application serves the paths below the one where it is mounted."""
    client = TestClient(mounted(app), backend=backend)
    assert client.get("/api/whole").json() == "x" * 1000
    assert client.get("/api/pieces/2").text == "piece piece "
    assert ran == ["whole", "pieces"]
    assert client.get("/api/refused").json() == {"detail": "Forbidden"}
    assert client.get("/api/api/whole").status_code == 404
    assert client.get("/whole").status_code == 404
