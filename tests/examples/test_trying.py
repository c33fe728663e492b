"""A version's tests try a student's copy of it, and name the right rule."""

import os
from pathlib import Path

import pytest

from minibg.examples import versions
from tests.processes import printed_by

ROOT = Path(__file__).parents[2]
(DIRECTORY,) = versions.__path__


def tried(file: Path) -> tuple[int, str]:
    """The exit status, and what is printed."""
    options = ["-x", "-q", "-p", "pytest_timeout", "-p", "no:cacheprovider"]
    command = ["-m", "pytest", "tests/examples/test_versions.py", *options]
    alone = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # they take half of its start
    return printed_by(*command, "--try-version", str(file), cwd=ROOT, env=alone, timeout=120)


@pytest.mark.timeout(130)
@pytest.mark.parametrize(
    ("version", "intact", "broken", "rule"),
    [
        ("v3_place", "", "", None),
        ("v3_place", "self.tasks.append(", "self.tasks.insert(0, ", "order"),
        ("v4_isolate", "except Exception as exc:", "except ZeroDivisionError as exc:", "isolate"),
        ("v2_capture", ", **self.kwargs", "", "capture"),
    ],
)
def test_a_copy_is_tried_and_its_rule_is_named(
    tmp_path: Path, version: str, intact: str, broken: str, rule: str | None
) -> None:
    text = Path(DIRECTORY, f"{version}.py").read_text()
    assert not intact or intact in text
    file = tmp_path / f"my_{version[:2]}.py"
    file.write_text(text.replace(intact, broken) if intact else text)
    status, printed = tried(file)
    assert status == (rule is not None), printed
    named = printed.partition("the rule **")[2].partition("**")[0]
    assert (named or None) == rule


def test_a_file_that_is_no_version_is_refused(tmp_path: Path) -> None:
    status, printed = tried(tmp_path / "mine.py")
    assert status == 4
    assert "its name holds none of v0, " in printed


def test_a_copy_without_the_class_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "my_v3.py"
    text = Path(DIRECTORY, "v3_place.py").read_text()
    file.write_text(text.replace("BackgroundTasks", "MyTasks"))
    status, printed = tried(file)
    assert status == 4
    assert "it lacks BackgroundTasks, which the version has" in printed
