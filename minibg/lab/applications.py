"""The contenders: the composed request on minibg, Starlette, FastAPI, and the versions' lists.

What may live here: an application as a user of the framework would write it, for each of them.
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
    """Its name, for people."""
    return TITLES.get(contender, f"version {contender.removeprefix('v')}")


def idea_of(contender: str) -> str:
    """What characterises a version of the walkthrough; nothing, if it is none."""
    return IDEAS[int(contender.removeprefix("v"))] if contender in VERSIONS else ""


def why_not(contender: str) -> str:
    """Why a contender cannot be tried here; nothing, if it can."""
    if contender not in ("starlette", "fastapi") or find_spec(contender) is not None:
        return ""
    return f"{contender} is not installed: pip install {contender}"


class Framework(NamedTuple):
    """What minibg and FastAPI have in common, and call by the same names."""

    app: Any
    tasks: Any
    depends: Any
    json: Any
    streaming: Any


def minibg_app(spec: RequestSpec) -> ASGIApp:
    """minibg."""
    tasks = FailFastTasks if spec.fail_fast else BackgroundTasks
    return _injecting(spec, Framework(MiniBG(), tasks, Depends, JSONResponse, StreamingResponse))


def fastapi_app(spec: RequestSpec) -> ASGIApp:
    """FastAPI."""
    fastapi, responses = import_module("fastapi"), import_module("fastapi.responses")
    app, tasks, depends = fastapi.FastAPI(), fastapi.BackgroundTasks, fastapi.Depends
    framework = Framework(app, tasks, depends, responses.JSONResponse, responses.StreamingResponse)
    return _injecting(spec, framework)


def _injecting(spec: RequestSpec, framework: Framework) -> ASGIApp:
    """An application whose endpoint, and its dependency, ask for the list by annotation."""

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
    dependency.__signature__ = Signature(parameters)  # type: ignore[attr-defined]  # as it is asked
    if spec.dependency != "none":
        parameters.append(parameter("dependency", default=framework.depends(dependency)))
    endpoint.__signature__ = Signature(parameters)  # type: ignore[attr-defined]  # as composed
    app = framework.app
    app.get("/")(endpoint)
    app.get("/sync")(answer_in_a_thread)
    app.exception_handler(HandledError)(lambda request, exc: framework.json({}, status_code=404))
    served: ASGIApp = app
    return served


def starlette_app(spec: RequestSpec) -> ASGIApp:
    """Starlette, with its list as the response's background."""
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
    """A version of the walkthrough: its list, run as version 1 does it."""
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
    """Version 0 has no list: its work stands behind `send`."""

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
"""The versions of the walkthrough by their short names, v0 and so on, and their modules."""

APPLICATIONS: Mapping[str, Callable[[RequestSpec], ASGIApp]] = {
    "minibg": minibg_app,
    "starlette": starlette_app,
    "fastapi": fastapi_app,
    **{name: partial(version_app, name) for name in VERSIONS},
}
"""For each contender, how its application is made."""

WITH_DEPENDENCIES = ("minibg", "fastapi")
"""Those that know `yield` dependencies."""
