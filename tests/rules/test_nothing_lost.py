"""**nothing lost**: each task runs to its end, or is named in a WARNING with the reason."""

import asyncio
import gc
import logging
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator
from typing import Annotated, Any, Literal, cast

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minibg import (
    BackgroundTask,
    BackgroundTasks,
    Depends,
    FailFastTasks,
    HTTPException,
    MiniBG,
    Response,
    StreamingResponse,
)
from minibg.lifespan import Runs
from minibg.types import Message, Receive, Scope, Send
from tests.rules.language import SECONDS
from tests.rules.language.cancelling import (
    Blocked,
    Run,
    both_ways,
    in_a_task,
    let_it_be_delivered,
)
from tests.rules.language.exchange import Exchange
from tests.rules.language.generators import Kind, both_kinds
from tests.rules.language.logs import Log, logged
from tests.rules.language.model import expected
from tests.rules.language.programs import PROGRAMS, AnyProgram, Player, check, hold
from tests.rules.language.tasks import ASYNC, HANDED_BACK, any_kind, make
from tests.rules.language.words import Program, labelled


@pytest.fixture
def log() -> Iterator[Log]:
    with logged() as log:
        yield log


def first() -> None: ...
async def second() -> None: ...
def third() -> None: ...


NAMES = ", ".join(f"{__name__}.{name}" for name in ("first", "second", "third"))


def add_three(tasks: BackgroundTasks) -> BackgroundTasks:
    tasks.add_task(first)
    tasks.add_task(second)
    tasks.add_task(third)
    return tasks


@pytest.mark.parametrize("failure", [HTTPException(404), KeyError("lost")])
@pytest.mark.parametrize("is_async", [True, False])
def test_tasks_of_an_endpoint_that_raised_are_named(
    backend: str, log: Log, failure: Exception, is_async: bool
) -> None:
    app = MiniBG()

    def endpoint(tasks: BackgroundTasks) -> None:
        add_three(tasks)
        raise failure

    async def async_endpoint(tasks: BackgroundTasks) -> None:
        endpoint(tasks)

    app.get("/")(async_endpoint if is_async else endpoint)
    try:
        anyio.run(Exchange(), app, backend=backend)
    except KeyError as exc:
        assert exc is failure  # noqa: PT017  # only one of the two failures reaches the server
    reason = f"the endpoint raised {type(failure).__name__}"
    assert log.warnings == [f"background tasks not run ({reason}): {NAMES}"]


def test_tasks_whose_response_was_not_sent_are_named(backend: str, log: Log) -> None:
    app = MiniBG()

    @app.get("/")
    async def endpoint(tasks: BackgroundTasks) -> Response:
        tasks.add_task(first)
        own = BackgroundTasks()
        own.add_task(second)
        return Response(background=own)

    @app.get("/single")
    async def with_a_single_task() -> Response:
        return Response(background=BackgroundTask(third))

    for path in ("/", "/single"):
        with pytest.raises(OSError, match="the client is gone"):
            anyio.run(Exchange(path, client_gone=True), app, backend=backend)
    assert log.warnings == [
        f"background tasks not run (the response was not sent, OSError): {name}"
        for name in NAMES.split(", ")
    ]


@given(
    before=st.lists(any_kind(), max_size=3),
    failing=any_kind(),
    after=st.lists(any_kind(), max_size=3),
)
def test_under_fail_fast_every_task_runs_or_is_named(
    backend: str, before: list[str], failing: str, after: list[str]
) -> None:
    def fail(number: int) -> None:
        ran.append(number)
        raise ValueError("the first failure")

    kinds, ran = [*before, failing, *after], list[int]()
    tasks = FailFastTasks()
    for number, kind in enumerate(kinds):
        tasks.add_task(make(kind, fail if number == len(before) else ran.append), number)
    names = [task.name for task in tasks.tasks][len(before) + 1 :]
    with logged() as log, pytest.raises(ValueError, match="the first failure"):
        anyio.run(tasks, backend=backend)
    assert ran == list(range(len(before) + 1))
    named = "background tasks not run (an earlier failure, ValueError): " + ", ".join(names)
    assert log.warnings == ([named] if names else [])


def test_tasks_of_a_run_that_is_cancelled_are_named(backend: str, log: Log) -> None:
    async def request() -> None:
        with anyio.CancelScope() as scope:
            tasks = BackgroundTasks()
            tasks.add_task(cancel_and_wait, scope)
            await add_three(tasks)()

    anyio.run(request, backend=backend)
    cut_off, not_run = log.warnings
    assert cut_off.startswith("background task cut off (cancelled, ")
    assert cut_off.endswith(f"): {__name__}.{cancel_and_wait.__qualname__}")
    assert not_run.startswith("background tasks not run (cancelled, ")
    assert not_run.endswith(f"): {NAMES}")


def test_tasks_are_named_before_the_blocked_thread_ends(
    log: Log,
) -> None:
    """asyncio cancels: the tasks are named at once, though the thread goes on.

    A server that is told to end cancels, and may be gone before the thread is.
    """
    blocked, tasks = Blocked(), BackgroundTasks()
    tasks.add_task(blocked)

    async def request() -> None:
        async with in_a_task(add_three(tasks)) as cancel:
            await blocked.is_running()
            cancel()
            await let_it_be_delivered()
            assert log.warnings == [f"background tasks not run (cancelled): {NAMES}"]
            tasks.add_task(first)
            blocked.leave.set()

    asyncio.run(request())
    late = f"background tasks not run (cancelled, CancelledError): {__name__}.first"
    assert log.warnings[1:] == [late]


def test_tasks_of_a_cancelled_endpoint_are_named(backend: str, log: Log) -> None:
    """A request is cancelled in its endpoint: the tasks that were added by then are named."""
    app = MiniBG()

    async def server() -> None:
        with anyio.CancelScope() as scope:

            @app.get("/")
            async def endpoint(tasks: BackgroundTasks) -> None:
                add_three(tasks)
                scope.cancel()
                await anyio.sleep_forever()

            await Exchange()(app)

    anyio.run(server, backend=backend)
    (warning,) = log.warnings
    assert warning.startswith("background tasks not run (the endpoint raised Cancelled")
    assert warning.endswith(f"): {NAMES}")


def test_a_list_that_nobody_runs_names_its_tasks_when_it_goes(log: Log) -> None:
    add_three(BackgroundTasks())
    gc.collect()
    assert log.warnings == [f"background tasks not run (no run took them): {NAMES}"]


def test_tasks_of_lists_within_a_list_are_named_with_it(log: Log) -> None:
    tasks = BackgroundTasks()
    tasks.add_task(add_three(BackgroundTasks()))
    tasks.add_task(third)
    tasks.abandon("shown here")
    assert log.warnings == [
        f"background tasks not run (shown here): {NAMES}",
        f"background tasks not run (shown here): {__name__}.third",
    ]


def test_a_task_that_a_thread_takes_meanwhile_is_not_named(log: Log) -> None:
    """A thread takes a task while the list is abandoned: the task runs, so it is not named."""

    class TakenMeanwhile(deque[BackgroundTask]):
        def pop(self) -> BackgroundTask:  # type: ignore[override]  # an index is not given
            if len(self) == 1:
                self.clear()
            return super().pop()

    tasks = BackgroundTasks()
    tasks.tasks = TakenMeanwhile(add_three(tasks).tasks)
    tasks.abandon("shown here")
    assert log.warnings == [
        f"background tasks not run (shown here): {__name__}.second, {__name__}.third"
    ]


def test_an_empty_list_says_nothing(backend: str, log: Log) -> None:
    anyio.run(BackgroundTasks(), backend=backend)
    BackgroundTasks().abandon("there was nothing")
    assert log.records == []


def ran_of_both(
    backend: str, injected: list[str], own: list[str], held: Callable[..., Any] = lambda: None
) -> list[str]:
    """What runs of a request whose endpoint adds these tasks, and depends on `held`."""
    ran: list[str] = []
    app = MiniBG()

    @app.get("/")
    async def endpoint(tasks: BackgroundTasks, held: None = Depends(held)) -> Response:
        background = BackgroundTasks()
        for number, kind in enumerate(own):
            background.add_task(make(kind, ran.append), f"own {number}")
        for number, kind in enumerate(injected):
            tasks.add_task(make(kind, ran.append), f"injected {number}")
        return Response(background=background)

    anyio.run(Exchange(), app, backend=backend)
    return ran


def labels_of_both(injected: list[str], own: list[str]) -> list[str]:
    """The injected tasks, then the response's own."""
    return [label for label, _ in [*labelled(injected, "injected "), *labelled(own, "own ")]]


@given(injected=st.lists(any_kind(), max_size=3), own=st.lists(any_kind(), max_size=3))
def test_injected_tasks_run_before_the_responses_own(
    backend: str, injected: list[str], own: list[str]
) -> None:
    """Injected tasks and the response's own all run, the injected ones first."""
    assert ran_of_both(backend, injected, own) == labels_of_both(injected, own)


class Announced(Response):
    """A response of the user's own, which adds a task while it is sent."""

    tasks: BackgroundTasks

    async def send_response(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.tasks.add_task(first)
        await super().send_response(scope, receive, send)


async def adding_when_it_closes(tasks: BackgroundTasks) -> AsyncGenerator[None]:
    yield
    tasks.add_task(first)


def of_the_stream(tasks: BackgroundTasks) -> Response:
    async def pieces() -> AsyncGenerator[str]:
        yield "a piece"
        tasks.add_task(first)

    return StreamingResponse(pieces())


def of_the_background(tasks: BackgroundTasks) -> Response:
    return Response(background=BackgroundTask(tasks.add_task, first))


def of_the_response_itself(tasks: BackgroundTasks) -> Response:
    response = Announced()
    response.tasks = tasks
    return response


def of_what_closes(
    tasks: BackgroundTasks, held: Annotated[None, Depends(adding_when_it_closes)]
) -> None: ...


@pytest.mark.parametrize(
    "endpoint",
    [
        of_the_stream,
        of_the_background,
        of_the_response_itself,
        pytest.param(of_what_closes, marks=pytest.mark.basic),
    ],
)
def test_a_list_may_grow_after_the_endpoint_has_returned(
    backend: str, endpoint: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, log: Log
) -> None:
    """A list that is empty when the endpoint returns may still grow.

    Whatever of a request goes on after its endpoint may add a task, and the task runs.
    """
    ran: list[str] = []
    monkeypatch.setattr(f"{__name__}.first", lambda: ran.append("first"))
    app = MiniBG()
    app.get("/")(endpoint)
    anyio.run(Exchange(), app, backend=backend)
    assert (ran, log.warnings) == (["first"], [])


class NeverRun(BackgroundTasks):
    async def __call__(self) -> None:
        pytest.fail("there is nothing to run")


class FailingBefore(BackgroundTasks):
    """A subclass whose run fails before it has begun."""

    async def __call__(self) -> None:
        raise LookupError


def test_a_run_that_fails_before_it_begins_names_its_tasks(backend: str) -> None:
    """At once and with the reason, not when the list is freed."""
    app = MiniBG()
    kept: list[BackgroundTasks] = []

    @app.get("/")
    async def endpoint(tasks: FailingBefore) -> None:
        tasks.add_task(print)
        kept.append(tasks)

    with logged() as log:
        with pytest.raises(LookupError):
            anyio.run(Exchange(), app, backend=backend)
        (warning,) = log.warnings
    assert warning.endswith("not run (an earlier failure, LookupError): builtins.print")


def test_a_list_that_stays_empty_is_not_run(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is the request one for which a server that ends would be kept waiting."""
    monkeypatch.setattr(Runs, "begin", lambda runs: pytest.fail("nothing goes on"))
    app = MiniBG()

    @app.get("/")
    async def endpoint(tasks: NeverRun) -> str:
        return "answer"

    exchange = Exchange()
    anyio.run(exchange, app, backend=backend)
    assert exchange.status == 200


def test_a_list_that_is_injected_and_returned_runs_once(backend: str) -> None:
    """A list that is both injected and the response's own background runs once."""
    ran: list[str] = []
    app = MiniBG()

    @app.get("/")
    async def endpoint(tasks: BackgroundTasks) -> Response:
        tasks.add_task(ran.append, "once")
        return Response(background=tasks)

    anyio.run(Exchange(), app, backend=backend)
    assert ran == ["once"]


@pytest.mark.parametrize("failure", [None, ValueError()])
def test_any_async_callable_may_be_the_background(
    backend: str, failure: Exception | None, log: Log
) -> None:
    """A response may have any async callable as its background; a failure of it is isolated."""
    ran: list[str] = []

    async def background() -> None:
        ran.append("background")
        if failure is not None:
            raise failure

    app = MiniBG()

    @app.get("/")
    async def endpoint() -> Response:
        return Response(background=background)

    anyio.run(Exchange(), app, backend=backend)
    assert ran == ["background"]
    assert [record.levelno for record in log.records] == ([logging.ERROR] if failure else [])


# --- `yield` dependencies ------------------------------------------------------------------------


def adding(tasks: BackgroundTasks) -> Generator[None]:
    """Adds one task when it opens, and one while it closes, whatever happened."""
    tasks.add_task(first)
    try:
        yield
    finally:
        tasks.add_task(third)


@both_kinds
@pytest.mark.parametrize("scope", ["function", "request"])
def test_tasks_added_at_close_are_named_if_the_endpoint_raised(
    backend: str, log: Log, kind: Kind, scope: Literal["function", "request"]
) -> None:
    """Tasks that a dependency adds while it closes are named where the endpoint raised."""
    app = MiniBG()

    @app.get("/")
    def endpoint(tasks: BackgroundTasks, held: None = Depends(kind(adding), scope=scope)) -> None:
        tasks.add_task(second)
        raise HTTPException(404)

    anyio.run(Exchange(), app, backend=backend)
    reason = "the endpoint raised HTTPException"
    assert log.warnings == [f"background tasks not run ({reason}): {NAMES}"]


@both_kinds
def test_tasks_added_at_close_are_named_if_nothing_was_sent(
    backend: str, log: Log, kind: Kind
) -> None:
    """Tasks that a dependency adds while it closes are named where no response was sent."""
    app = MiniBG()

    @app.get("/")
    def endpoint(tasks: BackgroundTasks, held: None = Depends(kind(adding))) -> None:
        tasks.add_task(second)

    with pytest.raises(OSError, match="the client is gone"):
        anyio.run(Exchange(client_gone=True), app, backend=backend)
    reason = "background tasks not run (the response was not sent, OSError): "
    assert all(warning.startswith(reason) for warning in log.warnings)
    assert ", ".join(warning.removeprefix(reason) for warning in log.warnings) == NAMES


@both_kinds
def test_tasks_are_named_where_another_dependency_raised(
    backend: str, log: Log, kind: Kind
) -> None:
    """A dependency adds tasks, and then another one raises: the tasks are named."""
    app = MiniBG()

    def failing(held: None = Depends(kind(adding))) -> None:
        raise HTTPException(403)

    @app.get("/")
    def endpoint(value: None = Depends(failing)) -> None: ...

    anyio.run(Exchange(), app, backend=backend)
    names = f"{__name__}.first, {__name__}.third"
    assert log.warnings == [
        f"background tasks not run (the endpoint raised HTTPException): {names}"
    ]


def failing_to_close() -> Generator[None]:
    yield
    raise LookupError("closing failed")


@both_kinds
@given(injected=st.lists(any_kind(), max_size=3), own=st.lists(any_kind(), max_size=3))
def test_all_tasks_run_where_closing_failed(
    backend: str, kind: Kind, injected: list[str], own: list[str]
) -> None:
    ran = ran_of_both(backend, injected, own, kind(failing_to_close))
    assert ran == labels_of_both(injected, own)


@both_kinds
def test_tasks_are_named_where_closing_in_function_scope_failed(
    backend: str, log: Log, kind: Kind
) -> None:
    app = MiniBG()

    @app.get("/")
    async def endpoint(
        tasks: BackgroundTasks, held: None = Depends(kind(failing_to_close), scope="function")
    ) -> None:
        add_three(tasks)

    exchange = Exchange()
    with pytest.raises(LookupError, match="closing failed"):
        anyio.run(exchange, app, backend=backend)
    assert exchange.status == 500
    reason = "the endpoint raised LookupError"
    assert log.warnings == [f"background tasks not run ({reason}): {NAMES}"]


@pytest.mark.parametrize("way", ["by a cancel scope", "by asyncio"])
def test_tasks_are_named_where_closing_is_cancelled(log: Log, way: str) -> None:
    """A request is cancelled while it closes what it holds: its tasks are named.

    No task has started by then, and each is named as cancelled.
    """
    app = MiniBG()

    async def server() -> None:
        with anyio.CancelScope() as cancelled:

            async def cancel() -> AsyncGenerator[None]:
                yield
                if way == "by a cancel scope":
                    cancelled.cancel()
                else:
                    cast(asyncio.Task[None], asyncio.current_task()).cancel()
                await anyio.lowlevel.checkpoint()

            @app.get("/")
            async def endpoint(tasks: BackgroundTasks, held: None = Depends(cancel)) -> None:
                tasks.add_task(first)
                tasks.add_task(third)

            try:
                await Exchange()(app)
            except asyncio.CancelledError:
                if way == "by a cancel scope":
                    raise

    anyio.run(server)
    gc.collect()
    [warning] = log.warnings
    assert warning.startswith("background tasks not run (cancelled, Cancelled")
    assert warning.endswith(f"): {__name__}.first, {__name__}.third")


def test_a_failure_that_is_let_through_ends_the_whole_run(backend: str, log: Log) -> None:
    """A failure that the policy of one list lets through stops the other lists too."""

    def fail() -> None:
        raise ValueError("let through")

    app = MiniBG()

    @app.get("/")
    async def endpoint(first: FailFastTasks, second: BackgroundTasks) -> None:
        first.add_task(fail)
        add_three(second)

    with pytest.raises(ValueError, match="let through"):
        anyio.run(Exchange(), app, backend=backend)
    assert log.warnings == [f"background tasks not run (an earlier failure, ValueError): {NAMES}"]


def test_a_task_added_to_a_list_that_has_run_is_named(backend: str, log: Log) -> None:
    """A list whose turn is over gets tasks, then a failure ends the run: the tasks are named."""

    def fail() -> None:
        raise ValueError("let through")

    app = MiniBG()

    @app.get("/")
    async def endpoint(first: BackgroundTasks, second: FailFastTasks) -> None:
        second.add_task(add_three, first)
        second.add_task(fail)

    with pytest.raises(ValueError, match="let through"):
        anyio.run(Exchange(), app, backend=backend)
    assert log.warnings == [f"background tasks not run (an earlier failure, ValueError): {NAMES}"]


def test_a_response_alone_names_and_isolates_as_well(backend: str, log: Log) -> None:
    """A response that is the whole application keeps the rules without a framework."""

    def fail() -> None:
        raise ValueError

    anyio.run(Exchange(), Response(background=BackgroundTask(fail)), backend=backend)
    with pytest.raises(OSError, match="the client is gone"):
        anyio.run(
            Exchange(client_gone=True), Response(background=BackgroundTask(first)), backend=backend
        )
    assert [record.levelno for record in log.records] == [logging.ERROR, logging.WARNING]
    assert log.warnings == [
        f"background tasks not run (the response was not sent, OSError): {__name__}.first"
    ]


@pytest.mark.parametrize("kind", ASYNC | HANDED_BACK)
def test_a_task_that_is_cut_off_is_named(backend: str, log: Log, kind: str) -> None:
    def waiting(scope: anyio.CancelScope) -> Iterator[None]:
        scope.cancel()
        yield

    async def request() -> None:
        with anyio.CancelScope() as scope:
            await BackgroundTasks([BackgroundTask(make(kind, waiting), scope)])()

    anyio.run(request, backend=backend)
    (warning,) = log.warnings
    assert warning.startswith("background task cut off (cancelled, ")
    assert warning.endswith(waiting.__qualname__)


async def cancel_and_wait(scope: anyio.CancelScope) -> None:
    scope.cancel()
    await anyio.sleep_forever()


def within_a_list(task: BackgroundTask) -> BackgroundTasks:
    return BackgroundTasks([BackgroundTasks([task])])


def within_a_task(task: BackgroundTask) -> BackgroundTasks:
    tasks = BackgroundTasks()
    tasks.add_task(task)
    return tasks


@pytest.mark.parametrize("nest", [within_a_list, within_a_task])
def test_a_nested_task_that_is_cut_off_is_named_once(
    backend: str, log: Log, nest: Callable[[BackgroundTask], BackgroundTasks]
) -> None:
    async def request() -> None:
        with anyio.CancelScope() as scope:
            await nest(BackgroundTask(cancel_and_wait, scope))()

    anyio.run(request, backend=backend)
    (warning,) = log.warnings
    assert warning.startswith("background task cut off (cancelled, ")
    assert warning.endswith(f": {__name__}.cancel_and_wait")


@both_ways
@pytest.mark.parametrize("hands_back", [False, True], ids=["nothing", "a coroutine"])
def test_a_sync_task_runs_to_its_end_and_is_not_cut_off(
    backend: str, run: Run, hands_back: bool, log: Log
) -> None:
    """Cancelled in its thread, it ends all the same, with a coroutine that does not wait too."""
    blocked, awaited = Blocked(), list[str]()

    async def rest() -> None:
        awaited.append("the rest")

    def task() -> Awaitable[None] | None:
        blocked()
        return rest() if hands_back else None

    async def request() -> None:
        async with run(BackgroundTasks([BackgroundTask(task)])) as cancel:
            await blocked.is_running()
            cancel()
            blocked.leave.set()

    anyio.run(request, backend=backend)
    assert blocked.ended.is_set()
    assert awaited == ["the rest"] * hands_back
    assert log.warnings == []


def test_a_task_whose_on_error_is_cancelled_is_cut_off(backend: str, log: Log) -> None:
    class Waiting(BackgroundTasks):
        async def on_error(self, task: BackgroundTask, exc: Exception) -> None:
            (scope,) = task.args
            assert isinstance(scope, anyio.CancelScope)
            await cancel_and_wait(scope)

    def failing(scope: anyio.CancelScope) -> None:
        raise ValueError

    async def request() -> None:
        with anyio.CancelScope() as scope:
            await Waiting([BackgroundTask(failing, scope)])()

    anyio.run(request, backend=backend)
    (warning,) = log.warnings
    assert warning.startswith("background task cut off (cancelled, ")
    assert warning.endswith(failing.__qualname__)


def test_a_task_is_cut_off_where_its_run_is_thrown_away(log: Log) -> None:
    """A loop that ends in a hurry closes what is left on it."""

    async def request() -> None:
        run = BackgroundTasks([BackgroundTask(anyio.sleep_forever), BackgroundTask(first)])()
        run.send(None)
        run.close()

    asyncio.run(request())
    assert log.warnings == [
        "background task cut off (cancelled, GeneratorExit): anyio.sleep_forever",
        f"background tasks not run (cancelled, GeneratorExit): {__name__}.first",
    ]


def test_a_task_is_cut_off_where_its_loop_has_ended_before(log: Log) -> None:
    async def request() -> Any:
        run = BackgroundTasks([BackgroundTask(anyio.sleep_forever)])()
        run.send(None)
        return run

    asyncio.run(request()).close()
    assert log.warnings == [
        "background task cut off (cancelled, GeneratorExit): anyio.sleep_forever"
    ]


def test_a_subclass_whose_init_fails_says_nothing(log: Log) -> None:
    class Failing(BackgroundTasks):
        def __init__(self) -> None:
            raise ValueError

    with pytest.raises(ValueError, match=r"^$"):
        Failing()
    gc.collect()
    assert log.warnings == []


@pytest.mark.parametrize("whose", ["the request's", "the response's"])
def test_the_application_ends_when_its_last_task_has(backend: str, whose: str) -> None:
    """The lifespan, which a server asks before it ends, answers when the last task has ended."""
    events: list[str] = []
    app = MiniBG()

    async def server() -> None:
        runs, goes_on, told_to_end = anyio.Event(), anyio.Event(), anyio.Event()

        async def task() -> None:
            runs.set()
            await goes_on.wait()
            events.append("the task ended")

        async def with_a_list(tasks: BackgroundTasks) -> None:
            tasks.add_task(task)

        async def with_a_response() -> Response:
            return Response(background=BackgroundTask(task))

        app.get("/")(with_a_list if whose == "the request's" else with_a_response)

        async def receive() -> Message:
            if events:
                await told_to_end.wait()
            return {"type": "lifespan.shutdown" if events else "lifespan.startup"}

        async def send(message: Message) -> None:
            events.append(message["type"])

        with anyio.fail_after(SECONDS):
            async with anyio.create_task_group() as group:
                group.start_soon(app, {"type": "lifespan", "state": {}}, receive, send)
                group.start_soon(Exchange(), app)
                await runs.wait()
                told_to_end.set()
                for _ in range(10):
                    await anyio.lowlevel.checkpoint()
                goes_on.set()

    anyio.run(server, backend=backend)
    assert events == ["lifespan.startup.complete", "the task ended", "lifespan.shutdown.complete"]


# --- any program ---------------------------------------------------------------------------------

FATES = ("start", "not run", "cut off")


@pytest.mark.basic(before="isolate")
@given(program=PROGRAMS["order"])
def test_no_task_vanishes_where_nothing_fails(backend: str, program: Program) -> None:
    """Whatever the order and the place, each task starts or is named."""
    wanted, seen = expected(program), anyio.run(Player().play, program, backend=backend)
    fates = [sorted({e[1] for e in events if e[0] in FATES}) for events in (wanted, seen)]
    hold("nothing lost", program, *fates)


@pytest.mark.basic
@given(program=PROGRAMS["nothing lost"])
def test_each_task_ends_or_is_named_in_any_program_and_request(
    backend: str, program: AnyProgram
) -> None:
    check("nothing lost", backend, program)
