"""The fixture `background_tasks`, as the team of an application uses it."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLUGIN = "minibg.ext.pytest"
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


def outcome_of(directory: Path, test: str, *, alone: bool = True) -> tuple[dict[str, int], str]:
    """How many tests passed, failed and so on, and what pytest said.

    Args:
        alone: Whether pytest leaves out the plugins that it finds installed. Most of its start is
            theirs.
    """
    (directory / "application.py").write_text(APPLICATION)
    (directory / "conftest.py").write_text(f'pytest_plugins = ["{PLUGIN}"]\n')
    (directory / "test_it.py").write_text(f"from application import *\n\n{test}\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    env = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1" if alone else ""}
    done = subprocess.run(
        command, cwd=directory, env=env, capture_output=True, text=True, check=False, timeout=50
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


def test_a_conftest_may_name_the_plugin_beside_its_entry_point(tmp_path: Path) -> None:
    test = "def test_it(background_tasks): request(fail)"
    assert outcome_of(tmp_path, test, alone=False)[0] == {"failed": 1}


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


@pytest.mark.parametrize(
    "off",
    [
        'logging.getLogger("minibg").setLevel("CRITICAL")',
        'logging.disable("CRITICAL")',
        'logging.getLogger("minibg.background").addFilter(lambda record: False)',
        'logging.getLogger("minibg.background").propagate = False',
    ],
)
def test_it_hears_of_failures_that_the_log_leaves_out(tmp_path: Path, off: str) -> None:
    test = f"import logging\n\ndef test_it(background_tasks):\n    {off}\n    request(fail)"
    assert outcome_of(tmp_path, test)[0] == {"failed": 1}


def test_what_failed_otherwise_is_shown_beside_its_tasks(tmp_path: Path) -> None:
    test = "def test_it(background_tasks):\n    request(fail)\n    assert [] == [1]"
    counts, told = outcome_of(tmp_path, test)
    assert counts == {"failed": 1}
    assert "assert [] == [1]" in told
    assert "ERROR background task application.fail failed" in told


def test_another_failure_is_told_alone_where_no_task_failed(tmp_path: Path) -> None:
    """What failed otherwise is told alone where no task failed."""
    counts, told = outcome_of(tmp_path, "def test_it(background_tasks): assert [] == [1]")
    assert counts == {"failed": 1}
    assert "background task " not in told


def test_what_a_policy_says_below_a_warning_fails_no_test(tmp_path: Path) -> None:
    test = """
import logging

def test_it(background_tasks, caplog):
    caplog.set_level("INFO")
    logging.getLogger("minibg.background").info("a task is tried again")
    assert "tried again" in caplog.text
"""
    assert outcome_of(tmp_path, test)[0] == {"passed": 1}


def test_tasks_that_another_fixture_has_run_at_its_end_count_too(tmp_path: Path) -> None:
    test = """
import pytest

@pytest.fixture
def application(background_tasks):
    yield
    request(fail)

def test_it(application): ...
"""
    assert outcome_of(tmp_path, test)[0] == {"passed": 1, "error": 1}


def test_a_failure_may_be_expected_by_a_mark(tmp_path: Path) -> None:
    test = "import pytest\n@pytest.mark.xfail\ndef test_it(background_tasks): request(fail)"
    assert outcome_of(tmp_path, test)[0] == {"xfailed": 1}


def test_a_test_case_of_unittests_has_it_by_a_mark(tmp_path: Path) -> None:
    test = """
import unittest
import pytest

@pytest.mark.usefixtures("background_tasks")
class TestIt(unittest.TestCase):
    def test_it(self): request(fail)
"""
    assert outcome_of(tmp_path, test)[0] == {"failed": 1}


@pytest.mark.parametrize(
    ("first", "outcome"),
    [("background_tasks", {"failed": 1, "passed": 1}), ("tmp_path", {"passed": 2})],
)
def test_what_a_test_has_left_behind_fails_no_other(
    tmp_path: Path, first: str, outcome: dict[str, int]
) -> None:
    """A list in a cycle of references is named when the garbage collector finds it."""
    test = f"""
def test_first({first}):
    cycle = [BackgroundTasks()]
    cycle[0].add_task(print)
    cycle.append(cycle)

def test_second(background_tasks):
    import gc
    gc.collect()
"""
    assert outcome_of(tmp_path, test)[0] == outcome


def test_pytest_finds_the_plugin_where_minibg_is_installed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {PLUGIN: PLUGIN}
