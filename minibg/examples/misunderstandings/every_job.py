"""The misunderstanding: background tasks suit every job.

They live in the server's process. When that is killed while both tasks wait for the mail server,
ada's mail is lost, and the server's log, which would be shown below, says nothing of it. Grace's
mail was written down before the answer, and is marked once it has been sent: the next process sends
the mails that are not marked. If a process is killed after it has sent a mail and before it has
marked it, the mail is sent twice. The alternative is to lose it.

    POST /misunderstood/registrations/ada: 202 {"registered":"ada"}
    the mail server is given: welcome ada
    POST /registrations/grace: 202 {"registered":"grace"}
    the mail server is given: welcome grace
    the server has ended: SIGKILL
    the mail server is given: welcome grace
    GET /registrations: 200 {"grace":"registered"}
    the server has ended: SIGTERM
    the table now holds: {'grace': 'welcomed'}
"""

import os
import socket
import sqlite3
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager
from http.client import HTTPConnection
from signal import SIGKILL, SIGTERM, Signals
from subprocess import Popen
from tempfile import TemporaryDirectory

from anyio import create_task_group

from minibg import BackgroundTasks, MiniBG
from minibg.examples.waiting import send_mail


@contextmanager
def database() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(os.environ["DATABASE"])) as connection, connection:
        yield connection


@asynccontextmanager
async def lifespan(app: MiniBG) -> AsyncIterator[None]:
    """Do what an earlier process has left undone, while new requests are served."""
    tasks = BackgroundTasks()
    with database() as rows:
        rows.execute("CREATE TABLE IF NOT EXISTS registrations (name, state)")
        for (name,) in rows.execute("SELECT name FROM registrations WHERE state = 'registered'"):
            tasks.add_task(welcome_and_mark, name)
    async with create_task_group() as group:
        group.start_soon(tasks)
        yield


app = MiniBG(lifespan=lifespan)


def welcome(name: str) -> None:
    send_mail(int(os.environ["MAIL_PORT"]), f"welcome {name}")


@app.post("/misunderstood/registrations/{name}", status_code=202)
def register_misunderstood(name: str, tasks: BackgroundTasks) -> dict[str, str]:
    tasks.add_task(welcome, name)
    return {"registered": name}


@app.post("/registrations/{name}", status_code=202)
def register(name: str, tasks: BackgroundTasks) -> dict[str, str]:
    with database() as rows:
        rows.execute("INSERT INTO registrations VALUES (?, 'registered')", [name])
    tasks.add_task(welcome_and_mark, name)
    return {"registered": name}


def welcome_and_mark(name: str) -> None:
    welcome(name)
    with database() as rows:
        rows.execute("UPDATE registrations SET state = 'welcomed' WHERE name = ?", [name])


@app.get("/registrations")
def read_registrations() -> dict[str, str]:
    with database() as rows:
        return dict(rows.execute("SELECT * FROM registrations").fetchall())


@contextmanager
def serving(listener: socket.socket, until: Signals) -> Iterator[None]:
    """Run a server in a process of its own, and end it by a signal."""
    fd = listener.fileno()
    command = [sys.executable, "-m", "uvicorn", f"{__package__}.every_job:app"]
    with Popen([*command, "--fd", str(fd), "--log-level", "warning"], pass_fds=[fd]) as server:
        try:
            yield
        finally:
            server.send_signal(until)
            print("the server has ended:", Signals(-server.wait(10)).name)


def ask(listener: socket.socket, method: str, path: str) -> None:
    with closing(HTTPConnection("127.0.0.1", listener.getsockname()[1], timeout=10)) as client:
        client.request(method, path)
        answer = client.getresponse()
        print(f"{method} {path}: {answer.status} {answer.read().decode()}")


def take_mail(mail_server: socket.socket) -> socket.socket:
    connection, _ = mail_server.accept()
    print("the mail server is given:", connection.recv(100).decode())
    return connection


def main() -> None:
    with (
        TemporaryDirectory() as directory,
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_server(("127.0.0.1", 0)) as mail_server,
    ):
        mail_server.settimeout(10)
        os.environ["DATABASE"] = f"{directory}/registrations.sqlite"
        os.environ["MAIL_PORT"] = str(mail_server.getsockname()[1])
        with ExitStack() as mails, serving(listener, until=SIGKILL):
            for path in ("/misunderstood/registrations/ada", "/registrations/grace"):
                ask(listener, "POST", path)
                mails.enter_context(take_mail(mail_server))  # not answered
        with serving(listener, until=SIGTERM), take_mail(mail_server) as mail:
            ask(listener, "GET", "/registrations")
            mail.sendall(b"250 OK")
        print("the table now holds:", read_registrations())


if __name__ == "__main__":
    main()
