"""The example `register`: the client's answer, and the arguments that the task has seen."""

from pathlib import Path

import pytest

from minibg.examples.register import app
from tests.examples.conftest import serving


@pytest.fixture
def sheet(directory: Path) -> Path:
    """The file that the tasks write to."""
    return directory / "register.txt"


def names_answered_to(path: str) -> list[str]:
    """What the example answers; its tasks have ended when this returns."""
    with serving(app) as client:
        response = client.post(path, params={"names": ["Ada", "Grace"]})
        assert response.status_code == 202
        names: list[str] = response.json()["names"]
        return names


def test_a_task_takes_arguments_as_any_call_does(sheet: Path) -> None:
    names_answered_to("/arguments")
    assert sheet.read_text() == ("positional: Ada, Grace\nkeyword: Ada, Grace\nmixed: Ada, Grace\n")


def test_a_name_that_is_rebound_later_changes_nothing(sheet: Path) -> None:
    assert names_answered_to("/rebound") == ["Ada", "Grace", "Eve"]
    assert sheet.read_text() == "rebound: Ada, Grace\n"


def test_a_list_that_is_mutated_later_is_seen_by_the_task(sheet: Path) -> None:
    assert names_answered_to("/mutated") == ["Ada", "Grace", "Eve"]
    assert sheet.read_text() == "mutated: Ada, Grace, Eve\n"


def test_a_copy_stays_as_it_was(sheet: Path) -> None:
    assert names_answered_to("/copied") == ["Ada", "Grace", "Eve"]
    assert sheet.read_text() == "copied: Ada, Grace\n"


def test_the_sheet_can_be_read_before_and_after_a_task(sheet: Path) -> None:
    with serving(app) as client:
        assert client.get("/sheet").content == b""
        sheet.write_text("mixed: Ada\n")
        assert client.get("/sheet").content == b"mixed: Ada\n"
