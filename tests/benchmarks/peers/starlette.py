"""Starlette. It has no injection, so the rows about that are missing here."""

from starlette.applications import Starlette
from starlette.background import BackgroundTasks
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from tests.benchmarks.work import ANSWER, ARGUMENTS, Call, on_the_loop

IMPORT = """
from starlette.applications import Starlette
from starlette.background import BackgroundTasks
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
"""


def no_task() -> Starlette:
    async def endpoint(request: Request) -> JSONResponse:
        return JSONResponse(ANSWER)

    return Starlette(routes=[Route("/", endpoint)])


def tasks(calls: tuple[Call, ...]) -> Starlette:
    async def endpoint(request: Request) -> JSONResponse:
        tasks = BackgroundTasks()
        for call in calls:
            tasks.add_task(call, *ARGUMENTS)
        return JSONResponse(ANSWER, background=tasks)

    return Starlette(routes=[Route("/", endpoint)])


def body() -> Starlette:
    async def endpoint(request: Request) -> JSONResponse:
        return JSONResponse(await request.json())

    return Starlette(routes=[Route("/", endpoint, methods=["POST"])])


def queue(number: int) -> BackgroundTasks:
    tasks = BackgroundTasks()
    for _ in range(number):
        tasks.add_task(on_the_loop, *ARGUMENTS)
    return tasks
