"""Leaves out the tests of wrong solutions when a reader's solutions are checked."""

from pathlib import Path

import pytest

from tests.exercises.solving import OURS


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave it out."""
    is_ours = config.getoption("--solutions") == OURS
    return None if is_ours or collection_path.name != "test_wrong_solutions.py" else True
