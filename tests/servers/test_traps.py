"""The known traps, each shown on a real server: what minibg does, and that FastAPI falls into it.

For a list of minibg's in FastAPI, the tests say which traps are closed and which are not.

What may live here: one test for each trap. A server ends when all tasks have, so what a task did is
known after the context of the server.
"""

import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import anyio
import fastapi
import pytest
from anyio.to_thread import current_default_thread_limiter
from fastapi.responses import StreamingResponse

import minibg
from minibg.concurrency import background_limiter
from minibg.ext.fastapi import BackgroundRoute, Tasks
from tests.rules.language.logs import Log
from tests.servers.live import LIMIT, SERVERS, Live, Server


class Framework(NamedTuple):
    """What both frameworks have, by the same names."""

    app: Callable[[], Any]
    tasks: Any
    """By what a list is asked for, and how one is made for a response."""
    own: type[Any]
    response: type[Any]
    stream: type[Any]
    depends: Callable[..., Any]


def routed() -> fastapi.FastAPI:
    """An application of FastAPI's whose routes are minibg's."""
    app = fastapi.FastAPI()
    app.router.route_class = BackgroundRoute
    return app


OF_MINIBG = (minibg.BackgroundTasks, minibg.Response, minibg.StreamingResponse, minibg.Depends)
OF_FASTAPI = (fastapi.BackgroundTasks, fastapi.Response, StreamingResponse, fastapi.Depends)
MINIBG = Framework(minibg.MiniBG, minibg.BackgroundTasks, *OF_MINIBG)
FASTAPI = Framework(fastapi.FastAPI, fastapi.BackgroundTasks, *OF_FASTAPI)
IN_FASTAPI = {
    "by annotation": Framework(fastapi.FastAPI, Tasks, *OF_FASTAPI),
    "by route class": Framework(routed, fastapi.BackgroundTasks, *OF_FASTAPI),
}
"""The two ways in which FastAPI is the host of a list of minibg's."""


ON_UVICORN = [name for name in SERVERS if name.startswith("uvicorn")]


def outcome(
    *, minibg: object, fastapi: object, in_fastapi: object = None, **elsewhere: object
) -> pytest.MarkDecorator:
    """Run the test on both frameworks, and expect this of each.

    minibg is run on every server. FastAPI is run on uvicorn, and `elsewhere` where another server
    makes another outcome of it. As a host it is run on uvicorn: what is expected then is what
    minibg makes of it, if nothing else is said; that may depend on the way.
    """
    fastapi_on = {"uvicorn": fastapi, **elsewhere}
    cases = [pytest.param(name, MINIBG, minibg, id=f"{name}, minibg") for name in SERVERS]
    for name in SERVERS:
        if (first_name := name.partition(",")[0]) in fastapi_on:
            case = (name, FASTAPI, fastapi_on[first_name])
            cases.append(pytest.param(*case, id=f"{name}, fastapi"))
    for name in ON_UVICORN:
        for way, host in IN_FASTAPI.items():
            expected = minibg if in_fastapi is None else in_fastapi
            if isinstance(expected, dict):
                expected = expected[way]
            cases.append(pytest.param(name, host, expected, id=f"{name}, in fastapi {way}"))
    return pytest.mark.parametrize(("server", "framework", "expected"), cases, indirect=["server"])


@outcome(minibg=["failing", "next"], fastapi=["failing"])
def test_the_tasks_after_a_failing_one(
    server: Server, framework: Framework, expected: list[str]
) -> None:
    ran: list[str] = []
    app = framework.app()

    def failing() -> None:
        ran.append("failing")
        raise LookupError

    @app.get("/")
    def endpoint(tasks: framework.tasks) -> None:
        tasks.add_task(failing)
        tasks.add_task(ran.append, "next")

    with server(app) as live:
        assert live.get("/").status == 200
    assert ran == expected


@outcome(minibg="kept alive", fastapi="closed", hypercorn="kept alive", granian="kept alive")
def test_a_failing_task_and_the_request_pipelined_behind_it(
    server: Server, framework: Framework, expected: str
) -> None:
    """The connection of a failing task, and the request that is pipelined on it."""
    app = framework.app()

    async def failing() -> None:
        raise LookupError

    @app.get("/first")
    async def first(tasks: framework.tasks) -> None:
        tasks.add_task(failing)

    @app.get("/second")
    async def second() -> str:
        return "answered"

    with server(app) as live, live.connect() as connection:
        connection.ask("/first", "/second")
        assert connection.read().status == 200
        assert ("closed" if connection.is_at_its_end() else "kept alive") == expected


@outcome(
    minibg=[("minibg.background", KeyError)],
    fastapi=[("uvicorn.error", RuntimeError)],
    hypercorn=[("hypercorn.error", RuntimeError)],
    granian=[("_granian.utils", None)],
)
def test_the_error_of_a_task_whose_exception_has_a_handler(
    server: Server,
    framework: Framework,
    expected: list[tuple[str, type[Exception] | None]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = framework.app()
    handled: list[LookupError] = []

    def failing() -> None:
        raise KeyError

    @app.exception_handler(LookupError)
    async def handler(request: object, exc: LookupError) -> Any:
        handled.append(exc)
        return framework.response(status_code=404)

    @app.get("/")
    def endpoint(tasks: framework.tasks) -> None:
        tasks.add_task(failing)

    with server(app) as live:
        assert live.get("/").status == 200
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [(error.name, error.exc_info and error.exc_info[0]) for error in errors] == expected
    assert handled == []


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@outcome(minibg=["mail"], fastapi=[])
def test_a_lambda_that_calls_a_coroutine_function(
    server: Server, framework: Framework, expected: list[str]
) -> None:
    ran: list[str] = []
    app = framework.app()

    async def send(mail: str) -> None:
        ran.append(mail)

    @app.get("/")
    def endpoint(tasks: framework.tasks) -> None:
        tasks.add_task(lambda: send("mail"))

    with server(app) as live:
        assert live.get("/").status == 200
    assert ran == expected


@outcome(minibg=(200, [print]), fastapi=(500, []))
def test_a_keyword_called_func(
    server: Server, framework: Framework, expected: tuple[int, list[object]]
) -> None:
    ran: list[object] = []
    app = framework.app()

    def task(*, func: object) -> None:
        ran.append(func)

    @app.get("/")
    def endpoint(tasks: framework.tasks) -> None:
        tasks.add_task(task, func=print)

    with server(app) as live:
        status = live.get("/").status
    assert (status, ran) == expected


@outcome(
    minibg=["injected", "own"],
    fastapi=["own"],
    in_fastapi={"by annotation": ["own", "injected"], "by route class": ["injected", "own"]},
)
def test_injected_tasks_beside_the_background_of_the_response(
    server: Server, framework: Framework, expected: list[str]
) -> None:
    ran: list[str] = []
    app = framework.app()

    @app.get("/")
    def endpoint(tasks: framework.tasks) -> Any:
        own = framework.own()
        own.add_task(ran.append, "own")
        tasks.add_task(ran.append, "injected")
        return framework.response(background=own)

    with server(app) as live:
        assert live.get("/").status == 200
    assert ran == expected


@contextmanager
def slow_tasks_in_every_thread(server: Server, framework: Framework) -> Iterator[Live]:
    """Serve while as many sync tasks run as there are threads for them, and none ends."""
    started, release = threading.Semaphore(0), threading.Event()
    app = framework.app()

    def slow() -> None:
        started.release()
        assert release.wait(LIMIT)

    @app.get("/threads")
    async def threads() -> int:
        return int(background_limiter().total_tokens)

    @app.get("/slow")
    async def leave_a_slow_task(tasks: framework.tasks) -> None:
        tasks.add_task(slow)

    @app.get("/sync")
    def sync() -> str:
        return "answered"

    @app.get("/threads-left")
    async def threads_left() -> int:
        return int(current_default_thread_limiter().available_tokens)

    with server(app) as live:
        try:
            for _ in range(int(live.get("/threads").body)):
                assert live.get("/slow").status == 200
                assert started.acquire(timeout=LIMIT)
            yield live
        finally:
            release.set()


def test_a_sync_endpoint_answers_beside_slow_tasks(
    server: Server,
) -> None:
    """A sync endpoint answers while slow tasks hold every background thread."""
    with slow_tasks_in_every_thread(server, MINIBG) as live:
        assert live.get("/sync").body == b'"answered"'


@pytest.mark.parametrize("host", IN_FASTAPI.values(), ids=IN_FASTAPI)
@pytest.mark.parametrize("server", ON_UVICORN, indirect=True)
def test_fastapis_sync_endpoint_answers_beside_minibgs_tasks(
    server: Server, host: Framework
) -> None:
    """A sync endpoint of FastAPI's answers beside slow tasks of minibg's."""
    with slow_tasks_in_every_thread(server, host) as live:
        assert live.get("/sync").body == b'"answered"'


@pytest.mark.parametrize("server", ON_UVICORN, indirect=True)
def test_fastapi_has_no_thread_left_beside_40_slow_tasks(
    server: Server,
) -> None:
    """FastAPI has no thread left for a sync endpoint beside 40 slow tasks."""
    with slow_tasks_in_every_thread(server, FASTAPI) as live:
        assert live.get("/threads-left").body == b"0"


def send_mail() -> None:
    raise AssertionError("a task ran where none may start")


@outcome(
    minibg=[
        "background tasks not run (the endpoint raised LookupError): "
        "tests.servers.test_traps.send_mail, tests.servers.test_traps.send_mail"
    ],
    fastapi=[],
    in_fastapi=[
        "background tasks not run (the request raised LookupError): "
        "tests.servers.test_traps.send_mail, tests.servers.test_traps.send_mail"
    ],
)
def test_tasks_added_before_the_endpoint_raises(
    server: Server,
    framework: Framework,
    expected: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = framework.app()

    @app.get("/")
    def endpoint(tasks: framework.tasks) -> None:
        tasks.add_task(send_mail)
        tasks.add_task(send_mail)
        raise LookupError

    with server(app) as live:
        assert live.get("/").status == 500
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert [warning.getMessage() for warning in warnings] == expected


@pytest.mark.parametrize("is_async", [True, False])
@outcome(minibg=["endpoint", "closing"], fastapi=["endpoint"])
def test_a_task_that_a_dependency_adds_while_it_closes(
    server: Server, framework: Framework, expected: list[str], is_async: bool
) -> None:
    ran: list[str] = []
    app = framework.app()

    def dependency(tasks: framework.tasks) -> Iterator[None]:
        yield
        tasks.add_task(ran.append, "closing")

    async def async_dependency(tasks: framework.tasks) -> AsyncIterator[None]:
        yield
        tasks.add_task(ran.append, "closing")

    held = framework.depends(async_dependency if is_async else dependency)

    @app.get("/")
    def endpoint(tasks: framework.tasks, held: None = held) -> None:
        tasks.add_task(ran.append, "endpoint")

    with server(app) as live:
        assert live.get("/").status == 200
    assert ran == expected


def failing_commit(framework: Framework, scope: str, ran: list[str]) -> Any:
    """An application whose dependency fails while it closes; its endpoint leaves a task."""
    app = framework.app()

    def session() -> Iterator[None]:
        yield
        raise LookupError("commit failed")

    @app.get("/")
    def endpoint(
        tasks: framework.tasks, held: None = framework.depends(session, scope=scope)
    ) -> None:
        tasks.add_task(ran.append, "task")

    return app


@outcome(
    minibg="kept alive",
    fastapi="closed",
    hypercorn="kept alive",
    granian="kept alive",
    in_fastapi="closed",
)
def test_a_dependency_that_fails_to_close_after_the_answer(
    server: Server,
    framework: Framework,
    expected: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A dependency that fails to close when the answer has left.

    Too late for a 500. What is left to be done is to say so, and to harm nothing else by it.
    """
    ran: list[str] = []
    error_logged = threading.Event()  # the last that is done about it
    log = Log(hear=lambda record: error_logged.set())
    log.setLevel(logging.ERROR)
    monkeypatch.setattr(logging.root, "handlers", [*logging.root.handlers, log])
    app = failing_commit(framework, "request", ran)

    @app.get("/second")
    def second() -> None:
        assert error_logged.wait(LIMIT)

    with server(app) as live, live.connect() as connection:
        connection.ask("/", "/second")
        assert connection.read().status == 200
        assert ("closed" if connection.is_at_its_end() else "kept alive") == expected
    assert ran == ["task"]
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 1
    assert "LookupError: commit failed" in caplog.text


@outcome(minibg=(500, []), fastapi=(500, []))
def test_a_dependency_that_fails_to_close_before_the_answer(
    server: Server, framework: Framework, expected: tuple[int, list[str]]
) -> None:
    """A dependency of the function scope that fails to close before the answer leaves.

    Nobody's trap: both let it become a 500.
    """
    ran: list[str] = []
    with server(failing_commit(framework, "function", ran)) as live:
        status = live.get("/").status
    assert (status, ran) == expected


@outcome(minibg=["close", "task"], fastapi=["task", "close"], in_fastapi=["task", "close"])
def test_what_a_dependency_holds_while_a_task_runs(
    server: Server, framework: Framework, expected: list[str]
) -> None:
    """A connection of a pool, for example, for as long as the task takes."""
    events: list[str] = []
    app = framework.app()

    def session() -> Iterator[None]:
        yield
        events.append("close")

    @app.get("/")
    def endpoint(tasks: framework.tasks, held: None = framework.depends(session)) -> None:
        tasks.add_task(events.append, "task")

    with server(app) as live:
        assert live.get("/").status == 200
    assert events == expected


@outcome(minibg=[], fastapi=["task"], in_fastapi=["task"])
def test_the_tasks_behind_a_stream_that_the_client_leaves(
    server: Server, framework: Framework, expected: list[str]
) -> None:
    ran: list[str] = []
    app = framework.app()
    closed = threading.Event()

    async def pieces() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"piece"
                await anyio.sleep(0.01)
        finally:
            closed.set()

    @app.get("/")
    def endpoint(tasks: framework.tasks) -> Any:
        tasks.add_task(ran.append, "task")
        return framework.stream(pieces())

    with server(app) as live, live.connect() as connection:
        connection.ask("/")
        assert connection.read_head().status == 200
        connection.hang_up()
        assert closed.wait(LIMIT)
    assert ran == expected
