"""A file of calls that have not ended.

It rests on one fact: **whatever is in the file has not ended**. A process owns the rows that it has
written or taken up. It holds a lock as long as it lives, and the kernel frees the lock when it
dies. So locks decide whose rows may be taken up, and never a clock.

A run's notes, such as "this task has ended, that one starts", never wait. If the file is being
written to, a note is written together with the next ones. Until then, the file is out of date, and
at worst a task runs once more.

What may live here: the rows, the transactions, and who owns what. `durable.py` decides what to do
with a row.
"""

import logging
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from queue import SimpleQueue
from threading import Lock
from typing import Literal
from uuid import uuid4

TABLE = """
CREATE TABLE IF NOT EXISTS tasks (
    id INTEGER PRIMARY KEY AUTOINCREMENT, -- their order
    list INTEGER NOT NULL,                -- the id of its first task
    owner TEXT,                           -- the process that runs it; '': the next; NULL: set aside
    func TEXT NOT NULL,                   -- module:qualname
    arguments TEXT NOT NULL,              -- JSON, by the names of the parameters
    is_running INTEGER NOT NULL DEFAULT 0,
    deaths INTEGER NOT NULL DEFAULT 0,    -- of processes, while it ran
    reason TEXT,                          -- why it is set aside
    since TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP -- it is added, started or set aside; in UTC
);
CREATE INDEX IF NOT EXISTS lists ON tasks (owner, list);
"""
ADD = """
INSERT INTO tasks (list, owner, func, arguments) VALUES (
    coalesce(:list, (SELECT coalesce(max(seq), 0) + 1 FROM sqlite_sequence)),
    :owner, :func, :arguments
)
"""
START = """
UPDATE tasks SET is_running = TRUE, since = CURRENT_TIMESTAMP WHERE id = :id AND owner = :owner
"""
PUT_BACK = "UPDATE tasks SET is_running = FALSE WHERE id = :id"
END = "DELETE FROM tasks WHERE id = :id"
SET_ASIDE = """
UPDATE tasks SET owner = NULL, is_running = FALSE, reason = :reason, since = CURRENT_TIMESTAMP
WHERE id = :id
"""
GIVE_BACK = """
UPDATE tasks SET owner = '', is_running = FALSE, deaths = deaths + :deaths * is_running
WHERE owner = :owner
"""

WAIT = 10.0
"""How many seconds a list waits while another process is writing to the file, before it fails."""

logger = logging.getLogger("minibg.durable")


@dataclass(eq=False)
class Row:
    """A task in the file, or on its way there."""

    func: str
    arguments: str
    id: int = 0  # none yet
    deaths: int = 0
    first: "Row | None" = None  # the first of its list; None for the first itself
    reason: str = ""  # why it is set aside


Change = tuple[str, Row]
"""A statement, and the row that it is about."""


class Journal:
    """A SQLite file of calls that have not ended. The lifespan of the lists opens and closes it.

    Args:
        path: The file, on a disk of this machine: network file systems lack the locks it needs.
        attempts: How many processes may die while a task runs, before it is set aside.
        synchronous: SQLite's setting. With NORMAL, a list that was handed over survives the death
            of the process; with FULL, also that of the machine, and handing over waits for the
            disk.

    Raises:
        ValueError: If `attempts` is not a positive number, or `synchronous` is neither of the two.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        attempts: int = 3,
        synchronous: Literal["NORMAL", "FULL"] = "NORMAL",
    ) -> None:
        if attempts < 1:
            raise ValueError(f"attempts is 1 or more, not {attempts}")
        if synchronous not in ("NORMAL", "FULL"):
            raise ValueError(f"synchronous is 'NORMAL' or 'FULL', not {synchronous!r}")
        self.path = Path(path)
        self.attempts = attempts
        self.synchronous = synchronous
        self._owner = ""
        self._connection: sqlite3.Connection | None = None
        self._lock = Lock()
        # The garbage collector abandons lists, and may run in a thread that holds the lock.
        self._noted: SimpleQueue[list[Change]] = SimpleQueue()
        self._to_do: list[list[Change]] = []

    def open(self) -> None:
        """Open the file for this process. If the server forks, open it only after that.

        Raises:
            RuntimeError: If it is open.
            sqlite3.Error: If the file can be neither opened nor created.
        """
        if self._connection is not None:
            raise RuntimeError(f"{self.path} is open already: a journal has one lifespan")
        self._owner = uuid4().hex
        self._waits: bool | None = None
        self._connection = _connect(self.path, WAIT)
        try:
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.executescript(TABLE)
            with self._transaction():  # so that nobody finds the lock's file before it is locked
                life = _life_of(self.path, self._owner)
                assert life is not None  # nobody else has that name
                self._life = life
        except BaseException:
            self._connection.close()
            self._connection = None
            raise

    def close(self) -> None:
        """Give the rows of this process back, to the next one that looks. It counts as no death."""
        assert self._connection is not None
        try:
            with self._transaction() as execute:
                execute(GIVE_BACK, {"owner": self._owner, "deaths": 0})
        finally:
            self._connection.close()
            self._connection = None
            _bury(self.path, self._owner, self._life)

    def write(self, rows: Sequence[Row]) -> None:
        """Write new rows, all or none.

        Raises:
            sqlite3.Error: If the disk is full, for example, or another process locks the file.
        """
        try:
            with self._transaction():
                self._carry_out((ADD, row) for row in rows)
        except BaseException:
            for row in rows:
                row.id = 0  # another row will get that id
            raise

    def note(self, *changes: Change) -> None:
        """Change rows in one transaction: at once or, if that would have to wait, with the next."""
        self._noted.put([*changes])
        with suppress(sqlite3.Error), self._transaction(wait=False):
            pass

    def settle(self) -> None:
        """Write the notes that had to wait."""
        try:
            with self._transaction():
                pass
        except sqlite3.Error:
            logger.exception("%s does not say yet what has ended: it may run again", self.path)

    @property
    def is_settled(self) -> bool:
        """Whether no note is waiting."""
        return self._noted.empty() and not self._to_do

    def bury_the_dead(self) -> None:
        """Release the rows of dead processes, for the next process to take up."""
        with self._transaction() as execute:
            found = execute("SELECT DISTINCT owner FROM tasks WHERE owner > ''")
            owners = {owner for (owner,) in found}  # each has a file, unless somebody removed it
            lives = self.path.parent.glob(f"{escape(self.path.name)}-{'[0-9a-f]' * 32}")
            for owner in owners | {life.name[-32:] for life in lives}:
                if owner != self._owner and (life := _life_of(self.path, owner)) is not None:
                    execute(GIVE_BACK, {"owner": owner, "deaths": 1})
                    _bury(self.path, owner, life)

    def take_up(self) -> list[Row]:
        """Take the oldest list that nobody owns, and return its rows: none if there is no list."""
        with self._transaction() as execute:
            (oldest,) = execute("SELECT min(list) FROM tasks WHERE owner = ''").fetchone()
            where = "WHERE owner = '' AND list = ?"
            query = f"SELECT func, arguments, id, deaths FROM tasks {where} ORDER BY id"
            rows = execute(query, [oldest]).fetchall()
            execute(f"UPDATE tasks SET owner = ? {where}", [self._owner, oldest])
        first = Row("", "", oldest)
        return [Row(func, text, id_, deaths, first) for func, text, id_, deaths in rows]

    @contextmanager
    def _transaction(self, *, wait: bool = True) -> Iterator[Callable[..., sqlite3.Cursor]]:
        """A transaction, which writes the waiting notes first."""
        if not self._lock.acquire(blocking=wait):
            raise sqlite3.OperationalError(f"{self.path} is being written to")
        try:
            if self._connection is None:
                raise sqlite3.ProgrammingError(
                    f"{self.path} is not open: enter `DurableTasks.lifespan(app)` in the "
                    "application's lifespan (in tests: `with TestClient(app):`)"
                )
            execute = self._connection.execute
            if wait is not self._waits:  # a note waits neither for others nor for the disk
                execute(f"PRAGMA busy_timeout = {round(1000 * WAIT) if wait else 0}")
                execute(f"PRAGMA synchronous = {self.synchronous if wait else 'NORMAL'}")
                self._waits = wait
            execute("BEGIN IMMEDIATE")
            try:
                while not self._noted.empty():
                    self._to_do.append(self._noted.get())
                for changes in self._to_do:
                    self._carry_out(changes)
                yield execute
                execute("COMMIT")
            except BaseException:
                self._connection.rollback()  # no harm if a full disk has done that already
                raise
            self._to_do.clear()
        finally:
            self._lock.release()

    def _carry_out(self, changes: Iterable[Change]) -> None:
        assert self._connection is not None
        for statement, row in changes:
            parameters = {**vars(row), "list": row.first and row.first.id, "owner": self._owner}
            cursor = self._connection.execute(statement, parameters)
            if statement is ADD:
                row.id = cursor.lastrowid or 0


def _connect(path: str | Path, wait: float = 0) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=wait, isolation_level=None, check_same_thread=False)


def _life_of(path: Path, owner: str) -> sqlite3.Connection | None:
    """Take the lock that a process holds as long as it lives; None if the process holds it."""
    life = _connect(f"{path}-{owner}")
    try:
        life.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError:
        life.close()
        return None
    return life


def _bury(path: Path, owner: str, life: sqlite3.Connection) -> None:
    life.close()
    Path(f"{path}-{owner}").unlink(missing_ok=True)


def lives(path: Path, owner: str) -> bool:
    """Whether a process is alive: then it holds its lock."""
    if not Path(f"{path}-{owner}").exists():
        return False
    if life := _life_of(path, owner):
        life.close()
    return life is None
