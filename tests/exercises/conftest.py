"""Whose solutions are checked: ours, or those of the module that `--solutions` names.

What may live here: finding the solutions. What must hold for one is said by its tests.
"""

import sys
from importlib import import_module
from typing import Any

import pytest

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
            import_module(name)
        except Exception as exc:
            raise pytest.UsageError(
                f"--solutions {name}: the module cannot be imported: {type(exc).__name__}: {exc}"
            ) from exc


@pytest.fixture
def solution(request: pytest.FixtureRequest) -> Any:
    """The class that the exercise asks for."""
    module = import_module(request.config.getoption("--solutions", OURS))
    exercise = request.module.EXERCISE
    if not isinstance(getattr(module, exercise, None), type):
        pytest.fail(f"the module {module.__name__} has no class {exercise}", pytrace=False)
    return getattr(module, exercise)
