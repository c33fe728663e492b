"""Runs that are cancelled from outside while a task works in its thread.

What may live here: how a run is cancelled. The tests say what must come of it.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio
import pytest

from minibg import BackgroundTasks
from tests.rules.language import SECONDS

Run = Callable[[BackgroundTasks], AbstractAsyncContextManager[Callable[[], object]]]
"""Runs the tasks while the context is entered, and hands out how the run is cancelled."""


class Blocked:
    """A sync task that says when it runs, and blocks its thread until it is let go."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.failure = failure
        self.runs, self.leave, self.ended = (threading.Event() for _ in range(3))

    def __call__(self) -> None:
        self.runs.set()
        assert self.leave.wait(SECONDS)
        self.ended.set()
        if self.failure is not None:
            raise self.failure

    async def is_running(self) -> None:
        assert await anyio.to_thread.run_sync(self.runs.wait, SECONDS)


@asynccontextmanager
async def in_a_scope(tasks: BackgroundTasks) -> AsyncIterator[Callable[[], object]]:
    """Run the tasks until the block ends; what it is given cancels them through anyio."""
    with anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as group:
            group.start_soon(tasks)
            yield group.cancel_scope.cancel


@asynccontextmanager
async def in_a_task(
    tasks: Callable[[], Coroutine[Any, Any, None]],
) -> AsyncIterator[Callable[[], object]]:
    """Run the tasks until the block ends; what it is given cancels them through asyncio."""
    task = asyncio.ensure_future(tasks())
    yield task.cancel
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, SECONDS)


both_ways = pytest.mark.parametrize(
    ("backend", "run"), [("asyncio", in_a_scope), ("trio", in_a_scope), ("asyncio", in_a_task)]
)
"""A run is cancelled through anyio, and through asyncio."""


async def let_it_be_delivered() -> None:
    """Give the loop the turns in which asyncio throws a cancellation into the task it is for."""
    for _ in range(3):
        await anyio.lowlevel.cancel_shielded_checkpoint()
