"""Shows what background tasks are for: it measures them beside three other ways. Read it last.

Three jobs, of which the second fails, run before the answer, as background tasks, in threads, and
as asyncio tasks. Each way is served twice: once until the jobs have ended, and once until SIGTERM
comes while they run.
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
from hashlib import pbkdf2_hmac
from http.client import HTTPConnection
from pathlib import Path
from signal import alarm
from subprocess import PIPE, STDOUT, Popen
from threading import Thread
from time import perf_counter

import uvicorn
from rich.console import Console
from rich.table import Table

from minibg import BackgroundTasks, MiniBG

app = MiniBG()
journal = logging.getLogger("jobs")
JOBS = {"first": 3_000_000, "second": 0, "third": 3_000_000}
LEGEND = "ms: until the answer. failure: who logs it. SIGTERM: what becomes of the jobs in flight."
IN_ORDER = ["first began", "first ended", "second began", "third began", "third ended"]


def derive_key(job: str, rounds: int) -> None:
    """Work for about a second, during which other threads can run. With 0 rounds, fail."""
    journal.info("%s began", job)
    pbkdf2_hmac("sha256", b"password", b"salt", rounds)
    journal.info("%s ended", job)


@app.post("/inline", status_code=202)
def inline() -> None:
    for job in JOBS.items():
        derive_key(*job)


@app.post("/BackgroundTasks", status_code=202)
async def background_tasks(tasks: BackgroundTasks) -> None:
    for job in JOBS.items():
        tasks.add_task(derive_key, *job)


@app.post("/Thread", status_code=202)
async def thread() -> None:
    for job in JOBS.items():
        Thread(target=derive_key, args=job).start()


@app.post("/create_task", status_code=202)
async def create_task() -> None:
    for job in JOBS.items():
        asyncio.create_task(asyncio.to_thread(derive_key, *job))  # noqa: RUF006  # bare on purpose


def serve(fd: int) -> None:
    """Serve on an inherited socket for at most 30 seconds, and log to standard output."""
    alarm(30)  # ends a server whose parent is gone
    logging.basicConfig(stream=sys.stdout, level=logging.INFO)
    uvicorn.Server(uvicorn.Config(app, log_config=None)).run(sockets=[socket.socket(fileno=fd)])


@contextmanager
def served() -> Iterator[tuple[Popen[str], HTTPConnection]]:
    """A process that serves, and a client that is connected to it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port, fd = listener.getsockname()[1], listener.fileno()
        command = [sys.executable, "-m", "minibg.examples.alternatives", "--serve", str(fd)]
        process = Popen(command, pass_fds=[fd], stdout=PIPE, stderr=STDOUT, text=True)
    with process, closing(HTTPConnection("127.0.0.1", port, timeout=60)) as client:
        try:
            client.request("GET", "/")  # so that nothing but the way is timed later
            client.getresponse().read()
            yield process, client
        finally:
            process.kill()


def log_of(process: Popen[str], *steps: str) -> str:
    """The server's log to its end. It is told to end when all these steps have been logged."""
    assert process.stdout is not None
    log = ""
    while not all(step in log for step in steps):
        log += next(process.stdout)
    process.terminate()
    return log + process.stdout.read()


def fates(log: str) -> str:
    """What became of the jobs that do not fail by themselves."""
    # Not from the start of a line: part of a thread's traceback may be in front.
    last = dict(re.findall(r"INFO:jobs:(\w+) (\w+)$", log, re.MULTILINE))
    words = {"ended": "ended", "began": "cut off", None: "not run"}
    return ", ".join(f"{job} {words[last.get(job)]}" for job, rounds in JOBS.items() if rounds)


def measure(way: str) -> dict[str, str | float]:
    """Measure one way: `failure` names the logger of it, `SIGTERM` says what became of the jobs."""
    with served() as (process, client):
        start = perf_counter()
        client.request("POST", way)
        status = client.getresponse().status
        seconds = perf_counter() - start
        alone = log_of(process, *(["first ended", "third ended"] if status == 202 else []))
    steps = re.findall(r"INFO:jobs:(.+)$", alone, re.MULTILINE)
    in_order = steps == IN_ORDER[: len(steps)]
    with served() as (process, client):
        client.request("POST", way)
        in_flight = ["first began"] if in_order else ["first began", "third began"]
        told_to_end = log_of(process, *in_flight)
    logger = re.search(r"^ERROR:([^:]+):", alone, re.MULTILINE)
    return {
        "way": way.removeprefix("/"),
        "status": status,
        "ms": round(seconds * 1000, 1),
        "order": "kept" if in_order else "not kept",
        "jobs": fates(alone),
        "failure": logger[1] if logger else "not logged",
        "SIGTERM": fates(told_to_end),
    }


def compare(file: Path | None) -> None:
    """Measure each way and print the results; if there is a file, write them to it as well."""
    print("measuring four ways, about ten seconds", flush=True)
    seen = [measure(way) for way in app.router.static["http"]]
    table = Table(show_header=False, show_lines=True, caption=LEGEND)
    for aspect in seen[0]:
        table.add_row(aspect, *(str(outcome[aspect]).replace(", ", "\n") for outcome in seen))
    Console().print(table)
    if file is not None:
        file.write_text(json.dumps(seen, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure four ways to run three jobs.")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write it to this file as well")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is None:
        compare(options.json)
    else:
        serve(options.serve)


if __name__ == "__main__":
    main()
