"""Documents: an upload is answered at once, and can be searched when its tasks have run.

Read `upload` first. The uploaded file is closed before the first task starts, so the endpoint keeps
its content in a temporary file. Two tasks follow: `index`, then `clean_up`. They are two because a
failing task does not stop the next: the file is removed even if it could not be indexed. A step
that needs the result of an earlier one, on the other hand, belongs in the same task: `index`
parses, splits and stores.

Then read `index` with the functions that it calls, and `search`. To upload a file of your own, use
`curl -F file=@notes.md http://127.0.0.1:8000/documents`.
"""

import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from shlex import quote
from shutil import copyfileobj
from tempfile import NamedTemporaryFile
from typing import Annotated, Any

from msgspec import Meta

from minibg import BackgroundTasks, HTTPException, MiniBG, Request, UploadFile
from minibg.examples.serve import directory, serve

SCHEMA = """
CREATE TABLE IF NOT EXISTS documents (id INTEGER PRIMARY KEY, name, state DEFAULT 'waiting');
CREATE VIRTUAL TABLE IF NOT EXISTS passages USING fts5 (document UNINDEXED, heading, text);
"""

SEARCH = """
SELECT documents.id, name, heading, snippet(passages, 2, '[', ']', '...', 16) AS text
FROM passages JOIN documents ON documents.id = document
WHERE passages MATCH ? ORDER BY rank LIMIT 10
"""

HEADING = re.compile(r" {0,3}#{1,6}\s+(\S.*)")
FENCE = re.compile(r"\s*(```|~~~)")

WORDS_IN_A_PASSAGE = 200


@asynccontextmanager
async def lifespan(app: MiniBG) -> AsyncIterator[dict[str, Any]]:
    """Give each request the directory of the files and the path of the database."""
    files = directory()
    database = files / "documents.sqlite"
    with closing(sqlite3.connect(database)) as connection:
        connection.executescript(SCHEMA)
    print(f"documents are stored in {database}", flush=True)
    yield {"files": files, "database": database}


def sections(text: str) -> list[tuple[str, str]]:
    """The sections of a Markdown text, each with its heading; any other text is one section."""
    found: list[tuple[str, list[str]]] = [("", [])]
    in_code = False
    for line in text.splitlines():
        if FENCE.match(line):
            in_code = not in_code
        heading = None if in_code else HEADING.fullmatch(line)
        if heading:
            found.append((heading[1], []))
        else:
            found[-1][1].append(line)
    return [(heading, "\n".join(lines)) for heading, lines in found]


def split(text: str) -> list[str]:
    """The text in pieces that are small enough to be shown as results."""
    words, size = text.split(), WORDS_IN_A_PASSAGE
    return [" ".join(words[i : i + size]) for i in range(0, len(words), size)]


def index(database: Path, document: int, path: Path) -> None:
    """Make the text in that file searchable, all of it or nothing."""
    text = path.read_text(encoding="utf-8-sig")
    passages = [
        (document, heading, passage)
        for heading, section in sections(text)
        for passage in split(section) or ([""] if heading else [])
    ]
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.executemany("INSERT INTO passages VALUES (?, ?, ?)", passages)
        connection.execute("UPDATE documents SET state = 'indexed' WHERE id = ?", [document])


def clean_up(database: Path, document: int, path: Path) -> None:
    """Remove the file. A document that has not been indexed by now has failed."""
    path.unlink()
    with closing(sqlite3.connect(database)) as connection, connection:
        query = "UPDATE documents SET state = 'failed' WHERE id = ? AND state = 'waiting'"
        connection.execute(query, [document])


app = MiniBG(lifespan=lifespan)


@app.post("/documents", status_code=202)
def upload(file: UploadFile, request: Request, tasks: BackgroundTasks) -> dict[str, int]:
    database = request.state.database
    with NamedTemporaryFile(dir=request.state.files, prefix="upload-", delete=False) as kept:
        copyfileobj(file.file, kept)
    with closing(sqlite3.connect(database)) as connection, connection:
        query = "INSERT INTO documents (name) VALUES (?) RETURNING id"
        (document,) = connection.execute(query, [file.filename]).fetchone()
    tasks.add_task(index, database, document, Path(kept.name))
    tasks.add_task(clean_up, database, document, Path(kept.name))
    return {"id": document}


@app.get("/documents/{document:int}")
def read_document(document: Annotated[int, Meta(le=2**63 - 1)], request: Request) -> dict[str, str]:
    with closing(sqlite3.connect(request.state.database)) as connection:
        query = "SELECT name, state FROM documents WHERE id = ?"
        row = connection.execute(query, [document]).fetchone()
    if row is None:
        raise HTTPException(404)
    return {"name": row[0], "state": row[1]}


@app.get("/search")
def search(q: str, request: Request) -> list[dict[str, Any]]:
    # Each word in quotes, so that none is taken for an operator.
    words = " ".join(f'"{word}"' for word in re.findall(r"\w+", q))
    if not words:
        return []
    with closing(sqlite3.connect(request.state.database)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(SEARCH, [words])]


if __name__ == "__main__":
    serve(
        app,
        f"curl -F {quote(f'file=@{__file__}')} {{url}}/documents",
        "curl {url}/documents/1",
        "curl '{url}/search?q=temporary+file'",
    )
