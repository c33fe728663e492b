"""A webhook of a GitHub repository: acknowledged with 202 at once, processed afterwards.

Read `receive` first: the sender waits for no more than this. Then `signed_body`, which decides who
is let in, and `process`, which runs when the answer has left, and may take as long as it needs.

GitHub counts a delivery as failed if the answer takes longer than ten seconds, or has a status of
400 or more. So the answer does not depend on the payload: a body that is not JSON is acknowledged
too, and logged. Only a body that was not signed with the secret is refused.

To receive from GitHub, choose `application/json` as the content type there, and set the environment
variable `GITHUB_WEBHOOK_SECRET` to the secret.
"""

import hmac
import json
import logging
import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Annotated, Any

from minibg import BackgroundTasks, Depends, HTTPException, MiniBG, Request
from minibg.examples.serve import directory, serve

# By default the one in GitHub's documentation, so that its example of a signature can be tried.
SECRET = os.environ.get("GITHUB_WEBHOOK_SECRET", "It's a Secret to Everybody").encode()

logger = logging.getLogger("minibg.examples.webhook")


@asynccontextmanager
async def lifespan(app: MiniBG) -> AsyncIterator[dict[str, Path]]:
    database = directory() / "webhook.sqlite"
    with closing(sqlite3.connect(database)) as connection:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS deliveries (id PRIMARY KEY, event, repository)"
        )
    print(f"deliveries are stored in {database}", flush=True)
    yield {"database": database}


app = MiniBG(lifespan=lifespan, max_body_size=25 * 1024 * 1024)  # GitHub sends no more than that


def sign(body: bytes) -> str:
    """The `X-Hub-Signature-256` of a body."""
    return "sha256=" + hmac.digest(SECRET, body, "sha256").hex()


async def signed_body(request: Request) -> bytes:
    """The raw body, if the sender knows the secret."""
    body = await request.body()
    signature = request.headers.get("x-hub-signature-256", "")
    if not hmac.compare_digest(signature.encode(), sign(body).encode()):
        raise HTTPException(401, "X-Hub-Signature-256 is not that of this body")
    return body


@app.post("/webhook", status_code=202)
async def receive(
    request: Request, body: Annotated[bytes, Depends(signed_body)], tasks: BackgroundTasks
) -> dict[str, str]:
    delivery = request.headers.get("x-github-delivery", "")
    event = request.headers.get("x-github-event", "")
    tasks.add_task(process, request.state.database, delivery, event, body)
    return {"accepted": delivery}


def process(database: Path, delivery: str, event: str, body: bytes) -> None:
    """Store the event and its repository; if GitHub repeats a delivery, its id is there already."""
    try:
        payload = json.loads(body)
    except ValueError as exc:
        logger.warning("delivery %s is no JSON: %s", delivery, exc)
        return
    row = (delivery, event, payload["repository"]["full_name"])
    with closing(sqlite3.connect(database, timeout=60)) as connection, connection:
        connection.execute("INSERT OR IGNORE INTO deliveries VALUES (?, ?, ?)", row)


@app.get("/deliveries")
def deliveries(request: Request) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(request.state.database)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute("SELECT * FROM deliveries")]


def curl(delivery: str, event: str, body: str) -> str:
    """The command that delivers this body as GitHub does."""
    return (
        f"curl -i {{url}}/webhook -H 'X-GitHub-Event: {event}' -H 'X-GitHub-Delivery: {delivery}' "
        f"-H 'X-Hub-Signature-256: {sign(body.encode())}' -d '{body}'"
    )


if __name__ == "__main__":
    serve(
        app,
        curl("1", "push", '{"repository": {"full_name": "octocat/hello"}}'),
        curl("2", "push", "Hello, World!"),
        "curl {url}/deliveries",
    )
