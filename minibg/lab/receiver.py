"""The receiver of webhooks: it answers 202 and does its work in the background.

What may live here: the application and its tasks, as a user of minibg would write them.
"""

import hmac
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from urllib.request import ProxyHandler, build_opener

from minibg import BackgroundTasks, Middleware, MiniBG, Request
from minibg.concurrency import run_in_background_thread
from minibg.lab.recorder import (
    FailFastRecordingTasks,
    Recording,
    RecordingMiddleware,
    RecordingTasks,
    current_recording,
)

MAX_PAYLOAD = 25 * 1024 * 1024
"""The size in bytes of the largest payload that GitHub sends, as it documents."""


@dataclass
class Delivery:
    """One webhook, and the first task's verdict on its signature."""

    id: str
    body: bytes
    signature: str
    verdict: str = "not verified"


def sign(secret: bytes, body: bytes) -> str:
    """The `X-Hub-Signature-256` of a body, as GitHub computes it."""
    return "sha256=" + hmac.digest(secret, body, "sha256").hex()


async def verify_signature(delivery: Delivery, secret: bytes) -> None:
    """Check whether the sender knows the secret. It is async, since a hop would take longer."""
    expected = sign(secret, delivery.body)
    is_valid = hmac.compare_digest(delivery.signature.encode(), expected.encode())
    delivery.verdict = "valid" if is_valid else "invalid"


def call_downstream(delivery: Delivery, url: str) -> None:
    """Pass the delivery on. A status of 400 or more is a failure too."""
    direct = build_opener(ProxyHandler({}))  # downstream is on this machine, whatever proxy is set
    direct.open(url, delivery.body, timeout=5).close()


def store_delivery(delivery: Delivery, database: Path) -> None:
    """Store the delivery, with the verdict on its signature."""
    row = (delivery.id, delivery.verdict, delivery.body)
    with closing(sqlite3.connect(database, timeout=60)) as connection, connection:
        connection.execute("INSERT INTO deliveries VALUES (?, ?, CAST(? AS TEXT))", row)


def write_log(delivery: Delivery, log: Path) -> None:
    """Append a line for people to read."""
    with log.open("a", encoding="utf-8") as lines:
        lines.write(f"{delivery.id} {len(delivery.body)} bytes, signature {delivery.verdict}\n")


def create_app(
    directory: Path, secret: bytes, downstream: str, on_end: Callable[[Recording], object]
) -> MiniBG:
    """The receiver.

    Args:
        directory: Where it keeps `deliveries.sqlite` and `deliveries.log`.
        secret: The secret with which its senders sign.
        downstream: The URL to which each delivery is passed on.
        on_end: Called with the recording of each request when its last task has ended.
    """
    database, log = directory / "deliveries.sqlite", directory / "deliveries.log"

    def create_table() -> None:
        with closing(sqlite3.connect(database)) as connection:
            connection.execute("CREATE TABLE deliveries (id, signature, payload)")

    @asynccontextmanager
    async def lifespan(app: MiniBG) -> AsyncIterator[None]:
        await run_in_background_thread(create_table)
        yield

    async def accept(request: Request, tasks: BackgroundTasks) -> dict[str, str]:
        current_recording.get().note("endpoint entered")
        delivery = Delivery(
            id=request.headers.get("x-github-delivery", ""),
            body=await request.body(),
            signature=request.headers.get("x-hub-signature-256", ""),
        )
        tasks.add_task(verify_signature, delivery, secret)
        tasks.add_task(call_downstream, delivery, downstream)
        tasks.add_task(store_delivery, delivery, database)
        tasks.add_task(write_log, delivery, log)
        return {"accepted": delivery.id}

    app = MiniBG(
        middleware=[Middleware(RecordingMiddleware, on_end)],
        lifespan=lifespan,
        max_body_size=MAX_PAYLOAD,
    )

    @app.post("/webhook", status_code=202)
    async def receive(request: Request, tasks: RecordingTasks) -> dict[str, str]:
        return await accept(request, tasks)

    @app.post("/webhook/fail-fast", status_code=202)
    async def receive_fail_fast(request: Request, tasks: FailFastRecordingTasks) -> dict[str, str]:
        return await accept(request, tasks)

    return app
