"""The budget check: each path through minibg is less than 5 % off its budget.

It counts and never times, in a process of its own, in which nothing else traces.
"""

import json
import os
import subprocess
import sys

import pytest

from tests.benchmarks.budget import COMMAND, PYTHON, complaints, read


def test_each_path_is_within_its_budget() -> None:
    budget = read().get(PYTHON)
    if budget is None:
        pytest.skip(f"there is no budget for Python {PYTHON}: {COMMAND}")
    # Coverage would trace that process as well.
    environment = {name: os.environ[name] for name in os.environ if "COVERAGE" not in name}
    command = [sys.executable, "-m", "tests.benchmarks.budget"]
    counted = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    found = complaints(json.loads(counted.stdout), budget)
    assert not found, "\n".join(found)


def test_what_is_five_percent_off_is_named_with_its_budget() -> None:
    """What is five percent off is named with its budget and the way to change it."""
    budget = {"no task": {"calls": 100, "functions": 100, "instructions": 100}}
    counts = {"no task": {"calls": 105, "functions": 104, "instructions": 95}}
    more, less = complaints(counts, budget)
    assert more.startswith("no task: 105 calls, and its budget is 100.")
    assert less.startswith("no task: 95 instructions, and its budget is 100.")
    assert more.endswith(COMMAND)
    assert less.endswith(COMMAND)
