"""The file: who owns which rows, how it grows, and how people look into it."""

import multiprocessing
import sqlite3
import subprocess
import sys
import threading
import time
import tracemalloc
from pathlib import Path
from typing import Any

import anyio
import pytest

from minibg.ext.durable import DurableTasks, Heir, Journal
from minibg.ext.journal import ADD, END, START, Row
from tests.durable import program
from tests.durable.conftest import durable_in
from tests.durable.program import work
from tests.servers.live import LIMIT


def row(number: int = 0) -> Row:
    return Row("tests.durable.program:work", f'{{"what":{number}}}')


def count(journal: Journal) -> int:
    connection = sqlite3.connect(journal.path)
    (number,) = connection.execute("SELECT count(*) FROM tasks").fetchone()
    connection.close()
    return int(number)


def die(journal: Journal) -> None:
    """As the kernel has a process die: locks go, files stay."""
    connection, journal._connection = journal._connection, None
    for held in (connection, journal._life):
        assert held is not None
        held.close()


@pytest.mark.parametrize(
    ("options", "message"),
    [({"attempts": 0}, "attempts is 1 or more"), ({"synchronous": "OFF"}, "'NORMAL' or 'FULL'")],
)
def test_an_option_that_means_nothing_is_refused(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Journal("tasks.sqlite", **options)


def test_a_journal_is_opened_once(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "tasks.sqlite", synchronous="FULL")
    journal.open()
    with pytest.raises(RuntimeError, match="is open already"):
        journal.open()
    journal.close()
    assert [path.name for path in tmp_path.iterdir()] == ["tasks.sqlite"]


def test_a_file_that_cannot_be_opened_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "tasks.sqlite").write_text("no database" * 100)
    journal = Journal(tmp_path / "tasks.sqlite")
    for _ in range(2):
        with pytest.raises(sqlite3.DatabaseError, match="not a database"):
            journal.open()


def open_and_close(path: Path, times: int) -> None:
    journal = Journal(path)
    for _ in range(times):
        journal.open()
        journal.write([row()])
        journal.bury_the_dead()
        journal.close()


def test_processes_may_start_at_once(tmp_path: Path) -> None:
    """On a file that does not exist yet. Nobody is taken for dead while it is being started."""
    context = multiprocessing.get_context("spawn")
    path = tmp_path / "tasks.sqlite"
    processes = [context.Process(target=open_and_close, args=(path, 5)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(3 * LIMIT)
    assert [process.exitcode for process in processes] == [0] * 3
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT count(*), sum(deaths) FROM tasks").fetchall() == [(15, 0)]
    connection.close()


def test_what_lives_is_not_taken_up(tmp_path: Path) -> None:
    living, other = (Journal(tmp_path / "tasks.sqlite") for _ in range(2))
    living.open()
    other.open()
    living.write([row()])
    other.bury_the_dead()
    assert other.take_up() == []
    die(living)
    other.bury_the_dead()
    assert len(other.take_up()) == 1
    assert other.take_up() == []
    other.close()
    assert [path.name for path in tmp_path.iterdir()] == ["tasks.sqlite"]


def test_what_a_process_left_is_found_without_its_lock_file(tmp_path: Path) -> None:
    one, other = (Journal(tmp_path / "tasks.sqlite") for _ in range(2))
    one.open()
    one.write([row()])
    die(one)
    Path(f"{one.path}-{one._owner}").unlink()
    other.open()
    other.bury_the_dead()
    assert len(other.take_up()) == 1
    other.close()


def test_a_note_waits_for_nobody_and_is_not_lost(tmp_path: Path) -> None:
    """Where another process is writing, it goes into the file with what follows."""
    journal = Journal(tmp_path / "tasks.sqlite")
    journal.open()
    one = row()
    journal.write([one])
    other = sqlite3.connect(journal.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    journal.note((START, one))
    journal.note((ADD, row()), (END, one))
    assert time.monotonic() - began < 1
    assert not journal.is_settled
    other.execute("ROLLBACK")
    other.close()
    journal.settle()
    assert journal.is_settled
    assert count(journal) == 1
    journal.close()


def test_what_could_not_be_noted_is_settled_when_the_run_ends(
    tasks_class: type[DurableTasks],
) -> None:
    other = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)

    def keep_the_file() -> None:
        nonlocal other
        other = sqlite3.connect(
            tasks_class.journal.path, isolation_level=None, check_same_thread=False
        )
        other.execute("BEGIN IMMEDIATE")
        threading.Timer(0.2, other.close).start()

    async def serve() -> None:
        async with tasks_class.lifespan():
            async with tasks_class() as tasks:
                tasks.add_task(work, "a")
            program.doing["a"] = keep_the_file
            await tasks()
            assert count(tasks_class.journal) == 0

    anyio.run(serve)


def test_what_cannot_be_settled_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    journal = Journal(tmp_path / "tasks.sqlite")
    journal.note((END, row()))
    journal.settle()
    assert "does not say yet what has ended: it may run again" in caplog.text


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "tasks.sqlite")
    journal.open()
    rows = [row(), Row(None, "")]  # type: ignore[arg-type]  # as the file does not accept
    with pytest.raises(sqlite3.IntegrityError):
        journal.write(rows)
    assert [each.id for each in rows] == [0, 0]
    assert count(journal) == 0
    journal.close()


def test_100000_waiting_tasks_are_taken_up_in_bounded_memory(tmp_path: Path) -> None:
    cls = durable_in(tmp_path / "tasks.sqlite")
    cls.journal.open()
    assert cls.journal._connection is not None
    cls.journal._connection.executescript("""
        BEGIN;
        WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
        INSERT INTO tasks (list, owner, func, arguments)
        SELECT i, '', 'tests.durable.test_journal:nothing', '{}' FROM n;
        COMMIT;
    """)
    heir = Heir(cls)
    runs = 0
    whole = heir._run_list

    async def run_list(rows: Any) -> None:
        nonlocal runs
        runs += 1
        heir.is_ending = runs == 300  # the others as these
        await whole(rows)

    heir._run_list = run_list  # type: ignore[method-assign]
    tracemalloc.start()
    began = time.monotonic()
    anyio.run(heir.take_up)
    seconds = time.monotonic() - began
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000
    assert seconds < 10
    assert count(cls.journal) == 100_000 - 300 + 1
    cls.journal.close()


def nothing() -> None: ...


def test_the_file_does_not_grow_for_ever(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "tasks.sqlite")
    journal.open()
    sizes = []
    for _ in range(10):
        for _ in range(400):
            one = row()
            journal.write([one])
            journal.note((START, one))
            journal.note((END, one))
        sizes.append(sum(path.stat().st_size for path in tmp_path.iterdir()))
    assert max(sizes[5:]) <= max(sizes[:5])
    assert max(sizes) < 8_000_000
    journal.close()
    assert journal.path.stat().st_size < 100_000


# --- the command line ----------------------------------------------------------------------------


def look(path: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "minibg.ext.durable", str(path), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def kept(tmp_path: Path) -> Journal:
    """Task 1 runs in a process that lives; 2 waits there; 3 ran in a dead one; 4 is set aside."""
    living, dead = (Journal(tmp_path / "tasks.sqlite") for _ in range(2))
    living.open()
    rows = [row(), row()]
    living.write(rows)
    living.note((START, rows[0]))
    dead.open()
    one, other = row(), row()
    dead.write([one, other])
    dead.note((START, one))
    assert dead._connection is not None
    dead._connection.execute("UPDATE tasks SET owner = NULL, reason = 'why' WHERE id = 4")
    die(dead)
    return living


def test_the_command_tells_what_waits_runs_and_is_set_aside(kept: Journal) -> None:
    told = [line.split() for line in look(kept.path).stdout.splitlines()]
    assert [(line[0], line[1]) for line in told] == [
        ("1", "runs"),
        ("2", "waits"),
        ("3", "waits"),
        ("4", "set"),
    ]
    assert told[0][2:] == ["since", *told[1][3:5], "tests.durable.program:work"]
    assert told[3][-1] == "(why)"
    for left in kept.path.parent.glob("*-" + "[0-9a-f]" * 32):
        if not left.name.endswith(kept._owner):
            left.unlink()  # as one may who tidies up
    assert look(kept.path).stdout.splitlines()[2].split()[1] == "waits"
    die(kept)


def test_the_command_lets_run_and_drops_what_is_set_aside(kept: Journal) -> None:
    assert look(kept.path, "--drop", "1").stderr.endswith(
        f"no task 1 is set aside in {kept.path}\n"
    )
    assert look(kept.path, "--retry", "4").returncode == 0
    assert look(kept.path).stdout.splitlines()[3].split()[1] == "waits"
    assert look(kept.path, "--drop", "4").returncode == 2
    assert kept._connection is not None
    kept._connection.execute("UPDATE tasks SET owner = NULL WHERE id = 4")
    assert look(kept.path, "--drop", "4").returncode == 0
    assert len(look(kept.path).stdout.splitlines()) == 3
    die(kept)


def test_the_command_makes_no_file(tmp_path: Path) -> None:
    done = look(tmp_path / "none.sqlite")
    assert done.returncode == 2
    assert "none.sqlite: unable to open database file" in done.stderr
    assert [*tmp_path.iterdir()] == []
