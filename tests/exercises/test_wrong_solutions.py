"""Each wrong solution in `wrong.py` fails a test which our solution passes in the same way."""

import gc
import sys
from collections import Counter
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis.errors import FlakyFailure

from minibg.examples import solutions
from tests.exercises import test_progress
from tests.exercises.wrong import WRONG, Wrong


def exercise_of(wrong: Wrong) -> str:
    return str(sys.modules[wrong.test.__module__].EXERCISE)


ONCE_EACH = {(wrong.test, *wrong.arguments.items()): wrong for wrong in WRONG}.values()
"""For each test, with what it is given, one of those that it notices."""


def call_test(wrong: Wrong, solution: Any, backend: str) -> None:
    wrong.test(solution=solution, backend=backend, **wrong.arguments)


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_a_wrong_solution_is_noticed(
    backend: str, wrong: Wrong, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(test_progress, "SECONDS", 0.3)  # what hangs does so for good
    unshrunk = settings(phases=[Phase.generate], max_examples=500)
    # Hypothesis has no public way to say so here.
    monkeypatch.setattr(wrong.test, "_hypothesis_internal_use_settings", unshrunk, raising=False)
    with pytest.raises((AssertionError, TimeoutError, FlakyFailure)):
        call_test(wrong, wrong.solution, backend)
    gc.collect()  # what it has lost speaks up now, and not in another test


@pytest.mark.parametrize("wrong", ONCE_EACH, ids=lambda wrong: wrong.test.__name__)
def test_ours_passes_that_test(backend: str, wrong: Wrong) -> None:
    call_test(wrong, getattr(solutions, exercise_of(wrong)), backend)


def test_there_are_wrong_solutions_of_each_exercise() -> None:
    count = Counter(exercise_of(wrong) for wrong in WRONG)
    assert len(count) == 8
    assert min(count.values()) >= 3
