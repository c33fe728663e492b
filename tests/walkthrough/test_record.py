"""A recording that hangs, fails or is unknown is named, and the others are made."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.rules.language.words import RULES
from tests.walkthrough import record
from tests.walkthrough.blocks import failure_name


def hang(name: str) -> None:
    time.sleep(600)


CHILD = """
import sys, time

pipe = open(sys.argv[1], "w")
print("begun", file=pipe, flush=True)
time.sleep(600)
"""


def hang_with_a_child(name: str) -> None:
    subprocess.run([sys.executable, "-c", CHILD, name], check=True)


def fail(name: str) -> None:
    raise SystemExit(3)


@pytest.mark.parametrize("rule", list(RULES)[:1])
def test_a_saboteur_that_hangs_is_named(rule: str) -> None:
    complaint = record.record(failure_name(rule, 0), 0.5, hang)
    assert complaint is not None
    assert "hangs: the saboteur 'sync tasks are called on the event loop'" in complaint


def test_what_hangs_is_ended_with_what_it_has_started(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    process = record.started(str(pipe), hang_with_a_child)
    with pipe.open() as read:
        assert read.readline() == "begun\n"
        record.end(process)
        assert read.read() == "", "it ends when the last process that may write has ended"


def test_a_recording_that_fails_is_named() -> None:
    complaint = record.record("waiting", 60, fail)
    assert complaint is not None
    assert complaint.startswith("waiting has not been recorded")


def test_an_unknown_recording_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert record.main(["hurry"]) == 2
    assert "no recording hurry; there are machine, " in capsys.readouterr().err
