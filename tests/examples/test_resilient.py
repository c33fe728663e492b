"""The example `resilient`: retries, logs and counts, and deliveries that are made only once."""

import sqlite3
from contextlib import closing
from pathlib import Path
from time import monotonic

import httpx
import pytest

from minibg.examples import resilient
from tests.examples.conftest import serving
from tests.servers.live import LIMIT


@pytest.fixture(autouse=True)
def database(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the example keeps its deliveries. Nothing is counted yet, and no attempt too slow."""
    monkeypatch.setattr(resilient, "TIME_LIMIT", LIMIT)
    resilient.metrics.clear()
    return directory / "deliveries.sqlite"


def ask(client: httpx.Client, key: str, receiver: str, text: str = "hello") -> httpx.Response:
    """Have a text delivered."""
    return client.post(
        f"/deliveries/{receiver}", params={"text": text}, headers={"idempotency-key": key}
    )


def insert(database: Path, state: str) -> None:
    """Have it that "hello" was asked to be delivered to the receiver that works."""
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("INSERT INTO deliveries VALUES ('1', 'works', 'hello', ?)", [state])


def wait_for(client: httpx.Client, key: str) -> str:
    """What became of a delivery, as soon as it is known."""
    end = monotonic() + LIMIT
    while monotonic() < end:
        state: str = client.get("/deliveries").json()[key]
        if state != "accepted":
            return state
    raise AssertionError(f"{key} is still under way")


def deliver(receiver: str) -> str:
    """What becomes of a delivery to that receiver, after its task has ended."""
    with serving(resilient.app) as client:
        answer = ask(client, "1", receiver)
        assert (answer.status_code, answer.json()) == (202, {"state": "accepted"})
        return wait_for(client, "1")


def failures(caplog: pytest.LogCaptureFixture) -> list[type[BaseException] | None]:
    """The classes of the exceptions that the task list has logged."""
    records = [record for record in caplog.records if record.name == "minibg.background"]
    return [record.exc_info[0] for record in records if record.exc_info]


def test_a_delivery_that_succeeds_is_tried_once(caplog: pytest.LogCaptureFixture) -> None:
    assert deliver("works") == "delivered"
    assert resilient.metrics == {"run": 1, "retried": 0}
    assert failures(caplog) == []


def test_a_receiver_that_recovers_gets_the_delivery(caplog: pytest.LogCaptureFixture) -> None:
    assert deliver("recovers") == "delivered"
    assert resilient.metrics == {"run": 1, "retried": 2}
    assert failures(caplog) == []
    retries = [message for message in caplog.messages if ": again in " in message]
    assert len(retries) == 2
    assert all("503" in message for message in retries)


def test_a_receiver_that_hangs_costs_each_attempt_its_time_limit(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resilient, "TIME_LIMIT", 0.1)
    assert deliver("hangs") == "failed"
    assert resilient.metrics == {"run": 1, "retried": 2, "failed": 1}
    assert failures(caplog) == [TimeoutError]


def test_a_receiver_that_refuses_is_not_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    assert deliver("refuses") == "failed"
    assert resilient.metrics == {"run": 1, "retried": 0, "failed": 1}
    assert failures(caplog) == [httpx.HTTPStatusError]


@pytest.mark.parametrize("state", ["accepted", "delivered"])
def test_a_request_that_is_repeated_starts_nothing(state: str, database: Path) -> None:
    with serving(resilient.app) as client:
        insert(database, state)
        answer = ask(client, "1", "works")
    assert (answer.status_code, answer.json()) == (202, {"state": state})
    assert resilient.metrics["run"] == 0


def test_what_has_failed_may_be_asked_for_again() -> None:
    with serving(resilient.app) as client:
        for _ in range(2):
            assert ask(client, "1", "refuses").json() == {"state": "accepted"}
            assert wait_for(client, "1") == "failed"
    assert resilient.metrics["run"] == 2


@pytest.mark.parametrize(("receiver", "text"), [("recovers", "hello"), ("works", "good bye")])
@pytest.mark.parametrize("state", ["delivered", "failed"])
def test_a_key_belongs_to_one_delivery(
    receiver: str, text: str, state: str, database: Path
) -> None:
    with serving(resilient.app) as client:
        insert(database, state)
        assert ask(client, "1", receiver, text).status_code == 422
        assert client.get("/deliveries").json() == {"1": state}
    assert resilient.metrics["run"] == 0


def test_what_a_crash_interrupted_may_be_asked_for_again(database: Path) -> None:
    with serving(resilient.app):
        insert(database, "accepted")
    with serving(resilient.app) as client:
        assert client.get("/deliveries").json() == {"1": "failed"}
        ask(client, "1", "works")
        assert wait_for(client, "1") == "delivered"


def test_a_request_without_a_key_is_refused() -> None:
    with serving(resilient.app) as client:
        assert client.post("/deliveries/works", params={"text": "hello"}).status_code == 400
        assert client.get("/deliveries").json() == {}


def test_what_is_counted_can_be_read() -> None:
    resilient.metrics.update(run=3, failed=1)
    with serving(resilient.app) as client:
        answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert answer.text.splitlines() == [
        "background_tasks_run_total 3",
        "background_tasks_failed_total 1",
        "background_tasks_retried_total 0",
    ]
