"""`Depends`: what can be a dependency, its arguments, how often it is called, how it is closed.

The tests of the rule **release** show when it is closed.
"""

import functools
import json
import logging
import re
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple
from unittest.mock import AsyncMock, MagicMock, Mock, create_autospec

import pytest
from anyio.lowlevel import checkpoint

from minibg import (
    BackgroundTask,
    BackgroundTasks,
    Depends,
    HTTPException,
    MiniBG,
    Request,
    Response,
    StreamingResponse,
    UploadFile,
)
from tests.framework.asgi import JSON, Answer, ask
from tests.rules.language.generators import on_the_loop

Scope = Literal["function", "request"]


def served(endpoint: Callable[..., Any], path: str = "/", **options: Any) -> Answer:
    app = MiniBG()
    app.get(path)(endpoint)
    return ask(app, path=options.pop("asked", path), **options)


def given_by(dependency: Callable[..., Any], **options: Any) -> Any:
    """What an endpoint is given that depends on that."""

    async def endpoint(value: Annotated[Any, Depends(dependency)]) -> Any:
        return value

    answer = served(endpoint, **options)
    assert answer.status == 200
    return json.loads(answer.body)


# --- what can be a dependency --------------------------------------------------------------------


def function(q: int = 1) -> int:
    return q + 1


async def async_function(q: int = 1) -> int:
    await checkpoint()
    return q + 1


def generator(q: int = 1) -> Iterator[int]:
    yield q + 1


async def async_generator(q: int = 1) -> AsyncIterator[int]:
    await checkpoint()
    yield q + 1


@dataclass(eq=False)
class Holder:
    q: int = 1

    def method(self, q: int = 1) -> int:
        return q + self.q

    async def async_method(self, q: int = 1) -> int:
        return q + self.q

    def generator_method(self, q: int = 1) -> Iterator[int]:
        yield q + self.q

    async def async_generator_method(self, q: int = 1) -> AsyncIterator[int]:
        yield q + self.q


class SyncCallable(Holder):
    __call__ = Holder.method


class AsyncCallable(Holder):
    __call__ = Holder.async_method


class GeneratorCallable(Holder):
    __call__ = Holder.generator_method


class AsyncGeneratorCallable(Holder):
    __call__ = Holder.async_generator_method


def wrapped(func: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return func(*args, **kwargs)

    return wrapper


FUNCTIONS = [function, async_function, generator, async_generator]
METHODS = [
    Holder().method,
    Holder().async_method,
    Holder().generator_method,
    Holder().async_generator_method,
]
OBJECTS = [SyncCallable(), AsyncCallable(), GeneratorCallable(), AsyncGeneratorCallable()]


@pytest.mark.parametrize("dependency", [*FUNCTIONS, *METHODS, *OBJECTS])
@pytest.mark.parametrize("kind", [lambda call: call, partial], ids=["itself", "partial"])
def test_a_dependency_gives_what_it_returns_or_yields(
    dependency: Callable[..., Any], kind: Callable[..., Any], backend: str
) -> None:
    assert given_by(kind(dependency), backend=backend) == 2
    assert given_by(kind(dependency), query_string=b"q=41", backend=backend) == 42


@pytest.mark.parametrize("dependency", FUNCTIONS)
def test_a_decorator_that_says_what_it_wraps_is_seen_through(
    dependency: Callable[..., Any], backend: str
) -> None:
    """FastAPI does so as well."""
    assert given_by(wrapped(dependency), query_string=b"q=41", backend=backend) == 42


def test_an_async_dependency_needs_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("minibg.dependencies.run_in_threadpool")
    assert given_by(async_function) == 2


def test_a_class_gives_its_instance(backend: str) -> None:
    assert given_by(Holder, query_string=b"q=5", backend=backend) == {"q": 5}


def test_a_named_tuple_gives_its_instance() -> None:
    class Page(NamedTuple):
        start: int
        size: int = 10

    assert given_by(Page, query_string=b"start=5") == [5, 10]


def test_an_object_that_is_false_can_be_a_dependency() -> None:
    class Empty:
        def __call__(self) -> int:
            return 42

        def __len__(self) -> int:
            return 0

    assert given_by(Empty()) == 42


def test_what_a_partial_holds_already_is_not_asked_of_the_client() -> None:
    def role(needed: str, q: int) -> str:
        return f"{needed} {q}"

    assert given_by(partial(role, "admin"), query_string=b"needed=none&q=1") == "admin 1"


def test_a_dependency_is_marked_as_default_or_within_annotated() -> None:
    def endpoint(
        by_default: int = Depends(function),
        *,
        annotated: Annotated[int, Depends(function)],
        by_type: Annotated[Holder, Depends()],
        by_type_and_default: Holder = Depends(),  # noqa: B008  # FastAPI's form
    ) -> Any:
        return [by_default, annotated, by_type, by_type_and_default]

    assert json.loads(served(endpoint).body) == [2, 2, {"q": 1}, {"q": 1}]


def test_sync_dependencies_run_in_threads_async_on_the_loop(
    backend: str,
) -> None:
    """Sync dependencies run in worker threads, and async ones on the event loop."""
    loop = threading.get_ident()  # `ask` runs the loop in the thread of the test
    on_loop: dict[str, bool] = {}

    def note(name: str) -> None:
        on_loop[name] = threading.get_ident() == loop

    def sync() -> None:
        note("sync")

    async def async_() -> None:
        note("async")

    def sync_generator() -> Iterator[None]:
        note("sync generator")
        yield
        note("sync generator, closing")

    async def async_generator() -> AsyncIterator[None]:
        note("async generator")
        yield
        note("async generator, closing")

    def endpoint(
        a: None = Depends(sync),
        b: None = Depends(async_),
        c: None = Depends(sync_generator),
        d: None = Depends(async_generator),
    ) -> None: ...

    served(endpoint, backend=backend)
    assert len(on_loop) == 6
    assert {name for name, value in on_loop.items() if value} == {
        "async",
        "async generator",
        "async generator, closing",
    }


# --- what a dependency is given ------------------------------------------------------------------


def test_a_dependency_may_ask_for_anything_that_an_endpoint_may() -> None:
    def dependency(
        n: int,
        q: int,
        item: dict[str, int],
        request: Request,
        response: Response,
        other: Annotated[Holder, Depends()],
    ) -> Any:
        response.headers["x-n"] = str(n)
        response.status_code = 202
        return [n, q, item, request.method, other]

    async def endpoint(value: Annotated[Any, Depends(dependency)]) -> Any:
        return value

    app = MiniBG()
    app.post("/{n}")(endpoint)
    answer = ask(app, "POST", "/1", JSON, [b'{"a":3}'], query_string=b"q=2")
    assert json.loads(answer.body) == [1, 2, {"a": 3}, "POST", {"q": 2}]
    assert answer.status == 202
    assert (b"x-n", b"1") in answer.headers


def test_a_dependency_and_the_endpoint_may_ask_for_one_value() -> None:
    """A dependency and the endpoint may ask for the same values."""

    def dependency(item: dict[str, int], q: int) -> Any:
        return [item, q]

    def endpoint(item: dict[str, int], q: int, value: Annotated[Any, Depends(dependency)]) -> Any:
        return [[item, q], value]

    app = MiniBG()
    app.post("/")(endpoint)
    answer = ask(app, "POST", "/", JSON, [b'{"a":1}'], query_string=b"q=2")
    assert json.loads(answer.body) == [[{"a": 1}, 2], [{"a": 1}, 2]]
    answer = ask(app, "POST", "/", JSON, [b'{"a":"x"}'], query_string=b"q=x")
    faults = json.loads(answer.body)["detail"]
    assert [fault["loc"] for fault in faults] == [["body"], ["query", "q"]]


def test_all_faults_are_named_before_any_dependency_is_called() -> None:
    def dependency(n: int) -> None:
        pytest.fail("it was called")

    def endpoint(q: int, value: None = Depends(dependency)) -> None:
        pytest.fail("it was called")

    answer = served(endpoint)
    assert answer.status == 422
    faults = json.loads(answer.body)["detail"]
    assert sorted(fault["loc"] for fault in faults) == [["query", "n"], ["query", "q"]]


def test_every_dependency_gets_the_very_list_of_the_endpoint(backend: str) -> None:
    seen: list[Any] = []
    ran: list[str] = []

    class Mine(BackgroundTasks):
        pass

    def leaf(tasks: BackgroundTasks, mine: Mine) -> Iterator[None]:
        seen.append((tasks, mine))
        tasks.add_task(ran.append, "leaf")
        yield

    async def branch(
        tasks: BackgroundTasks, mine: Mine, below: None = Depends(leaf)
    ) -> BackgroundTasks:
        seen.append((tasks, mine))
        tasks.add_task(ran.append, "branch")
        return tasks

    def endpoint(
        mine: Mine,
        tasks: BackgroundTasks,
        handed_on: Annotated[BackgroundTasks, Depends(branch)],
    ) -> None:
        seen.append((tasks, mine))
        handed_on.add_task(ran.append, "endpoint")

    served(endpoint, backend=backend)
    assert len(seen) == 3
    assert all(tasks is seen[0][0] and mine is seen[0][1] for tasks, mine in seen)
    assert type(seen[0][1]) is Mine
    assert ran == ["leaf", "branch", "endpoint"]


def test_an_async_generator_may_set_and_reset_a_context_variable(backend: str) -> None:
    user: ContextVar[str] = ContextVar("user", default="nobody")

    async def dependency() -> AsyncIterator[None]:
        token = user.set("somebody")
        yield
        user.reset(token)

    def endpoint(value: None = Depends(dependency)) -> str:
        return user.get()

    assert served(endpoint, backend=backend).body == b'"somebody"'


# --- how often it is called ----------------------------------------------------------------------


def counting() -> Callable[[], int]:
    calls: list[None] = []

    def count() -> int:
        calls.append(None)
        return len(calls)

    return count


def test_a_dependency_is_computed_once_a_request(backend: str) -> None:
    """A dependency is computed once a request, however many ask for it."""
    count = counting()

    async def left(value: int = Depends(count)) -> int:
        return value

    def right(value: int = Depends(count), other: int = Depends(left)) -> list[int]:
        return [value, other]

    async def endpoint(
        one: int = Depends(count),
        two: int = Depends(left),
        *,
        three: Annotated[list[int], Depends(right)],
    ) -> Any:
        return [one, two, *three]

    app = MiniBG()
    app.get("/")(endpoint)
    assert json.loads(ask(app, backend=backend).body) == [1, 1, 1, 1]
    assert json.loads(ask(app, backend=backend).body) == [2, 2, 2, 2]


def test_use_cache_false_asks_again() -> None:
    count = counting()

    def below(value: int = Depends(count, use_cache=False)) -> int:
        return value

    async def endpoint(
        one: int = Depends(count),
        two: int = Depends(below),
        three: int = Depends(count, use_cache=False),
        four: int = Depends(count),
    ) -> Any:
        return [one, two, three, four]

    one, two, three, four = json.loads(served(endpoint).body)
    assert one == four
    assert sorted([one, two, three]) == [1, 2, 3]


# --- how it is closed ----------------------------------------------------------------------------

KINDS = ["sync", "async"]


def resource(
    kind: str, name: str, events: list[str], on_error: Callable[[Exception], Any] | None = None
) -> Callable[..., Any]:
    """A generator that notes when it opens, what is thrown into it, and when it closes."""

    def react(exc: Exception) -> None:
        events.append(f"{name} got {type(exc).__name__}")
        if on_error is None:
            raise exc
        on_error(exc)

    def sync() -> Iterator[str]:
        events.append(f"open {name}")
        try:
            yield name
        except Exception as exc:  # noqa: BLE001  # raised again, unless the test says otherwise
            react(exc)
        finally:
            events.append(f"close {name}")

    async def async_() -> AsyncIterator[str]:
        events.append(f"open {name}")
        try:
            yield name
        except Exception as exc:  # noqa: BLE001  # as above
            react(exc)
        finally:
            await checkpoint()
            events.append(f"close {name}")

    return sync if kind == "sync" else async_


@pytest.mark.parametrize("scopes", [("request", "request"), ("function", "function")])
@pytest.mark.parametrize("first", KINDS)
@pytest.mark.parametrize("second", KINDS)
def test_generators_close_in_reverse_order(
    backend: str, first: str, second: str, scopes: tuple[Scope, Scope]
) -> None:
    events: list[str] = []

    def endpoint(
        a: str = Depends(resource(first, "a", events), scope=scopes[0]),
        b: str = Depends(resource(second, "b", events), scope=scopes[1]),
    ) -> None:
        events.append("endpoint")

    served(endpoint, backend=backend)
    assert events == ["open a", "open b", "endpoint", "close b", "close a"]


def test_what_a_generator_depends_on_is_open_until_it_has_closed(backend: str) -> None:
    events: list[str] = []

    async def session(connection: str = Depends(resource("sync", "connection", events))) -> Any:
        events.append("open session")
        yield f"session on {connection}"
        events.append("close session")

    def endpoint(value: str = Depends(session)) -> str:
        return value

    assert served(endpoint, backend=backend).body == b'"session on connection"'
    assert events == ["open connection", "open session", "close session", "close connection"]


def test_function_scope_closes_before_request_scope() -> None:
    """The function scope closes before the request scope, in whatever order they were opened."""
    events: list[str] = []

    def endpoint(
        a: str = Depends(resource("sync", "function", events), scope="function"),
        b: str = Depends(resource("sync", "request", events), scope="request"),
    ) -> None: ...

    served(endpoint)
    assert events[2:] == ["close function", "close request"]


def test_request_scope_cannot_depend_on_function_scope() -> None:
    """A generator of the request scope cannot depend on one that closes before it."""
    short = Depends(resource("sync", "short", []), scope="function")

    def long(value: str = short) -> Iterator[str]:
        yield value

    def endpoint(value: str = Depends(long)) -> None: ...

    with pytest.raises(TypeError, match=r"long asks for .*value.* is closed before it"):
        MiniBG().get("/")(endpoint)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scope", ["function", "request"])
def test_an_endpoints_exception_is_thrown_into_the_generators(
    backend: str, kind: str, scope: Scope
) -> None:
    """An exception of the endpoint is thrown into the generators."""
    events: list[str] = []

    def endpoint(
        a: str = Depends(resource(kind, "a", events), scope=scope),
        b: str = Depends(resource(kind, "b", events), scope=scope),
    ) -> None:
        raise LookupError("lost")

    answer = served(endpoint, fails=LookupError, backend=backend)
    assert answer.status == 500
    assert str(answer.error) == "lost"
    assert events[2:] == ["b got LookupError", "close b", "a got LookupError", "close a"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scope", ["function", "request"])
def test_a_generator_may_turn_an_exception_into_an_answer(
    backend: str, kind: str, scope: Scope
) -> None:
    events: list[str] = []

    def conflict(exc: Exception) -> None:
        raise HTTPException(409, str(exc), headers={"x-a": "1"})

    def endpoint(
        outer: str = Depends(resource(kind, "outer", events)),
        inner: str = Depends(resource(kind, "inner", events, conflict), scope=scope),
    ) -> None:
        raise LookupError("taken")

    answer = served(endpoint, backend=backend)
    assert (answer.status, answer.body) == (409, b'{"detail":"taken"}')
    assert (b"x-a", b"1") in answer.headers
    assert events[2:] == [
        "inner got LookupError",
        "close inner",
        "outer got HTTPException",
        "close outer",
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_a_handler_answers_what_a_generator_raises_instead(kind: str) -> None:
    """A handler answers what a generator makes of an exception."""

    class Taken(Exception):
        pass

    def taken(exc: Exception) -> None:
        raise Taken from exc

    app = MiniBG()

    @app.exception_handler(Taken)
    def handler(request: Request, exc: Taken) -> Response:
        return Response(f"{type(exc.__cause__).__name__}", 418)

    @app.get("/")
    def endpoint(value: str = Depends(resource(kind, "a", [], taken))) -> None:
        raise LookupError

    answer = ask(app)
    assert (answer.status, answer.body) == (418, b"LookupError")


@pytest.mark.parametrize("kind", KINDS)
def test_a_dependencys_exception_is_thrown_into_those_open(backend: str, kind: str) -> None:
    """An exception of a dependency is thrown into those that are open."""
    events: list[str] = []

    def forbidden(before: str = Depends(resource(kind, "a", events))) -> None:
        raise HTTPException(403)

    def endpoint(
        a: None = Depends(forbidden), b: str = Depends(resource(kind, "b", events))
    ) -> None:
        pytest.fail("it was called")

    assert served(endpoint, backend=backend).status == 403
    assert events == ["open a", "a got HTTPException", "close a"]


def test_what_a_generator_raises_before_it_yields_is_answered(backend: str) -> None:
    def unavailable() -> Iterator[None]:
        raise HTTPException(503)
        yield

    def endpoint(a: None = Depends(unavailable)) -> None:
        pytest.fail("it was called")

    assert served(endpoint, backend=backend).status == 503


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scope", ["function", "request"])
def test_a_generator_that_swallows_an_exception_is_a_500(
    backend: str, kind: str, scope: Scope
) -> None:
    """A generator that swallows an exception is a 500, and the error says so."""

    def endpoint(
        a: str = Depends(resource(kind, "a", [], lambda exc: None), scope=scope),
    ) -> None:
        raise LookupError("lost")

    answer = served(endpoint, fails=RuntimeError, backend=backend)
    assert answer.status == 500
    assert re.search(r"resource.* swallowed the exception", str(answer.error))


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_while_closing_is_logged_and_the_rest_closed(
    backend: str, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """An error while closing is logged, and the other dependencies are closed."""
    events: list[str] = []

    def failing() -> Generator[None]:
        yield
        raise LookupError("commit failed")

    def endpoint(
        a: str = Depends(resource(kind, "a", events)),
        b: None = Depends(failing if kind == "sync" else on_the_loop(failing)),
    ) -> str:
        return "answered"

    answer = served(endpoint, backend=backend)
    assert (answer.status, answer.body) == (200, b'"answered"')
    assert events[-1] == "close a"
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info
    assert str(record.exc_info[1]) == "commit failed"


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_while_closing_function_scope_is_the_answer(backend: str, kind: str) -> None:
    """An error while the function scope is closed becomes the answer."""

    def failing() -> Generator[None]:
        yield
        raise HTTPException(503, "commit failed")

    def endpoint(
        a: None = Depends(failing if kind == "sync" else on_the_loop(failing), scope="function"),
    ) -> str:
        return "never answered"

    answer = served(endpoint, backend=backend)
    assert (answer.status, answer.body) == (503, b'{"detail":"commit failed"}')


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_may_use_what_closes_with_the_request(backend: str, kind: str) -> None:
    events: list[str] = []

    async def endpoint(name: str = Depends(resource(kind, "a", events))) -> Response:
        async def pieces() -> AsyncIterator[str]:
            for piece in ("one", "two"):
                events.append(piece)
                yield piece

        return StreamingResponse(pieces())

    assert served(endpoint, backend=backend).body == b"onetwo"
    assert events == ["open a", "one", "two", "close a"]


# --- what a call gives counts, whatever it wraps -------------------------------------------------


def drained(func: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(func)
    def wrapper(**values: Any) -> Any:
        return sum(func(**values))

    return wrapper


def async_drained(func: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(func)
    async def wrapper(**values: Any) -> Any:
        return sum([value async for value in func(**values)])

    return wrapper


def async_wrapped(func: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(func)
    async def wrapper(**values: Any) -> Any:
        return func(**values)

    return wrapper


opened: list[str] = []


def opening(q: int = 1) -> Iterator[int]:
    opened.append("open")
    yield q + 1
    opened.append("close")


async def async_opening(q: int = 1) -> AsyncIterator[int]:
    opened.append("open")
    yield q + 1
    opened.append("close")


class Opening:
    @contextmanager
    def method(self, q: int = 1) -> Iterator[int]:
        yield from opening(q)

    @classmethod
    @asynccontextmanager
    async def of_class(cls, q: int = 1) -> AsyncIterator[int]:
        async for value in async_opening(q):
            yield value


@pytest.mark.parametrize(
    "dependency",
    [
        *(opening, async_opening, wrapped(opening), wrapped(async_opening)),
        *(drained(opening), async_drained(async_opening), wrapped(async_drained(async_opening))),
        *(async_wrapped(opening), async_wrapped(async_opening)),
        *(contextmanager(opening), asynccontextmanager(async_opening)),
        *(wrapped(contextmanager(opening)), partial(contextmanager(opening))),
        *(Opening().method, Opening.of_class),
    ],
)
def test_a_decorated_generator_is_opened_or_has_been_drained(
    dependency: Callable[..., Any], backend: str
) -> None:
    """What a decorator makes of a generator is opened, or has been drained by the decorator."""
    opened.clear()
    assert given_by(dependency, query_string=b"q=41", backend=backend) == 42
    assert opened == ["open", "close"]


def test_a_generator_that_a_plain_function_returns_is_its_value() -> None:
    """A generator or a context manager that a plain function returns is its value."""

    def numbers() -> Iterator[int]:
        return (number for number in (1, 2))

    def endpoint(
        a: Annotated[Any, Depends(numbers)], b: Annotated[Any, Depends(lambda: nullcontext(3))]
    ) -> Any:
        with b as value:
            return [*a, value]

    assert served(endpoint).body == b"[1,2,3]"


def test_an_endpoint_may_stream_what_a_generator_yields() -> None:
    def streamed(func: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(func)
        async def endpoint(**values: Any) -> StreamingResponse:
            return StreamingResponse(func(**values))

        return endpoint

    @streamed
    async def count(to: int) -> AsyncIterator[str]:
        for number in range(to):
            yield str(number)

    assert served(count, query_string=b"to=3").body == b"012"


def yields_nothing() -> Iterator[int]:
    yield from ()


async def yields_twice() -> AsyncIterator[int]:
    yield 1
    yield 2


def test_a_generator_that_does_not_yield_once_is_named(caplog: pytest.LogCaptureFixture) -> None:
    def of_nothing(value: int = Depends(yields_nothing)) -> None: ...
    def of_two(value: int = Depends(yields_twice)) -> None: ...

    answer = served(of_nothing, fails=RuntimeError)
    assert str(answer.error) == f"{__name__}.yields_nothing: generator didn't yield"
    assert served(of_two).status == 200
    [record] = caplog.records
    assert record.exc_info
    assert str(record.exc_info[1]) == f"{__name__}.yields_twice: generator didn't stop"


# --- overrides -----------------------------------------------------------------------------------


@pytest.fixture
def app() -> MiniBG:
    """Depends on `function` twice, once below another dependency."""
    app = MiniBG()

    def below(value: int = Depends(function)) -> int:
        return value

    @app.get("/")
    def endpoint(value: int = Depends(function), other: int = Depends(below)) -> Any:
        return [value, other]

    return app


def test_an_override_replaces_a_dependency_at_every_depth(app: MiniBG, backend: str) -> None:
    """An override is called in place of a dependency at every depth."""

    async def instead(n: int = 7) -> AsyncIterator[int]:
        yield n

    assert json.loads(ask(app, backend=backend).body) == [2, 2]
    app.dependency_overrides[function] = instead
    assert json.loads(ask(app, backend=backend).body) == [7, 7]
    assert json.loads(ask(app, query_string=b"n=8", backend=backend).body) == [8, 8]
    app.dependency_overrides.clear()
    assert json.loads(ask(app, backend=backend).body) == [2, 2]


def test_an_override_is_computed_once_a_request_as_well(app: MiniBG) -> None:
    app.dependency_overrides[function] = counting()
    assert json.loads(ask(app).body) == [1, 1]
    assert json.loads(ask(app).body) == [2, 2]


@pytest.mark.parametrize(
    "override",
    [
        *(Mock(return_value=7), MagicMock(return_value=7), AsyncMock(return_value=7)),
        *(Mock(spec=function, return_value=7), create_autospec(function, return_value=7)),
        *(AsyncMock(spec=async_function, return_value=7), lambda *args, **kwargs: 7),
    ],
)
def test_an_override_may_be_a_mock(app: MiniBG, override: Any) -> None:
    app.dependency_overrides[function] = override
    assert json.loads(ask(app).body) == [7, 7]


def test_what_has_no_hash_can_be_a_dependency_and_is_called_once() -> None:
    @dataclass
    class Counting:
        called: list[int]

        def __call__(self, n: int) -> int:
            self.called.append(n)
            return len(self.called)

    counting, other = Counting([]), Counting([])

    def endpoint(
        a: int = Depends(counting), b: int = Depends(counting), c: int = Depends(other)
    ) -> Any:
        return [a, b, c]

    app = MiniBG()
    app.get("/")(endpoint)
    app.dependency_overrides[function] = lambda: 0
    assert ask(app, query_string=b"n=1").body == b"[1,1,1]"
    assert (counting.called, other.called) == ([1], [1])


def test_an_override_need_not_ask_for_the_parameter_of_the_path() -> None:
    def item(n: int) -> int:
        return n

    app = MiniBG()

    @app.get("/{n}")
    def endpoint(value: int = Depends(item)) -> int:
        return value

    app.dependency_overrides[item] = lambda: 42
    answer = ask(app, path="/1")
    assert (answer.status, answer.body) == (200, b"42")


# --- what cannot be a dependency -----------------------------------------------------------------


class Unknown:
    pass


def asks_for_an_unknown(value: Unknown) -> None: ...


def nested(value: None = Depends(asks_for_an_unknown)) -> None: ...


def bare(value=Depends()) -> None: ...  # type: ignore[no-untyped-def]  # noqa: B008


def of_a_number(value: int = Depends(5)) -> None: ...  # type: ignore[arg-type]  # on purpose


def asks_for_numbers(item: dict[str, int]) -> None: ...


def asks_for_one_file(item: UploadFile) -> None: ...


def of_a_body_that_is_another(
    item: dict[str, str], other: None = Depends(asks_for_numbers)
) -> None: ...


def of_a_file_that_are_several(
    item: list[UploadFile], other: None = Depends(asks_for_one_file)
) -> None: ...


@pytest.mark.parametrize(
    ("endpoint", "named"),
    [
        (nested, r"asks_for_an_unknown asks for `value: "),
        (bare, r"bare asks for `value"),
        (of_a_number, r"of_a_number|signature of .*int cannot be read"),
        (of_a_body_that_is_another, r"asks_for_numbers asks for `item: "),
        (of_a_file_that_are_several, r"asks_for_one_file asks for `item: "),
    ],
)
def test_a_dependency_that_cannot_be_served_is_a_type_error(
    endpoint: Callable[..., Any], named: str
) -> None:
    """A dependency that cannot be served is a `TypeError` when its route is registered."""
    with pytest.raises(TypeError, match=named):
        MiniBG().get("/")(endpoint)


def test_a_scope_that_does_not_exist_is_an_error_that_says_so() -> None:
    with pytest.raises(TypeError, match="scope"):
        Depends(function, scope="session")  # type: ignore[arg-type]  # on purpose


def test_what_a_partial_binds_is_not_for_the_client_to_change() -> None:
    def role(role: str) -> str:
        return role

    app = MiniBG()

    @app.get("/")
    async def endpoint(given: Annotated[str, Depends(partial(role, role="admin"))]) -> str:
        return given

    assert json.loads(ask(app, query_string=b"role=evil").body) == "admin"


def test_a_default_that_a_request_changes_stays_its_own() -> None:
    app = MiniBG()

    @app.get("/")
    async def endpoint(values: list[int] = []) -> list[int]:  # noqa: B006  # it is what is tested
        values.append(1)
        return values

    assert [json.loads(ask(app).body) for _ in range(2)] == [[1], [1]]


def test_the_background_set_on_the_response_is_the_answers() -> None:
    """A background and a content type that are set on the injected response are the answer's."""
    ran: list[str] = []
    app = MiniBG()

    @app.get("/")
    async def endpoint(response: Response) -> str:
        response.background = BackgroundTask(ran.append, "injected")
        response.headers["content-type"] = "application/problem+json"
        return "answer"

    answer = ask(app)
    assert ran == ["injected"]
    types = [value for name, value in answer.headers if name == b"content-type"]
    assert types == [b"application/problem+json"]


def test_each_function_has_its_own_default_of_a_parameter() -> None:
    """Each function has its own default for a parameter that both have."""
    app = MiniBG()

    def dependency(n: int = 2) -> int:
        return n

    @app.get("/")
    async def endpoint(below: Annotated[int, Depends(dependency)], n: int = 1) -> list[int]:
        return [n, below]

    assert ask(app).body == b"[1,2]"
    assert ask(app, query_string=b"n=3").body == b"[3,3]"
