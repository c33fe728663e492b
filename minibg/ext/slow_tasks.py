"""Logs the name of a task that holds the event loop, and for how long.

Blocking work inside `async def` is the commonest mistake of all: while it lasts, no other request
is served. A coroutine runs in steps, each from one `await` to the next, and holds the loop during
each step. So each step of an async task is timed.

The clock measures elapsed time, so a step may be slow because another thread or process took the
processor. The call that returns the coroutine, `on_error` and endpoints are not timed; asyncio's
own debug mode times all that its loop calls, but does not know the names of tasks.

What may live here: measuring and logging. The middleware puts a watch around each task
(`minibg.background.around_tasks`); without the middleware nothing is measured.
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
        """When the last one ended. A step of a list in a list is timed twice, and reported once."""

    def around(self, call: Call, task: BackgroundTask) -> Any:
        """Make the task's call, and watch over the awaitable that it leaves, if any."""
        left = call(task)
        return self.over(left, task.name) if isawaitable(left) else left

    @coroutine
    def over(self, awaitable: Awaitable[Any], name: str) -> Generator[Any, Any, None]:
        """`yield from` the awaitable of the task of that name, and time each step."""
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
            except BaseException as exc:  # noqa: BLE001  # for the task, which may catch it
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
    """Make a coroutine of an awaitable, to have its `send` and `throw`."""
    await awaitable


class SlowTaskMiddleware:
    """ASGI middleware that names tasks which hold the event loop in the log.

    It watches the tasks of minibg's lists, also in another framework's application. It does not
    watch a coroutine that a task starts by itself, for example with `asyncio.create_task`.

    Args:
        app: The application inside.
        slow_task_seconds: A task that holds the loop for longer is logged by the logger
            `minibg.ext.slow_tasks`, as a WARNING.

    Raises:
        ValueError: If `slow_task_seconds` is not a positive number.
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
