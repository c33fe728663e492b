"""minibg's lists in FastAPI's applications: by annotation, and by a route class."""

import gc
import re
import subprocess
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any

import anyio
import fastapi
import pytest
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Response, Security
from fastapi import BackgroundTasks as FastAPITasks
from fastapi.exceptions import FastAPIError
from fastapi.responses import JSONResponse, StreamingResponse
from fastapi.security import SecurityScopes
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from starlette.background import BackgroundTask as StarletteTask
from starlette.background import BackgroundTasks as StarletteTasks

from minibg import BackgroundTasks, FailFastTasks
from minibg.concurrency import background_limiter
from minibg.ext.fastapi import BackgroundRoute, Tasks, tasks_of
from tests.framework.asgi import ask
from tests.rules.language.exchange import Exchange
from tests.rules.language.logs import Log, logged
from tests.rules.language.model import Model
from tests.rules.language.programs import (
    COMPARED,
    PROGRAMS,
    VIEWS,
    Player,
    additions,
    compare,
    hold,
    requests,
)
from tests.rules.language.words import Held, Program, Request, labelled

README = Path(__file__).parents[2] / "README.md"


@pytest.fixture
def log() -> Iterator[Log]:
    gc.collect()  # lists that other tests have left are named now
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


HAS_SCOPES = "scope" in signature(Depends).parameters  # FastAPI 0.121


class HostedRequest(Player):
    """Plays requests that hold dependencies and whose response has a background of its own."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way

    async def serve(self, request: Request) -> None:
        cls = self.class_of(request.injected.policy)
        app = FastAPI()
        kind: Any = Annotated[cls, tasks_of(cls)]
        if self.way == "by route class":
            kind = fastapi.BackgroundTasks
            app.router.route_class = type("Route", (BackgroundRoute,), {"tasks_class": cls})

        def holding(label: str, held: Held) -> Any:
            async def dependency(tasks: Any) -> AsyncIterator[None]:
                try:
                    yield
                finally:
                    self.events.append(("closed", label))
                    self.add_all(tasks, held.adds, f"{label}.")

            dependency.__annotations__["tasks"] = kind
            return Depends(dependency, **({"scope": held.scope} if HAS_SCOPES else {}))

        async def endpoint(tasks: Any, **held: None) -> Response:
            self.add_all(tasks, request.injected.tasks, "injected ")
            self.events.append(("endpoint",))
            if request.fails == "the endpoint raised":
                raise HTTPException(418)
            return Response(background=self.list_of(request.own, "own."))  # type: ignore[arg-type]

        parameters = [Parameter("tasks", Parameter.KEYWORD_ONLY, annotation=kind)]
        for label, held in labelled(request.held, "held "):
            name = label.replace(" ", "_")
            depends = holding(label, held)
            parameters.append(Parameter(name, Parameter.KEYWORD_ONLY, default=depends))
        endpoint.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
        app.get("/")(endpoint)
        exchange = Exchange(client_gone=request.fails == "the response was not sent")
        exchange.events = type("Events", (), {"append": lambda _, e: self.events.append((e,))})()
        await exchange(app)


class InFastAPI(Model):
    """What must be seen of a request where FastAPI is the host of the list."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way

    def respond(self, request: Request) -> None:
        injected = deque(labelled(request.injected.tasks, "injected "))
        self.events.append(("endpoint",))
        own = request.own if request.fails != "the endpoint raised" else Program()
        if self.way == "by route class":  # the response's background is a task of the list
            injected.append(("own", own))
        self.close(request, "function", injected)
        try:
            if request.fails == "the response was not sent":
                raise OSError
            if request.fails == "the endpoint raised":
                raise HTTPException(418)
            self.events.append(("response",))
            if self.way == "by route class":
                self.run(injected, request.injected.policy)
            else:  # FastAPI runs that alone, and what is left runs when all others are closed
                self.run(deque(labelled(own.tasks, "own.")), own.policy)
        except Exception as exc:
            if request.fails is None and self.way == "by route class":
                injected.clear()  # its run has named them
            self.close(request, "request", injected)
            self.lose(injected, f"the request raised {type(exc).__name__}")
            if request.fails == "the endpoint raised":
                self.events.append(("response",))
                return
            raise
        self.close(request, "request", injected)
        self.run(injected, request.injected.policy)


WITH_FAILURES = additions | {"raises": st.sampled_from([None, ValueError])}


@both_ways
def test_the_rules_hold_for_whole_requests(way: str) -> None:
    """Of dependencies that close after the tasks of the endpoint: what they add runs then."""

    @given(request=requests(WITH_FAILURES))
    def in_any_request(request: Request) -> None:
        if not HAS_SCOPES:
            request = replace(request, held=tuple(Held(adds=held.adds) for held in request.held))
        if way == "by route class":  # a list in a list: its failure is one of the outer list's
            request = replace(request, own=replace(request.own, policy="isolate"))
        player, model = HostedRequest(way), InFastAPI(way)
        seen = anyio.run(player.play, request)
        try:
            model.respond(request)
        except Exception as exc:  # noqa: BLE001  # it is compared
            model.events.append(("raised", type(exc).__name__))
        for rule in ("after", "order", "isolate", "grow", "release", "nothing lost"):
            compared = COMPARED.get(rule, lambda *both: both)(model.events, seen)
            hold(rule, request, *map(VIEWS[rule], compared))

    in_any_request()


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


def test_what_cannot_be_called_is_refused_in_the_endpoint() -> None:
    """What cannot be called is refused in the endpoint of a route."""

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


@both_ways
@pytest.mark.parametrize("host", ["minibg", "starlette", "fastapi"])
def test_a_response_with_a_background_displaces_no_task(way: str, host: str, log: Log) -> None:
    """FastAPI drops its own list then. The route class runs minibg's first, the annotation last."""
    ran: list[str] = []
    own = {"minibg": BackgroundTasks, "starlette": StarletteTasks, "fastapi": FastAPITasks}[host]()
    own.add_task(ran.append, "own")

    def use(tasks: Any) -> JSONResponse:
        tasks.add_task(ran.append, "injected")
        return JSONResponse({}, background=own)  # type: ignore[arg-type]  # any async callable

    ask(app_of(way, use))
    expected = ["injected", "own"] if way == "by route class" else ["own", "injected"]
    assert (ran, log.records) == (expected, [])


def test_a_route_class_isolates_the_background_of_a_response(log: Log) -> None:
    ran: list[str] = []
    own = StarletteTasks([StarletteTasks([StarletteTask(fail)]), StarletteTask(ran.append, "next")])

    ask(app_of("by route class", lambda tasks: JSONResponse({}, background=own)))
    assert ran == ["next"]
    assert len(log.records) == 1


@both_ways
def test_a_task_that_a_dependency_adds_while_it_closes_runs(way: str) -> None:
    """FastAPI closes it when the tasks have run; so that task runs in a run of its own."""
    events: list[str] = []

    def session(tasks: Any) -> Iterator[None]:
        yield
        events.append("closed")
        tasks.add_task(events.append, "added while it closes")

    ask(app_of(way, lambda tasks: tasks.add_task(events.append, "task"), session))
    assert events == ["task", "closed", "added while it closes"]


@both_ways
def test_no_task_runs_where_a_dependency_swallows_the_exception(way: str, log: Log) -> None:
    """FastAPI answers nothing then, and says so to the server (**after**)."""

    def swallowing(tasks: Any) -> Iterator[None]:
        with suppress(OSError):
            yield

    def use(tasks: Any) -> None:
        tasks.add_task(print, "never")
        raise OSError

    ask(app_of(way, use, swallowing), fails=FastAPIError)
    assert log.warnings == ["background tasks not run (the request raised OSError): builtins.print"]


@both_ways
def test_an_exception_around_the_application_drops_no_task(way: str, log: Log) -> None:
    """An exception around the application belongs to no request of it, and drops no task."""
    ran: list[str] = []
    app = app_of(way, lambda tasks: tasks.add_task(ran.append, "task"), lambda tasks: None)

    async def main() -> None:
        try:
            raise LookupError
        except LookupError:
            await Exchange()(app)

    anyio.run(main)
    assert (ran, log.records) == (["task"], [])


def test_tasks_of_a_websocket_run_when_it_has_ended() -> None:
    ran: list[str] = []
    app = FastAPI()

    @app.websocket("/")
    async def endpoint(websocket: fastapi.WebSocket, tasks: Tasks) -> None:
        tasks.add_task(ran.append, "task")
        await websocket.accept()
        await websocket.close()

    async def talk() -> None:
        async def receive() -> dict[str, str]:
            return {"type": "websocket.connect"}

        async def send(message: Any) -> None:
            ran.append(message["type"])

        scope = {"type": "websocket", "path": "/", "headers": [], "query_string": b""}
        await app(scope, receive, send)  # type: ignore[arg-type]

    anyio.run(talk)
    assert ran == ["websocket.accept", "websocket.close", "task"]


def test_a_route_class_takes_the_function_by_name() -> None:
    """A route class takes the function by name, as FastAPI does."""
    ran: list[str] = []

    def task(what: str) -> None:
        ran.append(what)

    ask(app_of("by route class", lambda tasks: tasks.add_task(func=task, what="by name")))
    assert ran == ["by name"]


def test_an_annotation_keeps_its_policy_in_the_route_class(log: Log) -> None:
    """An annotation keeps its policy in a route of the route class."""
    app = FastAPI()
    app.router.route_class = BackgroundRoute

    @app.get("/")
    async def endpoint(tasks: Annotated[FailFastTasks, tasks_of(FailFastTasks)]) -> None:
        tasks.add_task(fail)
        tasks.add_task(print, "never")

    ask(app, fails=OSError)
    assert log.warnings == [
        "background tasks not run (an earlier failure, OSError): builtins.print"
    ]


def test_tasks_of_a_routers_dependencies_stand_first(log: Log) -> None:
    """Tasks that a router adds before the route is asked stand first.

    The dependencies of an included router come before those of a route of it.
    """
    ran: list[str] = []

    def early(tasks: fastapi.BackgroundTasks, own: Tasks) -> None:
        tasks.add_task(fail)
        tasks.add_task(ran.append, "early")

    router = APIRouter(route_class=BackgroundRoute)

    @router.get("/")
    async def endpoint(tasks: fastapi.BackgroundTasks) -> None:
        tasks.add_task(ran.append, "endpoint")

    app = FastAPI()
    app.include_router(router, dependencies=[Depends(early)])
    assert ask(app).status == 200
    assert ran == ["early", "endpoint"]
    assert len(log.records) == 1


@both_ways
def test_a_dependency_with_scopes_of_security_shares_the_list(way: str) -> None:
    """Of OAuth2: FastAPI caches apart what is asked for beneath them, before 0.123."""
    lists: list[Any] = []
    kind, route_class = WAYS[way]
    app = FastAPI()
    app.router.route_class = route_class

    def user(scopes: SecurityScopes, tasks: Any) -> None:
        lists.append(tasks)

    def endpoint(tasks: Any, user: None = Security(user, scopes=["me"])) -> None:
        lists.append(tasks)

    user.__annotations__["tasks"] = endpoint.__annotations__["tasks"] = kind
    app.get("/")(endpoint)
    ask(app)
    assert lists[0] is lists[1]


def test_a_dependency_that_is_not_cached_shares_the_list() -> None:
    lists: list[BackgroundTasks] = []
    app = FastAPI()
    given: Any = tasks_of(BackgroundTasks)
    again = Depends(given.dependency, use_cache=False)

    @app.get("/")
    async def endpoint(one: Tasks, same: BackgroundTasks = again) -> None:
        lists.extend([one, same])

    ask(app)
    assert lists[0] is lists[1]


def test_tasks_run_behind_a_response_that_was_replaced() -> None:
    """Tasks run behind a response that another route class has replaced."""
    ran: list[str] = []

    class Replacing(fastapi.routing.APIRoute):
        def get_route_handler(self) -> Any:
            handle = super().get_route_handler()

            async def replace(request: fastapi.Request) -> Response:
                await handle(request)
                return Response("another")

            return replace

    class Both(BackgroundRoute, Replacing): ...

    app = FastAPI()
    app.router.route_class = Both

    @app.get("/")
    async def endpoint(tasks: fastapi.BackgroundTasks) -> None:
        tasks.add_task(ran.append, "task")

    assert ask(app).body == b"another"
    assert ran == ["task"]


@both_ways
def test_the_injected_list_may_be_given_to_the_response_as_well(way: str, log: Log) -> None:
    ran: list[str] = []

    def use(tasks: Any) -> JSONResponse:
        tasks.add_task(fail)
        tasks.add_task(ran.append, "once")
        return JSONResponse({}, background=tasks)

    ask(app_of(way, use))
    assert ran == ["once"]
    assert len(log.records) == 1


def test_a_routes_list_may_be_given_to_the_response_as_well() -> None:
    """The list of a route may be given to the response as well."""
    ran: list[str] = []
    app = FastAPI()
    app.router.route_class = BackgroundRoute

    @app.get("/", response_model=None)
    def endpoint(tasks: Tasks) -> JSONResponse:
        tasks.add_task(ran.append, "once")
        background: Any = tasks
        return JSONResponse({}, background=background)

    ask(app)
    assert ran == ["once"]


def test_a_list_in_a_default_is_the_one_of_the_annotation() -> None:
    lists: list[BackgroundTasks] = []
    app = FastAPI()
    given = tasks_of(BackgroundTasks)

    @app.get("/")
    async def endpoint(one: Tasks, same: BackgroundTasks = given) -> None:
        lists.extend([one, same])

    ask(app)
    assert lists[0] is lists[1]


@pytest.mark.parametrize("missing", ["fastapi", "pytest"])
def test_what_an_extension_needs_is_named_where_it_is_missing(missing: str) -> None:
    code = f"import sys; sys.modules['{missing}'] = None; import minibg.ext.{missing}"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=False, text=True, timeout=50
    )
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"ModuleNotFoundError: minibg.ext.{missing}")
    assert last.endswith(f": pip install {missing}")


@both_ways
def test_the_time_limit_of_the_readme_ends_a_task_and_no_other(way: str, log: Log) -> None:
    code = next(block for block in README.read_text().split("```") if "class TimeLimited" in block)
    made: dict[str, Any] = {}
    exec(code.removeprefix("python").replace("fail_after(30)", "fail_after(0.01)"), made)
    ran: list[str] = []
    app = FastAPI()
    kind: Any = made["TimeLimitedTasks"]
    if way == "by route class":
        kind = fastapi.BackgroundTasks
        app.router.route_class = made["TimeLimitedRoute"]

    def endpoint(tasks: Any) -> None:
        tasks.add_task(anyio.sleep_forever)
        tasks.add_task(ran.append, "next")

    endpoint.__annotations__["tasks"] = kind
    app.get("/")(endpoint)
    ask(app)
    assert ran == ["next"]
    (failed,) = log.records
    assert failed.exc_info is not None
    assert failed.exc_info[0] is TimeoutError


# What stays open in a host.


@both_ways
def test_a_yield_dependency_is_open_while_tasks_run(way: str) -> None:
    """In FastAPI; with scope="function" (0.121) it is closed before the answer."""
    events: list[str] = []

    def session(tasks: Any) -> Iterator[None]:
        yield
        events.append("closed")

    ask(app_of(way, lambda tasks: tasks.add_task(events.append, "task"), session))
    assert events == ["task", "closed"]


@both_ways
def test_a_dependency_that_fails_to_close_reaches_the_server(way: str) -> None:
    """A `yield` dependency that fails while it closes reaches the server.

    The tasks have run by then, and so no task is lost by it.
    """
    ran: list[str] = []

    def session(tasks: Any) -> Iterator[None]:
        yield
        raise OSError

    answer = ask(app_of(way, lambda t: t.add_task(ran.append, "task"), session), fails=OSError)
    assert (answer.status, ran) == (200, ["task"])


@both_ways
def test_tasks_run_behind_a_stream_that_the_client_has_left(way: str) -> None:
    """Starlette then ends the stream as if it had been sent whole (**after**)."""
    ran: list[str] = []

    async def pieces() -> AsyncIterator[bytes]:
        yield b"first"
        await anyio.sleep_forever()

    def use(tasks: Any) -> StreamingResponse:
        tasks.add_task(ran.append, "task")
        return StreamingResponse(pieces())

    answer = ask(app_of(way, use), gone_after=2)
    assert not answer.complete
    assert ran == ["task"]


def test_fastapi_refuses_minibgs_list_as_an_annotation() -> None:
    """FastAPI refuses minibg's list as an annotation in these words.

    The README says what to do then.
    """
    with pytest.raises(FastAPIError) as refused:

        @FastAPI().get("/")
        async def endpoint(tasks: BackgroundTasks) -> None: ...

    told = str(refused.value).partition(". If")[0]
    told = told.replace("{type_}", str(BackgroundTasks))  # as 0.119 to 0.122 leave it unfilled
    assert told in re.sub(r"\s+", " ", README.read_text())
