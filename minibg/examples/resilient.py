"""Resilience: what to do about a receiver that fails, hangs, or may get a delivery twice.

Read `deliver`, the task, first. Each attempt has a time limit. After a temporary failure, stamina
logs it and tries again; any other failure is raised, so that the list logs it with its traceback.
The last step depends on those before it, so all are one task.

Then read `accept`. The client sends a key, which is kept in SQLite with its delivery, so a repeated
request starts nothing. A client may ask again only for a delivery that has failed, or that a crash
has interrupted, since tasks are kept in memory only. The receiver gets the key too, for the same
purpose.

Last, read `MeteredTasks`: the annotation in `accept` decides what happens to failures there.
"""

import logging
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, Literal

import httpx
from anyio import fail_after
from stamina import retry_context
from stamina.instrumentation import set_on_retry_hooks

from minibg import BackgroundTask, BackgroundTasks, HTTPException, MiniBG, Request, Response
from minibg.concurrency import run_in_background_thread
from minibg.examples.serve import directory, serve

logger = logging.getLogger("minibg.examples.resilient")
TIME_LIMIT = 0.5  # seconds for one attempt; a receiver on the same machine needs milliseconds

# A delivery that is "accepted" at the start was interrupted: its task is gone with its process.
PREPARE = """
CREATE TABLE IF NOT EXISTS deliveries (key PRIMARY KEY, receiver, text, state);
UPDATE deliveries SET state = 'failed' WHERE state = 'accepted'
"""

ACCEPT = """
INSERT INTO deliveries VALUES (?, ?, ?, 'accepted') ON CONFLICT (key) DO UPDATE
SET state = 'accepted'
WHERE state = 'failed' AND receiver = excluded.receiver AND text = excluded.text
"""

Receiver = Literal["works", "recovers", "refuses", "hangs"]

metrics: Counter[str] = Counter()
"""How many tasks ran and failed, and how many attempts were retried. Only the loop changes it."""


class MeteredTasks(BackgroundTasks):
    """Tasks whose failures are counted, besides being logged."""

    def on_error(self, task: BackgroundTask, exc: Exception) -> Awaitable[None] | None:
        metrics["failed"] += 1
        return super().on_error(task, exc)


@asynccontextmanager
async def lifespan(app: MiniBG) -> AsyncIterator[dict[str, Any]]:
    """Give each request the database and a client that both outlive it."""
    database = directory() / "deliveries.sqlite"
    with closing(sqlite3.connect(database)) as connection:
        connection.executescript(PREPARE)
    print(f"deliveries are stored in {database}", flush=True)
    # The receiver is on this machine, whatever proxy is set.
    async with httpx.AsyncClient(trust_env=False) as client:
        yield {"database": database, "client": client, "attempts": Counter()}


def is_temporary(exc: Exception) -> bool:
    """Whether a later attempt may succeed. None will if the receiver understood and refused."""
    if isinstance(exc, httpx.HTTPStatusError):
        return exc.response.is_server_error
    return isinstance(exc, TimeoutError | httpx.TransportError)


def set_state(database: Path, key: str, state: str) -> None:
    """Store what became of a delivery."""
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE deliveries SET state = ? WHERE key = ?", [state, key])


async def deliver(database: Path, client: httpx.AsyncClient, url: str, key: str, text: str) -> None:
    """Post the text, in three attempts at most, and store whether that succeeded."""
    metrics["run"] += 1
    state = "failed"
    try:
        async for attempt in retry_context(
            is_temporary, attempts=3, wait_initial=0.1, wait_jitter=0.1
        ):
            with attempt, fail_after(TIME_LIMIT):
                metrics["retried"] += attempt.num > 1
                response = await client.post(url, content=text, headers={"idempotency-key": key})
                response.raise_for_status()
        state = "delivered"
    finally:
        await run_in_background_thread(set_state, database, key, state)


set_on_retry_hooks(
    [lambda details: logger.warning("%r: again in %.1f s", details.caused_by, details.wait_for)]
)
app = MiniBG(lifespan=lifespan)


@app.post("/deliveries/{receiver}", status_code=202)
def accept(receiver: Receiver, text: str, request: Request, tasks: MeteredTasks) -> dict[str, str]:
    key = request.headers.get("idempotency-key")
    if not key:
        raise HTTPException(400, "the header Idempotency-Key is missing")
    database, client = request.state.database, request.state.client
    with closing(sqlite3.connect(database)) as connection, connection:
        is_to_be_done = connection.execute(ACCEPT, [key, receiver, text]).rowcount
        query = "SELECT state, receiver, text FROM deliveries WHERE key = ?"
        state, *kept = connection.execute(query, [key]).fetchone()
    if kept != [receiver, text]:
        raise HTTPException(422, "this key belongs to another delivery")
    if is_to_be_done:
        host, port = request.scope["server"]
        url = f"http://{host}:{port}/receivers/{receiver}"
        tasks.add_task(deliver, database, client, url, key, text)
    return {"state": state}


@app.get("/deliveries")
def read_deliveries(request: Request) -> dict[str, str]:
    with closing(sqlite3.connect(request.state.database)) as connection:
        return dict(connection.execute("SELECT key, state FROM deliveries").fetchall())


@app.get("/metrics")
async def read_metrics() -> Response:
    lines = [f"background_tasks_{n}_total {metrics[n]}\n" for n in ("run", "failed", "retried")]
    return Response("".join(lines), media_type="text/plain; version=0.0.4")


@app.post("/receivers/{receiver}", status_code=204)
async def receive(receiver: Receiver, request: Request, response: Response) -> None:
    attempts, key = request.state.attempts, request.headers.get("idempotency-key", "")
    attempts[key] += 1
    if receiver == "recovers" and attempts[key] < 3:
        response.status_code = 503
    elif receiver == "refuses":
        response.status_code = 403
    elif receiver == "hangs":
        await request.receive_disconnect()


if __name__ == "__main__":
    ask = "curl -X POST -H 'Idempotency-Key: %s' '{url}/deliveries/%s?text=hello'"
    asked = [ask % each for each in [(1, "works"), (1, "works"), (2, "recovers")]]
    ask += "  # fails on purpose: see the log"
    asked += [ask % each for each in [(3, "refuses"), (4, "hangs")]]
    serve(app, *asked, "curl {url}/deliveries  # a few seconds later", "curl {url}/metrics")
