"""`python -m tests.benchmarks`: what it prints and writes, and never how long anything took."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.benchmarks.under_uvicorn import ROOT, is_possible

ROW = "3 sync tasks"


def run(out: Path, *arguments: str) -> tuple[str, dict[str, Any]]:
    command = [sys.executable, "-m", "tests.benchmarks", "--quick", "--out", str(out), *arguments]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return told, json.loads((out / "results.json").read_text())


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """What a run tells and writes of one piece of work, in process and under uvicorn."""
    return run(tmp_path_factory.mktemp("done"), "--only", ROW, "--loop", "asyncio")


def test_a_row_is_printed_and_written_with_its_samples(
    done: tuple[str, dict[str, Any]],
) -> None:
    """A row is printed and written with its samples and its targets."""
    told, results = done
    row = results["rows"][ROW]
    assert ROW in told
    assert "reached" in told.lower()
    assert {len(samples) for samples in row["samples"].values()} == {3}
    assert {"minibg", "raw ASGI", "Starlette", "FastAPI"} <= set(row["samples"])
    assert {"cpu", "cores", "os", "python"} == set(results["machine"])
    assert {"minibg", "starlette", "fastapi", "msgspec"} <= set(results["versions"])
    against = {target["peer"] for target in results["targets"] if target["row"] == ROW}
    assert against == {"raw ASGI", "Starlette", "FastAPI"}


def test_no_path_of_the_machine_is_written(done: tuple[str, dict[str, Any]]) -> None:
    written = json.dumps(done[1])
    assert str(ROOT) not in written
    assert str(Path.home()) not in written


@pytest.mark.skipif(find_spec("matplotlib") is None, reason="matplotlib draws the pictures")
def test_the_same_results_are_drawn_as_the_same_picture(tmp_path: Path) -> None:
    """The same results are drawn as the same picture, whose text stays text."""
    from tests.benchmarks.measure import Row  # noqa: PLC0415  # in one place with the next
    from tests.benchmarks.picture import draw_results  # noqa: PLC0415  # needs matplotlib

    row = Row("no task", "s", {"minibg": [1.0, 1.0], "Starlette": [2.0, 3.0]}, {})
    files = [tmp_path / "one.svg", tmp_path / "other.svg"]
    for file in files:
        draw_results({row.name: row}, file)
    assert files[0].read_bytes() == files[1].read_bytes()
    assert {"no task", "Starlette"} <= set(ElementTree.parse(files[0]).getroot().itertext())


@pytest.mark.skipif(not is_possible(), reason="wrk makes the load")
def test_each_framework_is_loaded_under_uvicorn(done: tuple[str, dict[str, Any]]) -> None:
    _, results = done
    details = results["rows"][f"uvicorn, {ROW}, 16 connections"]["details"]
    assert {"minibg", "raw ASGI", "Starlette", "FastAPI"} <= set(details)
    for seen in details.values():
        assert all(0 < s["done"] <= s["answered"] and 0 < s["p50"] <= s["p99"] for s in seen)
