"""The work that every framework is given: rows, requests, answers, and the tasks after them.

What may live here: data, and the functions that are its tasks. The modules in `peers/` know how to
give this work to a framework.
"""

import json
from collections.abc import AsyncGenerator, Callable
from typing import Any, NamedTuple

ran: list[None] = []
"""One entry for each task that has run; appended to, as only that is safe from all threads."""

ANSWER = {"message": "hello"}
ARGUMENTS = ("ada@example.org", 1)
"""What every task is given."""

Call = Callable[..., Any]


async def on_the_loop(address: str, number: int) -> None:
    """An async task."""
    ran.append(None)


def in_a_thread(address: str, number: int) -> None:
    """A sync task."""
    ran.append(None)


async def connection() -> AsyncGenerator[str, None]:
    """A dependency that is closed after the endpoint."""
    yield "connection"
    ran.append(None)


def document() -> dict[str, Any]:
    """10 KiB of JSON: objects in a list, with text, numbers, truth values and null."""
    items = [
        {"id": n, "name": f"item {n}", "price": n * 100, "sold": n % 2 == 0, "parent": None}
        for n in range(153)
    ]
    return {"items": items}


DOCUMENT = document()


class Row(NamedTuple):
    """A piece of work: which function of a peer makes the application, and what it is asked."""

    kind: str
    calls: tuple[Call, ...] = ()
    path: str = "/"
    query: bytes = b""
    body: bytes = b""
    answer: Any = ANSWER
    runs: int = 0
    """How many entries of `ran` one request leaves."""

    def scope(self) -> dict[str, Any]:
        """A fresh connection scope, as uvicorn makes it."""
        headers = [(b"host", b"127.0.0.1:8000"), (b"accept", b"*/*")]
        if self.body:
            headers.append((b"content-type", b"application/json"))
            headers.append((b"content-length", b"%d" % len(self.body)))
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "server": ("127.0.0.1", 8000),
            "client": ("127.0.0.1", 50000),
            "scheme": "http",
            "method": "POST" if self.body else "GET",
            "root_path": "",
            "path": self.path,
            "raw_path": self.path.encode(),
            "query_string": self.query,
            "headers": headers,
            "state": {},
        }


def row_of(*calls: Call) -> Row:
    """The row of a request whose endpoint has a list, and leaves those tasks in it."""
    return Row("tasks", calls, runs=len(calls))


ROWS = {
    "no task": Row("no_task"),
    "an empty list": row_of(),
    "1 async task": row_of(on_the_loop),
    "5 async tasks": row_of(*[on_the_loop] * 5),
    "10 async tasks": row_of(*[on_the_loop] * 10),
    "1,000 async tasks": row_of(*[on_the_loop] * 1000),
    "1 sync task": row_of(in_a_thread),
    "3 sync tasks": row_of(*[in_a_thread] * 3),
    "10 sync tasks": row_of(*[in_a_thread] * 10),
    "1,000 sync tasks": row_of(*[in_a_thread] * 1000),
    "10 tasks, async and sync in turn": row_of(*[on_the_loop, in_a_thread] * 5),
    "path and query": Row(
        "path_and_query", path="/items/7", query=b"limit=10", answer={"item": 7, "limit": 10}
    ),
    "path, query and tasks": Row(
        "injection", path="/items/7", query=b"limit=10", answer={"item": 7, "limit": 10}, runs=1
    ),
    "nested dependency with yield": Row("nested", runs=2),
    "10 KiB of JSON in and out": Row(
        "body", body=json.dumps(DOCUMENT, separators=(",", ":")).encode(), answer=DOCUMENT
    ),
}
