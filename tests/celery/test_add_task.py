"""What `add_task` refuses, in the endpoint; and the same function under each annotation."""

import importlib
import logging
import re
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import anyio
import pytest
from celery import Celery, shared_task

from minibg import BackgroundTasks, MiniBG
from minibg.ext import celery as module
from minibg.ext.celery import AwaitingTask, CeleryTasks, safe_settings
from minibg.ext.durable import DurableTasks, Journal
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
def bound(self: Any, key: int) -> None:
    ran.append(key)


def plain() -> None: ...


@pytest.mark.parametrize(
    ("func", "args", "kwargs", "why"),
    [
        (plain, (), {}, "plain is not a task of Celery's: decorate it with @celery.task"),
        (work, (), {}, r"test_add_task\.work: .*missing"),
        (work, (1,), {"often": 2}, "unexpected keyword argument 'often'"),
        (bound, (1, 2), {}, r"test_add_task\.bound: "),
        (work, (object(),), {}, "argument 0 of .*work is a object and cannot be written down"),
        (bound, ([Path("a")],), {}, "argument 0 of .*bound is a list .*Path is not JSON"),
        (work, ((1, 2),), {}, "argument 0 of .* is a tuple and would come back as a list"),
        (work, (1,), {"times": {3}}, "argument 'times' of .*work is a set .*: pass plain data"),
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


@pytest.mark.parametrize("kind", [BackgroundTasks, DurableTasks])
def test_under_another_annotation_functions_run_in_this_process(
    kind: type[BackgroundTasks], tmp_path: Path
) -> None:
    """The same functions run in this process under another annotation."""

    class Tasks(kind):  # type: ignore[misc, valid-type]
        journal = Journal(tmp_path / "tasks.sqlite")

    async def served() -> None:
        tasks = Tasks()
        async with tasks if isinstance(tasks, DurableTasks) else nullcontext():
            tasks.add_task(work, 1, times=2)
            tasks.add_task(work_async, 3)
            tasks.add_task(bound, 4)
        await tasks()

    async def run() -> None:
        if issubclass(Tasks, DurableTasks):
            async with Tasks.lifespan():
                await served()
        else:
            await served()

    ran.clear()
    anyio.run(run)
    assert ran == [(1, 2), 3, 4]


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


def test_an_eager_application_needs_no_broker() -> None:
    """As in tests: each task runs when the list would be sent."""
    nobody = "amqp://127.0.0.1:1"
    eager = Celery("eager", broker=nobody, task_cls=AwaitingTask, task_always_eager=True)

    @eager.task(shared=False)
    async def note(key: int) -> None:
        ran.append(key)

    server = MiniBG()

    @server.get("/")
    async def endpoint(tasks: CeleryTasks) -> None:
        for key in range(3):
            tasks.add_task(note, key)

    ran.clear()
    assert ask(server).status == 200
    assert ran == [0, 1, 2]


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

    @safe.task(shared=False)
    def task() -> None: ...

    assert list(module._losses(task)) == []


def warnings_of(caplog: pytest.LogCaptureFixture, *tasks: Any) -> list[str]:
    """What is logged where each of these is added, and added again."""
    caplog.clear()
    with caplog.at_level(logging.WARNING, "minibg.ext.celery"):
        for task in tasks * 2:
            added = CeleryTasks()
            added.add_task(task)
            added.drain()
    return caplog.messages


DEFAULTS = {
    "amqp://localhost": ["task_acks_late", "confirm_publish"],
    "redis://localhost/0": ["task_acks_late", "unacked_restore_interval"],
}


@pytest.mark.parametrize("url", DEFAULTS)
def test_a_warning_names_once_what_the_settings_would_lose(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    careless = Celery("careless", broker=url)

    @careless.task(shared=False)
    def task() -> None: ...

    @careless.task(shared=False)
    def other() -> None: ...

    (warning,) = warnings_of(caplog, task, other)
    assert re.findall(r"\((\w+)\)", warning) == DEFAULTS[url]


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("task_reject_on_worker_lost", False),
        ("task_default_delivery_mode", "transient"),
        ("task_acks_late", False),
    ],
)
def test_a_setting_that_is_taken_back_is_named(
    setting: str, value: object, caplog: pytest.LogCaptureFixture
) -> None:
    careless = Celery("careless")
    careless.conf.update({**safe_settings("amqp://localhost"), setting: value})

    @careless.task(shared=False)
    def task() -> None: ...

    (warning,) = warnings_of(caplog, task)
    assert re.findall(r"\((\w+)\)", warning) == [setting]


def test_a_task_with_settings_of_its_own_is_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A task that has other settings than its application is named."""
    safe = Celery("safe")
    safe.conf.update(safe_settings("amqp://localhost"))

    @safe.task(shared=False)
    def task() -> None: ...

    @safe.task(shared=False, acks_late=False)
    def early() -> None: ...

    (warning,) = warnings_of(caplog, task, early)
    assert "early" in warning


def test_what_is_not_imported_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "celery", None)
    monkeypatch.delitem(sys.modules, "minibg.ext.celery")
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'minibg\[celery\]'"):
        importlib.import_module("minibg.ext.celery")
