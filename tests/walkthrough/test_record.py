"""A recording that hangs, fails or is unknown is named, and the others are made."""

import time

import pytest

from tests.rules.language.words import RULES
from tests.walkthrough import record
from tests.walkthrough.blocks import failure_name


def hang(name: str) -> None:
    time.sleep(600)


def fail(name: str) -> None:
    raise SystemExit(3)


@pytest.mark.parametrize("rule", list(RULES)[:1])
def test_a_saboteur_that_hangs_is_named(rule: str) -> None:
    complaint = record.record(failure_name(rule, 0), 0.5, hang)
    assert complaint is not None
    assert "hangs: the saboteur 'sync tasks are called on the event loop'" in complaint


def test_a_recording_that_fails_is_named() -> None:
    complaint = record.record("waiting", 60, fail)
    assert complaint is not None
    assert complaint.startswith("waiting has not been recorded")


def test_an_unknown_recording_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert record.main(["hurry"]) == 2
    assert "no recording hurry; there are machine, " in capsys.readouterr().err
