"""Which rules hold for lists that Celery's workers run, and which do not."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from typing import Any

import anyio
import pytest

from minibg import MiniBG
from minibg.ext.celery import CeleryTasks
from minibg.types import Message
from tests.celery.conftest import Broker, Marks, each_broker, until, worker
from tests.celery.program import program, variable
from tests.framework.asgi import http_scope


class Rig:
    """Tasks, a worker that runs them, and the marks that they leave."""

    def __init__(self, broker: Broker, marks: Marks) -> None:
        self.tasks = program(broker.url, marks.file)
        self.marks = marks

    def serve(self, add: Callable[[CeleryTasks], Any], *, hold: str = "", leave: str = "") -> None:
        """Serve a request whose endpoint adds tasks.

        Args:
            hold: The server takes the answer when that mark is there.
            leave: The request is cancelled when that mark is there, in place of taking the answer.
        """
        app = MiniBG()

        @app.get("/")
        async def endpoint(tasks: CeleryTasks) -> None:
            add(tasks)

        async def receive() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(scope: anyio.CancelScope, message: Message) -> None:
            if message["type"] == "http.response.start" and (hold or leave):
                await anyio.to_thread.run_sync(self.until, hold or leave)
                if leave:
                    scope.cancel()
                    await anyio.sleep_forever()

        async def converse() -> None:
            with anyio.CancelScope() as scope:
                await app(http_scope(), receive, partial(send, scope))

        anyio.run(converse)

    def until(self, mark: str) -> None:
        until(lambda: mark in self.marks.lines)

    def about(self, *keys: int) -> list[str]:
        """The marks of these tasks, in their order."""
        return [line for line in self.marks.lines if int(line.split()[1]) in keys]


@pytest.fixture(scope="module")
def rig(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """With a worker that has one process."""
    marks = Marks(tmp_path_factory.mktemp("rules") / "marks")
    with worker(broker, marks, processes=1):
        yield Rig(broker, marks)


numbers = count(1)


@each_broker
def test_order_holds_with_one_worker_process(rig: Rig) -> None:
    keys = [next(numbers) for _ in range(10)]
    rig.serve(lambda tasks: [tasks.add_task(rig.tasks.work, key) for key in keys])
    rig.until(f"ended {keys[-1]}")
    assert rig.about(*keys) == [f"{what} {key}" for key in keys for what in ("started", "ended")]


@each_broker
def test_order_does_not_hold_with_two(broker: Broker, marks: Marks) -> None:
    """A quick task overtakes a slow one that was sent before it."""
    with worker(broker, marks, processes=2):
        rig = Rig(broker, marks)

        def add(tasks: CeleryTasks) -> None:
            tasks.add_task(rig.tasks.work, 1, 1.0)
            tasks.add_task(rig.tasks.work, 2)

        rig.serve(add)
        rig.until("ended 1")
    assert rig.about(1, 2).index("ended 2") < rig.about(1, 2).index("ended 1")


@each_broker
def test_place_is_a_worker_which_awaits_what_is_async(rig: Rig) -> None:
    key = next(numbers)
    rig.serve(lambda tasks: tasks.add_task(rig.tasks.work_async, key))
    rig.until(f"ended {key}")


@each_broker
def test_after_does_not_hold(rig: Rig) -> None:
    """A worker may be quicker than the answer: the broker has the list before."""
    key = next(numbers)
    rig.serve(lambda tasks: tasks.add_task(rig.tasks.work, key), hold=f"ended {key}")


@each_broker
def test_isolate_holds_and_a_failure_has_ended(rig: Rig) -> None:
    """No other message is stopped by it, and it is not delivered again."""
    failing, behind = next(numbers), next(numbers)

    def add(tasks: CeleryTasks) -> None:
        tasks.add_task(rig.tasks.fail, failing)
        tasks.add_task(rig.tasks.work, behind)

    rig.serve(add)
    rig.until(f"ended {behind}")
    assert rig.about(failing) == [f"started {failing}"]


@each_broker
def test_a_task_beyond_its_time_limit_has_ended(rig: Rig) -> None:
    """Its process is killed, and it is a failure: it is not delivered again."""
    slow, behind = next(numbers), next(numbers)

    def add(tasks: CeleryTasks) -> None:
        tasks.add_task(rig.tasks.take_long, slow)
        tasks.add_task(rig.tasks.work, behind)

    rig.serve(add)
    rig.until(f"ended {behind}")
    assert rig.about(slow) == [f"started {slow}"]


@each_broker
def test_what_a_task_adds_is_sent_by_it(rig: Rig) -> None:
    """**grow**: there is no list in a worker, so it says `other.delay()`."""
    key = next(numbers)
    rig.serve(lambda tasks: tasks.add_task(rig.tasks.grow, key))
    rig.until(f"ended {key}")


@each_broker
def test_cancel_does_not_reach_a_worker(rig: Rig) -> None:
    key = next(numbers)
    rig.serve(lambda tasks: tasks.add_task(rig.tasks.work, key, 0.5), leave=f"started {key}")
    rig.until(f"ended {key}")


@each_broker
def test_context_does_not_reach_a_worker(rig: Rig) -> None:
    def add(tasks: CeleryTasks) -> None:
        variable.set(7)
        tasks.add_task(rig.tasks.tell)

    rig.serve(add)
    rig.until("told 0")
    assert "told 7" not in rig.marks.lines
