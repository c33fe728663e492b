"""An application: its parts put together, its middleware, its lifespan, its state."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.middleware import Middleware as StarletteMiddleware

from minibg import HTTPException, Middleware, MiniBG, PlainTextResponse, Request, Route
from minibg.types import ASGIApp, Message, Receive, Scope, Send
from tests.framework.asgi import ask


class Layer:
    """Notes when a request comes in and goes out, and fails where it is told to."""

    def __init__(self, app: ASGIApp, name: str, seen: list[str], fails: str = "") -> None:
        self.app, self.name, self.seen, self.fails = app, name, seen, fails

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.note("in")
        await self.app(scope, receive, send)
        self.note("out")

    def note(self, where: str) -> None:
        self.seen.append(f"{self.name} {where}")
        if self.fails == where:
            raise LookupError(f"the middleware's own, {where}")


def live(
    app: MiniBG,
    while_alive: Callable[[], Any] = lambda: None,
    *,
    fails: type[Exception] | None = None,
    backend: str = "asyncio",
    **scope: Any,
) -> list[Message]:
    """Start the application up and shut it down; what it said to the server."""
    said: list[Message] = []

    async def main() -> None:
        events = iter(["lifespan.startup", "lifespan.shutdown"])

        async def receive() -> Message:
            event = next(events)
            if event == "lifespan.shutdown":
                while_alive()
            return {"type": event}

        async def send(message: Message) -> None:
            said.append(message)

        await app({"type": "lifespan", **scope}, receive, send)

    with pytest.raises(fails) if fails else nullcontext():
        anyio.run(main, backend=backend)
    return said


def types(messages: list[Message]) -> list[str]:
    return [message["type"] for message in messages]


# --- parts ---------------------------------------------------------------------------------------


def test_an_application_can_be_given_all_its_parts_at_once() -> None:
    seen: list[str] = []
    app = MiniBG(
        routes=[Route("/", lambda: "home"), Route("/a", lambda: "a")],
        middleware=[Middleware(Layer, "outer", seen)],
        exception_handlers={404: lambda request, exc: PlainTextResponse("no", 404)},
        max_body_size=5,
    )
    assert ask(app, path="/a").body == b'"a"'
    assert ask(app, path="/b").body == b"no"
    assert seen == ["outer in", "outer out"] * 2


def test_applications_share_nothing() -> None:
    first, second = MiniBG(), MiniBG()
    first.get("/")(lambda: "first")
    first.exception_handler(404)(lambda request, exc: PlainTextResponse("no"))
    first.state.a = 1
    assert (ask(second).status, ask(second).body) == (404, b'{"detail":"Not Found"}')
    assert not hasattr(second.state, "a")


def test_a_route_may_be_added_while_the_application_serves() -> None:
    app = MiniBG()
    assert ask(app).status == 404
    app.get("/")(lambda: "late")
    assert ask(app).status == 200


def test_an_endpoint_finds_the_application_through_the_request() -> None:
    """An endpoint finds the application and its state through the request."""
    app = MiniBG()
    app.state.name = "minibg"

    @app.get("/")
    async def endpoint(request: Request) -> str:
        assert request.app is app
        return str(request.app.state.name)

    assert ask(app).body == b'"minibg"'


# --- middleware ----------------------------------------------------------------------------------


@given(given_=st.lists(st.sampled_from("abc"), max_size=3), added=st.lists(st.sampled_from("xyz")))
@pytest.mark.parametrize("cls", [Middleware, StarletteMiddleware])
def test_what_was_added_last_is_outermost(cls: Any, given_: list[str], added: list[str]) -> None:
    seen: list[str] = []
    app = MiniBG(
        routes=[Route("/", lambda: seen.append("endpoint"))],
        middleware=[cls(Layer, name, seen=seen) for name in given_],
    )
    for name in added:
        app.add_middleware(Layer, name, seen=seen)
    ask(app)
    order = [*reversed(added), *given_]
    ins, outs = ([f"{name} {where}" for name in order] for where in ("in", "out"))
    assert seen == [*ins, "endpoint", *reversed(outs)]


def test_middleware_is_built_once_before_any_request() -> None:
    """Middleware is built once, and not while the application serves."""
    built = []

    def middleware(app: ASGIApp) -> ASGIApp:
        built.append(app)
        return app

    app = MiniBG(routes=[Route("/", lambda: "a")], middleware=[Middleware(middleware)])
    ask(app)
    ask(app)
    assert len(built) == 1
    with pytest.raises(RuntimeError, match="before the application serves"):
        app.add_middleware(middleware)


def test_middleware_may_answer_without_the_endpoint() -> None:
    def closed(app: ASGIApp) -> ASGIApp:
        return PlainTextResponse("closed", 503)

    app = MiniBG(middleware=[Middleware(closed)])
    assert (ask(app).status, ask(app).body) == (503, b"closed")


def test_middleware_that_fails_before_the_response_is_a_500(backend: str) -> None:
    """Middleware that fails before the response is answered with 500."""
    seen: list[str] = []
    app = MiniBG(
        routes=[Route("/", lambda: seen.append("endpoint"))],
        middleware=[Middleware(Layer, "a", seen, fails="in")],
    )
    answer = ask(app, fails=LookupError, backend=backend)
    assert (answer.status, answer.body) == (500, b"Internal Server Error")
    assert seen == ["a in"]


def test_middleware_that_fails_after_the_response_adds_nothing(backend: str) -> None:
    """Middleware that fails after the response sends nothing more."""
    app = MiniBG(
        routes=[Route("/", lambda: "a")], middleware=[Middleware(Layer, "a", [], fails="out")]
    )
    answer = ask(app, fails=LookupError, backend=backend)
    assert (answer.status, answer.body, answer.complete) == (200, b'"a"', True)


def test_middleware_sees_an_answered_error_as_its_answer() -> None:
    """An error that has an answer reaches middleware as that answer."""

    def endpoint() -> None:
        raise HTTPException(404)

    seen: list[str] = []
    app = MiniBG(routes=[Route("/", endpoint)], middleware=[Middleware(Layer, "a", seen)])
    assert ask(app).status == 404
    assert seen == ["a in", "a out"]


def test_an_error_without_an_answer_passes_through_middleware() -> None:
    def endpoint() -> None:
        raise OSError

    seen: list[str] = []
    app = MiniBG(routes=[Route("/", endpoint)], middleware=[Middleware(Layer, "a", seen)])
    assert ask(app, fails=OSError).status == 500
    assert seen == ["a in"]


# --- lifespan ------------------------------------------------------------------------------------

COMPLETE = ["lifespan.startup.complete", "lifespan.shutdown.complete"]


def test_an_application_needs_no_lifespan() -> None:
    assert types(live(MiniBG())) == COMPLETE


def test_the_application_serves_inside_its_lifespan(backend: str) -> None:
    events: list[Any] = []

    @asynccontextmanager
    async def lifespan(app: MiniBG) -> AsyncIterator[None]:
        events.append(app)
        yield
        events.append("after")

    app = MiniBG(lifespan=lifespan)
    said = live(app, lambda: events.append("serving"), backend=backend)
    assert events == [app, "serving", "after"]
    assert types(said) == COMPLETE


def test_each_requests_state_begins_as_the_lifespan_yielded_it() -> None:
    """The state of each request begins as what the lifespan has yielded."""

    @asynccontextmanager
    async def lifespan(app: MiniBG) -> AsyncIterator[dict[str, Any]]:
        yield {"pool": "a pool"}

    async def endpoint(request: Request) -> str:
        request.state.user = "a user"
        return str(request.state.pool)

    app = MiniBG(routes=[Route("/", endpoint)], lifespan=lifespan)
    state: dict[str, Any] = {}
    live(app, state=state)
    assert state == {"pool": "a pool"}
    assert ask(app, state=state.copy()).body == b'"a pool"'


@pytest.mark.parametrize("phase", ["startup", "shutdown"])
def test_a_lifespan_that_fails_says_so_to_the_server(phase: str, backend: str) -> None:
    @asynccontextmanager
    async def lifespan(app: MiniBG) -> AsyncIterator[None]:
        if phase == "startup":
            raise LookupError("no database")
        yield
        raise LookupError("no database")

    said = live(MiniBG(lifespan=lifespan), fails=LookupError, backend=backend)
    failed = f"lifespan.{phase}.failed"
    assert types(said) == ([failed] if phase == "startup" else [COMPLETE[0], failed])
    assert "LookupError: no database" in said[-1]["message"]


def test_a_state_that_the_server_would_not_keep_fails_startup() -> None:
    """The startup fails where the lifespan yields a state that the server would not keep."""
    closed: list[bool] = []

    @asynccontextmanager
    async def lifespan(app: MiniBG) -> AsyncIterator[dict[str, Any]]:
        try:
            yield {"pool": "a pool"}
        finally:
            closed.append(True)

    said = live(MiniBG(lifespan=lifespan), fails=RuntimeError)
    assert types(said) == ["lifespan.startup.failed"]
    assert "which this server does not keep" in said[0]["message"]
    assert closed == [True]
