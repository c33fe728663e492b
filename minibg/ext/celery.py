"""Tasks that Celery's workers run: on other machines, and again if a worker dies.

An endpoint asks for `tasks: CeleryTasks` in place of `tasks: BackgroundTasks`, and stays as it is.
What it adds has to be a task of Celery's, `@celery.task`. The same function can be added to any
list of minibg's: other lists call it in this process.

The list is sent when the endpoint has returned, and before the answer leaves: a 202 says that the
broker has it. So the client gets a 500 if the broker is away, and a worker may run a task before
the answer leaves (**after** does not hold). The README has a table of the rules that hold.

With Celery's defaults, a worker that is killed loses the tasks that it has taken. `safe_settings`
loses nothing on RabbitMQ. On Redis it may lose the one message that a worker is fetching when it is
killed: Celery takes the message from the queue by one command, and records it by another.

What may live here: handing a list to Celery, Celery's settings, and awaiting async tasks in a
worker. All else (retries, schedules, routes, results) is Celery's, by Celery's names. It needs the
extra `celery`.
"""

import logging
import os
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from inspect import isawaitable
from selectors import EVENT_READ, DefaultSelector
from typing import Any, ClassVar
from urllib.parse import urlsplit

import anyio
from anyio import CapacityLimiter
from anyio.lowlevel import RunVar

from minibg.background import BackgroundTask
from minibg.concurrency import run_in_extra_thread
from minibg.ext.handover import (
    HandedOverTasks,
    refuse_what_changes,
    refuse_what_is_not_written,
)
from minibg.naming import name_of

try:
    from celery import Celery, Task
    from celery.local import Proxy
    from kombu import serialization
    from kombu.exceptions import DecodeError, EncodeError, OperationalError
except ModuleNotFoundError as exc:
    raise ModuleNotFoundError(
        "minibg.ext.celery needs Celery: pip install 'minibg[celery]'", name=exc.name
    ) from exc

logger = logging.getLogger("minibg.ext.celery")

SECONDS = 5.0
"""How many seconds a broker may be silent, by default."""
AMQP = ("amqp", "amqps", "pyamqp")
REDIS = ("redis", "rediss")


class AwaitingTask(Task):  # type: ignore[misc]  # Celery has no types
    """A class of tasks whose `async def` functions are awaited: `Celery(task_cls=AwaitingTask)`.

    In a worker, each call has an event loop of its own. In a list of minibg's that is not sent, the
    event loop of the request awaits the task.
    """

    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        result = super().__call__(*args, **kwargs)
        return anyio.run(_await, result) if isawaitable(result) and self.request.id else result


async def _await(result: Any) -> Any:
    return await result


class CeleryTasks(HandedOverTasks):
    """`BackgroundTasks` that Celery's workers run.

    Messages are sent in the order of the list, each when the broker has confirmed the one before.
    If one of them fails, those before it have been sent, and the log names the rest. They are sent
    from separate threads, so that no other request waits for the broker.

    Raises:
        TypeError: In `add_task`, if the function is not a task of Celery's that is registered, does
            not take these arguments, or would be given others by the serializer.
        kombu.exceptions.OperationalError: When the list is sent, if the broker refuses it, or is
            silent for `seconds`. The client gets a 500, or the answer of the application's handler
            for this exception.
    """

    seconds: ClassVar[float] = SECONDS

    def prepare(self, task: BackgroundTask) -> BackgroundTask:
        """Check that Celery can make the call elsewhere."""
        celerys = _task_of(task.func)
        _check_arguments(celerys, task.args, task.kwargs)
        _warn_of_losses(celerys)
        task.func = celerys
        return super().prepare(task)

    async def hand_over(self) -> None:
        """Send all tasks, and wait until the broker has them."""
        limiter = sending_limiter()
        with anyio.move_on_after(self.seconds) as waiting:
            await limiter.acquire_on_behalf_of(self)
        if waiting.cancelled_caught:
            raise OperationalError(f"for {self.seconds} s all threads that send were waiting")
        try:
            await run_in_extra_thread(self._send)  # a cancelled request waits for its end, too
        finally:
            limiter.release_on_behalf_of(self)

    def _send(self) -> None:
        while self.tasks:
            task = self.tasks[0]
            celerys: Any = task.func
            is_eager = celerys.app.conf.task_always_eager  # it runs here, without a broker
            with nullcontext() if is_eager else _producer_of(celerys.app, self.seconds) as producer:
                celerys.apply_async(
                    task.args,
                    dict(task.kwargs),
                    producer=producer,
                    retry=False,
                    timeout=self.seconds,
                    confirm_timeout=self.seconds,
                )
            self.tasks.popleft()


_sending_limiter: RunVar[CapacityLimiter] = RunVar("minibg sending limiter")


def sending_limiter() -> CapacityLimiter:
    """The limiter of the threads that send, which belongs to the running event loop (**room**).

    There are 40 of them. A silent broker holds up only these, and neither the threads of endpoints
    nor those of background tasks.
    """
    try:
        return _sending_limiter.get()
    except LookupError:
        limiter = CapacityLimiter(40)
        _sending_limiter.set(limiter)
        return limiter


_idle: defaultdict[tuple[int, Celery, float], deque[Any]] = defaultdict(deque)
"""Idle producers with open connections. A forked process does not use those of its parent."""


@contextmanager
def _producer_of(app: Celery, seconds: float) -> Iterator[Any]:
    """A producer that no other thread uses. Its broker may be silent for `seconds`."""
    idle = _idle[os.getpid(), app, seconds]
    producer = None
    while idle and producer is None:
        try:
            producer = _still_open(idle.pop())
        except IndexError:  # another thread has taken the last one
            break
    producer = producer or app.amqp.Producer(_connection_of(app, seconds))
    try:
        yield producer
    except BaseException:
        producer.connection.collect()  # a late reply on it would confuse the next one
        raise
    idle.append(producer)


def _connection_of(app: Celery, seconds: float) -> Any:
    connection = app.connection_for_write()
    connection.connect_timeout = seconds
    connection.transport_options = {
        **connection.transport_options,
        **_limits(connection.transport.driver_type, seconds),
        "confirm_publish": True,  # a 202 says that the broker has it
        "max_retries": max(len(connection.alt) - 1, 0),  # each broker of a cluster once
    }
    return connection


def _still_open(producer: Any) -> Any:
    """The producer, or None if the broker has closed its connection in the meantime."""
    connection = producer.connection
    if connection.transport.driver_type == "amqp":  # Redis's client checks this itself
        with DefaultSelector() as selector:
            selector.register(connection.connection.sock, EVENT_READ)
            if selector.select(0):  # no reply is due, so it can only be the connection's end
                connection.collect()
                return None
    return producer


def safe_settings(broker_url: str) -> dict[str, Any]:
    """Settings for workers that may be killed at any moment: `app.conf.update(...)`.

    With RabbitMQ, no task is lost then. With Redis, a worker that is killed loses at most one task,
    which was about to begin. Redis itself has to write each message to disk: `appendonly yes`.

    Args:
        broker_url: The URL of the broker. Half of the settings depend on it: RabbitMQ or Redis.

    Raises:
        ValueError: If the broker is neither, since safe settings for others are not known.
    """
    scheme = urlsplit(broker_url).scheme.partition("+")[0]
    if scheme not in AMQP + REDIS:
        known = "amqp:// (RabbitMQ) or redis://"
        raise ValueError(f"safe settings are known for {known}, not for {scheme or broker_url!r}")
    return {
        "broker_url": broker_url,
        # A message is acknowledged when its task has ended, not when a worker has taken it.
        "task_acks_late": True,
        # A worker process that was killed gives its message back, and does not acknowledge it.
        "task_reject_on_worker_lost": True,
        # A task that has failed has ended: it is not tried again for ever.
        "task_acks_on_failure_or_timeout": True,
        # A worker takes one message for each of its processes, so that it holds only few.
        "worker_prefetch_multiplier": 1,
        # If the connection is lost, the worker stops its tasks: the broker gives them to another.
        "worker_cancel_long_running_tasks_on_connection_loss": True,
        # A task that takes longer fails. Without this limit, the broker takes its message for lost
        # and gives it to another worker too: RabbitMQ after 30 minutes (its `consumer_timeout`),
        # Redis after `visibility_timeout`, which has to be longer.
        "task_time_limit": 1740,
        # The queue, and the messages in it, survive a restart of the broker.
        "task_default_delivery_mode": "persistent",
        "broker_connection_timeout": SECONDS,
        "broker_connection_retry_on_startup": True,
        "broker_transport_options": _transport_options(scheme),
    }


def _transport_options(scheme: str) -> dict[str, Any]:
    if scheme in AMQP:
        # The broker confirms each message; without that, nobody knows whether it has arrived.
        return {"confirm_publish": True, **_limits("amqp", SECONDS)}
    return {
        # After so many seconds, a message that nobody has acknowledged goes to another worker.
        "visibility_timeout": 1800,
        # How often workers look for such messages; by default, every hundred seconds.
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
        # For how many seconds a worker that is killed while it looks keeps others from looking.
        "unacked_mutex_expire": 5,
        **_limits("redis", SECONDS),
    }


def _limits(driver: str, seconds: float) -> dict[str, Any]:
    """Options that limit how long a connection may be silent; by default, it may be for ever."""
    if driver == "amqp":
        return {"read_timeout": seconds, "write_timeout": seconds}
    return {
        "socket_timeout": seconds,
        "socket_connect_timeout": seconds,
        "retry_on_timeout": False,
    }


def _task_of(func: Any) -> Any:
    """The task behind a decorated function. Celery makes it when it is first used."""
    task = func._get_current_object() if isinstance(func, Proxy) else func
    if not isinstance(task, Task):
        raise TypeError(f"{name_of(func)} is not a task of Celery's: decorate it with @celery.task")
    if task.name not in task.app.tasks:
        raise TypeError(f"{task.name} is not registered with its application of Celery's")
    return task


def _check_arguments(task: Any, args: tuple[Any, ...], kwargs: Any) -> None:
    if task.typing:
        try:
            task.__header__(*args, **kwargs)
        except TypeError as exc:
            raise TypeError(f"{task.name}: {exc}") from None
    serializer = task.serializer or task.app.conf.task_serializer
    write = partial(_written, serializer)
    positional = dict(enumerate(args))
    try:
        copied, named = write([args, dict(kwargs)])
    except (EncodeError, DecodeError, TypeError, ValueError):
        refuse_what_is_not_written(task.name, positional | kwargs, write)
        raise
    refuse_what_changes(task.name, positional, dict(enumerate(copied)))
    refuse_what_changes(task.name, kwargs, named)


def _written(serializer: str, value: Any) -> Any:
    """A copy of the value, as a worker reads it."""
    written: Any = serialization  # it has no types
    content_type, encoding, data = written.dumps(value, serializer=serializer)
    return written.loads(data, content_type, encoding, accept=[content_type])


def _warn_of_losses(task: Any) -> None:
    """Log which tasks the settings would lose: once for each application and kind of loss."""
    if task in _known:
        return
    _known.add(task)
    losses = "; ".join(_losses(task))
    if losses and (task.app, losses) not in _warned:
        _warned.add((task.app, losses))
        logger.warning(
            "the settings of the Celery application %r lose tasks, %s among them: %s. See "
            "minibg.ext.celery.safe_settings",
            task.app.main,
            task.name,
            losses,
        )


_known: set[Any] = set()
_warned: set[tuple[Celery, str]] = set()


def _losses(task: Any) -> Iterator[str]:
    """The tasks that would be lost, and the setting that loses them."""
    if not task.acks_late:
        yield "what a worker that is killed has taken (task_acks_late)"
    elif not task.reject_on_worker_lost:
        yield "what a worker's process that is killed runs (task_reject_on_worker_lost)"
    conf = task.app.conf
    options = conf.broker_transport_options
    scheme = urlsplit(conf.broker_url or "amqp://").scheme.partition("+")[0]
    if scheme in AMQP and not options.get("confirm_publish"):
        yield "what is sent by other means, and not taken by the broker (confirm_publish)"
    if scheme in REDIS and not options.get("unacked_restore_interval"):
        yield "for a hundred seconds what a dead worker has had (unacked_restore_interval)"
    if conf.task_default_delivery_mode not in ("persistent", 2):
        yield "what waits when the broker ends (task_default_delivery_mode)"
