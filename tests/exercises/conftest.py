"""Whose solutions are checked: ours, or those of the module that `--solutions` names.

What may live here: finding the solutions. What must hold for one is said by its tests.
"""

import sys
from importlib import import_module
from inspect import isclass
from pathlib import Path
from typing import Any

import pytest

from minibg import BackgroundTasks

OURS = "minibg.examples.solutions"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option. It is known where the directory of this file is named on the command line."""
    parser.addoption(
        "--solutions",
        default=OURS,
        metavar="MODULE",
        help="the module whose solutions of the exercises are checked, my_module for my_module.py",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Import the reader's module, which lies in the directory where pytest was started."""
    name = config.getoption("--solutions", OURS)
    if name != OURS:
        sys.path.insert(0, str(config.invocation_params.dir))
        try:
            module = import_module(name)
        except Exception as exc:
            raise pytest.UsageError(
                f"--solutions {name}: the module cannot be imported: {type(exc).__name__}: {exc}"
            ) from exc
        if exercises().isdisjoint(vars(module)):
            asked = ", ".join(sorted(exercises()))
            raise pytest.UsageError(f"--solutions {name}: the module has none of {asked}")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out, where the reader's are checked, what shows that the tests notice wrong ones."""
    is_ours = config.getoption("--solutions", OURS) == OURS
    return None if is_ours or collection_path.name != "test_wrong_solutions.py" else True


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say which exercises were not checked, as the reader's module does not have them."""
    name = config.getoption("--solutions", OURS)
    if missing := exercises() - vars(import_module(name)).keys():
        terminalreporter.line(f"not checked, as {name} has no {', '.join(sorted(missing))}")


def exercises() -> set[str]:
    """The names of the classes that are asked for: those of our solutions."""
    ours = vars(import_module(OURS))
    return {name for name, found in ours.items() if is_solution(found) and name[0] != "_"}


def is_solution(found: Any) -> bool:
    """Whether it is a class of lists, and not one that it is made of."""
    return isclass(found) and issubclass(found, BackgroundTasks) and found is not BackgroundTasks


@pytest.fixture
def solution(request: pytest.FixtureRequest) -> Any:
    """The class that the exercise asks for; a reader may have solved some exercises only."""
    module = import_module(request.config.getoption("--solutions", OURS))
    exercise = request.module.EXERCISE
    if not hasattr(module, exercise):
        pytest.skip(f"the module {module.__name__} has no class {exercise}")
    found = getattr(module, exercise)
    if not is_solution(found):
        pytest.fail(f"{module.__name__}.{exercise} is no class of lists: {found!r}", pytrace=False)
    return found
