"""Shared by all tests: the event loops, the number of inputs from Hypothesis, and who runs what."""

import gc
import logging
import os
from collections.abc import Generator
from typing import Any

import pytest
from _pytest.logging import LogCaptureHandler
from hypothesis import HealthCheck, Phase, settings

pytest_plugins = ["tests.exercises.solving", "tests.examples.trying"]

# A fixture of this file is the same for every example, so that it is not made anew is no mistake.
# The phase `explain` takes longer than all others, and what it finds is not reported.
settings.register_profile(
    "ci",
    phases=[phase for phase in Phase if phase is not Phase.explain],
    derandomize=True,
    report_multiple_bugs=False,
    deadline=None,
    max_examples=50,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
settings.register_profile("dev", settings.get_profile("ci"), derandomize=False, max_examples=10)
settings.register_profile("deep", settings.get_profile("ci"), derandomize=False, max_examples=500)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def pytest_configure(config: pytest.Config) -> None:
    """Know the mark of the tests of a rule that ask for it alone, and are asked first."""
    config.addinivalue_line(
        "markers", "basic(before): asks for its own rule alone, so before others"
    )


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int | None:
    """Two for each core, as many a test waits for a server's process."""
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None
    if hasattr(os, "sched_getaffinity"):  # a container may have fewer than the machine
        return 2 * len(os.sched_getaffinity(0))
    return 2 * (os.cpu_count() or 1)


@pytest.hookimpl(optionalhook=True)
def pytest_handlecrashitem(crashitem: str, report: pytest.TestReport) -> None:
    """Name the rule of a test that has ended its worker, as one does that hangs."""
    if crashitem.startswith("tests/rules/"):
        from tests.rules.language.telling import report_of  # noqa: PLC0415  # rules are looked at if broken

        died = SystemExit(str(report.longrepr))
        report.longrepr = f"{report_of(crashitem, '', died)}\n\n{report.longrepr}"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Whoever is done takes from the others: so a module, with what it starts, stays together."""
    if config.getoption("dist") != "load":  # what `-n` alone means
        return None
    from xdist.scheduler import WorkStealingScheduling  # noqa: PLC0415  # the hook is xdist's

    return WorkStealingScheduling(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect no garbage while modules are imported: they hardly make any."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


@pytest.fixture(scope="module", autouse=True)
def _garbage_of_one_module() -> None:
    """Keep the garbage collector from searching what was there before the tests of this module.

    Many a test collects garbage, and would search for a tenth of a second each time.
    """
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    """Let pytest's last collection find what was lost after it had been frozen."""
    gc.unfreeze()


@pytest.fixture(params=["asyncio", "trio"])
def backend(request: pytest.FixtureRequest) -> str:
    """The event loop that a test runs on: pass it to `anyio.run(..., backend=backend)`."""
    return str(request.param)


def handled_loggers() -> set[str]:
    """The loggers whose records somebody handles; pytest's own handlers come and go."""
    return {
        name
        for name, logger in logging.root.manager.loggerDict.items()
        for handler in getattr(logger, "handlers", ())
        if not isinstance(handler, (logging.NullHandler, LogCaptureHandler))
    }


@pytest.fixture(autouse=True)
def _logging_as_found() -> Generator[None]:
    """Refuse a test that configures logging for those that come after it in its process."""
    before = handled_loggers()
    yield
    assert handled_loggers() == before, "the test leaves a handler of a logger behind"
