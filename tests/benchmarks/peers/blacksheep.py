"""BlackSheep. It has no background tasks, and no dependency that yields.

It needs a router for each application if a process has several of them.
"""

from typing import Any

from blacksheep import Application, FromJSON, Response, Router, json

from tests.benchmarks.work import ANSWER

IMPORT = "from blacksheep import Application, Response, json"


def no_task() -> Application:
    app = Application(router=Router())

    @app.router.get("/")
    async def endpoint() -> Response:
        return json(ANSWER)

    return app


def path_and_query() -> Application:
    app = Application(router=Router())

    @app.router.get("/items/{item}")
    async def read_item(item: int, limit: int) -> Response:
        return json({"item": item, "limit": limit})

    return app


def body() -> Application:
    app = Application(router=Router())

    @app.router.post("/")
    async def endpoint(data: FromJSON[dict[str, Any]]) -> Response:
        return json(data.value)

    return app
