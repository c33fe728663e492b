"""An error becomes an answer if none has been sent, and the server hears of it in any case."""

import gc
import json
import pickle
import weakref
from collections.abc import AsyncIterator, Callable
from copy import copy, deepcopy
from functools import partial
from http import HTTPStatus
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minibg import (
    BackgroundTasks,
    ClientDisconnect,
    Depends,
    FailFastTasks,
    HTTPException,
    InvalidJSON,
    InvalidMessage,
    MiniBG,
    PlainTextResponse,
    Request,
    Response,
    Route,
    StreamingResponse,
    WebSocketDisconnect,
)
from minibg.naming import name_of
from minibg.types import Message
from tests.framework.asgi import ask, http_scope

SECRET = "the password is 1234"


class OutOfStock(Exception):
    pass


class SoldForever(OutOfStock):
    pass


def raising(error: BaseException, is_async: bool = True) -> Callable[[], Any]:
    """An endpoint that fails so."""

    def endpoint() -> None:
        raise error

    async def async_endpoint() -> None:
        raise error

    return async_endpoint if is_async else endpoint


def answered(
    error: Exception, handlers: dict[Any, Any] | None = None, **options: Any
) -> tuple[int, bytes]:
    """Status and body of the answer to that error."""
    app = MiniBG(routes=[Route("/", raising(error))], exception_handlers=handlers)
    answer = ask(app, **options)
    assert answer.complete
    return answer.status, answer.body


def says(text: str, status: int = 200) -> Callable[[Request, Any], Response]:
    """A handler that answers so."""
    return lambda request, exc: PlainTextResponse(text, status)


def fails_with(error: Exception) -> Callable[[Request, Any], Response]:
    def handler(request: Request, exc: Exception) -> Response:
        raise error

    return handler


# --- HTTPException -------------------------------------------------------------------------------


@given(
    status=st.integers(400, 599),
    detail=st.text(st.characters(codec="utf-8")) | st.dictionaries(st.just("a"), st.integers()),
)
def test_an_http_exception_is_answered_with_its_detail(status: int, detail: Any) -> None:
    got_status, body = answered(HTTPException(status, detail))
    assert (got_status, json.loads(body)) == (status, {"detail": detail})


def test_an_http_exception_without_detail_says_its_status() -> None:
    """An `HTTPException` without detail says what its status means."""
    assert answered(HTTPException(404)) == (404, b'{"detail":"Not Found"}')


@pytest.mark.parametrize("status", {*range(400, 600)} - {status.value for status in HTTPStatus})
def test_a_status_without_a_phrase_is_answered_without_a_text(status: int) -> None:
    assert answered(HTTPException(status)) == (status, b'{"detail":""}')


@pytest.mark.parametrize("status", [0, 100, 199, 600, "404", None, 404.0])
def test_a_status_that_no_answer_has_is_a_value_error(status: Any) -> None:
    with pytest.raises(ValueError, match=f"from 200 to 599, not {status!r}$"):
        HTTPException(status)


@pytest.mark.parametrize(
    "error",
    [
        HTTPException(404),
        HTTPException(status_code=499, detail=["a"], headers={"a": "b"}),
        ClientDisconnect("gone"),
        InvalidJSON(detail="none"),
    ],
)
def test_an_http_exception_can_be_copied_and_pickled(error: HTTPException) -> None:
    error.add_note("noted")
    for same in (copy(error), deepcopy(error), pickle.loads(pickle.dumps(error))):
        assert type(same) is type(error)
        assert vars(same) == vars(error)
        assert str(same) == str(error)


def test_an_http_exception_brings_its_headers() -> None:
    error = HTTPException(401, headers={"www-authenticate": "Basic"})
    answer = ask(MiniBG(routes=[Route("/", raising(error))]))
    assert (b"www-authenticate", b"Basic") in answer.headers


@pytest.mark.parametrize("status", [204, 304])
def test_an_http_exception_without_content_has_no_body(status: int) -> None:
    """An `HTTPException` whose status has no content is answered without a body."""
    answer = ask(MiniBG(routes=[Route("/", raising(HTTPException(status)))]))
    assert (answer.status, answer.headers, answer.body) == (status, [], b"")


def test_an_http_exception_reads_as_its_status_and_detail() -> None:
    assert str(HTTPException(404, "no such thing")) == "404: no such thing"


# --- errors that nobody expected -----------------------------------------------------------------


@pytest.mark.parametrize("is_async", [True, False])
def test_an_error_is_a_plain_500_and_reaches_the_server(is_async: bool, backend: str) -> None:
    """An error is a plain 500 to the client, and reaches the server as itself."""
    error = OutOfStock(SECRET)
    app = MiniBG(routes=[Route("/", raising(error, is_async))])
    answer = ask(app, fails=OutOfStock, backend=backend)
    assert answer.error is error
    assert (answer.status, answer.body) == (500, b"Internal Server Error")
    assert SECRET.encode() not in str(answer.messages).encode()


@pytest.mark.parametrize("value", [object(), {1: object()}, {(1, 2): 1}, 1j, "\ud800", iter("a")])
def test_a_value_that_json_has_no_form_for_is_such_an_error(value: Any) -> None:
    app = MiniBG(routes=[Route("/", lambda: value)])
    answer = ask(app, fails=Exception)
    assert (answer.status, answer.body) == (500, b"Internal Server Error")


def test_what_is_no_exception_is_not_answered() -> None:
    class Stop(BaseException):
        pass

    app = MiniBG(routes=[Route("/", raising(Stop()))], exception_handlers={Exception: says("no")})
    assert ask(app, fails=Stop).messages == []


# --- handlers ------------------------------------------------------------------------------------


def test_a_handler_answers_its_class_and_what_derives_from_it() -> None:
    handlers = {OutOfStock: says("out"), SoldForever: says("forever")}
    assert answered(OutOfStock(), handlers) == (200, b"out")
    assert answered(SoldForever(), handlers) == (200, b"forever")
    del handlers[SoldForever]
    assert answered(SoldForever(), handlers) == (200, b"out")


def test_a_handler_of_a_status_goes_before_one_of_a_class() -> None:
    class Missing(HTTPException):
        pass

    handlers: dict[Any, Any] = {404: says("404"), Missing: says("m"), HTTPException: says("any")}
    assert answered(Missing(404), handlers) == (200, b"404")
    assert answered(Missing(403), handlers) == (200, b"m")
    assert answered(HTTPException(403), handlers) == (200, b"any")


def test_a_handler_answers_also_what_no_endpoint_raised() -> None:
    app = MiniBG(routes=[Route("/a", raising(OutOfStock()))])
    app.exception_handler(404)(says("nothing here", 404))
    app.exception_handler(405)(says("not so", 405))
    assert (ask(app, path="/b").status, ask(app, path="/b").body) == (404, b"nothing here")
    assert (ask(app, "POST", "/a").status, ask(app, "POST", "/a").body) == (405, b"not so")


@pytest.mark.parametrize("is_async", [True, False])
def test_a_handler_is_given_the_request_and_the_error(is_async: bool, backend: str) -> None:
    def handler(request: Request, exc: OutOfStock) -> Response:
        return PlainTextResponse(f"{request.path_params['what']}: {exc}")

    async def async_handler(request: Request, exc: OutOfStock) -> Response:
        return handler(request, exc)

    app = MiniBG()
    app.exception_handler(OutOfStock)(async_handler if is_async else handler)

    @app.get("/{what}")
    def endpoint(what: str) -> None:
        raise OutOfStock("none left")

    assert ask(app, path="/tea", backend=backend).body == b"tea: none left"


def test_a_decorated_handler_is_left_as_it_was() -> None:
    handler = says("a")
    assert MiniBG().exception_handler(ValueError)(handler) is handler


@pytest.mark.parametrize("key", [Exception, 500])
def test_a_handler_of_last_resort_answers_and_the_server_hears(key: Any, backend: str) -> None:
    """A handler of last resort answers, and the server hears of the error all the same."""
    error = OutOfStock(SECRET)
    app = MiniBG(routes=[Route("/", raising(error))], exception_handlers={key: says("sorry", 503)})
    answer = ask(app, fails=OutOfStock, backend=backend)
    assert answer.error is error
    assert (answer.status, answer.body) == (503, b"sorry")


def test_a_handler_of_last_resort_leaves_what_has_an_answer() -> None:
    """A handler of last resort does not answer what has an answer of its own."""
    assert answered(HTTPException(404), {Exception: says("sorry")})[0] == 404


@pytest.mark.parametrize("failure", [KeyError("x"), HTTPException(400)])
def test_a_handler_that_fails_itself_leaves_a_plain_500(failure: Exception, backend: str) -> None:
    options = {"fails": type(failure), "backend": backend}
    expected = (500, b"Internal Server Error")
    assert answered(OutOfStock(), {OutOfStock: fails_with(failure)}, **options) == expected


def test_a_handler_of_last_resort_that_fails_is_a_plain_500(backend: str) -> None:
    """A handler of last resort that fails itself leaves a plain 500."""
    handlers = {Exception: fails_with(KeyError("x"))}
    answer = answered(OutOfStock(), handlers, fails=Exception, backend=backend)
    assert answer == (500, b"Internal Server Error")


@pytest.mark.parametrize("returned", [None, "text", {"a": 1}])
def test_a_handler_answers_with_a_response_or_it_has_failed(returned: Any) -> None:
    app = MiniBG(routes=[Route("/", raising(OutOfStock()))])

    @app.exception_handler(OutOfStock)
    def out_of_stock(request: Request, exc: OutOfStock) -> Any:
        return returned

    answer = ask(app, fails=TypeError)
    assert answer.status == 500
    assert "out_of_stock must answer with a Response" in str(answer.error)


def test_the_background_of_a_handlers_response_runs(backend: str) -> None:
    ran = []

    async def background() -> None:
        ran.append("background")

    def handler(request: Request, exc: Exception) -> Response:
        return PlainTextResponse("a", background=background)

    answered(OutOfStock(), {OutOfStock: handler}, backend=backend)
    assert ran == ["background"]


# --- after the response has started --------------------------------------------------------------

EVERY_HANDLER = {key: says("no") for key in (Exception, OutOfStock, HTTPException, 500)}


def test_an_error_in_the_body_is_reported(backend: str) -> None:
    """An error in the body is reported, and nothing is sent twice."""

    async def body() -> Any:
        yield "a"
        raise error

    error = OutOfStock()
    app = MiniBG(
        routes=[Route("/", lambda: StreamingResponse(body()))], exception_handlers=EVERY_HANDLER
    )
    answer = ask(app, fails=OutOfStock, backend=backend)
    assert answer.error is error
    assert (answer.body, answer.complete) == (b"a", False)


@pytest.mark.parametrize("error", [OutOfStock(), HTTPException(400)])
def test_an_error_in_the_background_is_reported(error: Exception, backend: str) -> None:
    """An error in the background is reported, and nothing is sent twice."""

    def endpoint(tasks: FailFastTasks) -> str:
        tasks.add_task(raising(error))
        return "done"

    app = MiniBG(routes=[Route("/", endpoint)], exception_handlers=EVERY_HANDLER)
    answer = ask(app, fails=type(error), backend=backend)
    assert answer.error is error
    assert (answer.body, answer.complete) == (b'"done"', True)


def test_an_error_of_the_servers_send_is_reported(backend: str) -> None:
    """An error of the server while it takes the response is reported."""
    error = OSError("gone")
    taken = []

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        taken.append(message["type"])
        raise error

    async def main() -> None:
        with pytest.raises(OSError, match="gone") as raised:
            await app(http_scope(), receive, send)
        assert raised.value is error

    app = MiniBG(routes=[Route("/", lambda: "a")], exception_handlers=EVERY_HANDLER)
    anyio.run(main, backend=backend)
    assert taken == ["http.response.start"]


# --- names ---------------------------------------------------------------------------------------


class Service:
    def method(self) -> None: ...

    def __call__(self) -> None: ...


@pytest.mark.parametrize(
    ("func", "name"),
    [
        (raising, f"{__name__}.raising"),
        (partial(partial(raising, OutOfStock(SECRET))), f"{__name__}.raising"),
        (Service().method, f"{__name__}.Service.method"),
        (Service(), f"{__name__}.Service"),
        (Service, f"{__name__}.Service"),
        (BackgroundTasks().add_task, "minibg.background.BackgroundTasks.add_task"),
        (len, "builtins.len"),
        ([].append, "list.append"),
    ],
)
def test_an_error_names_a_function_and_none_of_its_arguments(func: Any, name: str) -> None:
    assert name_of(func) == name


# --- exceptions that live longer than a request --------------------------------------------------

EXCEPTIONS = [
    HTTPException(404),
    HTTPException(status_code=400, detail={"a": 1}, headers={"x-a": "1"}),
    ClientDisconnect("gone"),
    InvalidJSON(detail="no JSON"),
    InvalidMessage("no text"),
    WebSocketDisconnect(code=1001, reason="away"),
]


class Teapot(HTTPException):
    def __init__(self, *, size: int) -> None:
        super().__init__(418, detail=f"{size} cups")
        self.size = size


@pytest.mark.parametrize("exc", [*EXCEPTIONS, Teapot(size=2)], ids=repr)
def test_an_exception_can_be_copied_and_pickled(exc: Exception) -> None:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        for again in (pickle.loads(pickle.dumps(exc, protocol)), copy(exc), deepcopy(exc)):
            assert (type(again), vars(again), str(again)) == (type(exc), vars(exc), str(exc))
            assert again.args == exc.args


@pytest.mark.parametrize("translated", [False, True])
def test_an_exception_that_a_module_keeps_keeps_no_request(translated: bool, backend: str) -> None:
    unauthorized = HTTPException(401)
    alive: list[weakref.ref[Request]] = []

    async def dependency() -> AsyncIterator[None]:
        try:
            yield
        except HTTPException as exc:
            if translated:
                raise HTTPException(403) from exc
            raise

    app = MiniBG()

    @app.exception_handler(HTTPException)
    async def handler(request: Request, exc: HTTPException) -> Response:
        """Async, since a worker thread may hold its last call's arguments for a while."""
        return PlainTextResponse("", exc.status_code)

    @app.get("/")
    async def endpoint(request: Request, held: None = Depends(dependency)) -> None:
        alive.append(weakref.ref(request))
        try:
            raise KeyError
        except KeyError:
            raise unauthorized from None

    for _ in range(3):
        assert ask(app, backend=backend).status == (403 if translated else 401)
    gc.collect()
    assert [request() for request in alive] == [None] * 3
    assert unauthorized.__traceback__ is None


def test_a_task_of_the_answer_sees_the_exceptions_traceback(backend: str) -> None:
    """A task of the answer still sees where the exception came from."""
    seen: list[bool] = []

    async def handler(request: Request, exc: LookupError) -> Response:
        async def report() -> None:
            seen.append(exc.__traceback__ is not None)

        return PlainTextResponse("", background=report)

    assert answered(LookupError(), {LookupError: handler}, backend=backend)[0] == 200
    assert seen == [True]


def test_an_error_that_a_cancellation_hides_is_logged(
    backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    """An error is logged where a cancellation keeps it from being answered."""

    async def server() -> None:
        with anyio.CancelScope() as scope:

            async def endpoint() -> None:
                scope.cancel()
                raise LookupError("lost")

            app = MiniBG(routes=[Route("/", endpoint)])
            await app(http_scope(), anyio.sleep_forever, anyio.sleep_forever)  # type: ignore[arg-type]

    anyio.run(server, backend=backend)
    assert [str(r.exc_info and r.exc_info[1]) for r in caplog.records] == ["lost"]
