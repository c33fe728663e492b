"""Litestar. It does not inject a list of tasks, so the row about that is missing here."""

from collections.abc import AsyncGenerator
from typing import Any

from litestar import Litestar, Response, get, post
from litestar.background_tasks import BackgroundTask, BackgroundTasks
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, FromQuery, JSONBody

from tests.benchmarks.work import ANSWER, ARGUMENTS, Call, connection, on_the_loop, ran

IMPORT = """
from litestar import Litestar, Response, get
from litestar.background_tasks import BackgroundTask, BackgroundTasks
"""


def no_task() -> Litestar:
    @get("/")
    async def endpoint() -> dict[str, str]:
        return ANSWER

    return Litestar([endpoint])


def tasks(calls: tuple[Call, ...]) -> Litestar:
    @get("/")
    async def endpoint() -> Response[dict[str, str]]:
        tasks = BackgroundTasks([BackgroundTask(call, *ARGUMENTS) for call in calls])
        return Response(ANSWER, background=tasks)

    return Litestar([endpoint])


def path_and_query() -> Litestar:
    @get("/items/{item:int}")
    async def read_item(item: FromPath[int], limit: FromQuery[int]) -> dict[str, int]:
        return {"item": item, "limit": limit}

    return Litestar([read_item])


def nested() -> Litestar:
    async def session(connection: NamedDependency[str]) -> AsyncGenerator[str, None]:
        yield f"a session on a {connection}"
        ran.append(None)

    dependencies = {"connection": Provide(connection), "session": Provide(session)}

    @get("/", dependencies=dependencies)
    async def endpoint(session: NamedDependency[str]) -> dict[str, str]:
        return ANSWER

    return Litestar([endpoint])


def body() -> Litestar:
    @post("/", status_code=200)
    async def endpoint(data: JSONBody[dict[str, Any]]) -> dict[str, Any]:
        return data

    return Litestar([endpoint])


def queue(number: int) -> BackgroundTasks:
    return BackgroundTasks([BackgroundTask(on_the_loop, *ARGUMENTS) for _ in range(number)])
