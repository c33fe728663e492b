"""Each change in `breaks.py` makes its own rule fail first, as for a reader who makes the change.

The profile `deep` tries all changes, the others one for each of some rules: each takes seconds.
"""

import os
import re
import subprocess
import sys
from pathlib import Path
from shutil import copytree, ignore_patterns

import pytest

from tests.rules.breaks import BREAKS, Break
from tests.rules.language.words import RULES

ROOT = Path(__file__).parents[2]
SECONDS = 240
COMMAND = ["-m", "pytest", "tests/rules", "-x", "-q", "-p", "no:cacheprovider", "--timeout=20"]
SAMPLED = ("place", "order", "isolate", "grow")
TRIED = (
    BREAKS
    if os.environ.get("HYPOTHESIS_PROFILE") == "deep"
    else [next(each for each in BREAKS if each.rule == rule) for rule in SAMPLED]
)


def copy_with(change: Break, directory: Path) -> None:
    """Copy what the tests of the rules need, and make the change there."""
    for name in ("minibg", "tests", ".github"):
        ignored = ignore_patterns("__pycache__", ".hypothesis", "node_modules")
        copytree(ROOT / name, directory / name, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "walkthrough.md"):
        (directory / name).write_bytes((ROOT / name).read_bytes())
    file = directory / change.file
    if change.intact:
        file.write_text(file.read_text().replace(change.intact, change.broken))


def printed_after(change: Break, directory: Path) -> str:
    """What a reader sees who makes the change and runs the rules."""
    copy_with(change, directory)
    done = subprocess.run(
        [sys.executable, *COMMAND],
        check=False,
        cwd=directory,
        env={**os.environ, "HYPOTHESIS_PROFILE": "ci", "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
    )
    return done.stdout


def named_first(printed: str) -> str | None:
    """The first rule that it names as broken."""
    found = re.search(r"the rule \*\*(.+?)\*\* is broken", printed)
    return found[1] if found else None


@pytest.mark.timeout(SECONDS + 10)
@pytest.mark.parametrize("change", TRIED, ids=lambda change: f"{change.rule}: {change.how}")
def test_a_change_is_named_by_its_rule(change: Break, tmp_path: Path) -> None:
    printed = printed_after(change, tmp_path)
    assert named_first(printed) == change.rule, printed[-3000:]


@pytest.mark.parametrize("change", BREAKS, ids=lambda change: f"{change.rule}: {change.how}")
def test_a_change_can_still_be_made(change: Break) -> None:
    """Its lines stand once in the file that it names; after a change there, change `breaks.py`."""
    assert (ROOT / change.file).read_text().count(change.intact) == 1


def test_there_are_changes_of_each_rule() -> None:
    assert {change.rule for change in BREAKS} == set(RULES)
    different = {(change.file, change.intact, change.broken) for change in BREAKS}
    assert len(different) == len(BREAKS), "one change names one rule"
    assert len(BREAKS) >= 40
