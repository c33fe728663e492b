"""Tasks run one after another: calls at the same time, and steps that depend, are one task.

Read `one_after_another` first: each page is a task, so together they take the sum of their times.
Then `at_once`: one task that fetches all pages in a task group, and takes as long as the slowest.
Then `steps`: the result of a task goes nowhere, and a task runs whether or not the one before it
failed. So steps that need each other are one task, an ordinary function.

`/slow/0.5` is a page that takes half a second, but any URL will do. For that reason, serve this to
nobody but yourself.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter
from typing import Annotated
from urllib.request import urlopen

from anyio import create_task_group, sleep
from msgspec import Meta

from minibg import BackgroundTasks, MiniBG, PlainTextResponse, Request
from minibg.concurrency import run_in_background_thread
from minibg.examples.serve import directory, serve


@asynccontextmanager
async def lifespan(app: MiniBG) -> AsyncIterator[dict[str, Path]]:
    log = directory() / "order.log"
    log.touch()
    print(f"the tasks write to {log}", flush=True)
    yield {"log": log}


app = MiniBG(lifespan=lifespan)


def fetch(url: str) -> bytes:
    with urlopen(url, timeout=10) as response:
        page: bytes = response.read()
    return page


def write_line(log: Path, line: str) -> None:
    with log.open("a", encoding="utf-8") as lines:
        lines.write(line + "\n")


def write_time(log: Path, what: str, started: float) -> None:
    write_line(log, f"{perf_counter() - started:.2f} seconds {what}")


@app.post("/one-after-another", status_code=202)
async def one_after_another(url: list[str], request: Request, tasks: BackgroundTasks) -> list[str]:
    started = perf_counter()
    for each in url:
        tasks.add_task(fetch, each)
    tasks.add_task(write_time, request.state.log, "one after another", started)
    return url


@app.post("/at-once", status_code=202)
async def at_once(url: list[str], request: Request, tasks: BackgroundTasks) -> list[str]:
    started = perf_counter()
    tasks.add_task(fetch_all, url)
    tasks.add_task(write_time, request.state.log, "at once", started)
    return url


async def fetch_all(urls: list[str]) -> None:
    """Fetch each page in a thread of its own; the task ends when the last of them has."""
    async with create_task_group() as task_group:
        for url in urls:
            task_group.start_soon(run_in_background_thread, fetch, url)


@app.post("/steps", status_code=202)
async def steps(url: str, request: Request, tasks: BackgroundTasks) -> str:
    tasks.add_task(fetch_count_write, request.state.log, url)
    return url


def fetch_count_write(log: Path, url: str) -> None:
    """Three steps: each needs the result of the one before, and none runs after a failure."""
    page = fetch(url)
    words = len(page.split())
    write_line(log, f"{words} words at {url}")


@app.get("/slow/{seconds}")
async def slow(seconds: Annotated[float, Meta(ge=0, le=5)]) -> PlainTextResponse:
    await sleep(seconds)
    return PlainTextResponse(f"This page took {seconds} seconds.\n")


@app.get("/log")
def read_log(request: Request) -> PlainTextResponse:
    return PlainTextResponse(request.state.log.read_text(encoding="utf-8"))


if __name__ == "__main__":
    pages = "url={url}/slow/0.5&url={url}/slow/1&url={url}/slow/1.5"
    serve(
        app,
        f"curl -X POST '{{url}}/one-after-another?{pages}'",
        f"curl -X POST '{{url}}/at-once?{pages}'",
        "curl -X POST '{url}/steps?url={url}/slow/0.5'",
        "curl {url}/log  # a few seconds later",
    )
