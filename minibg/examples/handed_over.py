"""Solutions to two exercises on lists that are handed over before the answer leaves.

`TaskiqTasks` make the same promise as `CeleryTasks`, with taskiq (`pip install taskiq`). All tasks
of a list are sent, and each is taken out of the list only when it has been sent.

`RelayedTasks` are written into the journal, and sent to Celery after the answer. So **after** holds
again, and the broker may be away for a while: then the tasks wait to be sent, and the next process
sends them if this one dies.

What may live here: subclasses that follow from `handover.py` and `durable.py`.
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
    """`BackgroundTasks` whose tasks are taskiq's, `@broker.task`; its workers run them."""

    async def hand_over(self) -> None:
        """Send all tasks, in order."""
        while self.tasks:
            task: Any = self.tasks[0]
            await task.func.kiq(*task.args, **task.kwargs)
            self.tasks.popleft()


class _Sending(BackgroundTasks):
    """A list that sends a message to Celery in place of each call."""

    def call_task(self, task: Any) -> Any:
        return task.func.apply_async(task.args, dict(task.kwargs), retry=False)


class RelayedTasks(DurableTasks, _Sending):
    """`DurableTasks` that are sent to Celery when their turn comes.

    If the broker refuses a task, it is put back at the head of the list, and sent again after a
    delay that doubles each time, up to `longest_delay` seconds.
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
