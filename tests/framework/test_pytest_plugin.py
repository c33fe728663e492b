"""The fixture `background_tasks`, as the team of an application uses it."""

import os
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.processes import printed_by, spawned

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


PREPARED = """
import os, sys
from importlib import import_module
import anyio, minibg, pytest
from _pytest.config import default_plugins

anyio.run(anyio.sleep, 0)  # imports asyncio
for plugin in default_plugins:
    import_module("_pytest." + plugin)
for directory in sys.stdin:
    if os.fork() == 0:
        os.chdir(directory.rstrip())
        os.dup2(os.open("told.txt", os.O_WRONLY | os.O_CREAT), 1)
        sys.exit(pytest.main(["-q", "-p", "no:cacheprovider"]))
    os.wait()
    print(flush=True)
"""
"""Runs pytest in each directory that it is told, in a copy of itself that has imported the most."""


@pytest.fixture(scope="module")
def prepared() -> Iterator[subprocess.Popen[str]]:
    """The process that runs it. It leaves out the plugins that pytest finds installed."""
    env = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-c", PREPARED]
    pipe = subprocess.PIPE
    with spawned(command, env=env, stdin=pipe, stdout=pipe, text=True) as process:
        yield process


Outcome = tuple[dict[str, int], str]
"""How many tests passed, failed and so on, and what pytest said."""

OutcomeOf = Callable[[str], Outcome]
"""Runs pytest on a test of that text."""


@pytest.fixture
def outcome_of(tmp_path: Path, prepared: subprocess.Popen[str]) -> OutcomeOf:
    def run(test: str) -> Outcome:
        assert prepared.stdin is not None
        assert prepared.stdout is not None
        write(tmp_path, test)
        print(tmp_path, file=prepared.stdin, flush=True)
        assert prepared.stdout.readline() == "\n"
        return outcome((tmp_path / "told.txt").read_text())

    return run


def write(directory: Path, test: str) -> None:
    (directory / "application.py").write_text(APPLICATION)
    (directory / "conftest.py").write_text(f'pytest_plugins = ["{PLUGIN}"]\n')
    (directory / "test_it.py").write_text(f"from application import *\n\n{test}\n")


def outcome(told: str) -> Outcome:
    summary = told.rstrip().splitlines()[-1].split(" in ")[0].replace("errors", "error")
    counted = (part.split() for part in summary.split(", "))
    return {what: int(number) for number, what in counted}, told


def test_a_task_that_failed_fails_the_test(outcome_of: OutcomeOf) -> None:
    counts, told = outcome_of("def test_it(background_tasks): request(fail)")
    assert counts == {"failed": 1}
    assert "ERROR background task application.fail failed" in told
    assert "OSError: the mail server is down" in told


def test_a_task_that_was_not_run_fails_the_test(outcome_of: OutcomeOf) -> None:
    test = "def test_it(background_tasks): request(print, run=False)"
    counts, told = outcome_of(test)
    assert counts == {"failed": 1}
    assert "WARNING background tasks not run (no run took them): builtins.print" in told


def test_tasks_that_ended_fail_no_test(outcome_of: OutcomeOf) -> None:
    counts, _ = outcome_of("def test_it(background_tasks): request(list, dict)")
    assert counts == {"passed": 1}


def test_a_conftest_may_name_the_plugin_beside_its_entry_point(tmp_path: Path) -> None:
    write(tmp_path, "def test_it(background_tasks): request(fail)")
    command = ["-m", "pytest", "-q", "-p", "no:cacheprovider"]
    env = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": ""}
    _, told = printed_by(*command, cwd=tmp_path, env=env, timeout=50)
    assert outcome(told)[0] == {"failed": 1}


def test_a_test_may_expect_a_failure(outcome_of: OutcomeOf) -> None:
    test = """def test_it(background_tasks):
        request(fail)
        (complaint,) = background_tasks
        assert "application.fail failed" in complaint
        background_tasks.clear()
    """
    assert outcome_of(test)[0] == {"passed": 1}


@pytest.mark.parametrize("option", ["-o", "-c"])
def test_a_test_that_does_not_ask_for_it_is_left_alone(
    tmp_path: Path, outcome_of: OutcomeOf, option: str
) -> None:
    """All are asked at once by `usefixtures` in the configuration."""
    test = "def test_it(): request(fail)"
    if option == "-o":
        assert outcome_of(test)[0] == {"passed": 1}
    else:
        (tmp_path / "pytest.ini").write_text("[pytest]\nusefixtures = background_tasks\n")
        assert outcome_of(test)[0] == {"failed": 1}


def test_it_hears_of_failures_though_logging_is_off(outcome_of: OutcomeOf) -> None:
    """`logging.config` disables the loggers that it does not name, unless it is told not to."""
    test = """import logging.config
def test_it(background_tasks):
    request(fail)
logging.config.dictConfig({"version": 1})
"""
    assert outcome_of(test)[0] == {"failed": 1}


@pytest.mark.parametrize(
    "off",
    [
        'logging.getLogger("minibg").setLevel("CRITICAL")',
        'logging.disable("CRITICAL")',
        'logging.getLogger("minibg.background").addFilter(lambda record: False)',
        'logging.getLogger("minibg.background").propagate = False',
    ],
)
def test_it_hears_of_failures_that_the_log_leaves_out(outcome_of: OutcomeOf, off: str) -> None:
    test = f"import logging\n\ndef test_it(background_tasks):\n    {off}\n    request(fail)"
    assert outcome_of(test)[0] == {"failed": 1}


def test_what_failed_otherwise_is_shown_beside_its_tasks(outcome_of: OutcomeOf) -> None:
    test = "def test_it(background_tasks):\n    request(fail)\n    assert [] == [1]"
    counts, told = outcome_of(test)
    assert counts == {"failed": 1}
    assert "assert [] == [1]" in told
    assert "ERROR background task application.fail failed" in told


def test_another_failure_is_told_alone_where_no_task_failed(outcome_of: OutcomeOf) -> None:
    """What failed otherwise is told alone where no task failed."""
    counts, told = outcome_of("def test_it(background_tasks): assert [] == [1]")
    assert counts == {"failed": 1}
    assert "background task " not in told


def test_what_a_policy_says_below_a_warning_fails_no_test(outcome_of: OutcomeOf) -> None:
    test = """
import logging

def test_it(background_tasks, caplog):
    caplog.set_level("INFO")
    logging.getLogger("minibg.background").info("a task is tried again")
    assert "tried again" in caplog.text
"""
    assert outcome_of(test)[0] == {"passed": 1}


def test_tasks_that_another_fixture_has_run_at_its_end_count_too(outcome_of: OutcomeOf) -> None:
    test = """
import pytest

@pytest.fixture
def application(background_tasks):
    yield
    request(fail)

def test_it(application): ...
"""
    assert outcome_of(test)[0] == {"passed": 1, "error": 1}


def test_a_failure_may_be_expected_by_a_mark(outcome_of: OutcomeOf) -> None:
    test = "import pytest\n@pytest.mark.xfail\ndef test_it(background_tasks): request(fail)"
    assert outcome_of(test)[0] == {"xfailed": 1}


def test_a_test_case_of_unittests_has_it_by_a_mark(outcome_of: OutcomeOf) -> None:
    test = """
import unittest
import pytest

@pytest.mark.usefixtures("background_tasks")
class TestIt(unittest.TestCase):
    def test_it(self): request(fail)
"""
    assert outcome_of(test)[0] == {"failed": 1}


@pytest.mark.parametrize(
    ("first", "outcome"),
    [("background_tasks", {"failed": 1, "passed": 1}), ("tmp_path", {"passed": 2})],
)
def test_what_a_test_has_left_behind_fails_no_other(
    outcome_of: OutcomeOf, first: str, outcome: dict[str, int]
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
    assert outcome_of(test)[0] == outcome


def test_pytest_finds_the_plugin_where_minibg_is_installed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {PLUGIN: PLUGIN}
