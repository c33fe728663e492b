"""Dependencies: three ways to a request's background tasks, and what not to give to a task.

Read `get_session` first: a `yield` dependency, closed when the answer has been sent and before the
first task starts. So `open_and_count_words` is given the path of the database, and opens a
connection of its own. `create_note_carelessly` gives its task the session, and the log shows the
consequence.

Then read the three ways. All lead to the one list of the request; the first task added runs first:
1. `create_note` has the list as a parameter.
2. `Journal` is a dependency that has the list, and gives the endpoint a method that adds to it.
3. `log_access` is a dependency that adds a task itself. The endpoint knows nothing of the task.
"""

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Annotated, Any

from minibg import BackgroundTasks, Depends, HTTPException, MiniBG, Request
from minibg.examples.serve import directory, serve

SCHEMA = """
CREATE TABLE IF NOT EXISTS notes (id INTEGER PRIMARY KEY, text TEXT, words INTEGER);
CREATE TABLE IF NOT EXISTS journal (line TEXT);
"""


@asynccontextmanager
async def lifespan(app: MiniBG) -> AsyncIterator[dict[str, Any]]:
    """Give each request the path of the database."""
    database = directory() / "notes.sqlite"
    with closing(sqlite3.connect(database)) as connection:
        connection.executescript(SCHEMA)
    print(f"notes are stored in {database}", flush=True)
    yield {"database": database}


def count_words(connection: sqlite3.Connection, note_id: int) -> None:
    """Count the words of a note, and store their number."""
    with connection:
        query = "SELECT text FROM notes WHERE id = ?"
        (text,) = connection.execute(query, [note_id]).fetchone()
        words = len(text.split())
        connection.execute("UPDATE notes SET words = ? WHERE id = ?", [words, note_id])


def open_and_count_words(database: Path, note_id: int) -> None:
    """The same, as a task that needs nothing that belongs to the request."""
    with closing(sqlite3.connect(database)) as connection:
        count_words(connection, note_id)


def write_journal(database: Path, line: str) -> None:
    """Add a line to the journal."""
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("INSERT INTO journal VALUES (?)", [line])


def get_session(request: Request) -> Iterator[sqlite3.Connection]:
    """A connection for as long as the request lasts."""
    # Several threads use it, one after another.
    with closing(sqlite3.connect(request.state.database, check_same_thread=False)) as session:
        yield session


Session = Annotated[sqlite3.Connection, Depends(get_session)]


class Journal:
    """A journal that is written after the answer has been sent."""

    def __init__(self, request: Request, tasks: BackgroundTasks) -> None:
        self.database: Path = request.state.database
        self.tasks = tasks

    def write(self, line: str) -> None:
        """Add a task that writes the line."""
        self.tasks.add_task(write_journal, self.database, line)


def log_access(request: Request, tasks: BackgroundTasks) -> None:
    """Add a task that writes down the request's method and path."""
    line = f"{request.method} {request.url.path}"
    tasks.add_task(write_journal, request.state.database, line)


Logged = Annotated[None, Depends(log_access)]


def insert(session: sqlite3.Connection, text: str) -> int:
    """Store a note, and return its id. It is committed before the answer says so."""
    with session:
        query = "INSERT INTO notes (text) VALUES (?) RETURNING id"
        return int(session.execute(query, [text]).fetchone()[0])


app = MiniBG(lifespan=lifespan)


@app.post("/notes", status_code=201)
def create_note(
    text: str,
    session: Session,
    journal: Annotated[Journal, Depends()],
    request: Request,
    tasks: BackgroundTasks,
    _: Logged,
) -> dict[str, int]:
    note_id = insert(session, text)
    tasks.add_task(open_and_count_words, request.state.database, note_id)
    journal.write(f"note {note_id} has been counted")
    return {"id": note_id}


@app.post("/notes/careless", status_code=201)
def create_note_carelessly(
    text: str, session: Session, tasks: BackgroundTasks, _: Logged
) -> dict[str, int]:
    note_id = insert(session, text)
    tasks.add_task(count_words, session, note_id)  # by then the session is closed
    return {"id": note_id}


@app.get("/notes/{note_id:int}")
def read_note(note_id: int, session: Session) -> dict[str, Any]:
    query = "SELECT text, words FROM notes WHERE id = ?"
    row = session.execute(query, [note_id]).fetchone()
    if row is None:
        raise HTTPException(404)
    return {"text": row[0], "words": row[1]}


@app.get("/journal")
def read_journal(session: Session) -> list[str]:
    return [line for (line,) in session.execute("SELECT line FROM journal")]


if __name__ == "__main__":
    serve(
        app,
        "curl -X POST '{url}/notes?text=bread+and+butter'",
        "curl {url}/notes/1",
        "curl -X POST '{url}/notes/careless?text=bread+and+butter'"
        "  # fails on purpose: see the log",
        "curl {url}/notes/2",
        "curl {url}/journal",
    )
