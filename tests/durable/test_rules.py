"""The other rules, on lists that are kept in a file: as ever, or changed as `durable.py` says."""

import gc
import sqlite3
from contextvars import ContextVar
from copy import copy
from typing import Any

import anyio
import pytest
from anyio import from_thread
from anyio.lowlevel import checkpoint
from anyio.to_thread import run_sync
from prometheus_client import CollectorRegistry

from minibg import BackgroundTask, FailFastTasks, MiniBG
from minibg.ext import durable
from minibg.ext.durable import DurableTasks, Heir, Journal
from minibg.ext.journal import Row
from minibg.ext.monitoring import MonitoredTasks, TaskMetrics
from tests.durable.conftest import durable_in
from tests.durable.program import async_work, doing, seen, work
from tests.framework.asgi import ask


def rows(cls: type[DurableTasks]) -> list[tuple[str, int]]:
    """The arguments of what stands in the file, and whether it runs."""
    connection = sqlite3.connect(cls.journal.path)
    try:
        return connection.execute("SELECT arguments, is_running FROM tasks ORDER BY id").fetchall()
    finally:
        connection.close()


def run(cls: type[DurableTasks], *whats: Any, backend: str = "asyncio") -> None:
    """Hand over a list of sync tasks, and run it, within the lifespan."""

    async def serve() -> None:
        async with cls.lifespan():
            await started(cls)
            async with cls() as tasks:
                for what in whats:
                    tasks.add_task(work, what)
            await tasks()

    anyio.run(serve, backend=backend)


def start(cls: type[DurableTasks]) -> None:
    """Have a process run what is left, and end."""
    cls.journal.open()
    anyio.run(Heir(cls).take_up)
    cls.journal.close()


def leave(cls: type[DurableTasks], *whats: Any) -> None:
    """Have a process leave a list that it has not run: async tasks, and sync ones."""

    async def hand_over() -> None:
        async with cls() as tasks:
            for what in whats:
                tasks.add_task(work if what.islower() else async_work, what)
        tasks.abandon("cancelled, CancelledError")

    cls.journal.open()
    anyio.run(hand_over)
    cls.journal.close()


def fail() -> None:
    raise ValueError("failed on purpose")


# --- order, place, isolate -----------------------------------------------------------------------


def test_a_task_is_marked_while_it_runs_and_gone_when_it_has(
    tasks_class: type[DurableTasks], backend: str
) -> None:
    found = []
    for what in "abc":
        doing[what] = lambda: found.append(rows(tasks_class))
    run(tasks_class, *"abc", backend=backend)
    a, b, c = (f'{{"what":"{what}"}}' for what in "abc")
    assert found == [[(a, 1), (b, 0), (c, 0)], [(b, 1), (c, 0)], [(c, 1)]]
    assert rows(tasks_class) == []


def test_a_failure_is_logged_and_over(
    tasks_class: type[DurableTasks], caplog: pytest.LogCaptureFixture
) -> None:
    doing["a"] = fail
    run(tasks_class, "a", "b")
    assert seen == ["a", "b"]
    assert "background task tests.durable.program.work failed" in caplog.text
    assert rows(tasks_class) == []


def test_a_policy_that_puts_a_task_back_keeps_its_row(tasks_class: type[DurableTasks]) -> None:
    class Retrying(tasks_class):  # type: ignore[misc, valid-type]
        def on_error(self, task: BackgroundTask, exc: Exception) -> None:
            self.tasks.append(task)

    found = []

    def once() -> None:
        del doing["a"]
        fail()

    doing["a"] = once
    doing["b"] = lambda: found.append(rows(tasks_class))
    run(Retrying, "a", "b")
    assert seen == ["a", "b", "a"]
    assert found == [[('{"what":"a"}', 0), ('{"what":"b"}', 1)]]
    assert rows(tasks_class) == []


def test_fail_fast_takes_out_and_names_the_rest(
    tasks_class: type[DurableTasks], caplog: pytest.LogCaptureFixture
) -> None:
    class Mine(FailFastTasks, tasks_class): ...  # type: ignore[misc, valid-type]

    doing["a"] = fail
    with pytest.raises(ValueError, match="on purpose"):
        run(Mine, "a", "b")
    assert seen == ["a"]
    assert rows(tasks_class) == []
    assert "not run (an earlier failure, ValueError): tests.durable.program.work" in caplog.text


def test_a_policy_that_makes_another_task_is_told(tasks_class: type[DurableTasks]) -> None:
    class Wrapping(tasks_class):  # type: ignore[misc, valid-type]
        def prepare(self, task: BackgroundTask) -> BackgroundTask:
            return BackgroundTask(super().prepare(task))

    with pytest.raises(TypeError, match="is not written down: a policy has made another"):
        run(Wrapping, "a")
    assert rows(tasks_class) == []


def test_lists_that_are_counted_are_durable_too(tasks_class: type[DurableTasks]) -> None:
    registry = CollectorRegistry()

    class Mine(MonitoredTasks, tasks_class):  # type: ignore[misc, valid-type]
        metrics = TaskMetrics(registry)

    class Theirs(tasks_class, MonitoredTasks):  # type: ignore[misc, valid-type]
        metrics = Mine.metrics

    for cls in (Mine, Theirs):
        doing["a"] = fail
        run(cls, "a", "b")
        leave(cls, "c")
        assert rows(cls) == [('{"what":"c"}', 0)]
        start(cls)
    labels = {"task": "tests.durable.program.work"}
    counts = {
        state: registry.get_sample_value(f"minibg_tasks_{state}", labels)
        for state in ("added_total", "failed_total", "done_total", "abandoned_total", "pending")
    }
    assert counts == {
        "added_total": 8,
        "failed_total": 2,
        "done_total": 4,
        "abandoned_total": 2,
        "pending": 0,
    }


# --- grow, cancel --------------------------------------------------------------------------------


def test_what_a_task_adds_is_written_when_that_one_is_taken_out(
    tasks_class: type[DurableTasks],
) -> None:
    found = []

    async def serve() -> None:
        async with tasks_class.lifespan():
            await started(tasks_class)
            async with tasks_class() as tasks:
                tasks.add_task(async_work, "a")
            await tasks()

            def add() -> None:
                tasks.add_task(work, "b")
                found.append(rows(tasks_class))

            doing["a"], doing["b"] = add, lambda: found.append(rows(tasks_class))
            tasks.add_task(async_work, "a")
            await tasks()

    anyio.run(serve)
    assert seen == ["a", "a", "b"]
    assert found == [[('{"what":"a"}', 1)], [('{"what":"b"}', 1)]]
    assert rows(tasks_class) == []


def test_a_cancelled_run_leaves_its_rest_for_the_next_start(
    tasks_class: type[DurableTasks], backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def serve() -> None:
        async with tasks_class.lifespan():
            await started(tasks_class)
            async with tasks_class() as tasks:
                tasks.add_task(async_work, "cut off")
                tasks.add_task(work, "not started")
            with anyio.CancelScope() as scope:
                doing["cut off"] = scope.cancel
                await tasks()

    anyio.run(serve, backend=backend)
    assert [arguments for arguments, _ in rows(tasks_class)][-1] == '{"what":"not started"}'
    assert "wait for the next start (cancelled" in caplog.text
    doing.clear()
    start(tasks_class)
    assert seen == ["cut off", "cut off", "not started"]
    assert rows(tasks_class) == []


def test_the_end_of_the_lifespan_gives_the_rest_back(
    tasks_class: type[DurableTasks], caplog: pytest.LogCaptureFixture
) -> None:
    async def serve() -> None:
        running = anyio.Event()

        async def run_until_the_end() -> None:
            running.set()
            while not tasks_class.heir.is_ending:  # type: ignore[union-attr]
                await checkpoint()

        doing["A"] = run_until_the_end
        async with tasks_class.lifespan():
            await running.wait()

    leave(tasks_class, "A", "b")
    anyio.run(serve)
    assert seen == ["A"]
    assert rows(tasks_class) == [('{"what":"b"}', 0)]
    assert "wait for the next start (the server ends): tests.durable.program.work" in caplog.text


def test_what_fails_in_the_lifespan_is_raised_as_it_is(tasks_class: type[DurableTasks]) -> None:
    async def serve() -> None:
        async with tasks_class.lifespan():
            raise ValueError("of the application")

    with pytest.raises(ValueError, match="of the application"):
        anyio.run(serve)


# --- after, own list, context --------------------------------------------------------------------


def test_what_is_answered_with_another_error_does_not_run(
    tasks_class: type[DurableTasks], caplog: pytest.LogCaptureFixture
) -> None:
    """It had been written when the answer turned out to be none that JSON has."""
    app = MiniBG()

    async def endpoint(tasks: tasks_class) -> object:  # type: ignore[valid-type]
        tasks.add_task(work, "a")  # type: ignore[attr-defined]
        return object()

    app.get("/")(endpoint)
    tasks_class.journal.open()
    assert ask(app, fails=TypeError).status == 500
    tasks_class.journal.close()
    assert seen == []
    assert rows(tasks_class) == []
    assert "not run (the endpoint raised TypeError)" in caplog.text


def test_a_client_that_is_gone_before_the_answer_has_nothing_run(
    tasks_class: type[DurableTasks],
) -> None:
    tasks_class.journal.open()
    tasks = tasks_class([BackgroundTask(work, "a")])
    anyio.run(tasks.hand_over)
    assert len(rows(tasks_class)) == 1
    tasks.abandon("the response was not sent, ClientDisconnect")
    assert rows(tasks_class) == []
    tasks_class.journal.close()


def test_a_list_that_nobody_runs_is_named_and_taken_out(
    tasks_class: type[DurableTasks], caplog: pytest.LogCaptureFixture
) -> None:
    tasks_class.journal.open()
    tasks = tasks_class([BackgroundTask(work, "a")])
    anyio.run(tasks.hand_over)
    del tasks
    gc.collect()
    assert "not run (no run took them)" in caplog.text
    assert rows(tasks_class) == []
    tasks_class.journal.close()


def test_a_second_hand_over_that_fails_takes_no_promise_back(
    tasks_class: type[DurableTasks],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A dependency has added a task while it closed, and the file is locked by then."""

    def locked(journal: Journal, rows: Any) -> None:
        raise sqlite3.OperationalError("database is locked")

    tasks_class.journal.open()
    tasks = tasks_class([BackgroundTask(work, "promised")])
    anyio.run(tasks.hand_over)
    tasks.add_task(work, "added")
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "write", locked)
        with pytest.raises(sqlite3.OperationalError):
            anyio.run(tasks)
    reason = "(not handed over, OperationalError): tests.durable.program.work"
    waits, lost = caplog.messages
    assert waits == f"background tasks wait for the next start {reason}"
    assert lost == f"background tasks not run {reason}"
    tasks_class.journal.close()
    assert seen == []
    start(tasks_class)
    assert seen == ["promised"]


def test_a_journal_that_is_not_open_is_named(tasks_class: type[DurableTasks]) -> None:
    app = MiniBG()

    async def endpoint(tasks: tasks_class) -> None:  # type: ignore[valid-type]
        tasks.add_task(work, "a")  # type: ignore[attr-defined]

    app.get("/")(endpoint)
    answer = ask(app, fails=sqlite3.ProgrammingError)
    assert answer.status == 500
    assert "tasks.sqlite is not open: enter `DurableTasks.lifespan(app)`" in str(answer.error)


def test_a_class_with_a_journal_of_its_own_takes_up_as_itself(
    tasks_class: type[DurableTasks],
) -> None:
    class Mine(tasks_class):  # type: ignore[misc, valid-type]
        journal = Journal(tasks_class.journal.path.with_name("mine.sqlite"))

        def call_task(self, task: Any) -> Any:
            seen.append("as mine")
            return super().call_task(task)

    leave(Mine, "a")
    start(tasks_class)
    assert seen == []
    start(Mine)
    assert seen == ["as mine", "a"]


def test_copies_of_a_list_are_written_each() -> None:
    one = DurableTasks([BackgroundTask(work, "a")])
    other = copy(one)
    assert [task.args for task in other.tasks] == [("a",)]
    assert other.tasks[0].row is not one.tasks[0].row  # type: ignore[attr-defined]
    for tasks in (one, other):
        tasks.tasks.clear()


def test_a_list_is_taken_up_whole_with_what_it_has_added(
    tasks_class: type[DurableTasks],
) -> None:
    """The rest of one that a process has begun, too, and what was added while it ran there."""
    lists: list[list[str]] = []

    class Noting(tasks_class):  # type: ignore[misc, valid-type]
        async def __call__(self) -> None:
            lists.append([task.args[0] for task in self.tasks])
            await super().__call__()

    leave(tasks_class, "a", "b")
    leave(tasks_class, "c", "d")
    other = durable_in(tasks_class.journal.path)

    async def begin() -> None:
        heir = Heir(other)
        doing["a"] = lambda: heir.running.add_task(work, "e")  # type: ignore[union-attr]
        doing["b"] = lambda: from_thread.run_sync(heir.stop)
        await heir.take_up()

    other.journal.open()
    anyio.run(begin)
    other.journal.close()
    start(Noting)
    assert lists == [["e"], ["c", "d"]]
    assert seen == ["a", "b", "e", "c", "d"]


def test_what_is_taken_up_sees_the_context_of_the_lifespan(
    tasks_class: type[DurableTasks],
) -> None:
    variable = ContextVar("variable", default="none")

    async def serve() -> None:
        variable.set("the lifespan's")
        done = anyio.Event()
        doing["a"] = lambda: seen.append(variable.get())
        doing["B"] = done.set
        async with tasks_class.lifespan():
            await done.wait()

    leave(tasks_class, "a", "B")
    anyio.run(serve)
    assert seen == ["a", "the lifespan's", "B"]


# --- who takes up --------------------------------------------------------------------------------


def test_a_request_has_a_living_process_look_for_dead_ones(
    tasks_class: type[DurableTasks], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durable, "LOOK", -1.0)

    async def serve() -> None:
        async with tasks_class.lifespan():
            await started(tasks_class)
            await run_sync(leave, durable_in(tasks_class.journal.path), "a", "B")
            doing["B"] = done.set
            async with tasks_class() as tasks:
                tasks.add_task(work, "c")
            await done.wait()
            await tasks()

    done = anyio.Event()
    anyio.run(serve)
    assert seen == ["a", "B", "c"]


async def started(cls: type[DurableTasks]) -> None:
    """Wait until what was left at the start has been taken up."""
    assert cls.heir is not None
    while not cls.heir._wake.statistics().tasks_waiting:
        await checkpoint()


def test_a_file_that_cannot_be_read_for_a_while_is_told(
    tasks_class: type[DurableTasks],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail() -> list[Row]:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(tasks_class.journal, "take_up", fail)

    async def serve() -> None:
        async with tasks_class.lifespan():
            await started(tasks_class)

    anyio.run(serve)
    assert "cannot be taken up now" in caplog.text


def test_a_list_taken_up_as_the_server_ends_is_given_back(
    tasks_class: type[DurableTasks], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list that is taken up as the server ends is given back."""
    whole = Heir._list_of

    def list_of(self: Heir, rows: list[Row]) -> DurableTasks:
        from_thread.run_sync(self.stop)
        return whole(self, rows)

    leave(tasks_class, "a")
    monkeypatch.setattr(Heir, "_list_of", list_of)
    start(tasks_class)
    assert seen == []
    assert rows(tasks_class) == [('{"what":"a"}', 0)]


def test_a_policy_that_raises_does_not_stop_the_next_list(
    tasks_class: type[DurableTasks], caplog: pytest.LogCaptureFixture
) -> None:
    class Mine(FailFastTasks, tasks_class): ...  # type: ignore[misc, valid-type]

    leave(tasks_class, "a", "b")
    leave(tasks_class, "c")
    doing["a"] = fail
    start(Mine)
    assert seen == ["a", "c"]
    assert rows(tasks_class) == []
    assert "has not been run to its end" in caplog.text
