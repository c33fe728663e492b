"""Teaches what background tasks are for, by measuring them beside the three other ways.

Read it last. The same three jobs, of which the second fails, run before the answer, as background
tasks, each in a thread, and each as an asyncio task. Each way is served by a uvicorn of its own,
twice: once it is left alone until all is over, once it is told to end while the first job runs.
"""

import argparse
import asyncio
import json
import logging
import re
import socket
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from hashlib import pbkdf2_hmac
from http.client import HTTPConnection
from pathlib import Path
from subprocess import PIPE, Popen
from threading import Thread, Timer
from time import perf_counter

import uvicorn
from rich.console import Console
from rich.progress import track
from rich.table import Table

from minibg import BackgroundTasks, MiniBG

app = MiniBG()
logger = logging.getLogger("jobs")
JOBS = {"first": 3_000_000, "second": 0, "third": 3_000_000}
IN_ORDER = ["first began", "first ended", "second began", "third began", "third ended"]


def derive_key(job: str, rounds: int) -> None:
    """About a second of work, which lets other threads run. In no rounds it cannot be done."""
    logger.info("%s began", job)
    pbkdf2_hmac("sha256", b"password", b"salt", rounds)
    logger.info("%s ended", job)


@app.post("/inline", status_code=202)
def inline() -> None:
    for job in JOBS.items():
        derive_key(*job)


@app.post("/BackgroundTasks", status_code=202)
async def background_tasks(tasks: BackgroundTasks) -> None:
    for job in JOBS.items():
        tasks.add_task(derive_key, *job)


@app.post("/threading.Thread", status_code=202)
async def thread() -> None:
    for job in JOBS.items():
        Thread(target=derive_key, args=job).start()


@app.post("/asyncio.create_task", status_code=202)
async def create_task() -> None:
    for job in JOBS.items():
        asyncio.create_task(asyncio.to_thread(derive_key, *job))  # noqa: RUF006  # bare, as it is seen


@dataclass
class Outcome:
    """What was seen of one way; of the jobs, those that do not fail by themselves."""

    way: str
    status: int
    seconds: float
    order_kept: bool
    jobs: dict[str, str]
    failure_logged_by: list[str]
    failure_on_stderr: bool
    jobs_at_sigterm: dict[str, str]

    def row(self) -> Iterator[str]:
        """The same in words."""
        yield self.way
        yield f"{self.status} after {self.seconds * 1000:,.1f} ms"
        yield "kept" if self.order_kept else "not kept"
        loggers = ", ".join(self.failure_logged_by)
        yield f"logged by {loggers}" if loggers else f"not logged, {self.failure_on_stderr=}"
        yield ", ".join(f"{job} {fate}" for job, fate in self.jobs_at_sigterm.items())


@contextmanager
def served() -> Iterator[tuple[Popen[str], HTTPConnection]]:
    """A server in a process of its own, which logs to its standard output, and a client of it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port, fd = listener.getsockname()[1], listener.fileno()
        command = [sys.executable, "-m", "minibg.examples.alternatives", "--serve", str(fd)]
        process = Popen(command, pass_fds=[fd], stdout=PIPE, stderr=PIPE, text=True)
    watchdog = Timer(60, process.kill)
    watchdog.start()
    with process, closing(HTTPConnection("127.0.0.1", port, timeout=60)) as client:
        try:
            client.request("GET", "/")  # so that what is timed is neither start nor connection
            client.getresponse().read()
            yield process, client
        finally:
            watchdog.cancel()
            process.kill()


def serve(fd: int) -> None:
    """Be that server, on an inherited socket."""
    form = "%(levelname)s %(name)s: %(message)s"
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format=form)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None))
    server.run(sockets=[socket.socket(fileno=fd)])


def read(process: Popen[str], *steps: str) -> str:
    """The log, up to where all these steps have been in it; without any, to its end."""
    log = ""
    for line in process.stdout or ():
        log += line
        if steps and all(f"jobs: {step}\n" in log for step in steps):
            break
    return log


def steps_in(log: str) -> list[str]:
    return re.findall(r"^INFO jobs: (.+)$", log, re.MULTILINE)


def fates_in(log: str) -> dict[str, str]:
    steps, lasting = steps_in(log), [job for job, rounds in JOBS.items() if rounds]
    begun = {job: "cut off" for job in lasting if f"{job} began" in steps}
    ended = {job: "ended" for job in lasting if f"{job} ended" in steps}
    return dict.fromkeys(lasting, "never began") | begun | ended


def measure(way: str) -> Outcome:
    """Serve that way twice, and see."""
    with served() as (process, client):
        start = perf_counter()
        client.request("POST", way)
        response = client.getresponse()
        response.read()
        seconds = perf_counter() - start
        alone = read(process, "first ended", "third ended") if response.status == 202 else ""
        process.terminate()
        alone += read(process)
        stderr = process.stderr.read() if process.stderr else ""
    with served() as (process, client):
        client.request("POST", way)
        told_to_end = read(process, "first began")
        process.terminate()
        told_to_end += read(process)
    steps = steps_in(alone)
    return Outcome(
        way=way.removeprefix("/"),
        status=response.status,
        seconds=seconds,
        order_kept=steps == IN_ORDER[: len(steps)],
        jobs=fates_in(alone),
        failure_logged_by=re.findall(r"^ERROR (\S+):", alone, re.MULTILINE),
        failure_on_stderr="ValueError" in stderr,
        jobs_at_sigterm=fates_in(told_to_end),
    )


def main() -> None:
    """Measure each way, and print what was seen."""
    parser = argparse.ArgumentParser(description="Measure four ways to run three jobs.")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write it to this file as well")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        return serve(options.serve)
    outcomes = [measure(way) for way in app.router.static]
    table = Table("way", "answer", "order", "failure", "told to end while the first runs")
    for outcome in outcomes:
        table.add_row(*outcome.row())
    Console().print(table)
    if options.json:
        options.json.write_text(json.dumps([asdict(outcome) for outcome in outcomes], indent=2))


if __name__ == "__main__":
    main()
