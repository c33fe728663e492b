"""The misunderstanding: a task may use what belongs to the request.

Resources of `yield` dependencies, and the files of a form, are closed when the answer has been sent
and before the first task starts. Give a task data instead, here the number of an order and the
bytes of a photo, and have the task open what it needs.

    POST /misunderstood/orders: 202 {"order":1}
    the log: background task __main__.bill failed
    sqlite3.ProgrammingError: Cannot operate on a closed database.
    the log: background task __main__.print_photo failed
    ValueError: I/O operation on closed file.
    POST /orders: 202 {"order":2}
    on paper: a cat
    GET /orders: 200 {"1":"open","2":"billed"}
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, BinaryIO

import anyio

from minibg import BackgroundTasks, Depends, MiniBG, UploadFile
from minibg.examples.misunderstandings.client import ask, show_log

app = MiniBG()


def get_session() -> Iterator[sqlite3.Connection]:
    # Several threads use it, one after another.
    with closing(sqlite3.connect(app.state.database, check_same_thread=False)) as session:
        yield session


Session = Annotated[sqlite3.Connection, Depends(get_session)]


def insert(session: sqlite3.Connection) -> int:
    with session:
        query = "INSERT INTO orders (state) VALUES ('open') RETURNING number"
        return int(session.execute(query).fetchone()[0])


def bill(session: sqlite3.Connection, number: int) -> None:
    with session:
        session.execute("UPDATE orders SET state = 'billed' WHERE number = ?", [number])


def print_photo(file: BinaryIO) -> None:
    print("on paper:", file.read().decode())


@app.post("/misunderstood/orders", status_code=202)
def order_misunderstood(
    photo: UploadFile, session: Session, tasks: BackgroundTasks
) -> dict[str, int]:
    number = insert(session)
    tasks.add_task(bill, session, number)
    tasks.add_task(print_photo, photo.file)
    return {"order": number}


@app.post("/orders", status_code=202)
def order(photo: UploadFile, session: Session, tasks: BackgroundTasks) -> dict[str, int]:
    number = insert(session)
    tasks.add_task(open_and_bill, number)
    tasks.add_task(print_photo, BytesIO(photo.file.read()))
    return {"order": number}


def open_and_bill(number: int) -> None:
    with closing(sqlite3.connect(app.state.database)) as session:
        bill(session, number)


@app.get("/orders")
def read_orders(session: Session) -> dict[int, str]:
    return dict(session.execute("SELECT number, state FROM orders").fetchall())


async def main() -> None:
    show_log()
    with TemporaryDirectory() as directory:
        app.state.database = Path(directory) / "orders.sqlite"
        with closing(sqlite3.connect(app.state.database)) as session:
            session.execute("CREATE TABLE orders (number INTEGER PRIMARY KEY, state)")
        await ask(app, "POST", "/misunderstood/orders", files={"photo": b"a cat"})
        await ask(app, "POST", "/orders", files={"photo": b"a cat"})
        await ask(app, "GET", "/orders")


if __name__ == "__main__":
    anyio.run(main)
