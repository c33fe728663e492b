"""**isolate**: a failure goes to `on_error` and no further; the next tasks run."""

import asyncio
import gc
import logging
import sys
import threading
from collections.abc import Callable, Generator, Iterable
from contextlib import suppress
from typing import Any

import anyio
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from minibg import BackgroundTask, BackgroundTasks, FailFastTasks, MiniBG
from tests.rules.language.exchange import Exchange
from tests.rules.language.programs import PROGRAMS, AnyProgram, Stop, UnprintableError, check
from tests.rules.language.tasks import ASYNC, HANDED_BACK, KINDS, SYNC, any_kind, make
from tests.rules.language.words import Program, Task

failures: st.SearchStrategy[Callable[[], Exception]] = st.sampled_from(
    [
        ValueError,
        UnprintableError,
        lambda: ExceptionGroup("several", [ValueError(), KeyError("x")]),
        lambda: OSError(2, "gone"),
    ]
)
additions = st.lists(st.tuples(any_kind(), st.none() | failures), max_size=6)


class Recording(BackgroundTasks):
    """Keeps what `on_error` was given: the first argument of the task, if any, and the failure."""

    def __init__(self, tasks: Iterable[BackgroundTask] = ()) -> None:
        super().__init__(tasks)
        self.failed: list[tuple[str, Exception]] = []

    def on_error(self, task: BackgroundTask, exc: Exception) -> None:
        self.failed.append((str(*task.args[:1]), exc))


def task_that(failure: Exception | None, ran: list[str]) -> Callable[[str], None]:
    def body(label: str) -> None:
        ran.append(label)
        if failure is not None:
            raise failure

    return body


@given(added=additions)
def test_a_failing_task_does_not_stop_the_next(
    backend: str, added: list[tuple[str, Callable[[], Exception] | None]]
) -> None:
    tasks, ran, expected = Recording(), list[str](), list[tuple[str, Exception]]()
    for number, (kind, failure_of) in enumerate(added):
        failure = None if failure_of is None else failure_of()
        tasks.add_task(make(kind, task_that(failure, ran)), str(number))
        if failure is not None:
            expected.append((str(number), failure))
    anyio.run(tasks, backend=backend)
    assert ran == [str(number) for number in range(len(added))]
    assert [(label, id(exc)) for label, exc in tasks.failed] == [
        (label, id(exc)) for label, exc in expected
    ]


@given(added=additions)
def test_the_client_sees_nothing_of_a_failure(
    backend: str, added: list[tuple[str, Callable[[], Exception] | None]]
) -> None:
    app = MiniBG()

    @app.get("/")
    async def endpoint(tasks: BackgroundTasks) -> str:
        for kind, failure_of in added:
            body = task_that(failure_of() if failure_of is not None else None, [])
            tasks.add_task(make(kind, body), "")
        return "answered"

    exchange = Exchange()
    anyio.run(exchange, app, backend=backend)
    assert exchange.status == 200
    assert [message["type"] for message in exchange.messages] == [
        "http.response.start",
        "http.response.body",
    ]
    assert exchange.messages[1]["body"] == b'"answered"'


@pytest.mark.parametrize("kind", KINDS)
def test_stop_iteration_reaches_on_error_as_runtime_error(backend: str, kind: str) -> None:
    """A coroutine raises `RuntimeError` in its place (PEP 479); so does a task in a thread."""
    tasks, ran = Recording(), list[str]()
    tasks.add_task(make(kind, task_that(StopIteration(), ran)), "first")
    tasks.add_task(make(kind, task_that(None, ran)), "second")
    anyio.run(tasks, backend=backend)
    assert ran == ["first", "second"]
    ((_, exc),) = tasks.failed
    assert isinstance(exc, RuntimeError)
    assert isinstance(exc.__cause__, StopIteration)


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_arguments_are_a_failure_of_the_task_alone(backend: str, kind: str) -> None:
    ran: list[str] = []
    tasks = Recording()
    tasks.add_task(make(kind, task_that(None, ran)), "too", "many")
    tasks.add_task(make(kind, task_that(None, ran)), "second")
    anyio.run(tasks, backend=backend)
    assert ran == ["second"]
    assert [type(exc) for _, exc in tasks.failed] == [TypeError]


@pytest.mark.parametrize("kind", KINDS)
def test_a_failure_is_logged_without_the_arguments(
    backend: str, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The log shows the name of the function and the traceback, but no argument."""
    exc = ValueError("what went wrong")
    tasks = BackgroundTasks()
    tasks.add_task(make(kind, task_that(exc, [])), "a secret")
    anyio.run(tasks, backend=backend)
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("minibg.background", logging.ERROR)
    # `make` gives the task its body's name.
    name = "tests.rules.language.tasks.task_that.<locals>.body"
    assert record.getMessage() == f"background task {name} failed"
    assert "a secret" not in caplog.text
    assert "what went wrong" in caplog.text
    assert record.exc_info is not None
    assert record.exc_info[1] is exc
    assert "in body" in caplog.text, "the traceback leads to the function that failed"


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_exception_is_not_isolated(backend: str, kind: str) -> None:
    def stop(label: str) -> None:
        raise Stop

    tasks, ran = Recording(), list[str]()
    tasks.add_task(make(kind, stop), "first")
    tasks.add_task(make(kind, task_that(None, ran)), "second")
    with pytest.raises(Stop):
        anyio.run(tasks, backend=backend)
    assert (ran, tasks.failed) == ([], [])


@given(added=additions)
def test_fail_fast_runs_up_to_the_first_failure_and_raises_it(
    backend: str, added: list[tuple[str, Callable[[], Exception] | None]]
) -> None:
    tasks, ran = FailFastTasks(), list[str]()
    expected_ran, expected = list[str](), None
    for number, (kind, failure_of) in enumerate(added):
        failure = None if failure_of is None else failure_of()
        tasks.add_task(make(kind, task_that(failure, ran)), str(number))
        if expected is None:
            expected_ran.append(str(number))
            expected = failure
    if expected is None:
        anyio.run(tasks, backend=backend)
    else:
        with pytest.raises(type(expected)) as raised:
            anyio.run(tasks, backend=backend)
        assert raised.value is expected
    assert ran == expected_ran


@pytest.mark.parametrize("kind", KINDS)
def test_on_error_is_called_on_the_loop_and_may_be_async(backend: str, kind: str) -> None:
    events: list[Any] = []

    class Alerting(BackgroundTasks):
        async def on_error(self, task: BackgroundTask, exc: Exception) -> None:
            await anyio.lowlevel.checkpoint()
            events.append(("alert", task.args, anyio.get_current_task().id))

    async def request() -> None:
        tasks = Alerting()
        tasks.add_task(make(kind, task_that(ValueError(), events)), "first")
        tasks.add_task(make(kind, task_that(None, events)), "second")
        await tasks()
        assert events == ["first", ("alert", ("first",), anyio.get_current_task().id), "second"]

    anyio.run(request, backend=backend)


@pytest.mark.parametrize("before", [[], ["a coroutine function"]])
def test_a_run_that_is_given_no_thread_names_its_tasks(
    backend: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    before: list[str],
) -> None:
    """The system starts no further thread: the run ends, and names its tasks."""
    asked: list[None] = []

    async def no_thread(*args: Any, **kwargs: Any) -> None:
        if asked:  # once more, and so for ever
            raise Stop
        asked.append(None)
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("minibg.background.run_in_background_thread", no_thread)
    tasks = Recording()
    for kind in [*before, "a function"]:
        tasks.add_task(make(kind, task_that(None, [])), kind)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        anyio.run(tasks, backend=backend)
    assert not tasks.failed, "no task has failed: the one that needed a thread never started"
    reason = "background tasks not run (an earlier failure, RuntimeError)"
    assert f"{reason}: tests.rules.language.tasks.task_that.<locals>.body" in caplog.text


@pytest.mark.parametrize("kind", KINDS)
def test_each_of_two_runs_reports_its_own_failure(backend: str, kind: str) -> None:
    """Of two runs of one list, each reports the task that failed in it.

    A task may await the list that it stands in; the rest then runs inside it.
    """
    tasks, ran = Recording(), list[str]()

    async def fails_after_the_rest(label: str) -> None:
        await tasks()
        raise ValueError(label)

    tasks.add_task(fails_after_the_rest, "first")
    tasks.add_task(make(kind, task_that(KeyError(), ran)), "second")
    anyio.run(tasks, backend=backend)
    assert ran == ["second"]
    assert [(label, type(exc)) for label, exc in tasks.failed] == [
        ("second", KeyError),
        ("first", ValueError),
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_a_sync_on_error_is_called_on_the_loop_as_well(backend: str, kind: str) -> None:
    threads: list[int] = []

    class Noting(BackgroundTasks):
        def on_error(self, task: BackgroundTask, exc: Exception) -> None:
            threads.append(threading.get_ident())

    async def request() -> int:
        tasks = Noting()
        tasks.add_task(make(kind, task_that(ValueError(), [])), "first")
        await tasks()
        return threading.get_ident()

    assert threads == [anyio.run(request, backend=backend)]


@pytest.mark.parametrize("kind", KINDS)
def test_what_on_error_raises_ends_the_run(
    backend: str, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    ran: list[str] = []

    class Failing(BackgroundTasks):
        async def on_error(self, task: BackgroundTask, exc: Exception) -> None:
            raise LookupError("whom to alert is not known")

    tasks = Failing()
    tasks.add_task(make(kind, task_that(ValueError(), ran)), "first")
    tasks.add_task(make(kind, task_that(None, ran)), "second")
    with pytest.raises(LookupError, match="whom to alert"):
        anyio.run(tasks, backend=backend)
    assert ran == ["first"]
    left = "not run (an earlier failure, LookupError)"
    assert f"{left}: tests.rules.language.tasks.task_that" in caplog.text


@pytest.mark.parametrize("kind", KINDS)
def test_a_task_without_a_list_raises_its_failure(backend: str, kind: str) -> None:
    """To isolate is the list's part."""
    failure = ValueError("its own")
    with pytest.raises(ValueError, match="its own") as raised:
        anyio.run(BackgroundTask(make(kind, task_that(failure, [])), "alone"), backend=backend)
    assert raised.value is failure


def test_wrong_arguments_fail_a_coroutine_function_too(
    backend: str,
) -> None:
    """Its call raises before there is anything to await."""

    async def task(one: str) -> None: ...

    tasks = Recording()
    tasks.add_task(task, "too", "many")  # type: ignore[call-arg]  # wrong on purpose
    anyio.run(tasks, backend=backend)
    assert [type(exc) for _, exc in tasks.failed] == [TypeError]


@pytest.mark.parametrize("kind", SYNC)
def test_system_exit_in_a_thread_is_a_failure(backend: str, kind: str) -> None:
    """No signal arrives there, so it is the task's own, and one task must not end the server."""
    tasks, ran = Recording(), list[str]()
    tasks.add_task(make(kind, lambda label: sys.exit(3)), "exits")
    tasks.add_task(make(kind, task_that(None, ran)), "next")
    anyio.run(tasks, backend=backend)
    assert ran == ["next"]
    ((label, exc),) = tasks.failed
    assert (label, type(exc)) == ("exits", RuntimeError)
    assert isinstance(exc.__cause__, SystemExit)
    assert exc.__cause__.code == 3


@pytest.mark.parametrize("alone", [True, False])
def test_system_exit_in_a_thread_ends_no_server_under_fail_fast(backend: str, alone: bool) -> None:
    exits = BackgroundTask(sys.exit, 3)
    with pytest.raises(RuntimeError, match=r"^SystemExit in a worker thread$"):
        anyio.run(exits if alone else FailFastTasks([exits]), backend=backend)


@pytest.mark.parametrize("kind", ASYNC | HANDED_BACK)
def test_system_exit_on_the_loop_is_not_isolated(backend: str, kind: str) -> None:
    tasks, ran = Recording(), list[str]()
    tasks.add_task(make(kind, lambda label: sys.exit(3)), "exits")
    tasks.add_task(make(kind, task_that(None, ran)), "next")
    with pytest.raises(SystemExit):
        anyio.run(tasks, backend=backend)
    assert (ran, tasks.failed) == ([], [])


async def await_a_cancelled_future() -> None:
    future = asyncio.get_running_loop().create_future()
    future.cancel()
    await future


async def await_a_cancelled_task() -> None:
    other = asyncio.ensure_future(asyncio.sleep(60))
    asyncio.get_running_loop().call_soon(other.cancel)
    await other


def hand_back(task: Callable[[], Any]) -> Callable[[], Any]:
    def handing_back() -> Any:
        return task()

    return handing_back


async def raise_a_group_of_cancellations() -> None:
    raise BaseExceptionGroup("one", [asyncio.CancelledError()])


def run_a_loop_that_is_cancelled() -> None:
    asyncio.run(await_a_cancelled_future())


@pytest.mark.parametrize(
    "task",
    [
        await_a_cancelled_future,
        await_a_cancelled_task,
        hand_back(await_a_cancelled_task),
        raise_a_group_of_cancellations,
        run_a_loop_that_is_cancelled,
    ],
    ids=["future", "task", "handed back", "group", "in a thread"],
)
def test_a_cancellation_of_what_a_task_awaits_is_a_failure(task: Callable[[], Any]) -> None:
    """The run itself is not cancelled, so the next task runs."""
    ran: list[str] = []
    tasks = Recording([BackgroundTask(task), BackgroundTask(ran.append, "the next task")])
    asyncio.run(tasks())
    assert ran == ["the next task"]
    ((_, exc),) = tasks.failed
    assert str(exc) == "somebody else has cancelled what was awaited"
    assert isinstance(exc.__cause__, asyncio.CancelledError | BaseExceptionGroup)


def test_the_runs_own_cancellation_is_not_a_failure() -> None:
    """Also where the task hears of it from what it awaits."""

    async def server() -> None:
        waits = asyncio.Event()

        async def task() -> None:
            waits.set()
            await asyncio.ensure_future(asyncio.sleep(60))

        tasks = Recording([BackgroundTask(task)])
        run = asyncio.ensure_future(tasks())
        await waits.wait()
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        assert tasks.failed == []

    asyncio.run(server())


async def fail_on_the_loop() -> None:
    raise ValueError


def fail_in_a_thread() -> None:
    raise ValueError


ENDS: dict[str, Callable[[BackgroundTask], Any]] = {
    "isolated": lambda task: Quiet([task]),
    "fail fast": lambda task: FailFastTasks([task]),
    "alone": lambda task: task,
}


class Quiet(BackgroundTasks):
    def on_error(self, task: BackgroundTask, exc: Exception) -> None: ...


@pytest.mark.parametrize("ends", ENDS)
@pytest.mark.parametrize(
    "task",
    [fail_on_the_loop, fail_in_a_thread, hand_back(fail_on_the_loop)],
    ids=["on the loop", "in a thread", "handed back"],
)
def test_a_failing_task_leaves_no_reference_cycle(
    backend: str, task: Callable[[], Any], ends: str
) -> None:
    async def request() -> None:
        with suppress(ValueError):
            await ENDS[ends](BackgroundTask(task))()

    async def measure() -> int:
        gc.collect()
        gc.disable()
        try:
            await request()
            return gc.collect()
        finally:
            gc.enable()

    async def measure_often() -> int:
        await request()  # it imports and caches
        return min([await measure() for _ in range(5)])  # threads of other tests may end meanwhile

    assert anyio.run(measure_often, backend=backend) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_failure_keeps_the_context_that_python_gave_it(backend: str, kind: str) -> None:
    """Also where the run itself is awaited while another exception is handled."""

    def fail() -> None:
        try:
            raise KeyError("the first")
        except KeyError:
            raise ValueError("the second")  # noqa: B904  # the context is looked at

    async def request() -> None:
        try:
            raise LookupError("of the caller")
        except LookupError:
            await tasks()

    tasks = Recording([BackgroundTask(make(kind, fail))])
    anyio.run(request, backend=backend)
    ((_, exc),) = tasks.failed
    assert isinstance(exc.__context__, KeyError)
    assert not exc.__suppress_context__
    assert exc.__cause__ is None


class Odd:
    """Objects that cannot be looked at without a failure, as a proxy without its object."""

    def __bool__(self) -> bool:
        raise RuntimeError("it has no truth")

    def __call__(self) -> None:
        raise OddError

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(f"it has no {name}")


class OddError(Exception):
    """A collection of errors, and an empty one: so it is false."""

    def __len__(self) -> int:
        return 0


class OddAwaitable(Odd):
    def __await__(self) -> Generator[Any, Any, None]:
        yield from anyio.lowlevel.checkpoint().__await__()
        raise OddError


class WithoutClass:
    @property  # type: ignore[misc]  # on purpose
    def __class__(self) -> type:
        raise RuntimeError("it has no class")


@pytest.mark.parametrize(
    "task", [Odd(), OddAwaitable, WithoutClass], ids=["object", "awaitable", "class"]
)
def test_odd_objects_fail_their_task_only(
    backend: str, caplog: pytest.LogCaptureFixture, task: Callable[[], Any]
) -> None:
    ran: list[str] = []
    tasks = BackgroundTasks()
    tasks.add_task(task)
    tasks.add_task(ran.append, "the next task")
    anyio.run(tasks, backend=backend)
    assert ran == ["the next task"]
    (record,) = caplog.records
    assert record.exc_info is not None


def test_failures_in_a_group_with_a_cancellation_are_failures(
    backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    """trio's task groups raise both in one group, anyio's on asyncio the failures alone."""

    async def fail_when_cancelled() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise ValueError("while it cleaned up")

    async def task() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(fail_when_cancelled)
            group.start_soon(anyio.sleep_forever)

    async def request() -> None:
        with anyio.move_on_after(0.01):
            await BackgroundTasks([BackgroundTask(task)])()

    anyio.run(request, backend=backend)
    assert "while it cleaned up" in caplog.text


def test_a_cancelled_loop_of_a_threads_own_is_a_failure(backend: str) -> None:
    tasks = Recording([BackgroundTask(run_a_loop_that_is_cancelled)])
    anyio.run(tasks, backend=backend)
    ((_, exc),) = tasks.failed
    assert isinstance(exc.__cause__, asyncio.CancelledError)


@pytest.mark.basic
@given(program=PROGRAMS["isolate"])
@example(program=Program((Task(raises=ValueError), Task())))
def test_failures_go_to_on_error_and_no_further_in_any_program(
    backend: str, program: AnyProgram
) -> None:
    check("isolate", backend, program)
