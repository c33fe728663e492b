"""FastAPI. A list comes by annotation, and the endpoints are as its tutorial writes them."""

from collections.abc import AsyncGenerator
from typing import Any

from fastapi import BackgroundTasks, Depends, FastAPI

from tests.benchmarks.work import ANSWER, ARGUMENTS, Call, connection, on_the_loop, ran

IMPORT = "from fastapi import BackgroundTasks, FastAPI"


def no_task() -> FastAPI:
    app = FastAPI()

    @app.get("/")
    async def endpoint():
        return ANSWER

    return app


def tasks(calls: tuple[Call, ...]) -> FastAPI:
    app = FastAPI()

    @app.get("/")
    async def endpoint(tasks: BackgroundTasks):
        for call in calls:
            tasks.add_task(call, *ARGUMENTS)
        return ANSWER

    return app


def path_and_query() -> FastAPI:
    app = FastAPI()

    @app.get("/items/{item}")
    async def read_item(item: int, limit: int):
        return {"item": item, "limit": limit}

    return app


def injection() -> FastAPI:
    app = FastAPI()

    @app.get("/items/{item}")
    async def read_item(item: int, limit: int, tasks: BackgroundTasks):
        tasks.add_task(on_the_loop, *ARGUMENTS)
        return {"item": item, "limit": limit}

    return app


def nested() -> FastAPI:
    app = FastAPI()

    async def session(connection: str = Depends(connection)) -> AsyncGenerator[str, None]:
        yield f"a session on a {connection}"
        ran.append(None)

    @app.get("/")
    async def endpoint(session: str = Depends(session)):
        return ANSWER

    return app


def body() -> FastAPI:
    app = FastAPI()

    @app.post("/")
    async def endpoint(body: dict[str, Any]):
        return body

    return app


def queue(number: int) -> BackgroundTasks:
    tasks = BackgroundTasks()
    for _ in range(number):
        tasks.add_task(on_the_loop, *ARGUMENTS)
    return tasks
