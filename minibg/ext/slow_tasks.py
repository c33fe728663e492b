"""A task that holds the event loop is named in the log, with the time for which it held it.

Blocking work inside `async def` is the commonest mistake of all: while it lasts, nobody else is
served. A coroutine runs in steps, each from one `await` to the next, and a step is what holds the
loop. So each step of an async task is timed.

The clock measures elapsed time, so a step may be slow because another thread or process took the
time. The call that returns the coroutine, `on_error` and endpoints are not timed; asyncio's own
debug mode times all that its loop calls, but does not know the names of tasks.

What may live here: measuring and saying it. The watch is what the middleware does around each task
(`minibg.background.around_tasks`); without it nothing is measured.
"""

import logging
from collections.abc import Awaitable, Generator
from functools import partial
from inspect import isawaitable
from time import perf_counter
from types import coroutine
from typing import Any

from minibg.background import BackgroundTask, Call, around_tasks
from minibg.types import ASGIApp, Receive, Scope, Send

logger = logging.getLogger("minibg.ext.slow_tasks")


class Watch:
    """Watches the async tasks of one request.

    Args:
        slow_task_seconds: A step that takes longer is logged, as a WARNING.
    """

    def __init__(self, slow_task_seconds: float) -> None:
        self.slow_task_seconds = slow_task_seconds
        self.reported = 0.0
        """The end of the last step that was. A step of a list within a list ends in two watches."""

    def around(self, call: Call, task: BackgroundTask) -> Any:
        """Make the task's call, and watch over what is awaited of it."""
        left = call(task)
        return self.over(left, task.name) if isawaitable(left) else left

    @coroutine
    def over(self, awaitable: Awaitable[Any], name: str) -> Generator[Any, Any, None]:
        """`yield from` the awaitable of the task of that name, with a clock between the steps."""
        steps = _await(awaitable)
        resume = partial(steps.send, None)
        while True:
            began = perf_counter()
            try:
                waits_for = resume()
            except StopIteration:
                return
            finally:
                self._report(began, name)
            try:
                resume = partial(steps.send, (yield waits_for))
            except BaseException as exc:  # noqa: BLE001  # the task's, that it may catch
                resume = partial(steps.throw, exc)

    def _report(self, began: float, name: str) -> None:
        now = perf_counter()
        held = now - max(began, self.reported)
        if held > self.slow_task_seconds:
            self.reported = now
            logger.warning(
                "background task %s held the event loop for %.3f s; "
                "as a plain function it would run in a thread",
                name,
                held,
            )


async def _await(awaitable: Awaitable[Any]) -> None:
    """Make a coroutine of it, which can be sent to and thrown into."""
    await awaitable


class SlowTaskMiddleware:
    """ASGI middleware under which tasks that hold the event loop are named in the log.

    It watches the tasks of minibg's lists, also in another framework's application. What a task
    starts by itself, as `asyncio.create_task` does, is not watched.

    Args:
        app: The application inside.
        slow_task_seconds: What holds the loop for longer is logged by the logger
            `minibg.ext.slow_tasks`, as a WARNING.

    Raises:
        ValueError: If that is not a positive number.
    """

    def __init__(self, app: ASGIApp, slow_task_seconds: float = 0.1) -> None:
        if not slow_task_seconds > 0:
            raise ValueError(
                f"slow_task_seconds is a positive number of seconds, not {slow_task_seconds!r}"
            )
        self.app = app
        self.slow_task_seconds = slow_task_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        around, outer = Watch(self.slow_task_seconds).around, around_tasks.get()
        before = around_tasks.set(
            around if outer is None else lambda call, task: around(partial(outer, call), task)
        )
        try:
            await self.app(scope, receive, send)
        finally:
            around_tasks.reset(before)
