"""Counts background tasks for Prometheus, and refuses requests while the backlog is too long.

A task that was added is at any moment in one of five states: **pending** (it has not started),
**running**, **done**, **failed** (it started and did not return: it raised, or was cancelled) or
**abandoned** (it never started, and the log names it). Pending and running tasks are the backlog.

What may live here: counting, and what follows from the counts. The core knows nothing of it. It
needs the extra `monitoring`.
"""

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from queue import SimpleQueue
from threading import Lock
from time import perf_counter
from typing import Any, ClassVar, NamedTuple

from minibg.background import BackgroundTasks
from minibg.outcomes import within
from minibg.responses import JSONResponse
from minibg.types import ASGIApp, Receive, Scope, Send
from minibg.websockets import WebSocket

try:
    from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, Metric
    from prometheus_client.registry import Collector
except ModuleNotFoundError as exc:
    raise ModuleNotFoundError(
        "monitoring needs prometheus-client: pip install 'minibg[monitoring]'", name=exc.name
    ) from exc

BUCKETS = (0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""In seconds: from a call that does hardly anything to one that belongs in a task queue."""


class Series(NamedTuple):
    """The metrics of all tasks; or, of each metric, the child for one function."""

    added: Counter
    pending: Gauge
    running: Gauge
    done: Counter
    failed: Counter
    abandoned: Counter
    duration: Histogram


class TaskMetrics(Collector):
    """The counts of tasks, as a collector of prometheus-client.

    All metrics have one label, `task`: the function's name. It has as many values as the program
    has functions that it adds; arguments never become values of it.

    `minibg_tasks_added_total`, `_pending`, `_running`, `_done_total`, `_failed_total` and
    `_abandoned_total` are taken at one moment, so the first is the sum of the others;
    `minibg_task_duration_seconds` is a histogram of the time that done and failed tasks took.
    With several worker processes, use the multiprocess mode of prometheus-client.

    Args:
        registry: The registry of prometheus-client that collects it.
        buckets: The upper bounds of the histogram, in seconds.

    Raises:
        ValueError: If the registry has these metrics already.
    """

    def __init__(
        self, registry: CollectorRegistry = REGISTRY, buckets: Iterable[float] = BUCKETS
    ) -> None:
        def counter(what: str, text: str) -> Counter:
            return Counter(f"minibg_tasks_{what}", text, ["task"], registry=None)

        def gauge(what: str, text: str) -> Gauge:
            options: dict[str, Any] = {"registry": None, "multiprocess_mode": "livesum"}
            return Gauge(f"minibg_tasks_{what}", text, ["task"], **options)

        self._metrics = Series(
            counter("added", "Background tasks that were added."),
            gauge("pending", "Background tasks that have not started yet."),
            gauge("running", "Background tasks that have started and not ended."),
            counter("done", "Background tasks that returned."),
            counter("failed", "Background tasks that raised, or were cancelled while they ran."),
            counter("abandoned", "Background tasks that never started, and never will."),
            Histogram(
                "minibg_task_duration_seconds",
                "How long background tasks took that are done or failed.",
                ["task"],
                registry=None,
                buckets=tuple(buckets),
            ),
        )
        self._series: dict[str, Series] = {}
        self._backlog = 0
        self._lock = Lock()
        # The garbage collector abandons lists too, and may run in a thread that holds this lock or
        # one of prometheus-client's. A SimpleQueue is reentrant: one `put` may interrupt another.
        self._abandoned: SimpleQueue[tuple[str, bool]] = SimpleQueue()
        registry.register(self)

    @property
    def backlog(self) -> int:
        """How many tasks are pending or running, in this process."""
        with self._lock:
            self._settle()
            return self._backlog

    def describe(self) -> list[Metric]:
        """The metrics without values, by which a registry finds duplicates."""
        return [described for metric in self._metrics for described in metric.describe()]

    def collect(self) -> list[Metric]:
        """The metrics, all of one moment."""
        with self._lock:
            self._settle()
            return [collected for metric in self._metrics for collected in metric.collect()]

    def add(self, name: str) -> None:
        """Count a task of that name as pending."""
        with self._lock:
            self._settle()
            self._add(name)

    def start(self, name: str) -> None:
        """Count a pending task of that name as running."""
        with self._lock:
            self._series[name].pending.dec()
            self._series[name].running.inc()

    def end(self, name: str, seconds: float, *, failed: bool) -> None:
        """Count a running task of that name as done or failed."""
        with self._lock:
            self._backlog -= 1
            series = self._series[name]
            series.running.dec()
            (series.failed if failed else series.done).inc()
            series.duration.observe(seconds)

    def abandon(self, name: str, *, is_new: bool) -> None:
        """Count a task of that name as abandoned, when the counts are next read or a task is added.

        A task that had ended and was put back into a list is new: it counts as added, too.
        """
        self._abandoned.put((name, is_new))

    def _add(self, name: str) -> None:
        if name not in self._series:  # all at once, so that each count is 0 before it is 1
            self._series[name] = Series._make(m.labels(name) for m in self._metrics)
        self._backlog += 1
        self._series[name].added.inc()
        self._series[name].pending.inc()

    def _settle(self) -> None:
        while not self._abandoned.empty():
            name, is_new = self._abandoned.get()
            if is_new:
                self._add(name)
            self._backlog -= 1
            self._series[name].pending.dec()
            self._series[name].abandoned.inc()


class _Count:
    """Counts one task: as pending until it starts, and as running until it ends."""

    def __init__(self, metrics: TaskMetrics, name: str) -> None:
        self.metrics = metrics
        self.name = name
        metrics.add(name)
        self.is_pending = True

    @contextmanager
    def running(self) -> Iterator[None]:
        """The context in which the task runs."""
        if not self.is_pending:  # it was put back into a list, to be retried: it is a task again
            self.metrics.add(self.name)
        self.is_pending = False
        self.metrics.start(self.name)
        began, failed = perf_counter(), True
        try:
            yield
            failed = False
        finally:
            self.metrics.end(self.name, perf_counter() - began, failed=failed)

    def __del__(self) -> None:
        if self.is_pending:  # the task was taken from its list, and is lost
            self.abandon()

    def abandon(self) -> None:
        """Count it as a task that was taken from its list and will not start."""
        self.metrics.abandon(self.name, is_new=not self.is_pending)
        self.is_pending = False


class MonitoredTasks(BackgroundTasks):
    """`BackgroundTasks` whose tasks are counted.

    In minibg an endpoint asks for them by annotation, `tasks: MonitoredTasks`; in Starlette and
    FastAPI they are a response's `background=`. `prometheus_client.make_asgi_app()` serves the
    counts, and so does a route that returns
    `Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)`. To add another policy:

        class MonitoredFailFast(FailFastTasks, MonitoredTasks): ...

    To use a registry of your own:

        class MyTasks(MonitoredTasks):
            metrics = TaskMetrics(registry)

    A `MonitoredTasks` within a list counts its own tasks, and is not counted itself; a list of
    another class counts as one task.
    """

    metrics: ClassVar[TaskMetrics] = TaskMetrics()

    def prepare(self, task: Any) -> Any:
        task = super().prepare(task)
        if not (isinstance(task.func, MonitoredTasks) or hasattr(task, "count")):
            task.count = _Count(self.metrics, task.name)
        return task

    def call_task(self, task: Any) -> Any:
        call = partial(super().call_task, task)
        return within(task.count.running(), call) if hasattr(task, "count") else call()

    def drain(self) -> Any:
        drained: Any = super().drain()
        for task in drained:
            if count := getattr(task, "count", None):
                count.abandon()
        return drained


class BacklogLimit:
    """ASGI middleware that answers 503 while more tasks are pending or running than it allows.

    Only tasks of `MonitoredTasks` count, not those of a plain list. The middleware serves again as
    soon as enough of them have ended. Requests that it has let in may add any number of tasks, so
    the backlog can grow beyond the limit. It refuses a WebSocket in the same way, or with a 403 if
    the server knows no other (ASGI, "Websocket Denial Response").

    Args:
        app: The application inside.
        max_tasks: How many tasks may be pending or running in this process.
        retry_after: After how many seconds the client should try again (RFC 9110, section 10.2.3).
        exempt: Paths that are always served, as `scope["path"]` has them, with or without a slash
            at their end: `/metrics`, or a check of the process's health.
        metrics: Where the tasks are counted.

    Raises:
        ValueError: If a number is negative, or a path does not begin with "/".
        TypeError: If a number is not an `int`, or the paths are a string.
    """

    def __init__(
        self,
        app: ASGIApp,
        max_tasks: int = 1000,
        retry_after: int = 5,
        *,
        exempt: Collection[str] = (),
        metrics: TaskMetrics = MonitoredTasks.metrics,
    ) -> None:
        for name, number in (("max_tasks", max_tasks), ("retry_after", retry_after)):
            if not isinstance(number, int):
                raise TypeError(f"{name} is an int, not a {type(number).__name__}")
            if number < 0:
                raise ValueError(f"{name} is 0 or more, not {number}")
        if isinstance(exempt, str):
            raise TypeError(f"exempt is a collection of paths, [{exempt!r}], not a string")
        for path in exempt:
            if not path.startswith("/"):
                raise ValueError(f"a path begins with '/', {path!r} in exempt does not")
        self.app = app
        self.max_tasks = max_tasks
        self.retry_after = retry_after
        self.exempt = {path.removesuffix("/") for path in exempt}
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (
            scope["type"] == "lifespan"
            or scope["path"].removesuffix("/") in self.exempt
            or self.metrics.backlog <= self.max_tasks
        ):
            await self.app(scope, receive, send)
        else:
            await self._refuse(scope, receive, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = JSONResponse(
            {"detail": "too many background tasks are waiting; try again later"},
            503,
            {"retry-after": str(self.retry_after)},
        )
        if scope["type"] == "http":
            await response(scope, receive, send)
        else:
            websocket = WebSocket(scope, receive, send)
            await websocket.refuse(response, 1013, "try again later")
