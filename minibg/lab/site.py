"""The lab's own application: its page, its presets, the source that it shows, and its runs.

It answers requests to its own address only: a page of another site can neither read an answer nor
start a run, even by a host name that resolves to 127.0.0.1. A body is read as JSON only if its
content type is JSON's, which no form of another site can send.

What may live here: the lab's answers. `experiment.py` performs the runs.
"""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from importlib.resources import files
from secrets import token_urlsafe
from typing import Any

import anyio
import uvicorn
from anyio.abc import TaskGroup

from minibg import HTTPException, MiniBG, PlainTextResponse, Request, Response
from minibg.ext.sse import EventSourceResponse, ServerSentEvent
from minibg.lab.applications import APPLICATIONS, WITH_DEPENDENCIES, idea_of, title_of, why_not
from minibg.lab.composition import LIMITS, RunSpec, choices
from minibg.lab.experiment import Broadcast, Experiment
from minibg.lab.hosted import NAME, Hosted
from minibg.lab.presets import PRESETS
from minibg.lab.sources import sources_of
from minibg.types import ASGIApp, Receive, Scope, Send

STATIC = files("minibg.lab") / "static"
TYPES = {
    "html": "text/html",
    "js": "text/javascript",
    "css": "text/css",
    "svg": "image/svg+xml",
}
POLICY = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:"
RUNNING = 4
"""How many runs may go on at a time, for all visitors together."""
KEPT = 20
"""How many finished runs are kept when another one begins."""
VISITOR = "visitor"
"""The cookie that identifies a visitor."""


class OwnAddressOnly:
    """ASGI middleware that refuses a request for another host, or from a page of another site."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = Request(scope, receive).headers
            host, origin = headers.get("host", ""), headers.get("origin")
            port = (scope.get("server") or ("", 0))[1]
            own = [f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]")]
            if host not in own or origin not in (None, f"http://{host}"):
                text = f"the lab answers to {own[0]} and {own[1]} only, and only to its own page"
                await PlainTextResponse(text, 403)(scope, receive, send)
                return
        await self.app(scope, receive, send)


class Runs:
    """The runs that are going on, and the last ones that are over."""

    def __init__(self) -> None:
        self.runs: dict[str, Experiment] = {}
        self.of_visitor: dict[str, Experiment] = {}

    def add(self, spec: RunSpec, visitor: str) -> str:
        """Make a run for a visitor, and return its id.

        Raises:
            HTTPException: 409, if a run of the visitor is going on, or too many others are.
        """
        its = self.of_visitor.get(visitor)
        if its is not None and not its.is_over:
            raise HTTPException(409, "your last run is still going: stop it, or wait for its end")
        if sum(not run.is_over for run in self.runs.values()) >= RUNNING:
            raise HTTPException(409, f"{RUNNING} runs are already going: try again in some seconds")
        for over in [name for name, run in self.runs.items() if run.is_over][:-KEPT]:
            del self.runs[over]
        name = token_urlsafe(8)
        self.runs[name] = self.of_visitor[visitor] = Experiment(spec)
        return name

    def get(self, name: str) -> Experiment:
        """The run of that id.

        Raises:
            HTTPException: 404, if there is no such run.
        """
        if name not in self.runs:
            raise HTTPException(404, "there is no such run, or it is too old to be kept")
        return self.runs[name]


def create_app(hosted: Hosted | None = None) -> MiniBG:
    """The lab's application.

    Args:
        hosted: The visitor's own application, if there is one.
    """

    @asynccontextmanager
    async def lifespan(app: MiniBG) -> AsyncIterator[dict[str, TaskGroup]]:
        async with anyio.create_task_group() as group:
            if hosted is not None:
                group.start_soon(hosted.serve)
            yield {"group": group}
            group.cancel_scope.cancel()

    app, runs = MiniBG(lifespan=lifespan, max_body_size=64 * 1024), Runs()
    app.add_middleware(OwnAddressOnly)

    @app.get("/")
    async def index(request: Request) -> Response:
        response = static("index.html")
        if VISITOR not in request.cookies:
            response.set_cookie(VISITOR, token_urlsafe(8), httponly=True, samesite="strict")
        return response

    @app.get("/static/{name}")
    async def file(name: str) -> Response:
        return static(name)

    @app.get("/presets")
    async def presets() -> list[dict[str, Any]]:
        return [preset.told() for preset in PRESETS]

    @app.get("/composition")
    async def composition() -> dict[str, Any]:
        return choices()

    @app.get("/contenders")
    async def contenders() -> list[dict[str, Any]]:
        all_ = [contender(name) for name in APPLICATIONS]
        if hosted is not None:
            own = {"title": hosted.app, "url": hosted.url, "steps": False}
            all_.append(contender(NAME) | own)
        return all_

    @app.get("/sources/{name}")
    def sources(name: str) -> list[dict[str, Any]]:  # in a thread: it imports the framework
        if why := _unusable(name):
            raise HTTPException(404, why)
        return sources_of(name)

    @app.post("/runs", status_code=202)
    async def start(spec: RunSpec, request: Request) -> dict[str, str]:
        check(spec)
        name = runs.add(spec, request.cookies.get(VISITOR, ""))
        request.state.group.start_soon(runs.get(name).perform)
        return {"id": name}

    @app.get("/runs/{name}/events")
    async def events(name: str) -> EventSourceResponse:
        return told(runs.get(name))

    @app.delete("/runs/{name}")
    async def stop(name: str) -> dict[str, str]:
        runs.get(name).stop()
        return {"stopped": name}

    @app.get("/app/events")
    async def app_events() -> EventSourceResponse:
        if hosted is None:
            raise HTTPException(404, "there is no application: python -m minibg.lab --app NAME")
        return told(hosted)

    def end() -> None:
        """End all runs, and so the streams of their events."""
        for run in runs.runs.values():
            run.stop()
        if hosted is not None:
            hosted.tell({"event": "end"})

    app.state.end = end
    return app


class Server(uvicorn.Server):
    """Ends the lab's streams before it shuts down, since uvicorn waits until they have ended."""

    def __init__(self, config: uvicorn.Config, app: MiniBG) -> None:
        super().__init__(config)
        self.app = app

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams, and shut down as uvicorn does."""
        self.app.state.end()
        await super().shutdown(sockets)


def told(broadcast: Broadcast) -> EventSourceResponse:
    """The events of a run as a stream of Server-Sent Events."""

    async def stream() -> AsyncIterator[ServerSentEvent]:
        async for event in broadcast.follow():
            data = {name: value for name, value in event.items() if name != "event"}
            yield ServerSentEvent(data, event=event["event"])

    return EventSourceResponse(stream())


def contender(name: str) -> dict[str, Any]:
    """A contender as the page gets it."""
    why, title = why_not(name), title_of(name)
    title = title.capitalize() if title.startswith("version") else title
    return {
        "id": name,
        "title": title,
        "idea": idea_of(name),
        "available": not why,
        "why_not": why,
        "steps": not why,
    }


def check(spec: RunSpec) -> None:
    """Refuse a run that is not possible.

    Raises:
        HTTPException: 422; the detail says what was wrong and what was expected.
    """
    for name in spec.contenders:
        if why := _unusable(name):
            raise HTTPException(422, why)
        if spec.request.dependency != "none" and name not in WITH_DEPENDENCIES:
            known = " and ".join(map(title_of, WITH_DEPENDENCIES))
            raise HTTPException(422, f"{title_of(name)} has no yield dependencies; {known} have")
    if len(set(spec.contenders)) < len(spec.contenders):
        raise HTTPException(422, "each contender can be named only once")
    total = sum(task.ms for task in spec.request.tasks)
    if total > LIMITS["ms_together"]:
        most = LIMITS["ms_together"]
        raise HTTPException(422, f"all tasks together may take {most} ms, not {total}")
    if spec.request.fail_fast and "minibg" not in spec.contenders:
        raise HTTPException(422, "fail_fast is a policy of minibg, which is not a contender here")


def _unusable(name: str) -> str:
    """Why a contender cannot be used; an empty string if it can."""
    if name not in APPLICATIONS:
        return f"there is no contender {name!r}; there are {', '.join(APPLICATIONS)}"
    return why_not(name)


@cache
def _content(name: str) -> bytes:
    return (STATIC / name).read_bytes()


def static(name: str) -> Response:
    """A file of the page.

    Raises:
        HTTPException: 404, if the page has no such file.
    """
    kind = TYPES.get(name.rpartition(".")[2])
    if kind is None or "/" in name or not (STATIC / name).is_file():
        raise HTTPException(404, f"the page has no file {name!r}")
    headers = {"cache-control": "no-cache", "content-security-policy": POLICY}
    return Response(_content(name), headers=headers, media_type=kind)
