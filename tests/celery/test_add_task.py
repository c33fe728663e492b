"""What `add_task` refuses, in the endpoint; and the same function under each annotation."""

import logging
from typing import Any

import pytest
from celery import Celery, shared_task

from minibg import BackgroundTasks, MiniBG
from minibg.ext import celery as module
from minibg.ext.celery import AwaitingTask, CeleryTasks, safe_settings
from tests.framework.asgi import ask

app = Celery("test", broker="memory://", task_cls=AwaitingTask)
ran: list[Any] = []


@app.task
def work(key: int, *, times: int = 1) -> None:
    ran.append((key, times))


@app.task
async def work_async(key: int) -> None:
    ran.append(key)


@app.task(bind=True)
def bound(self: Any, key: int) -> None: ...


def plain() -> None: ...


@pytest.mark.parametrize(
    ("func", "args", "kwargs", "why"),
    [
        (plain, (), {}, "plain is not a task of Celery's: decorate it with @celery.task"),
        (work, (), {}, r"test_add_task\.work: .*missing"),
        (work, (1,), {"often": 2}, "unexpected keyword argument 'often'"),
        (bound, (1, 2), {}, r"test_add_task\.bound: "),
        (work, (object(),), {}, "json cannot write an argument"),
        (work, ((1, 2),), {}, "argument 0 of .* is a tuple and would come back as a list"),
        (work, (1,), {"times": {3}}, "json cannot write an argument"),
    ],
)
def test_what_celery_could_not_run_is_refused(func: Any, args: Any, kwargs: Any, why: str) -> None:
    tasks = CeleryTasks()
    with pytest.raises(TypeError, match=why):
        tasks.add_task(func, *args, **kwargs)
    assert not tasks.tasks


def test_a_task_that_is_not_registered_is_refused() -> None:
    elsewhere = Celery("elsewhere", broker="memory://")

    @elsewhere.task
    def forgotten() -> None: ...

    assert forgotten.name
    del elsewhere.tasks[forgotten.name]
    with pytest.raises(TypeError, match="is not registered with its application"):
        CeleryTasks().add_task(forgotten)


def test_what_is_refused_is_a_500_and_nothing_is_sent() -> None:
    server = MiniBG()

    @server.get("/")
    async def endpoint(tasks: CeleryTasks) -> None:
        tasks.add_task(plain)

    assert ask(server, fails=TypeError).status == 500


def test_the_same_functions_run_in_this_process_under_another_annotation() -> None:
    ran.clear()
    server = MiniBG()

    @server.get("/")
    async def endpoint(tasks: BackgroundTasks) -> None:
        tasks.add_task(work, 1, times=2)
        tasks.add_task(work_async, 3)

    assert ask(server).status == 200
    assert ran == [(1, 2), 3]


def test_a_message_holds_what_was_given_when_it_was_added() -> None:
    """**capture**: what a worker gets is a copy; all that it gets is in the message."""

    @app.task
    def listed(items: list[int]) -> None: ...

    server, items = MiniBG(), [1]

    @server.get("/")
    async def endpoint(tasks: CeleryTasks) -> None:
        tasks.add_task(listed, items)

    assert ask(server).status == 200
    with app.connection_for_read() as connection:
        message = connection.SimpleQueue(app.conf.task_default_queue).get(timeout=5)
        assert message.payload[0] == [[1]]
        message.ack()


def test_a_shared_task_is_one_of_celerys() -> None:
    @shared_task
    def shared() -> None: ...

    tasks = CeleryTasks()
    tasks.add_task(shared)
    assert len(tasks.tasks) == 1
    tasks.drain()


@pytest.mark.parametrize("url", ["sqs://", "memory://", "nonsense"])
def test_safe_settings_of_another_broker_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="safe settings are known for amqp://"):
        safe_settings(url)


@pytest.mark.parametrize("url", ["amqp://localhost", "redis://localhost/0", "rediss://localhost"])
def test_safe_settings_are_settings_that_lose_nothing(url: str) -> None:
    safe = Celery("safe")
    safe.conf.update(safe_settings(url))
    assert list(module._losses(safe.conf)) == []


@pytest.mark.parametrize(("url", "losses"), [("amqp://localhost", 2), ("redis://localhost/0", 2)])
def test_a_warning_names_once_what_the_settings_would_lose(
    url: str, losses: int, caplog: pytest.LogCaptureFixture
) -> None:
    careless = Celery("careless", broker=url)

    @careless.task(name=f"task of {url}")
    def task() -> None: ...

    with caplog.at_level(logging.WARNING, "minibg.ext.celery"):
        for _ in range(2):
            tasks = CeleryTasks()
            tasks.add_task(task)
            tasks.drain()
    (record,) = caplog.records
    assert "task_acks_late" in record.getMessage()
    assert record.getMessage().count(";") == losses - 1
