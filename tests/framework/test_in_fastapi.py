"""minibg's lists in FastAPI's applications: by annotation, and by a route class."""

import gc
from collections.abc import Callable, Iterator
from functools import partial
from typing import Annotated, Any

import anyio
import fastapi
import pytest
from fastapi import APIRouter, Depends, FastAPI, HTTPException
from fastapi.responses import JSONResponse, StreamingResponse
from hypothesis import given
from pydantic import BaseModel

from minibg import BackgroundTasks, FailFastTasks
from minibg.concurrency import background_limiter
from minibg.ext.fastapi import BackgroundRoute, Tasks, tasks_of
from tests.framework.asgi import ask
from tests.rules.exchange import Exchange
from tests.rules.logs import Log, logged
from tests.rules.programs import PROGRAMS, Player, compare
from tests.rules.words import Program


@pytest.fixture
def log() -> Iterator[Log]:
    with logged() as log:
        yield log


def fail() -> None:
    raise OSError("the mail server is down")


WAYS: dict[str, tuple[Any, type[Any]]] = {
    "by annotation": (Tasks, fastapi.routing.APIRoute),
    "by route class": (fastapi.BackgroundTasks, BackgroundRoute),
}
both_ways = pytest.mark.parametrize("way", WAYS)


def app_of(way: str, use: Callable[[Any], Any], dependency: Any = None) -> FastAPI:
    """An application whose endpoint, or a dependency of it, is given the list."""
    kind, route_class = WAYS[way]
    app = FastAPI()
    app.router.route_class = route_class

    def endpoint(tasks: Any, depends: Any = None) -> Any:
        return use(tasks)

    endpoint.__annotations__ = {"tasks": kind}
    if dependency is not None:
        dependency.__annotations__ = {"tasks": kind}
        endpoint.__annotations__["depends"] = Annotated[Any, Depends(dependency)]
    app.get("/", response_model=None)(endpoint)
    return app


class Hosted(Player):
    """Plays programs in an endpoint of FastAPI's."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way

    def list_of(self, program: Program, prefix: str = "") -> Any:
        return super().list_of(program, prefix) if prefix else partial(self.ask, program)

    async def ask(self, program: Program) -> None:
        kind, route_class = WAYS[self.way]
        if self.way == "by annotation":
            cls = self.class_of(program.policy)
            kind = Annotated[cls, tasks_of(cls)]
        app = FastAPI()
        app.router.route_class = route_class

        async def endpoint(tasks: Any) -> dict[str, int]:
            self.add_all(tasks, program.tasks, "")
            return {}

        endpoint.__annotations__["tasks"] = kind
        app.get("/")(endpoint)
        await Exchange()(app)


@both_ways
@pytest.mark.parametrize("rule", ["order", "place", "grow", "context", "capture"])
def test_a_rule_holds_in_fastapi_too(way: str, rule: str) -> None:
    """Whatever the list, what is seen of it there is what the rules' model expects."""

    @given(program=PROGRAMS[rule])
    def in_any_program(program: Program) -> None:
        if way == "by annotation" or program.policy == "isolate":
            compare([rule], program, anyio.run(Hosted(way).play, program))

    in_any_program()


@pytest.mark.parametrize("rule", ["isolate", "nothing lost"])
def test_a_policy_holds_in_fastapi_too(rule: str) -> None:
    @given(program=PROGRAMS["isolate"])
    def in_any_program(program: Program) -> None:
        compare([rule], program, anyio.run(Hosted("by annotation").play, program))

    in_any_program()


@both_ways
def test_a_failure_stops_nobody_and_is_logged(way: str, log: Log) -> None:
    ran: list[str] = []

    def use(tasks: Any) -> dict[str, bool]:
        tasks.add_task(fail)
        tasks.add_task(ran.append, "second")
        return {"accepted": True}

    assert ask(app_of(way, use)).body == b'{"accepted":true}'
    assert ran == ["second"]
    assert [record.getMessage() for record in log.records] == [
        "background task tests.framework.test_in_fastapi.fail failed"
    ]


@both_ways
def test_a_dependency_adds_to_the_same_list(way: str) -> None:
    lists: list[Any] = []

    def dependency(tasks: Any) -> None:
        lists.append(tasks)

    ask(app_of(way, lists.append, dependency))
    assert lists[0] is lists[1]
    ask(app_of(way, lists.append))
    assert lists[2] is not lists[1]


def test_an_annotation_chooses_the_policy() -> None:
    app, ran = FastAPI(), list[str]()

    @app.get("/")
    async def endpoint(tasks: Annotated[FailFastTasks, tasks_of(FailFastTasks)]) -> None:
        tasks.add_task(fail)
        tasks.add_task(ran.append, "second")

    assert ask(app, fails=OSError).status == 200
    assert ran == []


@both_ways
@pytest.mark.parametrize("raised", [HTTPException(404), OSError()])
def test_tasks_of_an_endpoint_that_raised_are_named(way: str, raised: Exception, log: Log) -> None:
    def use(tasks: Any) -> None:
        tasks.add_task(print, "never")
        raise raised

    is_answered = isinstance(raised, HTTPException)
    answer = ask(app_of(way, use), **({} if is_answered else {"fails": OSError}))
    assert answer.status == (404 if is_answered else 500)
    reason = f"the request raised {type(raised).__name__}"
    assert log.warnings == [f"background tasks not run ({reason}): builtins.print"]


@both_ways
def test_a_response_of_any_status_has_its_tasks_run(way: str) -> None:
    ran: list[str] = []

    def use(tasks: Any) -> JSONResponse:
        tasks.add_task(ran.append, "the audit log")
        return JSONResponse({"detail": "Not Found"}, 404)

    assert ask(app_of(way, use)).status == 404
    assert ran == ["the audit log"]


@both_ways
def test_tasks_of_a_stream_that_broke_off_are_named(way: str, log: Log) -> None:
    async def pieces() -> Any:
        yield b"first"
        raise OSError

    def use(tasks: Any) -> StreamingResponse:
        tasks.add_task(print, "never")
        return StreamingResponse(pieces())

    ask(app_of(way, use), fails=OSError)
    assert log.warnings == ["background tasks not run (the request raised OSError): builtins.print"]


@both_ways
def test_sync_tasks_have_threads_of_their_own(way: str) -> None:
    seen: list[float] = []

    def count() -> None:
        seen.append(anyio.from_thread.run_sync(lambda: background_limiter().borrowed_tokens))

    ask(app_of(way, lambda tasks: tasks.add_task(count)))
    assert seen == [1]


def test_what_cannot_be_called_is_refused_in_the_endpoint_of_a_route() -> None:
    def use(tasks: Any) -> None:
        with pytest.raises(TypeError, match="a task is a callable"):
            tasks.add_task("print")

    assert ask(app_of("by route class", use)).status == 200


def test_a_router_may_have_the_route_class() -> None:
    """Included in an application of plain routes, beside dependencies of the router's own."""
    ran: list[str] = []

    async def of_the_router(tasks: fastapi.BackgroundTasks) -> None:
        tasks.add_task(ran.append, "of the router")
        tasks.add_task(fail)

    router = APIRouter(
        prefix="/orders", route_class=BackgroundRoute, dependencies=[Depends(of_the_router)]
    )

    class Order(BaseModel):
        number: int

    @router.get("/{number}", response_model=Order, status_code=202)
    async def endpoint(number: int, tasks: fastapi.BackgroundTasks) -> dict[str, int]:
        tasks.add_task(ran.append, "of the endpoint")
        return {"number": number, "secret": 1}

    app = FastAPI()
    app.include_router(router, prefix="/v1")
    answer = ask(app, path="/v1/orders/7")
    assert (answer.status, answer.body) == (202, b'{"number":7}')
    assert ran == ["of the router", "of the endpoint"]
    assert "tasks" not in str(app.openapi())


@pytest.mark.parametrize("wrong", [fastapi.BackgroundTasks, BackgroundTasks(), "Tasks"])
def test_what_is_no_class_of_lists_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"tasks_of takes minibg's BackgroundTasks or a subclass"):
        tasks_of(wrong)


# What stays open in a host.


@both_ways
def test_a_response_with_a_background_displaces_the_list_which_is_named(way: str, log: Log) -> None:
    own = BackgroundTasks()
    own.add_task(str)

    def use(tasks: Any) -> JSONResponse:
        tasks.add_task(print, "never")
        return JSONResponse({}, background=own)  # type: ignore[arg-type]  # any async callable

    ask(app_of(way, use))
    gc.collect()
    assert log.warnings == ["background tasks not run (no run took them): builtins.print"]


@both_ways
def test_a_session_of_a_yield_dependency_is_open_while_tasks_run(way: str) -> None:
    """FastAPI closes it when the tasks have run; with scope="function", before the answer."""
    events: list[str] = []

    def session(tasks: Any) -> Iterator[None]:
        yield
        events.append("closed")
        tasks.add_task(events.append, "added while it closes")

    ask(app_of(way, lambda tasks: tasks.add_task(events.append, "task"), session))
    assert events == ["task", "closed"]


def test_a_websocket_runs_no_tasks_and_they_are_named(log: Log) -> None:
    app = FastAPI()

    @app.websocket("/")
    async def endpoint(websocket: fastapi.WebSocket, tasks: Tasks) -> None:
        await websocket.accept()
        tasks.add_task(print, "never")

    async def talk() -> None:
        async def receive() -> dict[str, str]:
            return {"type": "websocket.connect"}

        async def send(message: Any) -> None: ...

        scope = {"type": "websocket", "path": "/", "headers": [], "query_string": b""}
        await app(scope, receive, send)  # type: ignore[arg-type]

    anyio.run(talk)
    gc.collect()
    assert log.warnings == ["background tasks not run (no run took them): builtins.print"]
