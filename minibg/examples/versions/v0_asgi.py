"""An ASGI application is a coroutine function: it is given a request, and sends the answer.

When the server has taken the answer, the function has not returned yet. So it can go on working,
and that is already the whole idea of running after the response.

Rules kept: **after**. `uvicorn minibg.examples.versions.v0_asgi:app` serves it for longer.

    the client has read: registered
    welcome, whoever you are
"""

import socket
from http.client import HTTPConnection

import anyio
import uvicorn
from anyio import create_task_group, sleep, to_thread

from minibg.types import Receive, Scope, Send


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"registered"})
    await welcome()


async def welcome() -> None:
    await sleep(1)
    print("welcome, whoever you are")


def read_answer(port: int) -> None:
    client = HTTPConnection("127.0.0.1", port)
    client.request("GET", "/ada")
    print("the client has read:", client.getresponse().read().decode())
    client.close()


async def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    async with create_task_group() as group:
        group.start_soon(server.serve, [listener])
        await to_thread.run_sync(read_answer, listener.getsockname()[1])
        server.should_exit = True  # it waits for the work that still goes on


if __name__ == "__main__":
    anyio.run(main)
