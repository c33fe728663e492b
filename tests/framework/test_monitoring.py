"""The counts of tasks, and the limit of the backlog, on lists and requests in process."""

import asyncio
import gc
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given
from prometheus_client import CollectorRegistry, Counter
from starlette.applications import Starlette

from minibg import BackgroundTask, BackgroundTasks, FailFastTasks, MiniBG
from minibg.ext.monitoring import BacklogLimit, MonitoredTasks, TaskMetrics
from minibg.types import ASGIApp, Message, Receive, Scope, Send
from tests.framework.asgi import ask
from tests.rules.language.cancelling import Blocked, in_a_scope, in_a_task
from tests.rules.language.programs import PROGRAMS, VIEWS, AnyProgram, Player, Stop, compare
from tests.rules.language.tasks import KINDS, make
from tests.rules.language.words import Event

ENDED = ("done", "failed", "abandoned")
STATES = ("pending", "running", *ENDED)


def monitored(registry: CollectorRegistry) -> type[MonitoredTasks]:
    """A class of lists that are counted in that registry."""

    class Own(MonitoredTasks):
        metrics = TaskMetrics(registry, buckets=[1])

    return Own


def samples(registry: CollectorRegistry) -> dict[str, float]:
    """The sum of each metric over all functions."""
    sums: dict[str, float] = {}
    for metric in registry.collect():
        for sample in metric.samples:
            if "le" not in sample.labels and not sample.name.endswith("_created"):
                sums[sample.name] = sums.get(sample.name, 0) + sample.value
    return sums


def counts(registry: CollectorRegistry) -> dict[str, int]:
    """How many tasks are in each state, where there are any."""
    return states_of(samples(registry))


def states_of(found: dict[str, float]) -> dict[str, int]:
    """`counts`, of what was found by then. What was added is their sum."""
    states = {
        state: int(found.get(f"minibg_tasks_{state}{'_total' if state in ENDED else ''}", 0))
        for state in STATES
    }
    assert found.get("minibg_tasks_added_total", 0) == sum(states.values())
    assert found.get("minibg_task_duration_seconds_count", 0) == states["done"] + states["failed"]
    return {state: number for state, number in states.items() if number}


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def tasks(registry: CollectorRegistry) -> MonitoredTasks:
    return monitored(registry)()


def succeed() -> None: ...


def fail() -> None:
    raise ValueError("failed on purpose")


# --- any program ---------------------------------------------------------------------------------


class MonitoringPlayer(Player):
    """Runs a program on lists that are counted, and looks at the counts at each event."""

    def __init__(self) -> None:
        super().__init__()
        self.registry = CollectorRegistry()
        self.monitored = monitored(self.registry)
        self.events: _Looking = _Looking(self.registry)

    def class_of(self, policy: str) -> type[BackgroundTasks]:
        return type("Monitored", (super().class_of(policy), self.monitored), {})


class _Looking(list[Event]):
    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__()
        self.registry = registry
        self.seen: list[tuple[Event, dict[str, float]]] = []

    def append(self, event: Event) -> None:
        super().append(event)
        self.seen.append((event, samples(self.registry)))


@given(program=PROGRAMS["nothing lost"])
def test_each_task_is_in_one_state_at_every_moment(backend: str, program: AnyProgram) -> None:
    """At every moment of any program. That tasks are counted changes nothing of what they do."""
    player = MonitoringPlayer()
    events = anyio.run(player.play, program, backend=backend)
    for event, found in player.events.seen:
        running = {"start": 1, "end": 1, "error": 0, "raised": 0, "left": 0}.get(event[0])
        states = states_of(found)
        assert running is None or states.get("running", 0) == running
    happened = [event[0] for event in events]
    ended = {
        "done": happened.count("end"),
        "failed": happened.count("start") - happened.count("end"),
        "abandoned": happened.count("not run"),
    }
    assert counts(player.registry) == {state: number for state, number in ended.items() if number}
    compare(VIEWS, program, events)


# --- one task ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_task_is_pending_then_running_then_done(
    backend: str, kind: str, registry: CollectorRegistry, tasks: MonitoredTasks
) -> None:
    seen = []
    tasks.add_task(make(kind, lambda: seen.append(counts(registry))))
    seen.append(counts(registry))
    anyio.run(tasks, backend=backend)
    assert [*seen, counts(registry)] == [{"pending": 1}, {"running": 1}, {"done": 1}]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("failure", [ValueError, Stop])
def test_a_task_that_raises_has_failed(
    backend: str,
    kind: str,
    failure: type[BaseException],
    registry: CollectorRegistry,
) -> None:
    """A task that raises has failed, and `on_error` is given the user's call."""

    def body(*args: object, **kwargs: object) -> None:
        raise failure

    class Reporting(monitored(registry)):  # type: ignore[misc]  # made for this registry
        def on_error(self, task: BackgroundTask, exc: Exception) -> None:
            reported.append((task.func, task.args, task.kwargs))

    func, tasks, reported = make(kind, body), Reporting(), list[Any]()
    tasks.add_task(func, 1, self=2)
    try:
        anyio.run(tasks, backend=backend)
    except Stop:
        assert reported == []
    else:
        assert reported == [(func, (1,), {"self": 2})]
    assert counts(registry) == {"failed": 1}


@pytest.mark.parametrize("kind", KINDS)
def test_a_call_that_the_function_refuses_has_failed(
    backend: str, kind: str, registry: CollectorRegistry, tasks: MonitoredTasks
) -> None:
    tasks.add_task(make(kind, succeed), "too many")
    anyio.run(tasks, backend=backend)
    assert counts(registry) == {"failed": 1}


def test_what_is_not_callable_is_refused_and_not_counted(
    registry: CollectorRegistry, tasks: MonitoredTasks
) -> None:
    with pytest.raises(TypeError, match="a task is a callable"):
        tasks.add_task(None)  # type: ignore[arg-type]  # wrong on purpose
    assert counts(registry) == {}


@pytest.mark.parametrize("kind", ["a function", "a coroutine function"])
def test_a_duration_is_that_of_the_task_alone(
    backend: str,
    kind: str,
    registry: CollectorRegistry,
    tasks: MonitoredTasks,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = count(100)
    monkeypatch.setattr("minibg.ext.monitoring.perf_counter", clock.__next__)
    tasks.add_task(fail)
    tasks.add_task(make(kind, lambda: next(clock)))
    anyio.run(tasks, backend=backend)
    sums = [s for m in registry.collect() for s in m.samples if s.name.endswith("_seconds_sum")]
    assert [s.value for s in sums] == [1, 2]


def test_every_metric_is_labelled_with_the_functions_name(
    registry: CollectorRegistry, tasks: MonitoredTasks
) -> None:
    """Every metric has the function's name as its only label, and begins at 0."""
    tasks.add_task(partial(print, "partial's secret"), "secret", end="secret")
    found = [sample for metric in registry.collect() for sample in metric.samples]
    assert {sample.labels["task"] for sample in found} == {"builtins.print"}
    assert {label for sample in found for label in sample.labels} == {"task", "le"}
    assert samples(registry) == {
        "minibg_tasks_added_total": 1,
        "minibg_tasks_pending": 1,
        "minibg_tasks_running": 0,
        "minibg_tasks_done_total": 0,
        "minibg_tasks_failed_total": 0,
        "minibg_tasks_abandoned_total": 0,
        "minibg_task_duration_seconds_count": 0,
        "minibg_task_duration_seconds_sum": 0,
    }


def test_the_buckets_are_chosen_with_the_registry(registry: CollectorRegistry) -> None:
    class Own(MonitoredTasks):
        metrics = TaskMetrics(registry, buckets=[1, 60])

    Own().add_task(succeed)
    bounds = [s.labels["le"] for m in registry.collect() for s in m.samples if "le" in s.labels]
    assert bounds == ["1.0", "60.0", "+Inf"]


def test_a_registry_has_the_metrics_once(registry: CollectorRegistry) -> None:
    TaskMetrics(registry)
    with pytest.raises(ValueError, match="minibg_tasks_pending"):
        TaskMetrics(registry)


# --- what never starts, and what does not end ----------------------------------------------------


def test_tasks_that_are_taken_from_their_list_are_abandoned(registry: CollectorRegistry) -> None:
    cls = monitored(registry)
    tasks = cls()
    for _ in range(3):
        tasks.add_task(print)
    tasks.tasks.pop()
    tasks.tasks.clear()
    gc.collect()
    assert counts(registry) == {"abandoned": 3}


def test_a_list_of_anothers_tasks_does_not_count_them_again(
    registry: CollectorRegistry,
) -> None:
    """A list that is made of another's tasks does not count them again."""
    cls = monitored(registry)
    tasks = cls()
    tasks.add_task(len, [])
    other = cls(tasks.tasks)
    tasks.tasks.clear()
    assert counts(registry) == {"pending": 1}
    anyio.run(other)
    assert counts(registry) == {"done": 1}


def test_a_list_that_nobody_runs_is_abandoned(registry: CollectorRegistry) -> None:
    own = monitored(registry)
    tasks = own()
    tasks.add_task(succeed)
    tasks.add_task(own([BackgroundTask(succeed), succeed]))
    del tasks
    gc.collect()
    assert counts(registry) == {"abandoned": 3}


def test_a_list_that_is_abandoned_names_its_tasks_as_ever(
    tasks: MonitoredTasks, caplog: pytest.LogCaptureFixture
) -> None:
    tasks.add_task(succeed)
    tasks.add_task(fail)
    tasks.abandon("shown here")
    tasks.abandon("shown again")
    names = f"{__name__}.succeed, {__name__}.fail"
    assert caplog.messages == [f"background tasks not run (shown here): {names}"]


def test_a_list_may_be_collected_while_another_is_counted(
    registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The garbage collector may abandon a list while another is being counted.

    It interrupts whatever runs; here, what holds the locks of the counts.
    """
    tasks, inc = monitored(registry)(), Counter.inc

    def collect_and_inc(self: Counter, amount: float = 1) -> None:
        gc.collect()
        inc(self, amount)

    forgotten = type(tasks)()
    forgotten.add_task(succeed)
    forgotten.circle = forgotten  # type: ignore[attr-defined]  # so that it is found by collecting
    del forgotten
    monkeypatch.setattr(Counter, "inc", collect_and_inc)
    tasks.add_task(succeed)
    assert counts(registry) == {"pending": 1, "abandoned": 1}


@pytest.mark.parametrize("cancels", [in_a_scope, in_a_task])
def test_a_cancelled_task_has_failed_and_the_rest_is_abandoned(
    cancels: Any, registry: CollectorRegistry, tasks: MonitoredTasks
) -> None:
    """A cancelled task has failed, and those after it are abandoned."""
    started = anyio.Event()

    async def hang() -> None:
        started.set()
        await anyio.sleep_forever()

    async def main() -> None:
        async with cancels(tasks) as cancel:
            await started.wait()
            cancel()

    tasks.add_task(hang)
    tasks.add_task(succeed)
    anyio.run(main)
    assert counts(registry) == {"failed": 1, "abandoned": 1}


def test_a_task_in_a_thread_runs_until_it_ends(
    registry: CollectorRegistry, tasks: MonitoredTasks
) -> None:
    """A thread cannot be cancelled, so its task counts as running until it ends."""
    blocked = Blocked()

    async def main() -> None:
        async with in_a_task(tasks) as cancel:
            await blocked.is_running()
            cancel()
            for _ in range(3):
                await anyio.lowlevel.cancel_shielded_checkpoint()
            assert counts(registry) == {"running": 1, "abandoned": 1}
            blocked.leave.set()

    tasks.add_task(blocked)
    tasks.add_task(succeed)
    asyncio.run(main())
    assert counts(registry) == {"done": 1, "abandoned": 1}


# --- lists ---------------------------------------------------------------------------------------


def test_a_list_within_a_list_is_counted_by_its_tasks_alone(
    backend: str, registry: CollectorRegistry
) -> None:
    own = monitored(registry)
    inner = own([succeed_async, BackgroundTask(fail)])
    outer = own([inner, BackgroundTask(succeed)])
    outer.add_task(own())
    assert counts(registry) == {"pending": 3}
    anyio.run(outer, backend=backend)
    assert counts(registry) == {"done": 2, "failed": 1}


async def succeed_async() -> None: ...


def test_a_list_of_another_kind_is_one_task(
    backend: str, registry: CollectorRegistry, tasks: MonitoredTasks
) -> None:
    tasks.add_task(BackgroundTasks([BackgroundTask(succeed), BackgroundTask(succeed)]))
    anyio.run(tasks, backend=backend)
    assert counts(registry) == {"done": 1}


@pytest.mark.parametrize("is_cancelled", [False, True])
def test_a_task_that_is_put_back_is_a_task_once_more(
    backend: str, is_cancelled: bool, registry: CollectorRegistry
) -> None:
    class Retrying(monitored(registry)):  # type: ignore[misc]  # made for this registry
        def on_error(self, task: BackgroundTask, exc: Exception) -> None:
            if not is_cancelled or len(failures) == 1:
                self.tasks.append(task)
            if is_cancelled:
                self.abandon("shown here")

    def fail_twice() -> None:
        failures.append(len(failures))
        if len(failures) < 3:
            raise ValueError

    tasks, failures = Retrying(), list[int]()
    tasks.add_task(fail_twice)
    anyio.run(tasks, backend=backend)
    expected = {"failed": 1, "abandoned": 1} if is_cancelled else {"failed": 2, "done": 1}
    assert counts(registry) == expected


def test_another_policy_is_counted_too(
    backend: str, registry: CollectorRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    class MonitoredFailFast(FailFastTasks, monitored(registry)):  # type: ignore[misc]  # likewise
        pass

    def endpoint(tasks: MonitoredFailFast) -> None:
        for func in (succeed, fail, succeed):
            tasks.add_task(func)

    app = MiniBG()
    app.get("/")(endpoint)
    assert ask(app, fails=ValueError, backend=backend).status == 200
    assert counts(registry) == {"done": 1, "failed": 1, "abandoned": 1}


def test_counts_that_threads_change_meanwhile_are_of_one_moment(
    registry: CollectorRegistry,
) -> None:
    class Silent(monitored(registry)):  # type: ignore[misc]  # made for this registry
        def on_error(self, task: BackgroundTask, exc: Exception) -> None:
            """A record in the log would keep the list."""

    def run_some() -> None:
        for _ in range(10):
            tasks = Silent()
            tasks.add_task(succeed_async)
            tasks.add_task(fail_async)
            anyio.run(tasks)
            tasks.add_task(succeed)

    async def fail_async() -> None:
        raise ValueError

    looks, interval = 0, sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as threads:
            running = [threads.submit(run_some) for _ in range(4)]
            while looks < 10 or not all(thread.done() for thread in running):
                counts(registry)  # which asserts that they add up
                assert Silent.metrics.backlog >= 0
                looks += 1
            for thread in running:
                thread.result()
    finally:
        sys.setswitchinterval(interval)
    gc.collect()
    assert counts(registry) == {"done": 40, "failed": 40, "abandoned": 40}
    assert Silent.metrics.backlog == 0


# --- the package ---------------------------------------------------------------------------------


def python(code: str, **environment: str) -> str:
    """What a Python of its own prints when it runs that code."""
    command, environment = [sys.executable, "-W", "error", "-c", code], os.environ | environment
    done = subprocess.run(
        command, capture_output=True, check=True, text=True, env=environment, timeout=50
    )
    return done.stdout.strip()


def test_import_minibg_leaves_prometheus_client_out() -> None:
    assert python("import minibg, sys; print('prometheus_client' in sys.modules)") == "False"


def test_without_prometheus_client_the_extra_is_named() -> None:
    code = """
import sys
sys.modules["prometheus_client"] = None
try:
    import minibg.ext.monitoring
except ModuleNotFoundError as exc:
    print(exc, exc.name)
"""
    said = "monitoring needs prometheus-client: pip install 'minibg[monitoring]' prometheus_client"
    assert python(code) == said


def test_the_counts_of_several_processes_add_up(tmp_path: Path) -> None:
    """The counts of several processes add up in Prometheus's multiprocess mode."""
    run = """
import anyio
from minibg.ext.monitoring import MonitoredTasks
tasks = MonitoredTasks([anyio.lowlevel.checkpoint])
anyio.run(tasks)
waiting = MonitoredTasks([anyio.lowlevel.checkpoint])
MonitoredTasks.metrics.collect()
import os; os._exit(0)  # as a worker that is killed: what waits is not named
"""
    look = """
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector
registry = CollectorRegistry()
MultiProcessCollector(registry)
names = ("minibg_tasks_added_total", "minibg_tasks_done_total", "minibg_tasks_pending")
label = {"task": "anyio.lowlevel.checkpoint"}
print([registry.get_sample_value(name, label) for name in names])
"""
    for _ in range(2):
        python(run, PROMETHEUS_MULTIPROC_DIR=str(tmp_path))
    assert python(look, PROMETHEUS_MULTIPROC_DIR=str(tmp_path)) == "[4.0, 2.0, 2.0]"


# --- the limit -----------------------------------------------------------------------------------


def minibg_app(limit: Callable[..., None]) -> ASGIApp:
    app = MiniBG()
    limit(app.add_middleware)
    app.get("/")(lambda: "served")
    app.get("/metrics")(lambda: "served")
    return app


async def served(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"served"})


def starlette_app(limit: Callable[..., None]) -> ASGIApp:
    app = Starlette()
    limit(app.add_middleware)
    app.mount("/", served)
    return app


@pytest.mark.parametrize("framework", [minibg_app, starlette_app])
def test_more_tasks_than_the_limit_are_a_503(
    backend: str,
    framework: Callable[[Callable[..., None]], ASGIApp],
    registry: CollectorRegistry,
    tasks: MonitoredTasks,
) -> None:
    """More tasks than the limit are a 503 until enough have ended."""

    def limit(add: Callable[..., None]) -> None:
        add(BacklogLimit, 2, retry_after=7, exempt=["/metrics"], metrics=tasks.metrics)

    app = framework(limit)
    for status in (200, 200, 200, 503):
        answer = ask(app, backend=backend)
        assert answer.status == status
        tasks.add_task(succeed)
    assert answer.body == b'{"detail":"too many background tasks are waiting; try again later"}'
    assert (b"retry-after", b"7") in answer.headers
    assert (b"content-type", b"application/json") in answer.headers
    assert ask(app, path="/metrics", backend=backend).status == 200
    of_the_app = {minibg_app: 307, starlette_app: 200}[framework]
    assert ask(app, path="/metrics/", backend=backend).status == of_the_app
    anyio.run(tasks, backend=backend)
    assert ask(app, backend=backend).status == 200


def test_a_task_that_runs_counts_as_well_as_one_that_waits(
    registry: CollectorRegistry, tasks: MonitoredTasks
) -> None:
    app = BacklogLimit(served, 0, metrics=tasks.metrics)

    async def look() -> None:
        await anyio.to_thread.run_sync(lambda: seen.append(ask(app).status))

    seen: list[int] = []
    tasks.add_task(look)
    anyio.run(tasks)
    assert [*seen, ask(app).status] == [503, 200]


def test_tasks_that_are_abandoned_are_no_backlog(tasks: MonitoredTasks) -> None:
    app = BacklogLimit(served, 0, metrics=tasks.metrics)
    tasks.add_task(succeed)
    assert ask(app).status == 503
    tasks.abandon("shown here")
    assert ask(app).status == 200


def test_the_limit_counts_monitored_tasks_unless_told_otherwise(tasks: MonitoredTasks) -> None:
    app = BacklogLimit(served, 0)
    tasks.add_task(succeed)
    assert ask(app).status == 200
    own = MonitoredTasks([BackgroundTask(succeed)])
    assert ask(app).status == 503
    own.abandon("shown here")


def refused(scope_type: str, tasks: MonitoredTasks, **scope: Any) -> list[Message]:
    """What is sent to a connection of that type beyond the limit."""
    app, sent = BacklogLimit(served, 0, metrics=tasks.metrics), list[Message]()

    async def receive() -> Message:
        return {"type": f"{scope_type}.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    tasks.add_task(succeed)
    anyio.run(app, {"type": scope_type, "path": "/", "headers": [], **scope}, receive, send)
    return sent


def test_a_websocket_beyond_the_limit_is_refused_with_503(tasks: MonitoredTasks) -> None:
    """A WebSocket beyond the limit is refused with 503 where the server knows how."""
    start, body = refused("websocket", tasks, extensions={"websocket.http.response": {}})
    assert (start["type"], start["status"]) == ("websocket.http.response.start", 503)
    assert (b"retry-after", b"5") in start["headers"]
    assert body["type"] == "websocket.http.response.body"
    assert b"too many background tasks" in body["body"]


@pytest.mark.parametrize("scope", [{}, {"extensions": None}, {"extensions": {"tls": {}}}])
def test_a_websocket_is_refused_before_it_opens_where_not(
    tasks: MonitoredTasks, scope: dict[str, Any]
) -> None:
    closed = {"type": "websocket.close", "code": 1013, "reason": "try again later"}
    assert refused("websocket", tasks, **scope) == [closed]


def test_the_lifespan_is_let_through(tasks: MonitoredTasks) -> None:
    sent = refused("lifespan", tasks)
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"max_tasks": -1}, ValueError, "max_tasks is 0 or more, not -1"),
        ({"max_tasks": 1.5}, TypeError, "max_tasks is an int, not a float"),
        ({"retry_after": -5}, ValueError, "retry_after is 0 or more, not -5"),
        ({"retry_after": "5"}, TypeError, "retry_after is an int, not a str"),
        ({"exempt": "/metrics"}, TypeError, r"exempt is a collection of paths, \['/metrics'\]"),
        ({"exempt": ["metrics"]}, ValueError, "begins with '/', 'metrics' in exempt does not"),
    ],
)
def test_an_argument_that_makes_no_sense_is_named(
    options: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        BacklogLimit(served, **options)
