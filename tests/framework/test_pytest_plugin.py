"""The fixture `background_tasks`, as the team of an application uses it."""

import subprocess
import sys
from pathlib import Path

import pytest

APPLICATION = """
import anyio
from minibg import BackgroundTasks

def fail():
    raise OSError("the mail server is down")

def request(*tasks, run=True):
    waiting = BackgroundTasks()
    for task in tasks:
        waiting.add_task(task)
    if run:
        anyio.run(waiting)
"""


def outcome_of(directory: Path, test: str, *options: str) -> tuple[dict[str, int], str]:
    """How many tests passed, failed and so on, and what pytest said."""
    (directory / "application.py").write_text(APPLICATION)
    (directory / "conftest.py").write_text('pytest_plugins = ["minibg.ext.pytest"]\n')
    (directory / "test_it.py").write_text(f"from application import *\n\n{test}\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
    done = subprocess.run(
        command, cwd=directory, capture_output=True, text=True, check=False, timeout=50
    )
    summary = done.stdout.rstrip().splitlines()[-1].split(" in ")[0].replace("errors", "error")
    counted = (part.split() for part in summary.split(", "))
    return {what: int(number) for number, what in counted}, done.stdout


def test_a_task_that_failed_fails_the_test(tmp_path: Path) -> None:
    counts, told = outcome_of(tmp_path, "def test_it(background_tasks): request(fail)")
    assert counts == {"failed": 1}
    assert "ERROR background task application.fail failed" in told
    assert "OSError: the mail server is down" in told


def test_a_task_that_was_not_run_fails_the_test(tmp_path: Path) -> None:
    test = "def test_it(background_tasks): request(print, run=False)"
    counts, told = outcome_of(tmp_path, test)
    assert counts == {"failed": 1}
    assert "WARNING background tasks not run (no run took them): builtins.print" in told


def test_tasks_that_ended_fail_no_test(tmp_path: Path) -> None:
    counts, _ = outcome_of(tmp_path, "def test_it(background_tasks): request(list, dict)")
    assert counts == {"passed": 1}


def test_a_test_may_expect_a_failure(tmp_path: Path) -> None:
    test = """def test_it(background_tasks):
        request(fail)
        (complaint,) = background_tasks
        assert "application.fail failed" in complaint
        background_tasks.clear()
    """
    assert outcome_of(tmp_path, test)[0] == {"passed": 1}


@pytest.mark.parametrize("option", ["-o", "-c"])
def test_a_test_that_does_not_ask_for_it_is_left_alone(tmp_path: Path, option: str) -> None:
    """All are asked at once by `usefixtures` in the configuration."""
    test = "def test_it(): request(fail)"
    if option == "-o":
        assert outcome_of(tmp_path, test)[0] == {"passed": 1}
    else:
        (tmp_path / "pytest.ini").write_text("[pytest]\nusefixtures = background_tasks\n")
        assert outcome_of(tmp_path, test)[0] == {"failed": 1}


def test_it_hears_of_failures_though_logging_is_off(tmp_path: Path) -> None:
    """`logging.config` disables the loggers that it does not name, unless it is told not to."""
    test = """import logging.config
def test_it(background_tasks):
    request(fail)
logging.config.dictConfig({"version": 1})
"""
    assert outcome_of(tmp_path, test)[0] == {"failed": 1}
