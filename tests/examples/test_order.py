"""The example `order`: the sum of the times, the longest of them, and dependent steps.

A second server serves the pages, so that they are still there while the first server ends and waits
for its tasks.
"""

from pathlib import Path

import pytest

from minibg.examples.order import app
from tests.examples.conftest import serving


@pytest.fixture
def log(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that the tasks write to."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return directory / "order.log"


def post(path: str, *urls: str) -> None:
    """Have these pages fetched, of the server `other`; the tasks have ended when this returns."""
    with serving(app) as other, serving(app) as client:
        pages = [url.replace("other", other.base_url.netloc.decode()) for url in urls]
        assert client.post(path, params={"url": pages}).status_code == 202


def seconds_in(log: Path) -> float:
    return float(log.read_text().partition(" seconds ")[0])


def test_tasks_one_after_another_take_the_sum_of_their_times(log: Path) -> None:
    post("/one-after-another", *["http://other/slow/0.4"] * 5)
    assert seconds_in(log) >= 2.0


def test_one_task_that_does_all_at_once_takes_less_than_the_sum(log: Path) -> None:
    post("/at-once", *["http://other/slow/0.4"] * 5)
    assert 0.4 <= seconds_in(log) < 2.0


def test_a_step_is_given_what_the_one_before_it_returned(log: Path) -> None:
    post("/steps", "http://other/slow/0")
    assert log.read_text().startswith("5 words at http://127.0.0.1:")


def test_no_step_runs_after_one_that_failed(log: Path, caplog: pytest.LogCaptureFixture) -> None:
    post("/steps", "gopher://other")
    assert log.read_text() == ""
    assert caplog.messages == ["background task minibg.examples.order.fetch_count_write failed"]


def test_the_log_can_be_read_before_and_after_a_task(log: Path) -> None:
    with serving(app) as client:
        assert client.get("/log").content == b""
        log.write_text("5 words\n")
        assert client.get("/log").content == b"5 words\n"
