"""minibg."""

from collections.abc import AsyncGenerator
from typing import Any

from minibg import BackgroundTasks, Depends, MiniBG
from tests.benchmarks.work import ANSWER, ARGUMENTS, Call, connection, on_the_loop, ran

IMPORT = "from minibg import BackgroundTasks, MiniBG"


def no_task() -> MiniBG:
    app = MiniBG()

    @app.get("/")
    async def endpoint():
        return ANSWER

    return app


def tasks(calls: tuple[Call, ...]) -> MiniBG:
    app = MiniBG()

    @app.get("/")
    async def endpoint(tasks: BackgroundTasks):
        for call in calls:
            tasks.add_task(call, *ARGUMENTS)
        return ANSWER

    return app


def path_and_query() -> MiniBG:
    app = MiniBG()

    @app.get("/items/{item}")
    async def read_item(item: int, limit: int):
        return {"item": item, "limit": limit}

    return app


def injection() -> MiniBG:
    app = MiniBG()

    @app.get("/items/{item}")
    async def read_item(item: int, limit: int, tasks: BackgroundTasks):
        tasks.add_task(on_the_loop, *ARGUMENTS)
        return {"item": item, "limit": limit}

    return app


def nested() -> MiniBG:
    app = MiniBG()

    async def session(connection: str = Depends(connection)) -> AsyncGenerator[str, None]:
        yield f"a session on a {connection}"
        ran.append(None)

    @app.get("/")
    async def endpoint(session: str = Depends(session)):
        return ANSWER

    return app


def body() -> MiniBG:
    app = MiniBG()

    @app.post("/")
    async def endpoint(body: dict[str, Any]):
        return body

    return app


def queue(number: int) -> BackgroundTasks:
    tasks = BackgroundTasks()
    for _ in range(number):
        tasks.add_task(on_the_loop, *ARGUMENTS)
    return tasks
