"""Deferred calls, and the rules by which they run.

It rests on one fact: **whatever is in the list has not started**. A run takes tasks from the head
of the list until none is left. So each task runs once, a task that is added during the run runs
too, and the tasks that are still there when a run ends early can be named.

Async tasks run on the event loop, sync ones in worker threads. A *hop* is the way into a thread and
back; it costs a hundred times as much as a call on the loop. A *row* is a sequence of consecutive
sync tasks, which share one hop. In its thread, the row takes its tasks from the list. When none is
left, it returns to the loop. It returns earlier if a task still needs the loop, either to await
what the task returned or to decide what its failure means. So a run has three parts: choosing the
next task (`__call__`), running a row in its thread (`_run_row`), and deciding what a failure means
(`_react`).

Rules kept here: **capture**, **order**, **place**, **isolate**, **nothing lost**, **grow**,
**cancel**, **context**. For the sake of **room** a row does not keep its thread for long. Nothing
about HTTP may live here, nor about how a thread is obtained.
"""

import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from contextvars import ContextVar, copy_context
from functools import partial
from inspect import isawaitable
from time import monotonic
from typing import Any, ParamSpec, Self

from anyio import TaskInfo, get_current_task, lowlevel

from minibg.concurrency import given_by, run_in_background_thread, told_in_thread
from minibg.naming import name_of, reason_of
from minibg.outcomes import failure_of, left_of
from minibg.types import Background

P = ParamSpec("P")
Call = Callable[["BackgroundTask"], Any]
logger = logging.getLogger("minibg.background")

LONGEST_ROW = 0.05
"""The seconds after which a row starts no further task, and gives its thread back (**room**)."""

around_tasks = ContextVar[Callable[[Call, "BackgroundTask"], Any] | None]("around", default=None)
"""A function that a middleware may set. Each task is then run by `function(call_task, task)`."""


class BackgroundTask:
    """One deferred call, `func(*args, **kwargs)`. Awaiting it makes the call; a failure is raised.

    **capture**: it keeps references to exactly what it was given, keywords of any name included.

    Raises:
        TypeError: If `func` is not callable, or is a generator function.
    """

    __slots__ = ("__dict__", "args", "func", "is_async", "kwargs")  # policies may add attributes

    def __init__(self, func: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> None:
        if not callable(func):
            raise TypeError(f"a task is a callable and its arguments, not a {type(func).__name__}")
        given = given_by(func)
        if given == "generator":
            raise TypeError(f"{name_of(func)} is a generator function: calling it runs nothing")
        self.func: Callable[..., Any] = func
        self.args = args
        self.kwargs = kwargs
        self.is_async = given == "coroutine"

    @property
    def name(self) -> str:
        """The function's name, for logs. It leaves out the arguments: they may be secrets."""
        return self.func.name if isinstance(self.func, BackgroundTask) else name_of(self.func)

    async def __call__(self) -> None:
        alone = FailFastTasks()
        alone.tasks.append(self)
        await alone()


class BackgroundTasks:
    """A list of deferred calls; awaiting the list runs it and leaves it empty.

    A subclass is a policy. It overrides `on_error` (what a failure means), `prepare` (which task is
    put into the list) or `call_task` (what is done around each call). Policies that call `super()`
    there can be combined.
    """

    def __init__(self, tasks: Iterable[Background] | None = None) -> None:
        """Begin with `tasks`.

        An async callable that is not a plain `BackgroundTask`, such as a list, becomes one task.
        """
        self.tasks: deque[BackgroundTask] = deque()
        for task in tasks or ():
            plain = task if type(task) is BackgroundTask else BackgroundTask(task)
            self.tasks.append(self.prepare(plain))

    def add_task(self, func: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Add the call `func(*args, **kwargs)` at the end, also during the run (**grow**)."""
        self.tasks.append(self.prepare(BackgroundTask(func, *args, **kwargs)))

    def prepare(self, task: BackgroundTask) -> BackgroundTask:
        """Return the task to put into the list: `task` itself, or another in its place."""
        return task

    def call_task(self, task: BackgroundTask) -> Any:
        """Make the call, on the loop or in a thread. The run then awaits an awaitable result."""
        return task.func(*task.args, **task.kwargs)

    def on_error(self, task: BackgroundTask, exc: Exception) -> Awaitable[None] | None:
        """Decide what a failure means (**isolate**): here, log it, and let the next task run.

        A subclass may override it, sync or async; it is called on the loop. Raising ends the run.
        """
        logger.error(
            "background task %s failed", task.name, exc_info=(type(exc), exc, exc.__traceback__)
        )
        return None

    def abandon(self, reason: str) -> None:
        """Empty the list, and name the tasks that stood there in a WARNING (**nothing lost**)."""
        names = []
        for task in self.drain():
            if isinstance(task.func, BackgroundTasks):
                task.func.abandon(reason)
            else:
                names.append(task.name)
        if names:
            logger.warning("background tasks not run (%s): %s", reason, ", ".join(names))

    def drain(self) -> Iterable[BackgroundTask]:
        """Empty the list, and return the tasks that stood there."""
        drained: deque[BackgroundTask] = deque()
        with suppress(IndexError):  # a thread may be taking tasks from the head meanwhile
            while self.tasks:
                drained.appendleft(self.tasks.pop())
        return drained

    def __copy__(self) -> Self:
        copied = object.__new__(type(self))
        vars(copied).update(vars(self), tasks=self.tasks.copy())
        return copied

    def __del__(self) -> None:
        if getattr(self, "tasks", None):  # it is missing if a subclass's `__init__` has failed
            self.abandon("no run took them")

    async def __call__(self) -> None:
        """Run the tasks, each when the one before has ended (**order**), until none is left."""
        run: TaskInfo | None = None  # asked for once, and only if a task is async
        call = self.call_task
        if around := around_tasks.get():
            call = partial(around, call)
        try:
            while self.tasks:
                if self.tasks[0].is_async:
                    run = run or get_current_task()
                    while run.has_pending_cancellation():  # the previous task may have missed it
                        await lowlevel.checkpoint()
                    task = self.tasks.popleft()
                    left = None  # the call itself is still to be made
                elif ended := await run_in_background_thread(
                    self._run_row,
                    call,
                    told_in_thread(),
                    on_cancel=lambda: self.abandon("cancelled"),
                ):
                    task, left = ended
                else:
                    continue
                try:
                    await (call(task) if left is None else left)
                except BaseException as exc:  # noqa: BLE001  # `_react` raises what ends the run
                    await self._react(task, exc)
                if left is not None:  # outside the `try`: the task has ended, and is not cut off
                    await lowlevel.checkpoint()  # raises a cancellation that the hop has put off
        except BaseException as exc:
            self.abandon(reason_of(exc))
            raise

    def _run_row(
        self, call: Call, is_cancelled: Callable[[], object]
    ) -> tuple[BackgroundTask, Awaitable[Any]] | None:
        """In a thread, run the row at the head of the list, or as much of it as `LONGEST_ROW`
        allows.

        Returns the task at which the row ended early, and an awaitable that completes that task.
        """
        end = monotonic() + LONGEST_ROW
        with suppress(IndexError):  # the list is empty, or the loop has abandoned the rest
            while not (self.tasks[0].is_async or is_cancelled()):
                task = self.tasks.popleft()
                left = left_of(copy_context().run, call, task)
                if left is not None:
                    return task, left
                if monotonic() >= end:
                    break
        return None

    async def _react(self, task: BackgroundTask, exc: BaseException) -> None:
        """Have `on_error` decide what a failure means; raise any other exception again."""
        try:
            if isawaitable(reaction := self.on_error(task, await failure_of(exc))):
                await reaction
        except Exception:
            await lowlevel.checkpoint()  # a cancellation that the hop has put off takes precedence
            raise
        except BaseException as end:
            if not (isinstance(task.func, BackgroundTasks) or type(task.func) is BackgroundTask):
                logger.warning("background task cut off (%s): %s", reason_of(end), task.name)
            raise
        finally:
            del exc  # its traceback holds this frame: without `del` there is a reference cycle


class FailFastTasks(BackgroundTasks):
    """Starlette's rule: the first failure, like a cancellation, ends the run and is raised."""

    def on_error(self, task: BackgroundTask, exc: Exception) -> None:
        try:
            raise exc
        finally:
            del exc  # as in `_react`
