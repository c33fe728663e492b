"""The lab's own application: its page, its presets, the source it shows, and its runs.

It answers to its own address only: a page of another site may neither read what it says nor start a
run, whatever name leads to 127.0.0.1. JSON is read as JSON only.

What may live here: what the lab answers. What a run does is the business of `experiment.py`.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from inspect import getsourcelines
from secrets import token_urlsafe
from typing import Any

import anyio
from anyio.abc import TaskGroup
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from minibg import HTTPException, MiniBG, PlainTextResponse, Request, Response
from minibg.ext.sse import EventSourceResponse, ServerSentEvent
from minibg.lab.composition import RunSpec
from minibg.lab.contender import APPS
from minibg.lab.experiment import Experiment
from minibg.lab.outcome import title
from minibg.lab.presets import PRESETS
from minibg.lab.stepping import SHOWN, file_of, modules_of
from minibg.types import ASGIApp, Receive, Scope, Send

STATIC = files("minibg.lab") / "static"
TYPES = {
    "html": "text/html",
    "js": "text/javascript",
    "css": "text/css",
    "svg": "image/svg+xml",
}
POLICY = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:"
VISITORS = 4
"""How many runs may go on at a time, of all visitors."""


class OwnAddressOnly:
    """ASGI middleware that refuses a request for another host, or from a page of another site."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            request = Request(scope, receive)
            host = request.headers.get("host", "")
            port = (scope.get("server") or ("", 0))[1]
            own = {f"127.0.0.1:{port}", f"localhost:{port}", f"[::1]:{port}"}
            origin = request.headers.get("origin")
            if host not in own or (origin is not None and origin != f"http://{host}"):
                text = f"this lab answers only to {' and '.join(sorted(own))}, and to its own page"
                await PlainTextResponse(text, 403)(scope, receive, send)
                return
        await self.app(scope, receive, send)


def create_app() -> MiniBG:
    """The lab."""
    runs: dict[str, Experiment] = {}
    of_visitor: dict[str, Experiment] = {}

    @asynccontextmanager
    async def lifespan(app: MiniBG) -> AsyncIterator[dict[str, TaskGroup]]:
        async with anyio.create_task_group() as group:
            yield {"group": group}
            group.cancel_scope.cancel()

    app = MiniBG(lifespan=lifespan, max_body_size=64 * 1024)
    app.add_middleware(OwnAddressOnly)

    @app.get("/")
    async def index() -> Response:
        return static("index.html")

    @app.get("/static/{name}")
    async def file(name: str) -> Response:
        return static(name)

    @app.get("/presets")
    async def presets() -> list[dict[str, Any]]:
        return [preset._asdict() for preset in PRESETS]

    @app.get("/contenders")
    async def contenders() -> list[dict[str, Any]]:
        return [
            {
                "id": name,
                "title": title(name).capitalize() if name.startswith("v") else title(name),
                "available": not (why := why_not(name)),
                "why_not": why,
                "steps": not why,
            }
            for name in APPS
        ]

    @app.get("/sources/{name}")
    async def sources(name: str) -> list[dict[str, Any]]:
        if name not in APPS or why_not(name):
            raise HTTPException(404, f"there is no contender {name!r}")
        return source_of(name)

    @app.post("/runs", status_code=202)
    async def start(spec: RunSpec, request: Request) -> dict[str, str]:
        check(spec)
        visitor = request.headers.get("x-visitor", "")
        going_on = of_visitor.get(visitor)
        if going_on is not None and not going_on.is_over:
            raise HTTPException(409, "a run of yours goes on; stop it, or wait for its end")
        if sum(not run.is_over for run in runs.values()) >= VISITORS:
            raise HTTPException(409, f"{VISITORS} runs go on already; try again in some seconds")
        for id_ in [id_ for id_, run in runs.items() if run.is_over][:-20]:
            del runs[id_]
        id_ = token_urlsafe(8)
        runs[id_] = of_visitor[visitor] = experiment = Experiment(spec)
        request.state.group.start_soon(experiment.perform)
        return {"id": id_}

    def run_of(id_: str) -> Experiment:
        if id_ not in runs:
            raise HTTPException(404, "there is no such run")
        return runs[id_]

    @app.get("/runs/{id_}/events")
    async def events(id_: str) -> EventSourceResponse:
        experiment = run_of(id_)

        async def told() -> AsyncIterator[ServerSentEvent]:
            async for event in experiment.follow():
                yield ServerSentEvent(event, event=event["event"])

        return EventSourceResponse(told())

    @app.delete("/runs/{id_}")
    async def stop(id_: str) -> dict[str, str]:
        run_of(id_).stop()
        return {"stopped": id_}

    return app


def check(spec: RunSpec) -> None:
    """Refuse what cannot be run.

    Raises:
        HTTPException: 422, with what was wrong.
    """
    for name in spec.contenders:
        why = why_not(name) if name in APPS else f"there is none; choose from {', '.join(APPS)}"
        if why:
            raise HTTPException(422, f"contender {name!r}: {why}")
    if len(set(spec.contenders)) < len(spec.contenders):
        raise HTTPException(422, "each contender once")
    if spec.request.dependency != "none":
        for name in spec.contenders:
            if name not in ("minibg", "fastapi"):
                raise HTTPException(422, f"{title(name)} has no yield dependencies")
    if spec.request.fail_fast and "minibg" not in spec.contenders:
        raise HTTPException(422, "fail_fast is a policy of minibg's, which is no contender here")


def why_not(name: str) -> str:
    """Why a contender cannot be tried here; nothing, if it can."""
    package = {"starlette": "starlette", "fastapi": "fastapi"}.get(name)
    if package is None or find_spec(package) is not None:
        return ""
    return f"{package} is not installed: pip install {package}"


@cache
def static(name: str) -> Response:
    """A file of the page."""
    kind = TYPES.get(name.rpartition(".")[2])
    path = STATIC / name
    if kind is None or "/" in name or not path.is_file():
        raise HTTPException(404)
    headers = {"cache-control": "no-cache", "content-security-policy": POLICY}
    return Response(path.read_bytes(), headers=headers, media_type=kind)


@cache
def source_of(contender: str) -> list[dict[str, Any]]:
    """The functions of a contender's mechanism, each line highlighted on its own."""
    shown = []
    for module in modules_of(contender):
        text = file_of(module).read_text(encoding="utf-8").splitlines()
        for first, last in ranges(module, len(text)):
            lines = text[first - 1 : last]
            shown.append(
                {
                    "file": file_of(module).name,
                    "first": first,
                    "last": last,
                    "text": lines,
                    "html": highlighted("\n".join(lines)),
                }
            )
    return shown


def ranges(module: str, last: int) -> list[tuple[int, int]]:
    """The lines of a module that are shown, counted from 1."""
    if module not in SHOWN:
        return [(1, last)]
    from importlib import import_module  # noqa: PLC0415

    found = []
    for name in SHOWN[module]:
        target: Any = import_module(module)
        for part in name.split("."):
            target = getattr(target, part)
        lines, first = getsourcelines(target)
        found.append((first, first + len(lines) - 1))
    return found


def highlighted(source: str) -> list[str]:
    """Each line as HTML, with the classes of Pygments."""
    formatter = HtmlFormatter(nowrap=True)
    return str(highlight(source, PythonLexer(stripnl=False, ensurenl=False), formatter)).split("\n")
