"""The subject: deferred calls, and the rules by which they run.

It hangs on one fact: **what stands in the list has not started**. A run takes tasks from the head
until none is left. So a task runs once, what is added meanwhile runs too, and what a run that ends
early leaves in the list is what has to be named.

Rules kept here: **capture**, **order**, **place**, **isolate**, **nothing lost**, **grow**,
**cancel**, **context**. Threads (**room**) come from `concurrency.py`; `routing.py` decides when a
run begins (**after**, **release**). Nothing about HTTP may live here.
"""

import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from contextvars import copy_context
from inspect import isawaitable
from typing import Any, ParamSpec

from anyio.from_thread import check_cancelled
from anyio.lowlevel import checkpoint, checkpoint_if_cancelled

from minibg.concurrency import is_async_callable, run_in_background_thread
from minibg.exceptions import name_of
from minibg.types import Background

P = ParamSpec("P")

logger = logging.getLogger("minibg.background")


class BackgroundTask:
    """One deferred call, `func(*args, **kwargs)`; awaiting the task makes it.

    **capture**: it keeps references to exactly what it was given, keywords of any name included.
    **place**: a coroutine function is awaited on the event loop, anything else is called in a
    worker thread; an awaitable that such a call hands back is awaited on the loop.

    Raises `TypeError`, at once, if `func` is not callable.
    """

    __slots__ = ("args", "func", "is_async", "kwargs")

    def __init__(self, func: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> None:
        if not callable(func):
            raise TypeError(f"a task is a callable and its arguments, not a {type(func).__name__}")
        self.func = func
        self.args = args
        self.kwargs = kwargs
        self.is_async = is_async_callable(func)

    @property
    def name(self) -> str:
        """The function's name, for logs. The arguments stay out of it: they may be secrets."""
        return name_of(self.func)

    async def __call__(self) -> None:
        """Make the call. What it raises is raised here: to isolate is the list's business."""
        if self.is_async:
            await self.func(*self.args, **self.kwargs)
        else:
            result = await run_in_background_thread(self.func, *self.args, **self.kwargs)
            if isawaitable(result):
                await result


class BackgroundTasks:
    """A list of deferred calls; awaiting the list runs it and leaves it empty.

    `tasks` are what it begins with; an async callable of another kind, a list too, is one task.
    """

    def __init__(self, tasks: Iterable[Background] = ()) -> None:
        self.tasks: deque[BackgroundTask] = deque()
        self.running: BackgroundTask | None = None
        for task in tasks:
            self.tasks.append(task if type(task) is BackgroundTask else BackgroundTask(task))

    def add_task(self, func: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Add the call `func(*args, **kwargs)` at the end, also during the run (**grow**)."""
        self.tasks.append(BackgroundTask(func, *args, **kwargs))

    def on_error(self, task: BackgroundTask, exc: Exception) -> Awaitable[None] | None:
        """Decide what a failure means (**isolate**): it is logged, and the next task runs.

        A subclass may decide otherwise. It is called on the event loop, sync or async, may call
        `self.add_task`, and ends the run by raising.
        """
        logger.error("background task %s failed", task.name, exc_info=exc)
        return None

    def abandon(self, reason: str) -> None:
        """Empty the list, and name what stood there in a WARNING (**nothing lost**)."""
        names = []
        while self.tasks:
            task = self.tasks.popleft()
            if isinstance(task.func, BackgroundTasks):
                task.func.abandon(reason)
            else:
                names.append(task.name)
        if names:
            logger.warning("background tasks not run (%s): %s", reason, ", ".join(names))

    def __del__(self) -> None:
        self.abandon("the list was never run")

    async def __call__(self) -> None:
        """Run the tasks, each after the last has ended (**order**), until the list is empty."""
        try:
            while self.tasks:
                self.running = None
                try:
                    if self.tasks[0].is_async:
                        task = self.running = self.tasks.popleft()
                        await task.func(*task.args, **task.kwargs)
                    else:
                        handed_back = await run_in_background_thread(self._run_row)
                        if handed_back is not None:
                            await handed_back
                        await checkpoint_if_cancelled()
                except Exception as exc:
                    if self.running is None:  # no task failed: there was no thread to be had
                        raise
                    reaction = self.on_error(self.running, exc)
                    if reaction is not None:
                        await reaction
                    await checkpoint()
        except BaseException as exc:
            cause = "an earlier failure" if isinstance(exc, Exception) else "cancelled"
            self.abandon(f"{cause}, {type(exc).__name__}")
            raise

    def _run_row(self) -> Awaitable[Any] | None:
        """Run the row of sync tasks at the head of the list, in this worker thread.

        A hop to a thread costs more than most calls, so they share one. The row ends where the
        loop is needed: by an async task, a failure, an awaitable that a call hands back.
        """
        while self.tasks and not self.tasks[0].is_async:
            check_cancelled()
            task = self.running = self.tasks.popleft()
            result = copy_context().run(task.func, *task.args, **task.kwargs)
            if isawaitable(result):
                return result
        return None


class FailFastTasks(BackgroundTasks):
    """Starlette's rule: the first failure stops the rest, and reaches the server."""

    def on_error(self, task: BackgroundTask, exc: Exception) -> None:
        raise exc
