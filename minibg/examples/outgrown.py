"""Shows what becomes of accepted tasks when the process that runs them is killed.

Each way of running them has a server of its own. It accepts 200 tasks, is killed with -9 when 60
have ended, and is started again. Then each task is drawn: as one that has ended, that has started
twice, or that was lost.

* `BackgroundTasks` live in the process, and die with it.
* `DurableTasks` stay in a file until they have ended. The next process runs those that are left.

The endpoint is the same; only its annotation differs. A task marks its start and its end: each time
it appends a line to a file, in one piece. So the marks outlive the process.

With `CELERY_BROKER_URL=amqp://localhost` (or `redis://...`), and the extra `celery`, lists that are
sent to Celery follow, once with its own settings and once with safe ones. There, the worker is
killed.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from minibg import BackgroundTasks, MiniBG
from minibg.examples.serve import directory
from minibg.ext.durable import DurableTasks, Journal

REQUESTS, TASKS_EACH = 10, 20
ENDED_AT_DEATH = 60
SECONDS = 0.01
"""How long a task takes."""
QUIET = 10.0
"""After how many seconds in which no task ends the program stops waiting for more."""
LIMIT = 120.0
"""How many seconds the program waits for anything at most."""


# --- what is served ------------------------------------------------------------------------------

HERE = directory()
DurableTasks.journal = Journal(HERE / "tasks.sqlite")


def mark(word: str, key: int) -> None:
    """Mark the start or the end of a task."""
    with (HERE / "marks").open("a") as file:
        file.write(f"{word} {key}\n")  # one system call, when the file is closed


def job(key: int) -> None:
    """The task: it takes a while, between two marks."""
    mark("start", key)
    time.sleep(SECONDS)
    mark("end", key)


def serve(app: MiniBG, cls: type[BackgroundTasks], task: Callable[[int], Any] = job) -> MiniBG:
    """Give the application an endpoint whose list is of this class."""

    @app.post("/orders/{number}", status_code=202)
    async def order(number: int, tasks: cls) -> dict[str, int]:  # type: ignore[valid-type]  # read when it runs
        for key in range(TASKS_EACH):
            tasks.add_task(task, TASKS_EACH * number + key)  # type: ignore[attr-defined]  # likewise
        return {"accepted": TASKS_EACH}

    return app


plain = serve(MiniBG(), BackgroundTasks)
durable = serve(MiniBG(lifespan=DurableTasks.lifespan), DurableTasks)


# --- what is killed ------------------------------------------------------------------------------


class Way(NamedTuple):
    """A way of running tasks: its name, the name of its application, and its worker's command.

    If there is a worker, it is killed, otherwise the server. A way that keeps no tasks has none to
    wait for when it is started again.
    """

    name: str
    app: str
    worker: Sequence[str] = ()
    keeps: bool = True


WAYS = [
    Way("BackgroundTasks", "outgrown:plain", keeps=False),
    Way("DurableTasks", "outgrown:durable"),
]


def ways() -> list[Way]:
    """The ways that can be tried here."""
    if "CELERY_BROKER_URL" not in os.environ:
        return WAYS
    from minibg.examples import outgrown_celery  # noqa: PLC0415  # it imports this module

    return [*WAYS, *outgrown_celery.WAYS]


class Seen(NamedTuple):
    """How often each task has started, and ended."""

    started: Counter[int]
    ended: Counter[int]


def seen(place: Path) -> Seen:
    """Read the marks that the tasks have left in a directory."""
    found = Seen(Counter(), Counter())
    file = place / "marks"
    for line in file.read_text().splitlines() if file.exists() else ():
        word, key = line.split()
        (found.started if word == "start" else found.ended)[int(key)] += 1
    return found


def until(holds: Callable[[], bool]) -> bool:
    """Wait until `holds()`, and return True; False if that takes longer than `LIMIT`."""
    give_up = time.monotonic() + LIMIT
    while not holds():
        if time.monotonic() > give_up:
            return False
        time.sleep(0.005)
    return True


@contextmanager
def running(command: Sequence[str], place: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a module of Python's with its files in a directory, and kill it in the end."""
    environment = {**os.environ, "MINIBG_EXAMPLES_DIR": str(place)}
    with (place / "log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is for us; a worker is killed with its children
        )
    try:
        yield process
    finally:
        kill(process)


def kill(process: "subprocess.Popen[bytes]") -> None:
    """Kill a program and its children, which have no chance to clean up."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextmanager
def serving(way: Way, place: Path, port: int) -> Iterator["subprocess.Popen[bytes]"]:
    """Serve a way's application until the context is left."""

    def answers() -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", port)) == 0

    with running(["uvicorn", f"minibg.examples.{way.app}", "--port", str(port)], place) as process:
        if not until(lambda: process.poll() is not None or answers()) or process.poll() is not None:
            raise RuntimeError(f"the server did not start: see {place / 'log'}")
        yield process


def accept(port: int) -> int:
    """Send all requests at the same time, and return how many tasks the server has accepted."""

    def ask(number: int) -> int:
        connection = HTTPConnection("127.0.0.1", port, timeout=LIMIT)
        connection.request("POST", f"/orders/{number}")
        status = connection.getresponse().status
        connection.close()
        return TASKS_EACH if status == 202 else 0

    with ThreadPoolExecutor(REQUESTS) as clients:
        return sum(clients.map(ask, range(REQUESTS)))


def try_out(way: Way, place: Path, port: int) -> tuple[int, Seen]:
    """Have tasks accepted, kill, start again; return how many were accepted, and their marks."""

    def so_many_have_ended(number: int) -> None:
        """Wait until so many tasks have ended, or no more of them end."""
        ended, changed = 0, time.monotonic()

        def is_over() -> bool:
            nonlocal ended, changed
            if (now := len(seen(place).ended)) != ended:
                ended, changed = now, time.monotonic()
            return ended >= number or time.monotonic() > changed + QUIET

        until(is_over)

    with serving(way, place, port) as server:
        if way.worker:
            with running(way.worker, place) as worker:
                accepted = accept(port)
                so_many_have_ended(ENDED_AT_DEATH)
                kill(worker)
            with running(way.worker, place):
                so_many_have_ended(accepted)
            return accepted, seen(place)
        accepted = accept(port)
        so_many_have_ended(ENDED_AT_DEATH)
        kill(server)
    with serving(way, place, port):
        if way.keeps:
            so_many_have_ended(accepted)
        return accepted, seen(place)


# --- what is drawn -------------------------------------------------------------------------------


def strip(found: Seen, ascii_only: bool = False) -> Text:
    """Each task as one character, each request's list as a line."""
    once, lost = ("=", ".") if ascii_only else ("━", "·")
    text = Text()
    for number in range(REQUESTS):
        for key in range(TASKS_EACH * number, TASKS_EACH * (number + 1)):
            if found.ended[key] == 0:
                text.append(lost, "bold red")
            elif found.started[key] > 1:
                text.append("2", "yellow")
            else:
                text.append(once, "green")
        text.append("\n" if number + 1 < REQUESTS else "")
    return text


def draw(results: dict[str, tuple[int, Seen]], ascii_only: bool = False) -> Table:
    """A table of what became of the tasks, way by way."""
    tasks = Column("the tasks", min_width=TASKS_EACH, no_wrap=True)
    table = Table("", tasks, "accepted", "ended", "lost", "twice", show_lines=True)
    for name, (accepted, found) in results.items():
        ended = len(found.ended)
        twice = sum(number > 1 for number in found.started.values())
        told = map(str, (accepted, ended, accepted - ended, twice))
        table.add_row(name, strip(found, ascii_only), *told)
    return table


def main() -> None:
    """Try each way out, and draw what became of the tasks."""
    console = Console(highlight=False)
    results = {}
    for way in ways():
        place = HERE / way.app.partition(":")[2]
        place.mkdir(exist_ok=True)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        dies = "worker" if way.worker else "server"
        console.print(f"{way.name}: the {dies} is killed with -9 in the middle of its tasks")
        results[way.name] = try_out(way, place, port)
    ascii_only = console.options.ascii_only
    console.print(draw(results, ascii_only))
    once, lost = ("=", ".") if ascii_only else ("━", "·")
    console.print(f"A line is a request's list: {once} ended, 2 started twice, {lost} lost.")
    console.print("A task that runs when its process dies runs again: at least once, not once.")
    console.print(f"Kept in {HERE}: marks, logs, and the file of what has not ended")


if __name__ == "__main__":
    main()
