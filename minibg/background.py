"""The subject: deferred calls, and the rules by which they run.

It hangs on one fact: **what stands in the list has not started**. A run takes tasks from its head.
So a task runs once, what is added meanwhile runs too, and what is left in the end is to be named.

Rules kept here: **capture**, **order**, **place**, **isolate**, **nothing lost**, **grow**,
**cancel**, **context**. Nothing about HTTP, nor about how a thread is had, may live here.
"""

import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from contextvars import copy_context
from inspect import isawaitable
from types import MappingProxyType
from typing import Any, ParamSpec

from anyio import TaskInfo, get_current_task, lowlevel

from minibg.concurrency import cancellation_of, is_async_callable, run_in_background_thread
from minibg.ext.slow_tasks import current_watch
from minibg.naming import name_of, reason_of
from minibg.types import Background

P = ParamSpec("P")
logger = logging.getLogger("minibg.background")
NO_KEYWORDS: Mapping[str, Any] = MappingProxyType({})  # a dict each is a third of the memory


class BackgroundTask:
    """One deferred call, `func(*args, **kwargs)`; awaiting the task makes it.

    **capture**: it keeps references to exactly what it was given, keywords of any name included.
    **place**: a coroutine function is awaited on the event loop, anything else is called in a
    thread, and an awaitable it hands back is awaited. What is not callable is a `TypeError`.
    """

    __slots__ = ("args", "func", "is_async", "kwargs")

    def __init__(self, func: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> None:
        if not callable(func):
            raise TypeError(f"a task is a callable and its arguments, not a {type(func).__name__}")
        self.func: Callable[..., Any] = func
        self.args, self.kwargs = args, kwargs or NO_KEYWORDS
        self.is_async = is_async_callable(func)

    @property
    def name(self) -> str:
        """The function's name, for logs. The arguments stay out of it: they may be secrets."""
        return self.func.name if isinstance(self.func, BackgroundTask) else name_of(self.func)

    def call(self) -> Any:
        """Make the call, in this thread; what it gives may be an awaitable."""
        return self.func(*self.args, **self.kwargs) if self.kwargs else self.func(*self.args)

    async def __call__(self) -> None:
        """Make the call in its place. What it raises is raised: to isolate is the list's part."""
        result = self.call() if self.is_async else await run_in_background_thread(self.call)
        if isawaitable(result):
            await result


class BackgroundTasks:
    """A list of deferred calls; awaiting the list runs it and leaves it empty."""

    def __init__(self, tasks: Iterable[Background] | None = None) -> None:
        """Begin with `tasks`; an async callable of another kind, a list too, is one task."""
        self.tasks: deque[BackgroundTask] = deque()
        for task in tasks or ():
            self.tasks.append(task if type(task) is BackgroundTask else BackgroundTask(task))

    def add_task(self, func: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Add the call `func(*args, **kwargs)` at the end, also during the run (**grow**)."""
        self.tasks.append(BackgroundTask(func, *args, **kwargs))

    def on_error(self, task: BackgroundTask, exc: Exception) -> Awaitable[None] | None:
        """Decide what a failure means (**isolate**): it is logged, and the next task runs.

        A subclass may decide otherwise, sync or async, on the loop; what it raises ends the run.
        """
        logger.error("background task %s failed", task.name, exc_info=exc)
        return None

    def abandon(self, reason: str) -> None:
        """Empty the list, and name what stood there in a WARNING (**nothing lost**)."""
        names = []
        with suppress(IndexError):  # it is empty; a thread may have taken the last task meanwhile
            while task := self.tasks.popleft():
                if isinstance(task.func, BackgroundTasks):
                    task.func.abandon(reason)
                else:
                    names.append(task.name)
        if names:
            logger.warning("background tasks not run (%s): %s", reason, ", ".join(names))

    def __del__(self) -> None:
        if self.tasks:
            self.abandon("no run took them")

    async def __call__(self) -> None:
        """Run the tasks, each when the one before has ended (**order**), until none is left."""
        watch, run = current_watch.get(), get_current_task()
        started: deque[BackgroundTask] = deque(maxlen=1)  # the latest; a thread tells by it which
        try:
            while self.tasks:
                while run.has_pending_cancellation():  # the one before need not have noticed it
                    await lowlevel.checkpoint()
                started.clear()
                try:
                    if self.tasks[0].is_async:
                        started.append(self.tasks.popleft())
                        result = started[0].call()
                    else:
                        result = await run_in_background_thread(
                            self._run_row, run, started, on_cancel=lambda: self.abandon("cancelled")
                        )
                    if result is not None:
                        await (watch.over(result, started[0].name) if watch else result)
                except Exception as exc:
                    if not started:  # no task failed: there was no thread to be had
                        raise
                    try:
                        if isawaitable(reaction := self.on_error(started[0], exc)):
                            await reaction
                    finally:  # a cancellation that the thread put off comes here
                        await lowlevel.checkpoint()
        except BaseException as exc:
            self.abandon(reason_of(exc))
            raise

    def _run_row(self, run: TaskInfo, started: deque[BackgroundTask]) -> Awaitable[Any] | None:
        """Run the row of sync tasks at the head of the list in this thread: one hop for them."""
        is_cancelled = cancellation_of(run)
        while True:
            try:
                if self.tasks[0].is_async or is_cancelled():
                    return None
                started.append(self.tasks.popleft())
            except IndexError:  # all have run, or the loop has abandoned the rest meanwhile
                return None
            if isawaitable(result := copy_context().run(started[0].call)):
                return result


class FailFastTasks(BackgroundTasks):
    """Starlette's rule: the first failure, like a cancellation, ends the run and is raised."""

    def on_error(self, task: BackgroundTask, exc: Exception) -> None:
        raise exc
