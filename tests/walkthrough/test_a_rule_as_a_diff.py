"""The patch in the walkthrough adds a rule: applied to a copy, it satisfies every place.

What may live here: the copy and its commands. `tests/rules/test_a_new_rule.py` asks for the places
of a rule, in the copy.
"""

import os
import subprocess
import sys
from pathlib import Path
from shutil import copyfile

import pytest

from tests.walkthrough.blocks import A_RULE, ASKED_FOR
from tests.walkthrough.source import ROOT

SECONDS = 120
MEND = f"""{A_RULE} does not fit the project. To mend it, in a clean working tree:

    git apply --reject {A_RULE}
    # Make by hand what the *.rej files hold, and remove them. Run the tests. Do not weave. Then:
    git add --intent-to-add .
    git diff -U1 -- . ':!*.diff' > {A_RULE}
    git apply -R {A_RULE} && git reset -q && python -m tests.walkthrough.weave
"""
ASKING = [
    "tests/rules/test_a_new_rule.py",
    "tests/rules/test_deadline.py",
    *(asking for asking in ASKED_FOR.values() if asking and "test_a_new_rule" not in asking),
    "tests/rules/test_the_rules_bite.py",
    "tests/rules/test_breaks.py::test_a_change_can_still_be_made",
    "tests/walkthrough/test_walkthrough.py::test_weaving_it_again_changes_nothing",
    "tests/walkthrough/test_walkthrough.py::test_a_rule_broken_on_purpose_fails_as_recorded",
]
"""The tests that ask for a rule's places, and that the rule's saboteur is caught and recorded."""
OTHER_RULES = "not (test_the_rules_bite or test_breaks or as_recorded) or deadline"


def run(directory: Path, *command: str) -> str:
    """Run a command there, and give what it prints.

    Raises:
        AssertionError: If it fails; the text tells how to mend the patch.
    """
    environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(directory.parent)}
    done = subprocess.run(
        command,
        check=False,
        cwd=directory,
        env={**environment, "HYPOTHESIS_PROFILE": "ci", "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, f"{MEND}\n{' '.join(command)}:\n{done.stdout[-4000:]}"
    return done.stdout


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The project's files, without what is ignored by git."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, check=True, cwd=ROOT, stdout=subprocess.PIPE, text=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            copyfile(ROOT / name, tmp_path / name)
    return tmp_path


@pytest.mark.timeout(2 * SECONDS)
def test_the_patch_adds_a_rule(copy: Path) -> None:
    """With the patch, every place of a rule is filled, and its saboteur is caught."""
    run(copy, "git", "apply", A_RULE)
    run(copy, sys.executable, "-m", "tests.walkthrough.weave")
    pytest_there = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
    printed = run(copy, *pytest_there, "-rA", "-k", OTHER_RULES, *ASKING)
    assert "no task is cut off at its deadline]" in printed, "its saboteur has been tried"


def test_a_patch_that_does_not_fit_says_how_to_mend_it(copy: Path) -> None:
    words = copy / "tests/rules/language/words.py"
    words.write_text(words.read_text().replace('    "room": ', '    "space": '))
    with pytest.raises(AssertionError, match="To mend it, in a clean working tree") as raised:
        run(copy, "git", "apply", A_RULE)
    assert "patch failed: tests/rules/language/words.py" in str(raised.value)
