"""Raw ASGI, as a person writes it by hand.

It answers, then awaits each async task and takes each sync one to a thread: one of anyio's, as the
frameworks do. `asyncio.to_thread` is quicker, and runs on asyncio alone.
"""

import json
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs

from anyio.to_thread import run_sync

from minibg.types import ASGIApp, Receive, Scope, Send
from tests.benchmarks.work import ANSWER, ARGUMENTS, Call, connection, in_a_thread, on_the_loop

IMPORT = None


async def answer(send: Send, content: Any) -> None:
    body = json.dumps(content, separators=(",", ":")).encode()
    headers = [
        (b"content-length", b"%d" % len(body)),
        (b"content-type", b"application/json"),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def no_task() -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        await answer(send, ANSWER)

    return app


def tasks(calls: tuple[Call, ...]) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        await answer(send, ANSWER)
        for call in calls:
            if call is in_a_thread:
                await run_sync(call, *ARGUMENTS)
            else:
                await call(*ARGUMENTS)

    return app


def read_item(scope: Scope) -> dict[str, int]:
    item = int(scope["path"].removeprefix("/items/"))
    return {"item": item, "limit": int(parse_qs(scope["query_string"])[b"limit"][0])}


def path_and_query() -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        await answer(send, read_item(scope))

    return app


def injection() -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        await answer(send, read_item(scope))
        await on_the_loop(*ARGUMENTS)

    return app


def nested() -> ASGIApp:
    connected = asynccontextmanager(connection)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        async with connected(), connected():
            await answer(send, ANSWER)

    return app


def body() -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        chunks, more_body = [], True
        while more_body:
            message = await receive()
            chunks.append(message["body"])
            more_body = message["more_body"]
        await answer(send, json.loads(b"".join(chunks)))

    return app
