"""The example `webhook`: which deliveries are answered, stored, or only logged."""

import logging
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest

from minibg.examples import webhook
from tests.examples.conftest import serving

SECRET = b"It's a Secret to Everybody"
SIGNATURE = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
"""What GitHub's documentation gives for "Hello, World!"."""

PUSH = b'{"repository": {"full_name": "octocat/hello"}}'

Deliver = Callable[..., int]


@contextmanager
def delivering() -> Iterator[Deliver]:
    """Delivers to the example and gives the status; what it left behind has run at the end."""
    with serving(webhook.app) as client:

        def deliver(body: bytes, signature: str | None = None, delivery: str = "1") -> int:
            headers = {
                "x-github-delivery": delivery,
                "x-github-event": "push",
                "x-hub-signature-256": webhook.sign(body) if signature is None else signature,
            }
            latin = httpx.Headers(headers, encoding="latin-1")
            return client.post("/webhook", content=body, headers=latin).status_code

        yield deliver


@pytest.fixture
def database(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the example stores deliveries; its secret is `SECRET`."""
    monkeypatch.setattr(webhook, "SECRET", SECRET)
    return directory / "webhook.sqlite"


def stored(database: Path) -> list[tuple[str, str, str]]:
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute("SELECT id, event, repository FROM deliveries").fetchall()


def test_a_delivery_is_acknowledged_before_it_is_processed(database: Path) -> None:
    """A delivery is acknowledged also while it cannot be processed yet."""
    with (
        delivering() as deliver,
        closing(sqlite3.connect(database, isolation_level=None)) as connection,
    ):
        connection.execute("BEGIN EXCLUSIVE")
        assert deliver(PUSH) == 202
        assert connection.execute("SELECT * FROM deliveries").fetchall() == []
    assert stored(database) == [("1", "push", "octocat/hello")]


def test_a_delivery_that_is_repeated_is_stored_once(database: Path) -> None:
    with delivering() as deliver:
        assert [deliver(PUSH, delivery=delivery) for delivery in ("1", "1", "2")] == [202] * 3
    assert sorted(row[0] for row in stored(database)) == ["1", "2"]


def test_what_is_stored_can_be_read(database: Path) -> None:
    with delivering() as deliver:
        deliver(PUSH)
    with serving(webhook.app) as client:
        answer = client.get("/deliveries")
    assert answer.content == b'[{"id":"1","event":"push","repository":"octocat/hello"}]'


def test_a_body_that_is_no_json_is_acknowledged_and_logged(
    database: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with delivering() as deliver:
        assert deliver(b"Hello, World!", SIGNATURE) == 202
        assert deliver(b"\xff") == 202
    assert stored(database) == []
    assert [(record.name, record.levelno) for record in caplog.records] == [
        ("minibg.examples.webhook", logging.WARNING)
    ] * 2
    assert "delivery 1 is no JSON" in caplog.messages[0]


@pytest.mark.parametrize("signature", ["", SIGNATURE, "sha256=\xff"])
def test_a_body_that_was_not_signed_with_the_secret_is_refused(
    database: Path, signature: str
) -> None:
    with delivering() as deliver:
        assert deliver(PUSH, signature) == 401
    assert stored(database) == []
