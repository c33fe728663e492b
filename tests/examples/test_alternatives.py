"""The example `alternatives`: its measurements, and the text that it prints."""

import json
import re
import subprocess
import sys
from typing import Any, NamedTuple

import pytest

from minibg.examples import alternatives
from tests.examples.conftest import serving
from tests.lab.trying import environment
from tests.walkthrough.blocks import recorded
from tests.walkthrough.checks import without_figures

LIMIT = 170
"""Seconds: each way is served and shut down, and a busy machine takes its time."""

pytestmark = pytest.mark.timeout(LIMIT + 10)

WAYS = ["inline", "BackgroundTasks", "Thread", "create_task"]


class Run(NamedTuple):
    """What one run printed, and what it wrote of each way."""

    printed: str
    seen: dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    directory = tmp_path_factory.mktemp("alternatives")
    file = directory / "seen.json"
    done = subprocess.run(
        [sys.executable, "-m", "minibg.examples.alternatives", "--json", str(file)],
        check=True,
        env=environment(directory),
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    assert done.stderr == ""
    return Run(done.stdout, {outcome["way"]: outcome for outcome in json.loads(file.read_text())})


@pytest.mark.parametrize("way", WAYS)
def test_only_inline_does_the_failure_reach_the_client(run: Run, way: str) -> None:
    assert run.seen[way]["status"] == (500 if way == "inline" else 202)


@pytest.mark.parametrize("way", WAYS)
def test_where_no_job_fails_all_ways_answer_alike(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alternatives, "JOBS", {"first": 1, "third": 1})
    with serving(alternatives.app) as client:
        assert client.post(way).status_code == 202


@pytest.mark.parametrize("way", WAYS[1:])
def test_inline_the_client_waits_longest(run: Run, way: str) -> None:
    assert run.seen[way]["ms"] < run.seen["inline"]["ms"]


@pytest.mark.parametrize("way", WAYS)
def test_only_inline_and_as_background_tasks_is_the_order_kept(run: Run, way: str) -> None:
    kept = way in ("inline", "BackgroundTasks")
    assert run.seen[way]["order"] == ("kept" if kept else "not kept")


@pytest.mark.parametrize("way", WAYS)
def test_only_inline_does_the_failure_stop_the_next(run: Run, way: str) -> None:
    third = "not run" if way == "inline" else "ended"
    assert run.seen[way]["jobs"] == f"first ended, third {third}"


LOGGERS = {
    "inline": "uvicorn.error",
    "BackgroundTasks": "minibg.background",
    "Thread": "not logged",
    "create_task": "asyncio",
}


@pytest.mark.parametrize("way", WAYS)
def test_only_in_a_thread_is_the_failure_not_logged(run: Run, way: str) -> None:
    assert run.seen[way]["failure"] == LOGGERS[way]


@pytest.mark.parametrize("way", ["inline", "BackgroundTasks"])
def test_a_server_that_ends_lets_its_own_work_finish(run: Run, way: str) -> None:
    """A server that is told to end lets the work that it knows of finish."""
    assert run.seen[way]["SIGTERM"] == run.seen[way]["jobs"]


@pytest.mark.parametrize("way", ["Thread", "create_task"])
def test_a_server_that_ends_cuts_off_work_unknown_to_it(run: Run, way: str) -> None:
    """A server that is told to end cuts off work that it knows nothing of."""
    assert run.seen[way]["SIGTERM"] == "first cut off, third cut off"


def test_all_that_is_seen_is_printed_whole(run: Run) -> None:
    words = run.printed.replace("│", " ").split()
    for outcome in run.seen.values():
        for value in outcome.values():
            for word in str(value).replace(",", "").split():
                assert word in words


def test_what_the_walkthrough_recorded_is_printed_today(run: Run) -> None:
    _, *lines = recorded("alternatives")
    assert without_figures(run.printed) == without_figures("\n".join(lines))


def test_without_a_file_to_write_it_is_printed_all_the_same(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(alternatives, "measure", lambda way: {"way": way, "status": 202})
    monkeypatch.setattr(sys, "argv", ["alternatives"])
    alternatives.main()
    assert re.findall(r"/(\w+)|(\d+)", capsys.readouterr().out) == [
        *((way, "") for way in WAYS),
        *[("", "202")] * len(WAYS),
    ]
