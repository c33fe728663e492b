"""What the programs share: a client in the same process, and a log that is printed.

What may live here: nothing that teaches.
"""

import logging
import sys
from typing import Any

import httpx

from minibg.types import ASGIApp, Message


async def ask(app: ASGIApp, method: str, path: str, **content: Any) -> None:
    """Send a request, and print the answer when the client has it. Returns when the tasks have run.

    httpx has a transport for applications too, but it returns the answer only after the tasks.

    Args:
        app: The application.
        method: The request's method.
        path: The request's path, and its query, if any.
        content: The arguments from which httpx makes the body: `files`, for example.
    """
    request = httpx.Request(method, f"http://shop{path}", **content)
    status = 0

    async def receive() -> Message:
        return {"type": "http.request", "body": request.read()}

    async def send(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        else:
            print(f"{method} {path}: {status} {message['body'].decode()}")

    scope = {
        "type": "http",
        "method": method,
        "path": request.url.path,
        "query_string": request.url.query,
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
    }
    await app(scope, receive, send)


class LastLine(logging.Formatter):
    """A formatter that keeps only the last line of a traceback."""

    def formatException(self, ei: Any) -> str:  # noqa: N802  # logging's name
        return super().formatException(ei).splitlines()[-1]


def show_log() -> None:
    """Print what is logged between the other lines."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(LastLine("the log: %(message)s"))
    logging.basicConfig(handlers=[handler])
