"""What is to run later stands in a list, which is run when the answer has been sent.

In v0 the work stands in the application, behind `send`: the same for each request. An endpoint
has returned by then, so it is given a list, in which it leaves what it wants done. When that is run
is said by who has the list. This stays as it is here, and later versions show the list alone.

Rules kept: **after**, **order**, **grow**. Wrong are the last two lines: ada is not welcomed.

    the client has read: registered ada
    welcome, ada
    the client has read: registered ada, grace
    welcome, grace
    welcome, grace
"""

from collections.abc import Awaitable, Callable
from unittest.mock import AsyncMock

import anyio

from minibg.types import Message, Receive, Scope, Send


class BackgroundTasks:
    """A list of deferred calls; awaiting the list runs it."""

    def __init__(self) -> None:
        self.tasks: list[Callable[[], Awaitable[object]]] = []

    def add_task(self, func: Callable[[], Awaitable[object]], /) -> None:
        self.tasks.append(func)

    async def __call__(self) -> None:
        for task in self.tasks:
            await task()


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    tasks = BackgroundTasks()
    answer = await endpoint(scope["path"].strip("/").split("+"), tasks)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": answer.encode()})
    await tasks()


async def endpoint(names: list[str], tasks: BackgroundTasks) -> str:
    for name in names:
        tasks.add_task(lambda: welcome(name))
    return f"registered {', '.join(names)}"


async def welcome(name: str) -> None:
    print(f"welcome, {name}")


async def send(message: Message) -> None:
    if message["type"] == "http.response.body":
        print("the client has read:", message["body"].decode())


async def main() -> None:
    receive = AsyncMock()  # nobody asks it what the client sends
    for path in ("/ada", "/ada+grace"):
        await app({"type": "http", "path": path}, receive, send)


if __name__ == "__main__":
    anyio.run(main)
