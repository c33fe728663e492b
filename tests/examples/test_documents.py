"""The example `documents`: the answers, the search results, and the files that are left."""

from itertools import chain
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from minibg.examples import documents
from tests.examples.conftest import serving
from tests.servers.live import LIMIT

ROOT = Path(__file__).parents[2]


def upload(content: bytes, name: str = "notes.md") -> None:
    """Upload a document, and wait until its tasks have run."""
    with serving(documents.app) as client:
        answer = client.post("/documents", files={"file": (name, content)})
        assert answer.status_code == 202


def read(path: str, **params: str) -> Any:
    with serving(documents.app) as client:
        answer = client.get(path, params=params)
        assert answer.status_code == 200
        return answer.json()


def test_an_upload_is_answered_while_it_is_not_indexed_yet(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_go_on, sections = Event(), documents.sections

    def wait_and_parse(text: str) -> list[tuple[str, str]]:
        assert may_go_on.wait(LIMIT)
        return sections(text)

    monkeypatch.setattr(documents, "sections", wait_and_parse)
    with serving(documents.app) as client:
        try:
            answer = client.post("/documents", files={"file": ("notes.md", b"bread")})
            assert (answer.status_code, answer.json()) == (202, {"id": 1})
            assert client.get("/documents/1").json() == {"name": "notes.md", "state": "waiting"}
            assert len(list(directory.glob("upload-*"))) == 1
        finally:
            may_go_on.set()
    assert read("/documents/1") == {"name": "notes.md", "state": "indexed"}
    assert list(directory.glob("upload-*")) == []


def test_a_document_that_cannot_be_indexed_has_failed(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A document that cannot be indexed has failed, and its file is removed."""
    upload(b"\xff\xfe no text")
    assert read("/documents/1") == {"name": "notes.md", "state": "failed"}
    assert list(directory.glob("upload-*")) == []
    (record,) = caplog.records
    assert record.getMessage() == "background task minibg.examples.documents.index failed"
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], UnicodeDecodeError)


@pytest.mark.parametrize("path", ["README.md", "LICENSE"])
def test_a_real_file_can_be_searched(path: str) -> None:
    content = (ROOT / path).read_bytes()
    upload(content, path)
    last_word = content.decode().split()[-1]
    assert path in [found["name"] for found in read("/search", q=last_word)]


def test_what_is_found_stands_under_its_heading() -> None:
    upload(b"# Breakfast\nBread and butter.\n\n## Dinner\nSoup, bread and cheese.\n")
    assert read("/search", q="bread cheese") == [
        {
            "id": 1,
            "name": "notes.md",
            "heading": "Dinner",
            "text": "Soup, [bread] and [cheese].",
        }
    ]


def test_a_heading_without_text_is_found() -> None:
    upload(b"# Breakfast\n## Bread\ntoasted")
    assert [found["heading"] for found in read("/search", q="breakfast")] == ["Breakfast"]


def test_an_upload_that_stood_on_the_disk_is_indexed_to_its_end() -> None:
    upload(b"bread " * 500_000 + b"butter")
    (found,) = read("/search", q="butter")
    assert found["text"] == "[butter]"


def test_a_search_has_no_operators() -> None:
    upload(b"bread, butter")
    operators = ["", '"', "AND", "bre*", "text:bread", "_", "bread NOT butter", "bread OR cheese"]
    with serving(documents.app) as client:
        answers = [client.get("/search", params={"q": q}) for q in [*operators, "Bread, BUTTER!"]]
    assert [answer.status_code for answer in answers] == [200] * 9
    assert [len(answer.json()) for answer in answers] == [0] * 8 + [1]


def test_a_comment_in_a_code_block_is_no_heading() -> None:
    text = "before\n# Title\n```\n# a comment\n```\n#hashtag\n   ###### C#\nafter"
    assert documents.sections(text) == [
        ("", "before"),
        ("Title", "```\n# a comment\n```\n#hashtag"),
        ("C#", "after"),
    ]


def test_a_passage_is_small_and_no_word_is_lost() -> None:
    words = [str(number) for number in range(1001)]
    passages = [passage.split() for passage in documents.split(" ".join(words))]
    assert [len(passage) for passage in passages] == [200, 200, 200, 200, 200, 1]
    assert list(chain(*passages)) == words


def test_a_document_that_does_not_exist_is_not_found() -> None:
    with serving(documents.app) as client:
        assert client.get("/documents/1").status_code == 404
