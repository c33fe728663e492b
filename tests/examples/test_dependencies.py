"""The example `dependencies`: which tasks run, in which order, and what becomes of the session."""

import sqlite3
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from minibg.examples.dependencies import app
from tests.examples.conftest import serving


@pytest.fixture
def database(directory: Path) -> Path:
    """Where the example keeps its notes."""
    return directory / "notes.sqlite"


def create(path: str, text: str) -> httpx.Response:
    """The answer to a new note, after its tasks have run."""
    with serving(app) as client:
        return client.post(path, params={"text": text})


def read(path: str) -> object:
    with serving(app) as client:
        return client.get(path).json()


def test_a_task_that_opens_a_connection_of_its_own_does_its_work() -> None:
    answer = create("/notes", "bread and butter")
    assert (answer.status_code, answer.json()) == (201, {"id": 1})
    assert read("/notes/1") == {"text": "bread and butter", "words": 3}


def test_a_task_that_was_given_the_session_finds_it_closed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    answer = create("/notes/careless", "bread and butter")
    assert (answer.status_code, answer.json()) == (201, {"id": 1})
    assert read("/notes/1") == {"text": "bread and butter", "words": None}
    (record,) = caplog.records
    assert record.getMessage() == (
        "background task minibg.examples.dependencies.count_words failed"
    )
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], sqlite3.ProgrammingError)
    assert "closed database" in str(record.exc_info[1])


def test_a_note_is_committed_when_the_answer_says_so(database: Path) -> None:
    with serving(app) as client:
        client.post("/notes/careless", params={"text": "bread"})
        with closing(sqlite3.connect(database)) as connection:
            assert connection.execute("SELECT text FROM notes").fetchall() == [("bread",)]


def test_tasks_of_dependencies_and_endpoint_run_as_one_list(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = []

    def note_the_count(database: Path, note_id: int) -> None:
        ran.append(f"count {note_id}")

    def note_the_line(database: Path, line: str) -> None:
        ran.append(line)

    module = "minibg.examples.dependencies"
    monkeypatch.setattr(f"{module}.open_and_count_words", note_the_count)
    monkeypatch.setattr(f"{module}.write_journal", note_the_line)
    create("/notes", "bread")
    assert ran == ["POST /notes", "count 1", "note 1 has been counted"]


def test_the_journal_holds_what_both_dependencies_had_written() -> None:
    create("/notes", "bread")
    create("/notes/careless", "butter")
    assert read("/journal") == ["POST /notes", "note 1 has been counted", "POST /notes/careless"]


def test_a_note_that_does_not_exist_is_not_found() -> None:
    with serving(app) as client:
        assert client.get("/notes/1").status_code == 404
