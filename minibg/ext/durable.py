"""Tasks that outlive their process: calls that are kept in a file until they have ended.

A request's list is written to the file before the answer leaves, and a task leaves the file when it
has ended. So the tasks of a dead process are known, and another process takes them up: at its
start or, if it is running already, when one of its next requests writes tasks to the same file.

A task that was running is run again. So is one that had ended if the file does not say so yet: an
end is noted at once or, while others are writing, with the next note. So a task runs at least once,
and perhaps twice; no more can be promised. A task that must not take effect twice needs a key as an
argument, to recognise a repetition. A task that was running when `attempts` processes died is *set
aside*: it is left in the file, and named in the log. Lists that were taken up run one after
another, so that few tasks are running if one of them kills the process.

A task that a running one adds is written in the transaction that takes the running one out. So if
the process dies before that, the running one runs again, and adds the other again.

Rules changed here: **capture** is by value. **Nothing lost** holds for a process that is killed,
and a cancelled run leaves the rest of its tasks in the file. **After**: if a process dies between
writing and answering, the tasks run though no answer was sent. **Context**: a task that was taken
up sees the context of the lifespan.

What may live here: when a change is noted, and who takes up the tasks of the dead. `calls.py` and
`journal.py` write a task, `handover.py` hands its list over, `background.py` runs it.
"""

import logging
import sqlite3
import sys
from argparse import ArgumentParser
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from functools import partial
from pathlib import Path
from pkgutil import resolve_name
from time import monotonic
from typing import Any, ClassVar, Self

from anyio import Event, create_task_group

from minibg.background import BackgroundTask
from minibg.concurrency import run_in_threadpool
from minibg.ext.calls import function_of
from minibg.ext.handover import HandedOverTasks
from minibg.ext.journal import (
    ADD,
    END,
    PUT_BACK,
    SET_ASIDE,
    START,
    WAIT,
    Change,
    Journal,
    Row,
    lives,
)
from minibg.outcomes import within
from minibg.types import Background

__all__ = ["DurableTasks", "Journal"]

LOOK = 1.0
"""How many seconds at least a process waits before it looks for dead ones again."""

logger = logging.getLogger("minibg.durable")


class DurableTasks(HandedOverTasks):
    """`BackgroundTasks` that are kept in a file until they have ended.

    An endpoint asks for them by annotation, `tasks: DurableTasks`. The lifespan of the application
    opens the file, and runs the tasks that are left there:

        DurableTasks.journal = Journal("tasks.sqlite")
        app = MiniBG(lifespan=DurableTasks.lifespan)

    A subclass with another policy needs a journal of its own, so that the tasks that are left there
    run by the same policy:

        class MyTasks(MonitoredTasks, DurableTasks):
            journal = Journal("mine.sqlite")

    Raises, in `add_task`:
        TypeError: If the function is not found by its name in another process, does not take these
            arguments, or would be given others there.
    """

    journal: ClassVar[Journal] = Journal("tasks.sqlite")
    heir: ClassVar["Heir | None"] = None

    def __init__(self, tasks: Iterable[Background] | None = None) -> None:
        self.first: Row | None = None
        self.changes: list[Change] = []  # not noted yet
        self.started: BackgroundTask | None = None  # the last one, until it is known to have ended
        super().__init__(tasks)

    def prepare(self, task: Any) -> Any:
        task = super().prepare(task)
        if not hasattr(task, "row"):
            function = function_of(task.func)
            arguments, copies = function.copy(*task.args, **task.kwargs)
            task.args, task.kwargs = copies.args, copies.kwargs
            task.row = Row(function.path, arguments, first=self.first)
            self.changes.append((ADD, task.row))
        return task

    def __copy__(self) -> Self:
        copied = super().__copy__()
        copied.first, copied.changes, copied.tasks = None, [], deque()
        for task in self.tasks:
            copied.add_task(task.func, *task.args, **task.kwargs)
        return copied

    async def hand_over(self) -> None:
        rows = [row for row in map(_row_of, self.tasks) if not row.id]
        if rows:
            self.changes.clear()
            self.first = rows[0]
            for row in rows:
                row.first = None if row is self.first else self.first
            await run_in_threadpool(self.journal.write, rows)
            if self.heir is not None:
                self.heir.look()

    def call_task(self, task: Any) -> Any:
        return within(self._running(task), partial(super().call_task, task))

    @contextmanager
    def _running(self, task: Any) -> Iterator[None]:
        self._note(task)
        yield  # if the task raises, the run decides whether it has ended
        self.started = None
        self.changes.append((END, _row_of(task)))

    def _note(self, starts: Any = None) -> None:
        """Note that the last task has ended, since the run has gone on, and which one starts."""
        failed: Any = self.started
        if failed is not None and failed is not starts:
            is_put_back = failed in self.tasks  # by `on_error`, to retry it
            self.changes.append((PUT_BACK if is_put_back else END, _row_of(failed)))
        self.started = starts
        if starts is not None:
            self.changes.append((START, _row_of(starts)))
        changes, self.changes = self.changes, []
        if changes:
            self.journal.note(*changes)

    async def __call__(self) -> None:
        try:
            await super().__call__()
        except Exception:
            self._note()
            raise
        except BaseException:
            if self.started is not None:  # it was cut off: it runs again, and adds its tasks again
                self.started = None
                self.changes.clear()
            self._note()
            raise
        self._note()
        if not self.journal.is_settled:
            await run_in_threadpool(self.journal.settle)

    def abandon(self, reason: str) -> None:
        rows = [getattr(task, "row", None) for task in list(self.tasks)]
        written = [row for row in rows if row is not None and row.id]
        if written and reason.startswith("cancelled"):  # by `reason_of`: the client has its answer
            self.leave(reason)
        elif written and reason.startswith("not handed over"):  # the others have been, and answered
            added = [task for task in self.tasks if not _row_of(task).id]
            for task in added:
                self.tasks.remove(task)
            self.leave(reason)
            self.tasks.extend(added)
            self.changes = [change for change in self.changes if change[0] is not ADD]
            super().abandon(reason)
        else:
            self.changes = [change for change in self.changes if change[0] is not ADD]
            self.journal.note(*((END, row) for row in written))
            super().abandon(reason)

    def leave(self, reason: str) -> None:
        """Start no further task in this process."""
        if names := [task.name for task in self.drain()]:
            what = "background tasks wait for the next start"
            logger.warning("%s (%s): %s", what, reason, ", ".join(names))

    @classmethod
    @asynccontextmanager
    async def lifespan(cls, app: Any = None) -> AsyncIterator[None]:
        """Keep the journal open, and run the tasks that dead processes have left there.

        It is an application's lifespan, or a part of one: `async with DurableTasks.lifespan(app):`.
        At its end, no more of those tasks start, and it waits for the one that is running.
        """
        await run_in_threadpool(cls.journal.open)
        failure: Exception | None = None
        try:
            async with create_task_group() as group:
                heir = cls.heir = Heir(cls)
                group.start_soon(heir.run)
                try:
                    yield
                except Exception as exc:  # noqa: BLE001  # raised below: a group would wrap it
                    failure = exc
                finally:
                    heir.stop()
        finally:
            await run_in_threadpool(cls.journal.close)
        if failure is not None:
            raise failure


def _row_of(task: Any) -> Row:
    if not hasattr(task, "row"):
        raise TypeError(f"{task.name} is not written down: a policy has made another task of it")
    row: Row = task.row
    return row


class Heir:
    """Runs the lists that dead processes have left, one by one, as long as a lifespan lasts."""

    def __init__(self, cls: type[DurableTasks]) -> None:
        self.cls = cls
        self.running: DurableTasks | None = None
        self.is_ending = False
        self._wake = Event()
        self._looked = monotonic()

    def look(self) -> None:
        """Look for lists to inherit, unless the heir has just done so."""
        if monotonic() - self._looked > LOOK:
            self._wake.set()

    def stop(self) -> None:
        """Start no further task."""
        self.is_ending = True
        self._wake.set()
        if self.running is not None:
            self.running.leave("the server ends")

    async def run(self) -> None:
        """Run the lists that are left, and look again at each `look`, until stopped."""
        while not self.is_ending:
            self._wake, self._looked = Event(), monotonic()
            try:
                await self.take_up()
            except (sqlite3.Error, OSError):
                path = self.cls.journal.path
                logger.exception("what is left in %s cannot be taken up now", path)
            await self._wake.wait()

    async def take_up(self) -> None:
        """Run all lists that are left. Only one of them is in memory at a time."""
        journal = self.cls.journal
        await run_in_threadpool(journal.bury_the_dead)
        while not self.is_ending and (rows := await run_in_threadpool(journal.take_up)):
            await self._run_list(rows)

    async def _run_list(self, rows: Iterable[Row]) -> None:
        self.running = tasks = await run_in_threadpool(self._list_of, rows)
        if self.is_ending:
            tasks.leave("the server ends")
        try:
            await tasks()
        except Exception:  # a policy has raised it
            logger.exception(
                "a list that was left in %s has not been run to its end", tasks.journal.path
            )
        self.running = None

    def _list_of(self, rows: Iterable[Row]) -> DurableTasks:
        tasks = self.cls()
        for row in rows:
            try:
                if row.deaths >= tasks.journal.attempts:
                    raise RuntimeError(f"{row.deaths} processes died while it ran")
                func = resolve_name(row.func)
                given = function_of(func).read(row.arguments)
                task: Any = BackgroundTask(func, *given.args, **given.kwargs)
            except Exception as exc:  # noqa: BLE001  # it is kept as the reason
                row.reason = f"{type(exc).__name__}: {exc}"
                told = row.id, row.func, tasks.journal.path, row.reason
                logger.error("task %d, %s, is set aside in %s: %s", *told)
                tasks.journal.note((SET_ASIDE, row))
                continue
            task.row = row
            tasks.tasks.append(tasks.prepare(task))
            tasks.first = row.first
        return tasks


# --- the command line ----------------------------------------------------------------------------

LIST = "SELECT id, owner, is_running, since, func, reason FROM tasks ORDER BY id"
RETRY = "UPDATE tasks SET owner = '', deaths = 0, reason = NULL, since = CURRENT_TIMESTAMP"


def main() -> int:
    """Look into a journal with the options of the command line, and return the exit status."""
    parser = ArgumentParser(
        prog="python -m minibg.ext.durable",
        description="List the tasks in a file: each waits, runs or is set aside, since when (UTC).",
    )
    parser.add_argument("path", type=Path, metavar="FILE", help="the path of the journal")
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--retry", type=int, metavar="ID", help="let a task that is set aside run")
    only.add_argument("--drop", type=int, metavar="ID", help="remove a task that is set aside")
    options = parser.parse_args()
    address = f"{options.path.absolute().as_uri()}?mode=rw"  # which creates no file
    try:
        with closing(sqlite3.connect(address, timeout=WAIT, uri=True)) as file, file:
            if options.retry is None and options.drop is None:
                lines = [_line(options.path, *row) for row in file.execute(LIST)]
                print(
                    *(lines or [f"{options.path}: no task waits, runs or is set aside"]), sep="\n"
                )
                return 0
            change, id_ = ("DELETE FROM tasks", options.drop)
            if options.retry is not None:
                change, id_ = RETRY, options.retry
            if file.execute(f"{change} WHERE id = ? AND owner IS NULL", [id_]).rowcount == 0:
                parser.error(f"no task {id_} is set aside in {options.path}")
    except sqlite3.Error as exc:
        parser.error(f"{options.path}: {exc}")
    return 0


def _line(path: Path, id_: int, owner: str | None, is_running: int, *told: str) -> str:
    since, func, reason = told
    state = "set aside"
    if owner is not None:
        state = "runs" if is_running and lives(path, owner) else "waits"
    return f"{id_:>6}  {state:<9}  since {since}  {func}" + (f"  ({reason})" if reason else "")


if __name__ == "__main__":
    sys.exit(main())
