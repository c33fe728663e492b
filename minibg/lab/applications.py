"""The contenders: the composed request on minibg, Starlette, FastAPI, and the versions' lists.

What may live here: an application as a user of the framework would write it, for each of them.
"""

from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from inspect import Parameter, Signature
from pkgutil import iter_modules
from typing import Any

from minibg import BackgroundTasks, Depends, FailFastTasks, MiniBG, StreamingResponse
from minibg.examples import versions
from minibg.lab.composition import RequestSpec
from minibg.lab.work import Work, pieces
from minibg.types import ASGIApp, Receive, Scope, Send

TITLES = {
    "minibg": "minibg",
    "starlette": "Starlette",
    "fastapi": "FastAPI",
    "app": "your application",
}


def title_of(contender: str) -> str:
    """Its name, for people."""
    return TITLES.get(contender, f"version {contender.removeprefix('v')}")


def why_not(contender: str) -> str:
    """Why a contender cannot be tried here; nothing, if it can."""
    if contender not in ("starlette", "fastapi") or find_spec(contender) is not None:
        return ""
    return f"{contender} is not installed: pip install {contender}"


def minibg_app(spec: RequestSpec) -> ASGIApp:
    """minibg."""
    tasks = FailFastTasks if spec.fail_fast else BackgroundTasks
    return _injecting(MiniBG(), tasks, Depends, StreamingResponse, spec)


def fastapi_app(spec: RequestSpec) -> ASGIApp:
    """FastAPI, with the list that it injects."""
    fastapi, responses = import_module("fastapi"), import_module("fastapi.responses")
    app, tasks, streaming = fastapi.FastAPI(), fastapi.BackgroundTasks, responses.StreamingResponse
    return _injecting(app, tasks, fastapi.Depends, streaming, spec)


def _injecting(
    app: Any, tasks_class: Any, depends: Any, streaming: Any, spec: RequestSpec
) -> ASGIApp:
    """The application of a framework that injects the list."""

    async def endpoint(tasks: Any, dependency: None = None) -> Any:
        Work(spec).endpoint(tasks.add_task)
        return streaming(pieces()) if spec.endpoint == "streams" else {"accepted": True}

    named = partial(Parameter, kind=Parameter.KEYWORD_ONLY)
    parameters = [named("tasks", annotation=tasks_class)]
    if spec.dependency != "none":
        parameters.append(named("dependency", default=depends(Work(spec).dependency)))
    endpoint.__signature__ = Signature(parameters)  # type: ignore[attr-defined]  # as composed
    app.get("/")(endpoint)
    served: ASGIApp = app
    return served


def starlette_app(spec: RequestSpec) -> ASGIApp:
    """Starlette, with its list as the response's background."""
    background = import_module("starlette.background")
    responses = import_module("starlette.responses")
    routing = import_module("starlette.routing")

    async def endpoint(request: object) -> Any:
        tasks = background.BackgroundTasks()
        Work(spec).endpoint(tasks.add_task)
        if spec.endpoint == "streams":
            return responses.StreamingResponse(pieces(), background=tasks)
        return responses.JSONResponse({"accepted": True}, background=tasks)

    app: ASGIApp = import_module("starlette.applications").Starlette(
        routes=[routing.Route("/", endpoint)]
    )
    return app


def version_app(name: str, spec: RequestSpec) -> ASGIApp:
    """A version of the walkthrough: its list, run as version 1 does it."""
    list_of = getattr(import_module(VERSIONS[name]), "BackgroundTasks", _InPlaceOfAList)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        tasks = list_of()
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
