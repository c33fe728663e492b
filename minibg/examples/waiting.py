"""The problem: a client has to wait for work that its answer does not need.

A mail server takes half a second to accept a mail. The first endpoint sends one before it answers,
so its client waits as long. The second endpoint makes the same call a background task.

    the mail server has accepted: welcome ada
    POST /before/ada: the client waited 503 ms
    POST /after/grace: the client waited 1 ms
    the mail server has accepted: welcome grace
"""

import socket
from http.client import HTTPConnection
from time import perf_counter

import anyio
import uvicorn
from anyio import create_task_group, create_tcp_listener, sleep, to_thread
from anyio.abc import SocketStream

from minibg import BackgroundTasks, MiniBG

app = MiniBG()


def send_mail(port: int, mail: str) -> None:
    """Send a mail to the mail server, and wait for the server to accept it."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(mail.encode())
        if connection.recv(100) != b"250 OK":
            raise OSError("the mail server has not accepted it")


@app.post("/before/{name}")
def before(name: str) -> dict[str, str]:
    send_mail(app.state.mail_port, f"welcome {name}")
    return {"registered": name}


@app.post("/after/{name}")
async def after(name: str, tasks: BackgroundTasks) -> dict[str, str]:
    tasks.add_task(send_mail, app.state.mail_port, f"welcome {name}")
    return {"registered": name}


async def take_mail(stream: SocketStream) -> None:
    """Stand in for a mail server."""
    async with stream:
        mail = await stream.receive()
        await sleep(0.5)
        print("the mail server has accepted:", mail.decode())
        await stream.send(b"250 OK")


def ask(port: int, server: uvicorn.Server) -> None:
    client = HTTPConnection("127.0.0.1", port)
    client.request("GET", "/")  # so that nothing but the endpoints is timed later
    client.getresponse().read()
    for path in ("/before/ada", "/after/grace"):
        started = perf_counter()
        client.request("POST", path)
        client.getresponse().read()
        print(f"POST {path}: the client waited {(perf_counter() - started) * 1000:.0f} ms")
    client.close()
    server.should_exit = True  # it waits for the task that is still running


async def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    # Otherwise, the second packet of an answer may wait 40 ms until the first is acknowledged.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    mail_server = await create_tcp_listener(local_host="127.0.0.1")
    app.state.mail_port = mail_server.extra(anyio.abc.SocketAttribute.local_port)
    async with mail_server, create_task_group() as group:
        group.start_soon(mail_server.serve, take_mail)
        group.start_soon(to_thread.run_sync, ask, listener.getsockname()[1], server)
        await server.serve([listener])
        group.cancel_scope.cancel()


if __name__ == "__main__":
    anyio.run(main)
