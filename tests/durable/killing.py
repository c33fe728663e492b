"""A real uvicorn in a process of its own, which is killed, and the marks that its tasks leave.

What may live here: starting, asking and killing. Each wait has `LIMIT` as its time limit. The tests
say which marks must be seen.
"""

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import NamedTuple

from tests.processes import spawned
from tests.servers.live import LIMIT, wait_until_listening

APP = """
import os
import signal
import time
from pathlib import Path
from typing import Annotated

import anyio

from minibg import BackgroundTasks, MiniBG
from minibg.ext.durable import DurableTasks, Journal

HERE = Path(__file__).parent
DurableTasks.journal = Journal(HERE / "tasks.sqlite", attempts=int(os.environ["ATTEMPTS"]))
MARKS = os.open(HERE / "marks", os.O_APPEND | os.O_CREAT | os.O_WRONLY)


def mark(word: str, key: str) -> None:
    os.write(MARKS, f"{word} {key} {os.getpid()}\\n".encode())


def work(key: str, seconds: float) -> None:
    mark("start", key)
    time.sleep(seconds)
    mark("end", key)


async def async_work(key: str, seconds: float) -> None:
    mark("start", key)
    await anyio.sleep(seconds)
    mark("end", key)


def poison(key: str) -> None:
    mark("start", key)
    os.kill(os.getpid(), signal.SIGKILL)


def serve(app, durable):
    @app.post("/job/{key}", status_code=202)
    async def add_work(key: str, tasks: durable, seconds: float = 0.01):
        tasks.add_task(async_work if int(key) % 2 else work, key, seconds)

    @app.post("/poison/{key}", status_code=202)
    async def add_poison(key: str, tasks: durable):
        tasks.add_task(poison, key)
        tasks.add_task(work, key + "0", 0)

    @app.post("/raise/{key}", status_code=202)
    async def add_and_raise(key: str, tasks: durable):
        tasks.add_task(work, key, 0)
        raise ValueError("failed on purpose")

    return app


def fastapi_app():
    from fastapi import FastAPI

    from minibg.ext.fastapi import tasks_of

    durable = Annotated[DurableTasks, tasks_of(DurableTasks)]
    return serve(FastAPI(lifespan=DurableTasks.lifespan), durable)


app = serve(MiniBG(lifespan=DurableTasks.lifespan), DurableTasks)


def plain_app():
    return serve(MiniBG(), BackgroundTasks)
"""


class Marks(NamedTuple):
    """How often each task has started, and ended, and by which process it was started first."""

    started: Counter[str]
    ended: Counter[str]
    first: dict[str, int]


class Killable:
    """An application in a directory, whose server is started and killed."""

    def __init__(self, directory: Path, port: int) -> None:
        self.directory = directory
        self.port = port
        self.attempts = 3
        (directory / "served.py").write_text(APP)

    @contextmanager
    def serving(
        self, app: str = "served:app", *options: str, dies: bool = False
    ) -> Iterator["subprocess.Popen[str]"]:
        """Serve until the context is left; then the server is killed, with its process group.

        A server that `dies` at its start may never listen, so that is not waited for.
        """
        command = [sys.executable, "-m", "uvicorn", app, f"--port={self.port}", *options]
        factory = [] if app.endswith(":app") else ["--factory"]
        with (
            (self.directory / "log").open("a") as log,
            spawned(
                [*command, *factory],
                cwd=self.directory,
                env={**os.environ, "ATTEMPTS": str(self.attempts)},
                stdout=log,
                stderr=log,
            ) as process,
        ):
            if not dies:
                wait_until_listening(self.port)
            yield process

    def post(self, *paths: str) -> list[int]:
        """The status of each answer; all come on one connection. 0 if the server has died."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=LIMIT)
        statuses = []
        for path in paths:
            try:
                connection.request("POST", path)
                response = connection.getresponse()
                response.read()
                statuses.append(response.status)
            except (HTTPException, OSError):
                connection.close()
                statuses.append(0)
        connection.close()
        return statuses

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text()

    def marks(self) -> Marks:
        """What the tasks have left so far."""
        marks = Marks(Counter(), Counter(), {})
        file = self.directory / "marks"
        for line in file.read_text().splitlines() if file.exists() else ():
            word, key, process = line.split()
            (marks.started if word == "start" else marks.ended)[key] += 1
            marks.first.setdefault(key, int(process))
        return marks

    def until(self, holds: Callable[[Marks], bool]) -> Marks:
        """Wait until the marks are so, and return them."""
        give_up = time.monotonic() + 3 * LIMIT
        while not holds(marks := self.marks()):
            assert time.monotonic() < give_up, f"{marks}\n{self.log}"
            time.sleep(0.005)
        return marks
