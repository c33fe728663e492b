"""The contenders: for each framework and version, an application that serves the composed request.

What may live here: these applications, each as a user of the framework would write it.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from inspect import Parameter, Signature
from pkgutil import iter_modules
from typing import Any, NamedTuple

from anyio import to_thread

from minibg import (
    BackgroundTasks,
    Depends,
    FailFastTasks,
    JSONResponse,
    MiniBG,
    StreamingResponse,
)
from minibg.examples import versions
from minibg.lab.composition import RequestSpec
from minibg.lab.work import HandledError, Work, answer_in_a_thread, pieces
from minibg.types import ASGIApp, Receive, Scope, Send

TITLES = {
    "minibg": "minibg",
    "starlette": "Starlette",
    "fastapi": "FastAPI",
    "app": "your application",
}
IDEAS = (
    "work after send, no list",
    "a list",
    "all on the loop",
    "sync tasks in a thread",
    "a failure stops no other",
    "a lost task is named",
    "a row shares one hop",
    "threads of its own",
    "cancelled, it starts no more",
    "it waits for its thread",
    "it tells its thread to stop",
    "no failure is lost",
    "it awaits what is handed back",
    "an exit is a failure",
    "the whole mechanism",
)
"""What characterises each version of the walkthrough, in a few words."""
ACCEPTED = {"accepted": True}


def title_of(contender: str) -> str:
    """The name of a contender as people read it."""
    return TITLES.get(contender, f"version {contender.removeprefix('v')}")


def idea_of(contender: str) -> str:
    """What characterises a version of the walkthrough; nothing, if it is none."""
    return IDEAS[int(contender.removeprefix("v"))] if contender in VERSIONS else ""


def why_not(contender: str) -> str:
    """Why a contender cannot run here; an empty string if it can."""
    if contender not in ("starlette", "fastapi") or find_spec(contender) is not None:
        return ""
    return f"{contender} is not installed: pip install {contender}"


class Framework(NamedTuple):
    """The parts that minibg and FastAPI both have, under the same names."""

    app: Any
    tasks: Any
    depends: Any
    json: Any
    streaming: Any


def minibg_app(spec: RequestSpec) -> ASGIApp:
    """The application in minibg."""
    tasks = FailFastTasks if spec.fail_fast else BackgroundTasks
    return _injecting(spec, Framework(MiniBG(), tasks, Depends, JSONResponse, StreamingResponse))


def fastapi_app(spec: RequestSpec) -> ASGIApp:
    """The application in FastAPI."""
    fastapi, responses = import_module("fastapi"), import_module("fastapi.responses")
    app, tasks, depends = fastapi.FastAPI(), fastapi.BackgroundTasks, fastapi.Depends
    framework = Framework(app, tasks, depends, responses.JSONResponse, responses.StreamingResponse)
    return _injecting(spec, framework)


def _injecting(spec: RequestSpec, framework: Framework) -> ASGIApp:
    """An application whose endpoint and dependency get the list by annotation."""

    async def dependency(tasks: Any) -> AsyncIterator[None]:
        with Work(spec).held(tasks.add_task):
            yield

    async def endpoint(tasks: Any, dependency: None = None) -> Any:
        if spec.endpoint == "own background":
            own = framework.tasks()
            Work(spec).endpoint(tasks.add_task, own.add_task)
            return framework.json(ACCEPTED, background=own)
        Work(spec).endpoint(tasks.add_task)
        return framework.streaming(pieces()) if spec.endpoint == "streams" else ACCEPTED

    parameter = partial(Parameter, kind=Parameter.KEYWORD_ONLY)
    parameters = [parameter("tasks", annotation=framework.tasks)]
    dependency.__signature__ = Signature(parameters)  # type: ignore[attr-defined]  # for inspect
    if spec.dependency != "none":
        parameters.append(parameter("dependency", default=framework.depends(dependency)))
    endpoint.__signature__ = Signature(parameters)  # type: ignore[attr-defined]  # for inspect
    app = framework.app
    app.get("/")(endpoint)
    app.get("/sync")(answer_in_a_thread)
    app.exception_handler(HandledError)(lambda request, exc: framework.json({}, status_code=404))
    served: ASGIApp = app
    return served


def starlette_app(spec: RequestSpec) -> ASGIApp:
    """The application in Starlette, with its list as the response's background."""
    responses, routing = import_module("starlette.responses"), import_module("starlette.routing")
    list_of = import_module("starlette.background").BackgroundTasks

    async def endpoint(request: object) -> Any:
        tasks = list_of()
        Work(spec).endpoint(tasks.add_task)
        if spec.endpoint == "streams":
            return responses.StreamingResponse(pieces(), background=tasks)
        return responses.JSONResponse(ACCEPTED, background=tasks)

    def sync_endpoint(request: object) -> Any:
        return responses.JSONResponse(answer_in_a_thread())

    app: ASGIApp = import_module("starlette.applications").Starlette(
        routes=[routing.Route("/", endpoint), routing.Route("/sync", sync_endpoint)],
        exception_handlers={
            HandledError: lambda request, exc: responses.JSONResponse({}, status_code=404)
        },
    )
    return app


def version_app(name: str, spec: RequestSpec) -> ASGIApp:
    """An application that runs the list of a version as version 1 does: after the last `send`."""
    list_of = getattr(import_module(VERSIONS[name]), "BackgroundTasks", _InPlaceOfAList)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        tasks = list_of()
        if scope["path"] == "/sync":
            await to_thread.run_sync(answer_in_a_thread)
        else:
            Work(spec).endpoint(tasks.add_task)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        if spec.endpoint == "streams":
            async for piece in pieces():
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        await tasks()

    return app


class _InPlaceOfAList:
    """Takes the place of a list in version 0, which has none: the work follows `send`."""

    def __init__(self) -> None:
        self.work: list[Callable[[], Any]] = []
        self.add_task = self.work.append

    async def __call__(self) -> None:
        for do in self.work:
            await do()


def _versions() -> dict[str, str]:
    names = [name for _, name, _ in iter_modules(versions.__path__)]
    names.sort(key=lambda name: int(name.partition("_")[0].removeprefix("v")))
    return {name.partition("_")[0]: f"{versions.__name__}.{name}" for name in names}


VERSIONS = _versions()
"""The module of each version of the walkthrough, by the short name of the version, as in "v0"."""

APPLICATIONS: Mapping[str, Callable[[RequestSpec], ASGIApp]] = {
    "minibg": minibg_app,
    "starlette": starlette_app,
    "fastapi": fastapi_app,
    **{name: partial(version_app, name) for name in VERSIONS},
}
"""The function that makes the application of each contender."""

WITH_DEPENDENCIES = ("minibg", "fastapi")
"""The contenders that have `yield` dependencies."""
