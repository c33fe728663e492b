"""The program `outgrown`: tasks in a killed process are lost, tasks in a file are not."""

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from minibg.examples import outgrown
from minibg.examples.outgrown import Seen, Way, seen
from tests.framework.asgi import ask
from tests.processes import free_port
from tests.walkthrough.blocks import recorded


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> str:
    place = str(tmp_path_factory.mktemp("outgrown"))
    return subprocess.run(
        [sys.executable, "-m", "minibg.examples.outgrown"],
        env={**os.environ, "MINIBG_EXAMPLES_DIR": place, "COLUMNS": "100"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def row(output: str, name: str) -> list[int]:
    [line] = [line for line in output.splitlines() if line.startswith(f"│ {name} ")]
    return [int(cell) for cell in re.findall(r"│ (\d+) +(?=│)", line)]


def test_a_plain_list_loses_what_had_not_ended(output: str) -> None:
    accepted, ended, lost, twice = row(output, "BackgroundTasks")
    assert accepted == 200
    assert lost == 200 - ended > 0
    assert twice == 0


def test_a_durable_list_loses_none(output: str) -> None:
    accepted, ended, lost, twice = row(output, "DurableTasks")
    assert (accepted, ended, lost) == (200, 200, 0)
    assert twice < outgrown.ENDED_AT_DEATH, "the file held the end of most that had ended"


def test_each_task_is_drawn(output: str) -> None:
    drawn = "".join(re.findall(r"│ ([━·2]{20}) +│", output))
    assert len(drawn) == 400
    assert drawn.count("·") == row(output, "BackgroundTasks")[2]


def test_the_book_shows_what_is_printed_but_for_the_figures(output: str) -> None:
    """Of a way, of the table and of each row; how many were lost differs from run to run."""

    def words(lines: list[str]) -> list[str]:
        return [" ".join(re.findall(r"[^\W\d]{2,}", line)) for line in lines]

    shown = words(recorded("outgrown")[1:-1])
    assert words(output.splitlines())[: len(shown)] == shown


def test_a_terminal_without_these_characters_is_given_others() -> None:
    found = Seen(Counter({0: 1, 1: 2, 2: 1}), Counter({0: 1, 1: 1}))
    assert outgrown.strip(found, ascii_only=True).plain.splitlines()[0] == "=2" + "." * 18


def test_a_way_may_have_a_worker_which_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here the worker is a program that does nothing of the kind; the server lives on."""
    killed, kill = [], outgrown.kill

    def kill_and_note(process: Any) -> None:
        killed.append(process)
        kill(process)

    monkeypatch.setattr(outgrown, "kill", kill_and_note)
    way = Way("with a worker", "outgrown:durable", ["http.server", "0", "--bind", "127.0.0.1"])
    assert way not in outgrown.ways()
    accepted, found = outgrown.try_out(way, tmp_path, free_port())
    assert accepted == len(found.ended) == 200
    assert [process.args[2] for process in killed][:1] == ["http.server"]


def test_a_server_that_does_not_start_is_told(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError, match=r"did not start: see .*log"),
        outgrown.serving(Way("none", "outgrown:there_is_none"), tmp_path, 9),
    ):
        pass
    assert "there_is_none" in (tmp_path / "log").read_text()


def test_what_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outgrown, "LIMIT", 0.01)
    assert not outgrown.until(lambda: False)


def test_the_endpoint_leaves_the_tasks_of_its_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outgrown, "HERE", tmp_path)
    assert ask(outgrown.plain, "POST", "/orders/1").status == 202
    assert seen(tmp_path).ended == Counter(range(20, 40))
