"""The option `--solutions MODULE`, and the fixture `solution`: the class that an exercise asks for.

It serves our exercises, and those that live elsewhere: a file of tests with an `EXERCISE` of its
own, started from here with `python -m pytest -p tests.exercises.solving FILE --solutions MODULE`.

What may live here: finding the solution. The tests of an exercise say what must hold for one.
"""

import sys
from importlib import import_module
from inspect import isclass
from pathlib import Path
from typing import Any

import pytest

from minibg import BackgroundTasks
from tests.conftest import backend

__all__ = ["backend"]  # an exercise that lives elsewhere has the event loops too

OURS = "minibg.examples.solutions"
SECONDS = 60
"""How long a test of an exercise that lives elsewhere may take."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    parser.addoption(
        "--solutions",
        default=OURS,
        metavar="MODULE",
        help="the module whose solutions of the exercises are checked, my_module for my_module.py",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Import the reader's module, which lies in the directory where pytest was started."""
    name = config.getoption("--solutions")
    if name.endswith(".py"):
        raise pytest.UsageError(f"--solutions {name}: a module is meant, {Path(name).stem}")
    if name != OURS:
        sys.path.insert(0, str(config.invocation_params.dir))
        try:
            import_module(name)
        except (Exception, SystemExit) as exc:
            raise pytest.UsageError(
                f"--solutions {name}: the module cannot be imported: {type(exc).__name__}: {exc}"
            ) from exc


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give a test that lives elsewhere, where our settings do not hold, a limit of time."""
    known = any(map(config.pluginmanager.hasplugin, ("timeout", "pytest_timeout")))
    if known and not (config.getini("timeout") or config.getoption("timeout")):
        for item in items:
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(SECONDS))


def exercises() -> set[str]:
    """The names of the classes that our exercises ask for: those of our solutions."""
    ours = vars(import_module(OURS))
    return {name for name, found in ours.items() if is_solution(found) and name[0] != "_"}


def is_solution(found: Any) -> bool:
    """Whether it is a class of lists, and not one that it is made of."""
    return isclass(found) and issubclass(found, BackgroundTasks) and found is not BackgroundTasks


@pytest.fixture
def solution(request: pytest.FixtureRequest) -> Any:
    """The class that the exercise asks for."""
    module = import_module(request.config.getoption("--solutions"))
    exercise = request.module.EXERCISE
    if not hasattr(module, exercise):
        pytest.fail(
            f"{module.__name__} has no class {exercise}, which {request.path.name} checks; to "
            "check other exercises, name their files",
            pytrace=False,
        )
    found = getattr(module, exercise)
    if not is_solution(found):
        pytest.fail(f"{module.__name__}.{exercise} is no class of lists: {found!r}", pytrace=False)
    return found
