"""Shows how a client learns how far a task has come: it asks, it listens, or it is called.

Read it after `order`. The task runs in a worker thread and reports each step to the event loop,
where the followers of the job wait. Jobs are kept in memory, so one process has to serve them all.
"""

from collections.abc import AsyncIterator
from itertools import pairwise
from math import isqrt
from pathlib import Path
from typing import Annotated
from urllib.request import ProxyHandler, Request, build_opener

from anyio import Event, from_thread
from msgspec import Meta, Struct, field, json

from minibg import (
    BackgroundTasks,
    Depends,
    EventSourceResponse,
    HTMLResponse,
    HTTPException,
    MiniBG,
    WebSocket,
)
from minibg.examples.serve import serve


class Order(Struct):
    """What to count, and the URL to call at the end.

    It must be on this machine: otherwise a client could have the server call any host.
    """

    below: Annotated[int, Meta(ge=100, le=2_000_000)]
    callback: Annotated[str, Meta(pattern=r"^http://(127\.0\.0\.1|localhost):\d+/")] | None = None


class Progress(Struct, frozen=True):
    """How far a job has come: of the numbers below `checked`, so many are `primes`."""

    job: int
    below: int
    checked: int = 0
    primes: int = 0


class Job(Struct):
    """A count of primes that can be followed. It changes only on the event loop."""

    progress: Progress
    changed: Event = field(default_factory=Event)

    def report(self, progress: Progress) -> None:
        self.progress = progress
        self.changed.set()
        self.changed = Event()

    async def follow(self) -> AsyncIterator[Progress]:
        """The progress now, and after each change, to the end. A slow follower misses some."""
        while True:
            changed, progress = self.changed, self.progress
            yield progress
            if progress.checked == progress.below:
                return
            await changed.wait()


app = MiniBG()
jobs: dict[int, Job] = {}
inbox: list[Progress] = []


def count_primes(job: Job) -> None:
    """The task. From its thread, it reports its progress to the job on the event loop."""
    progress = job.progress
    for start, stop in pairwise(progress.below * percent // 100 for percent in range(101)):
        numbers = range(max(start, 2), stop)
        primes = sum(all(n % d for d in range(2, isqrt(n) + 1)) for n in numbers)
        progress = Progress(progress.job, progress.below, stop, progress.primes + primes)
        from_thread.run_sync(job.report, progress)


def call_back(job: Job, url: str) -> None:
    """The next task, which so reports the end. An answer with a status of 400 or more fails it."""
    request = Request(url, json.encode(job.progress), {"content-type": "application/json"})
    build_opener(ProxyHandler({})).open(request, timeout=10).close()


@app.post("/jobs", status_code=202)
async def start(order: Order, tasks: BackgroundTasks) -> Progress:
    """Begin to count. The answer has the number of the job, with which the client follows it."""
    job = jobs[len(jobs) + 1] = Job(Progress(len(jobs) + 1, order.below))
    tasks.add_task(count_primes, job)
    if order.callback is not None:
        tasks.add_task(call_back, job, order.callback)
    return job.progress


async def find(job: int) -> Job:
    if job not in jobs:
        raise HTTPException(404, f"there is no job {job}")
    return jobs[job]


@app.get("/jobs/{job:int}")
async def poll(job: Annotated[Job, Depends(find)]) -> Progress:
    """The first way: the client asks, now and then."""
    return job.progress


@app.get("/jobs/{job:int}/events")
async def stream(job: Annotated[Job, Depends(find)]) -> EventSourceResponse:
    """The second: the client listens to Server-Sent Events."""
    return EventSourceResponse(job.follow())


@app.websocket("/jobs/{job:int}/websocket")
async def converse(websocket: WebSocket, job: Annotated[Job, Depends(find)]) -> None:
    """The third: the same over a WebSocket, on which the client could also send."""
    await websocket.accept()
    async for progress in job.follow():
        await websocket.send_json(progress)
    await websocket.close()


@app.post("/inbox", status_code=204)
async def receive(progress: Progress) -> None:
    """The fourth: the client is called. It would be another server; here, it is this one."""
    inbox.append(progress)


@app.get("/inbox")
async def received() -> list[Progress]:
    return inbox


@app.get("/")
def page() -> HTMLResponse:
    """All four side by side, for a browser."""
    return HTMLResponse(Path(__file__).with_suffix(".html").read_bytes())


if __name__ == "__main__":
    serve(
        app,
        "curl -i {url}/jobs -H 'content-type: application/json' "
        """-d '{"below": 600000, "callback": "{url}/inbox"}'""",
        "curl {url}/jobs/1",
        "curl -N {url}/jobs/1/events",
        "curl {url}/inbox",
        "{url}/  # in a browser",
    )
