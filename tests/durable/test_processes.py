"""Any history of processes that share a file, die and start: what becomes of each task.

A process here is a journal and its memory. It dies as if the kernel had killed it: its locks are
gone, its files stay, and nothing that it still does is seen.
"""

import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from minibg.background import BackgroundTasks
from minibg.ext import journal
from minibg.ext.durable import DurableTasks, Heir
from minibg.ext.handover import HandedOverTasks
from tests.durable import program
from tests.durable.conftest import durable_in

ATTEMPTS = 3


class Killed(BaseException):
    """Ends what a dead process was doing."""


@dataclass
class Process:
    """A class of lists with its journal, and the lists that it has answered and not run yet."""

    cls: type[DurableTasks]
    lists: list[DurableTasks] = field(default_factory=list)

    def die(self) -> None:
        journal = self.cls.journal
        connection, journal._connection = journal._connection, None
        for held in (connection, journal._life):
            assert held is not None
            held.close()  # what was not committed is not there, and the lock is free
        for tasks in self.lists:
            tasks.tasks.clear()  # memory is gone, without a word


DOES = st.tuples(
    st.sampled_from(["sync", "async"]),
    st.sampled_from(["return", "add", "fail", "kill once", "kill twice", "kill always", "add"]),
)
TASKS = st.lists(DOES, min_size=1, max_size=4)
KILLS = {"kill once": 1, "kill twice": 2, "kill always": ATTEMPTS}
ENDS = ["waits", "waits", "runs", "raises", "is not sent", "killed before the answer", "cancelled"]


class Processes(RuleBasedStateMachine):
    """Requests, deaths and starts; in the end each task is counted."""

    directory: Path

    def __init__(self) -> None:
        super().__init__()
        self.file = Path(tempfile.mkdtemp(dir=self.directory)) / "tasks.sqlite"
        self.processes: list[Process] = []
        self.running: Process | None = None
        self.starts: Counter[int] = Counter()
        self.ended: list[int] = []
        self.expected: dict[int, int] = {}  # how often each task starts
        self.set_aside: set[int] = set()
        self.lists: list[list[int]] = []
        self.cut: set[int] = set()
        program.doing.clear()
        program.seen.clear()

    # --- tasks -----------------------------------------------------------------------------------

    def add(self, tasks: DurableTasks, kind: str, does: str, runs: bool = True) -> int:
        key = len(self.expected)
        self.expected[key] = 0
        if runs:
            self.expected[key] = min(KILLS.get(does, 0) + 1, ATTEMPTS)
        if does == "kill always":
            self.set_aside.add(key)
        program.doing[key] = lambda: self.do(tasks, key, does)
        tasks.add_task(program.work if kind == "sync" else program.async_work, key)
        return key

    def do(self, tasks: DurableTasks, key: int, does: str) -> None:
        self.starts[key] += 1
        assert self.starts[key] <= self.expected[key], "started once too often"
        if self.starts[key] <= KILLS.get(does, 0):
            assert self.running is not None
            self.running.die()
            self.processes.remove(self.running)
            raise Killed
        if does == "add":
            assert self.current is not None
            self.add(self.current, "sync", "return")
        if does == "cut" and self.starts[key] == 1:
            raise Killed  # as a cancellation, it is not isolated
        self.ended.append(key)
        if does == "fail":
            raise ValueError("failed on purpose")

    def run(self, process: Process, call: Callable[[], Any]) -> None:
        self.running = process
        try:
            anyio.run(call)
        except* Killed:
            pass
        self.running = None

    @property
    def current(self) -> DurableTasks | None:
        """The list that runs."""
        assert self.running is not None
        return self.running.lists[0] if self.running.lists else None

    # --- what happens ----------------------------------------------------------------------------

    @precondition(lambda self: len(self.processes) < 3)
    @rule()
    def start(self) -> None:
        process = Process(durable_in(self.file, attempts=ATTEMPTS))
        process.cls.journal.open()
        self.processes.append(process)
        self.take_up(process)

    def take_up(self, process: Process) -> None:
        heir = Heir(process.cls)

        async def take_up() -> None:
            await heir.take_up()

        waiting, process.lists = process.lists, []
        whole = heir._run_list

        async def run_list(rows: Any) -> None:
            build = heir._list_of

            def list_of(rows: Any) -> DurableTasks:
                tasks = build(rows)
                process.lists[:] = [tasks]
                return tasks

            heir._list_of = list_of  # type: ignore[method-assign]
            try:
                await whole(rows)
            finally:
                heir._list_of = build  # type: ignore[method-assign]
            process.lists.clear()

        heir._run_list = run_list  # type: ignore[method-assign]
        self.run(process, take_up)
        process.lists = waiting
        if process not in self.processes:
            for tasks in waiting:
                tasks.tasks.clear()

    @precondition(lambda self: self.processes)
    @rule(data=st.data())
    def look(self, data: st.DataObject) -> None:
        self.take_up(data.draw(st.sampled_from(self.processes)))

    @precondition(lambda self: self.processes)
    @rule(data=st.data(), requests=st.lists(st.tuples(TASKS, st.sampled_from(ENDS)), min_size=1))
    def serve(self, data: st.DataObject, requests: list[tuple[Any, str]]) -> None:
        for does, ending in requests:
            if self.processes:
                self.request(data.draw(st.sampled_from(self.processes)), does, ending)

    def request(self, process: Process, does: list[tuple[str, str]], ending: str) -> None:
        tasks = process.cls()

        async def serve() -> None:
            async with tasks:
                if ending == "cancelled":
                    does.insert(0, ("async", "cut"))
                runs = ending not in ("raises", "is not sent")
                keys = [self.add(tasks, *each, runs=runs) for each in does]
                if ending == "cancelled":
                    self.expected[keys[0]] = 2  # cut off, and again
                self.lists.append(keys)
                if ending == "raises":
                    raise ValueError("the endpoint")

        try:
            anyio.run(serve)
        except ValueError:
            return
        if ending == "is not sent":
            tasks.abandon("the response was not sent, ClientDisconnect")
        elif ending == "killed before the answer":
            process.lists.append(tasks)
            process.die()
            self.processes.remove(process)
        elif ending == "waits":
            process.lists.append(tasks)
        else:
            process.lists.insert(0, tasks)
            self.run_list(process)

    def run_list(self, process: Process) -> None:
        """Run the first of the lists that wait."""
        self.run(process, process.lists[0])
        if process in self.processes:
            process.lists.pop(0)

    @precondition(lambda self: any(process.lists for process in self.processes))
    @rule(data=st.data())
    def run_what_waits(self, data: st.DataObject) -> None:
        waiting = [process for process in self.processes if process.lists]
        self.run_list(data.draw(st.sampled_from(waiting)))

    @precondition(lambda self: self.processes)
    @rule(data=st.data())
    def kill(self, data: st.DataObject) -> None:
        process = data.draw(st.sampled_from(self.processes))
        process.die()
        self.processes.remove(process)

    @precondition(lambda self: self.processes)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        """The process ends in order, when the lists that wait have been cancelled."""
        process = data.draw(st.sampled_from(self.processes))
        for tasks in process.lists:
            tasks.abandon("cancelled, CancelledError")
        process.cls.journal.close()
        self.processes.remove(process)

    def teardown(self) -> None:
        try:
            self.check()
        finally:
            for process in self.processes:
                process.die()

    def check(self) -> None:
        while self.processes:
            if self.processes[0].lists:
                self.run_list(self.processes[0])
            else:
                self.processes[0].cls.journal.close()
                self.processes.pop(0)
        for _ in range(2 * ATTEMPTS * len(self.expected) + 1):
            self.start()
            if self.processes:
                break
        assert self.processes, "it never stopped dying"
        assert dict(self.starts) == {key: n for key, n in self.expected.items() if n}
        counted = Counter(self.ended)
        runs = {key for key, n in self.expected.items() if n}
        assert counted == Counter(runs - self.set_aside)
        for keys in self.lists:
            order = [self.ended.index(key) for key in keys if key in counted]
            assert order == sorted(order), "a list has not run in its order"
        with sqlite3.connect(self.file) as connection:
            left = connection.execute("SELECT arguments FROM tasks").fetchall()
        connection.close()
        assert len(left) == len(self.set_aside & runs)
        files = {path.name.removeprefix(self.file.name) for path in self.file.parent.iterdir()}
        living = self.processes[0].cls.journal._owner
        assert files <= {"", "-wal", "-shm", f"-{living}", f"-{living}-journal"}


@pytest.fixture(autouse=True)
def _directory(tmp_path: Path) -> Iterator[None]:
    """In memory, where there is such a place: SQLite waits for the disk at each start and end."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path) as directory:
        Processes.directory = Path(directory)
        yield


def test_each_task_ends_once_or_is_set_aside() -> None:
    run_state_machine_as_test(Processes, settings=settings(stateful_step_count=10))


# --- the machine notices what is wrong -----------------------------------------------------------

OWN = "WHERE owner = :owner"


def take_up_what_lives(path: Path, owner: str) -> sqlite3.Connection:
    return sqlite3.connect(":memory:")


def abandon_as_others_do(self: DurableTasks, reason: str) -> None:
    BackgroundTasks.abandon(self, reason)
    self.journal.note(*((journal.END, task.row) for task in self.tasks))


async def write_nothing(self: DurableTasks) -> None: ...


def note_no_end(self: journal.Journal, *changes: journal.Change) -> None:
    note(self, *(change for change in changes if change[0] is not journal.END))


def note_nothing_that_is_added(self: journal.Journal, *changes: journal.Change) -> None:
    note(self, *(change for change in changes if change[0] is not journal.ADD))


def note_no_start(self: journal.Journal, *changes: journal.Change) -> None:
    note(self, *(change for change in changes if change[0] is not journal.START))


def end_what_was_cut_off(self: DurableTasks, task: Any) -> Any:
    try:
        yield from running(self, task)
    finally:
        self.started = None
        self.changes.append((journal.END, task.row))


note = journal.Journal.note
running = DurableTasks._running.__wrapped__  # type: ignore[attr-defined]

SABOTEURS: dict[str, tuple[Any, str, Any]] = {
    "takes up what lives": (journal, "_life_of", take_up_what_lives),
    "writes nothing": (DurableTasks, "hand_over", write_nothing),
    "takes out nothing": (journal.Journal, "note", note_no_end),
    "writes nothing that a task adds": (journal.Journal, "note", note_nothing_that_is_added),
    "marks nothing that runs": (journal.Journal, "note", note_no_start),
    "blames all of the dead's tasks": (
        *(journal, "GIVE_BACK"),
        journal.GIVE_BACK.replace(":deaths * is_running", ":deaths"),
    ),
    "counts no deaths": (journal, "GIVE_BACK", journal.GIVE_BACK.replace("+ :deaths", "+ 0 *")),
    "forgets what was cut off": (DurableTasks, "_running", contextmanager(end_what_was_cut_off)),
    "forgets the rest of what was cancelled": (DurableTasks, "abandon", abandon_as_others_do),
    "hands over although the endpoint raised": (
        *(HandedOverTasks, "__aexit__"),
        lambda self, *details: self._hand_over(),
    ),
}


@pytest.mark.parametrize("saboteur", SABOTEURS)
def test_a_saboteur_is_noticed(saboteur: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(*SABOTEURS[saboteur])
    with pytest.raises((AssertionError, BaseExceptionGroup)):
        run_state_machine_as_test(
            Processes,
            settings=settings(
                max_examples=300,
                stateful_step_count=10,
                phases=[Phase.generate],
                derandomize=True,
                database=None,
            ),
        )
