"""Solutions of two exercises on lists that are handed over before the answer leaves.

`TaskiqTasks`: the same promise as that of `CeleryTasks`, with taskiq (`pip install taskiq`). A list
is handed over as a whole; what has been sent is taken out, and no earlier.

`RelayedTasks`: a list that is written into the journal, and sent to Celery after the answer. So
**after** holds again, and the broker may be away for a while: then the sending waits, and the next
process goes on with it if this one dies.

What may live here: what follows from `handover.py` and `durable.py` by subclassing.
"""

import logging
from collections.abc import Awaitable
from typing import Any, ClassVar

from anyio import sleep
from kombu.exceptions import OperationalError

from minibg import BackgroundTask, BackgroundTasks
from minibg.ext.celery import CeleryTasks
from minibg.ext.durable import DurableTasks
from minibg.ext.handover import HandedOverTasks

logger = logging.getLogger(__name__)


class TaskiqTasks(HandedOverTasks):
    """`BackgroundTasks` whose tasks are taskiq's, `@broker.task`, and run by its workers."""

    async def hand_over(self) -> None:
        """Send all tasks, in order."""
        while self.tasks:
            task: Any = self.tasks[0]
            await task.func.kiq(*task.args, **task.kwargs)
            self.tasks.popleft()


class _Sending(BackgroundTasks):
    """A list whose calls are messages to Celery."""

    def call_task(self, task: Any) -> Any:
        return task.func.apply_async(task.args, dict(task.kwargs), retry=False)


class RelayedTasks(DurableTasks, _Sending):
    """`DurableTasks` that are sent to Celery when their turn comes.

    Where the broker refuses, the task is put back to the head, and sent again after a delay that
    doubles each time, up to `longest_delay` seconds.
    """

    first_delay: ClassVar[float] = 0.5
    longest_delay: ClassVar[float] = 30.0

    def __init__(self, *args: Any) -> None:
        self.delay = self.first_delay
        super().__init__(*args)

    def prepare(self, task: BackgroundTask) -> Any:
        return super().prepare(CeleryTasks().prepare(task))

    def on_error(self, task: BackgroundTask, exc: Exception) -> Awaitable[None] | None:
        if not isinstance(exc, OperationalError):
            return super().on_error(task, exc)
        logger.warning("the broker is away; again in %.1f s", self.delay)
        self.tasks.appendleft(task)
        delay, self.delay = self.delay, min(2 * self.delay, self.longest_delay)
        return sleep(delay)
