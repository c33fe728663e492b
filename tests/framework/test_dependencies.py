"""An endpoint's signature: the arguments that it gets, and those that it cannot ask for.

`test_depends.py` shows what `Depends` adds to that, and `test_uploads.py` shows uploads. The rules'
tests show that each request has its own lists.
"""

import asyncio
import json
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from functools import partial
from typing import Annotated, Any, Literal, NotRequired, TypedDict
from urllib.parse import urlencode
from uuid import UUID

import anyio
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minibg import (
    BackgroundTasks,
    Depends,
    FailFastTasks,
    JSONResponse,
    MiniBG,
    Request,
    Response,
    Route,
    UploadFile,
    WebSocket,
    WebSocketRoute,
    concurrency,
)
from minibg.concurrency import run_in_threadpool
from minibg.dependencies import Dependant
from tests.framework.asgi import JSON, Answer, ask


class Mine(BackgroundTasks):
    pass


class Size(Enum):
    SMALL = "s"


def served(
    endpoint: Callable[..., Any], path: str = "/", asked: str = "/", **options: Any
) -> Answer:
    return ask(MiniBG(routes=[Route(path, endpoint)]), path=asked, **options)


def posted(endpoint: Callable[..., Any], body: bytes, **options: Any) -> Answer:
    app = MiniBG(routes=[Route("/", endpoint, methods=["POST"])])
    return ask(app, "POST", headers=JSON, body=[body], **options)


def query(*pairs: tuple[str, str]) -> bytes:
    return urlencode(pairs).encode()


def faults_of(answer: Answer) -> list[list[Any]]:
    """Where the faults are that a 422 names; each says what it is, too."""
    assert answer.status == 422
    faults = json.loads(answer.body)["detail"]
    for fault in faults:
        assert fault.keys() == {"loc", "msg", "type"}
        assert fault["msg"]
        assert isinstance(fault["msg"], str)
        assert isinstance(fault["type"], str)
    return [fault["loc"] for fault in faults]


# --- how an endpoint is called -------------------------------------------------------------------


def on_loop(thread: int) -> bool:
    return thread == threading.get_ident()  # `ask` runs the loop in the thread of the test


class Endpoint:
    def method(self) -> int:
        return threading.get_ident()

    async def async_method(self) -> int:
        return threading.get_ident()

    async def __call__(self) -> int:
        return threading.get_ident()


@pytest.mark.parametrize("endpoint", [Endpoint().method, partial(Endpoint().method)])
def test_a_sync_endpoint_runs_in_a_worker_thread(
    endpoint: Callable[..., Any], backend: str
) -> None:
    assert not on_loop(json.loads(served(endpoint, backend=backend).body))


@pytest.mark.parametrize("endpoint", [Endpoint().async_method, Endpoint()])
def test_an_async_endpoint_runs_on_the_event_loop(
    endpoint: Callable[..., Any], backend: str
) -> None:
    assert on_loop(json.loads(served(endpoint, backend=backend).body))


def test_a_call_cancelled_on_its_way_to_a_thread_is_not_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A call that asyncio cancels on its way to a thread is not made."""
    called: list[str] = []
    arrived: Future[threading.Thread] = Future()
    cancelled = threading.Event()

    make = concurrency._Call.make

    def make_late(call: Any) -> None:
        arrived.set_result(threading.current_thread())
        assert cancelled.wait(10)
        make(call)

    async def main() -> None:
        call = asyncio.ensure_future(run_in_threadpool(called.append, "called"))
        await asyncio.wrap_future(arrived)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        cancelled.set()

    monkeypatch.setattr(concurrency._Call, "make", make_late)
    anyio.run(main)
    arrived.result().join(10)
    assert called == []


def test_a_class_can_be_an_endpoint() -> None:
    @dataclass
    class Item:
        n: int

    assert served(Item, "/{n}", "/1").body == b'{"n":1}'


# --- what it is given ----------------------------------------------------------------------------


def test_a_parameter_is_served_by_its_annotation() -> None:
    """A parameter is served by its annotation, whatever its name and its place."""

    def endpoint(first: Mine, n: int, *, second: Request, third: BackgroundTasks, m: Any) -> Any:
        kinds = [type(value).__name__ for value in (first, second, third)]
        return [*kinds, n, m]

    answer = served(endpoint, "/{n}/{m}", "/1/2")
    assert json.loads(answer.body) == ["Mine", "Request", "BackgroundTasks", 1, "2"]


def test_an_annotation_may_be_text() -> None:
    def endpoint(request: "Request", tasks: "Mine", n: "int") -> Any:
        return [request.method, type(tasks).__name__, n]

    assert json.loads(served(endpoint, "/{n}", "/1").body) == ["GET", "Mine", 1]


def test_parameters_of_one_class_share_one_list() -> None:
    """Parameters of one class are given one list, and those of two classes two."""
    lists = []

    def endpoint(a: BackgroundTasks, b: BackgroundTasks, c: FailFastTasks) -> None:
        lists.extend([a, b, c])

    served(endpoint)
    assert lists[0] is lists[1]
    assert lists[0] is not lists[2]
    assert [type(tasks) for tasks in lists] == [BackgroundTasks, BackgroundTasks, FailFastTasks]


def test_a_path_parameter_may_be_named_request() -> None:
    """A path parameter goes to the argument of its name, even if that is `request`."""

    def endpoint(request: str, tasks: int) -> Any:
        return [request, tasks]

    assert json.loads(served(endpoint, "/{request}/{tasks}", "/a/1").body) == ["a", 1]


@pytest.mark.parametrize(
    ("annotation", "text", "value"),
    [
        (int, "-12", -12),
        (float, "1.5", 1.5),
        (bool, "true", True),
        (str, "12", "12"),
        (UUID, "6f9619ff-8b86-d011-b42d-00c04fc964ff", UUID("6f9619ff8b86d011b42d00c04fc964ff")),
        (date, "2024-02-29", date(2024, 2, 29)),
        (Size, "s", Size.SMALL),
        (Literal["a", "b"], "b", "b"),
        (int | None, "12", 12),
        (Any, "12", "12"),
    ],
)
def test_a_path_parameter_is_converted_to_its_annotation(
    annotation: Any, text: str, value: Any
) -> None:
    given_ = []

    def endpoint(value: annotation) -> None:
        given_.append(value)

    assert served(endpoint, "/{value}", "/" + text).status == 200
    assert given_ == [value]


@pytest.mark.parametrize(
    ("annotation", "text"),
    [(int, "1.5"), (float, "x"), (bool, "2"), (UUID, "1"), (Size, "m"), (Literal["a"], "b")],
)
def test_a_value_that_does_not_fit_is_a_422_that_says_where(annotation: Any, text: str) -> None:
    """A value that does not fit its annotation is a 422 that says where it stands."""

    def endpoint(value: annotation) -> None:
        pytest.fail("it was called")

    assert faults_of(served(endpoint, "/{value}", "/" + text)) == [["path", "value"]]


@given(text=st.text(st.characters(codec="utf-8", exclude_characters="/"), min_size=1))
@pytest.mark.parametrize("annotation", [int, float, bool, UUID, date, Size])
def test_any_text_fits_an_annotation_or_is_a_422(annotation: Any, text: str) -> None:
    def endpoint(value: annotation) -> None:
        assert isinstance(value, annotation)

    assert served(endpoint, "/{value}", "/" + text).status in (200, 422)


# --- from the query ------------------------------------------------------------------------------

SCALARS = [
    (str, "12", "12"),
    (int, "-12", -12),
    (float, "1.5", 1.5),
    (bool, "true", True),
    (UUID, "6f9619ff-8b86-d011-b42d-00c04fc964ff", UUID("6f9619ff8b86d011b42d00c04fc964ff")),
    (datetime, "2024-02-29T12:00:00Z", datetime(2024, 2, 29, 12, tzinfo=UTC)),
    (date, "2024-02-29", date(2024, 2, 29)),
    (Decimal, "1.10", Decimal("1.10")),
    (Size, "s", Size.SMALL),
    (Literal["a", "b"], "b", "b"),
    (int | None, "12", 12),
    (Annotated[int, msgspec.Meta(ge=1)], "12", 12),
]


@pytest.mark.parametrize(("annotation", "text", "value"), SCALARS)
def test_a_scalar_that_is_not_in_the_path_comes_from_the_query(
    annotation: Any, text: str, value: Any
) -> None:
    given_ = []

    def endpoint(value: annotation) -> None:
        given_.append(value)

    assert served(endpoint, query_string=query(("value", text))).status == 200
    assert given_ == [value]


@pytest.mark.parametrize(("annotation", "text", "value"), SCALARS)
def test_a_list_of_scalars_has_all_values_of_its_name(
    annotation: Any, text: str, value: Any
) -> None:
    """A list of scalars has all values of that name in the query."""
    given_ = []

    def endpoint(value: list[annotation]) -> None:
        given_.append(value)

    asked = query(("value", text), ("other", "x"), ("value", text))
    assert served(endpoint, query_string=asked).status == 200
    assert given_ == [[value, value]]


@given(text=st.text(st.characters(codec="utf-8")))
def test_any_text_arrives_through_the_query_as_it_was_sent(text: str) -> None:
    def endpoint(q: str) -> Any:
        return q

    assert json.loads(served(endpoint, query_string=query(("q", text))).body) == text


def test_of_a_name_that_comes_twice_the_last_value_counts() -> None:
    def endpoint(n: int) -> Any:
        return n

    assert served(endpoint, query_string=b"n=1&n=2").body == b"2"


def test_a_default_makes_a_value_optional() -> None:
    def endpoint(q: str | None = None, n: int = 5, ids: list[int] = []) -> Any:  # noqa: B006  # as users write it
        return [q, n, ids]

    assert json.loads(served(endpoint).body) == [None, 5, []]
    assert json.loads(served(endpoint, query_string=b"q=a&n=1&ids=2").body) == ["a", 1, [2]]


def test_an_optional_value_without_a_default_is_required() -> None:
    def endpoint(q: str | None) -> None:
        pytest.fail("it was called")

    assert faults_of(served(endpoint)) == [["query", "q"]]


def test_a_422_names_all_faults_of_a_request_at_once() -> None:
    def endpoint(
        n: int, user_id: int, ids: list[int], body: Item, missing: str, fine: str = "fine"
    ) -> None:
        pytest.fail("it was called")

    app = MiniBG(routes=[Route("/{n}", endpoint, methods=["POST"])])
    answer = ask(app, "POST", "/x", JSON, [b'{"n":"x"}'], query_string=b"user_id=x&ids=1&ids=x")
    assert sorted(faults_of(answer), key=str) == sorted(
        [
            ["path", "n"],
            ["query", "user_id"],
            ["query", "ids", 1],
            ["query", "missing"],
            ["body", "n"],
        ],
        key=str,
    )
    missing = {"loc": ["query", "missing"], "msg": "Field required", "type": "missing"}
    assert missing in json.loads(answer.body)["detail"]


# --- from the JSON body --------------------------------------------------------------------------


@dataclass
class Item:
    n: int
    name: str = "unnamed"


class Typed(TypedDict):
    n: int
    name: NotRequired[str]


class Struct(msgspec.Struct):
    n: int
    name: str = "unnamed"


@dataclass
class Tree:
    n: int
    branches: list["Tree"]


@pytest.mark.parametrize(
    ("annotation", "body", "value"),
    [
        (dict, b'{"n":1}', {"n": 1}),
        (dict[str, int], b'{"n":1}', {"n": 1}),
        (list, b"[1]", [1]),
        (list[Item], b'[{"n":1}]', [Item(1)]),
        (Item, b'{"n":1}', Item(1)),
        (Item | None, b"null", None),
        (Typed, b'{"n":1}', {"n": 1}),
        (Struct, b'{"n":1}', Struct(1)),
        (Tree, b'{"n":1,"branches":[{"n":2,"branches":[]}]}', Tree(1, [Tree(2, [])])),
    ],
)
def test_what_holds_several_values_comes_from_the_json_body(
    annotation: Any, body: bytes, value: Any
) -> None:
    given_ = []

    def endpoint(value: annotation) -> None:
        given_.append(value)

    assert posted(endpoint, body).status == 200
    assert given_ == [value]


def test_several_bodies_are_keyed_by_name() -> None:
    def endpoint(
        item: Item, other: dict[str, int], third: list[dict[str, int]] | None = None
    ) -> Any:
        return [item.n, other, third]

    answer = posted(endpoint, b'{"item":{"n":1},"other":{"a":2},"more":3}')
    assert json.loads(answer.body) == [1, {"a": 2}, None]
    assert faults_of(posted(endpoint, b'{"other":{"a":"x"}}')) == [
        ["body", "item"],
        ["body", "other"],
    ]
    assert faults_of(posted(endpoint, b"")) == [["body", "item"], ["body", "other"]]


# --- what is JSON --------------------------------------------------------------------------------


def of_one(item: Item) -> str:
    return "read"


def of_several(item: Item, other: dict[str, int] = {}) -> str:  # noqa: B006  # each has its own
    return "read"


@pytest.mark.parametrize("endpoint", [of_one, of_several])
@pytest.mark.parametrize(
    "content_type",
    [
        *(b"application/json", b"Application/JSON", b"application/json; charset=utf-8"),
        *(b"application/json;charset=utf-8", b"application/problem+json", b"APPLICATION/ld+JSON "),
        b'application/vnd.api+json; profile="a, b"',
    ],
)
def test_a_body_that_is_json_as_the_client_says_is_read(
    endpoint: Callable[..., Any], content_type: bytes
) -> None:
    body = b'{"n":1}' if endpoint is of_one else b'{"item":{"n":1}}'
    app = MiniBG(routes=[Route("/", endpoint, methods=["POST"])])
    assert ask(app, "POST", headers=[(b"content-type", content_type)], body=[body]).status == 200


@pytest.mark.parametrize("endpoint", [of_one, of_several])
@pytest.mark.parametrize(
    "content_type",
    [
        *(b"text/plain", b"text/plain;charset=UTF-8", b"application/x-www-form-urlencoded"),
        *(b"multipart/form-data; boundary=x", b"text/plain; application/json", b"text/json"),
        *(b"text/plain;+json", b"application/jsonp", b"application/json-seq", b"application/+json"),
        *(b"xapplication/json", b"application/octet-stream", b"application/x+json/json", b"*/*"),
        *(b"application/json, text/plain", b"text/plain,application/json", b"json", b"", None),
    ],
)
def test_a_body_of_any_other_type_is_a_415_that_names_it(
    endpoint: Callable[..., Any], content_type: bytes | None
) -> None:
    """A page of another site can send a form, text, or no type at all, without asking first."""
    app = MiniBG(routes=[Route("/", endpoint, methods=["POST"])])
    headers = [] if content_type is None else [(b"content-type", content_type)]
    answer = ask(app, "POST", headers=headers, body=[b'{"n":1,"item":{"n":1}}'])
    assert answer.status == 415
    assert (b"accept", b"application/json") in answer.headers  # RFC 9110, section 15.5.16
    came = repr(content_type.decode()) if content_type else "one without a Content-Type"
    assert json.loads(answer.body)["detail"].endswith(f"got {came}")


def test_where_no_body_came_its_type_does_not_matter() -> None:
    def optional(item: Item | None = None) -> str:
        return "read"

    for endpoint, status in ((of_one, 422), (optional, 200)):
        app = MiniBG(routes=[Route("/", endpoint, methods=["POST"])])
        assert ask(app, "POST", headers=[(b"content-type", b"text/plain")]).status == status


def test_a_body_is_optional_only_with_a_default() -> None:
    """A body with a default is optional, and one without is required."""

    def optional(item: Item | None = None) -> Any:
        return item

    def required(item: Item) -> None:
        pytest.fail("it was called")

    assert posted(optional, b"").body == b"null"
    assert faults_of(posted(required, b"")) == [["body"]]


@pytest.mark.parametrize(
    ("body", "loc"),
    [
        (b'{"n":"x"}', ["body", "n"]),
        (b"{}", ["body", "n"]),
        (b"[]", ["body"]),
        (b"{", ["body"]),
        (b"\xff", ["body"]),
        (b'{"n":1,"name":"\xff"}', ["body"]),
        (b"[" * 100_000, ["body"]),
    ],
)
def test_a_body_that_does_not_fit_is_a_422_that_says_where(body: bytes, loc: list[str]) -> None:
    def endpoint(item: Item) -> None:
        pytest.fail("it was called")

    assert faults_of(posted(endpoint, body)) == [loc]


@given(body=st.binary() | st.text('[]{}",:n1', max_size=12).map(str.encode))
@pytest.mark.parametrize("annotation", [Item, Typed, Struct, list[Item], dict[str, int]])
def test_any_body_fits_an_annotation_or_is_a_422(annotation: Any, body: bytes) -> None:
    def endpoint(value: annotation) -> None: ...

    def keyed(value: annotation, other: dict[str, Any]) -> None: ...

    assert posted(endpoint, body).status in (200, 422)
    assert posted(keyed, body).status in (200, 422)


# --- the response to be --------------------------------------------------------------------------


@pytest.mark.parametrize("returned", [{"some": "value"}, JSONResponse({"some": "value"})])
def test_headers_and_cookies_set_on_the_response_are_sent(returned: Any) -> None:
    """Headers and cookies that are set on the injected response reach the answer."""

    def endpoint(response: Response) -> Any:
        response.headers["x-a"] = "1"
        response.set_cookie("c", "2")
        return returned

    answer = served(endpoint)
    assert answer.body == b'{"some":"value"}'
    assert (b"x-a", b"1") in answer.headers
    assert [value for name, value in answer.headers if name == b"set-cookie"] == [
        b"c=2; Path=/; SameSite=lax"
    ]


def test_all_who_ask_for_the_response_set_the_same_one() -> None:
    def limited(wished: Response) -> None:
        wished.headers["x-a"] = "1"
        wished.status_code = 202

    def endpoint(response: Response, limit: Annotated[None, Depends(limited)]) -> None:
        response.headers["x-b"] = "2"

    answer = served(endpoint)
    assert answer.status == 202
    assert {(b"x-a", b"1"), (b"x-b", b"2")} <= set(answer.headers)


def test_the_status_set_on_the_response_is_the_answers() -> None:
    """The status that is set on the injected response is that of the answer."""

    def endpoint(response: Response, gone: bool) -> Any:
        if gone:
            response.status_code = 410
        return "body"

    app = MiniBG(routes=[Route("/", endpoint, status_code=201)])
    assert ask(app, query_string=b"gone=0").status == 201
    assert ask(app, query_string=b"gone=1").status == 410


def test_a_response_returned_again_keeps_nothing_set_before() -> None:
    """What is set on the injected response does not stay with one that is returned again.

    Else one client would be sent the cookies of the clients before it.
    """
    same = Response("body")

    def endpoint(response: Response, user: str) -> Any:
        response.set_cookie("user", user)
        return same

    for user in (b"a", b"b"):
        answer = served(endpoint, query_string=b"user=" + user)
    assert [value for name, value in answer.headers if name == b"set-cookie"] == [
        b"user=b; Path=/; SameSite=lax"
    ]


# --- what it cannot ask for ----------------------------------------------------------------------


class Unknown:
    pass


UNKNOWN = Unknown()


@dataclass
class Unreadable:
    n: "NotDefinedAnywhere"  # type: ignore[name-defined]  # noqa: F821  # on purpose


def untyped(request) -> None: ...  # type: ignore[no-untyped-def]  # on purpose


def asks_for_a_websocket(websocket: WebSocket) -> None: ...


def asks_for_an_unknown(value: Unknown) -> None: ...


def asks_for_an_unknown_default(value: Unknown = UNKNOWN) -> None: ...


def asks_for_unknowns(values: list[Unknown]) -> None: ...


def asks_for_unknowns_by_name(values: dict[str, Unknown]) -> None: ...


def asks_for_a_value_or_a_body(value: str | dict[str, int]) -> None: ...


def asks_for_what_cannot_be_read(value: Unreadable) -> None: ...


def asks_for_many(*tasks: BackgroundTasks) -> None: ...


def asks_for_keywords(**tasks: BackgroundTasks) -> None: ...


def asks_by_position(tasks: BackgroundTasks, /) -> None: ...


def asks_for_one_of_two(tasks: BackgroundTasks | None) -> None: ...


@pytest.mark.parametrize(
    ("endpoint", "parameter"),
    [
        (untyped, "request"),
        (asks_for_a_websocket, "websocket: "),
        (asks_for_an_unknown, "value: "),
        (asks_for_an_unknown_default, "value: "),
        (asks_for_unknowns, "values: "),
        (asks_for_unknowns_by_name, "values: "),
        (asks_for_a_value_or_a_body, "value: "),
        (asks_for_what_cannot_be_read, "value: "),
        (asks_for_many, "*tasks: "),
        (asks_for_keywords, "**tasks: "),
        (asks_by_position, "tasks: "),
        (asks_for_one_of_two, "tasks: "),
    ],
)
def test_a_parameter_that_nothing_gives_is_a_named_type_error(
    endpoint: Callable[..., Any], parameter: str
) -> None:
    """A parameter that nothing gives is a `TypeError` that names it."""
    with pytest.raises(TypeError) as raised:
        MiniBG().get("/")(endpoint)
    assert f"{__name__}.{endpoint.__name__} asks for `{parameter}" in str(raised.value)


def test_a_parameter_of_the_path_is_given_by_keyword_only() -> None:
    def endpoint(n: int, /) -> None: ...

    with pytest.raises(TypeError, match=r"endpoint asks for `n: int`"):
        Route("/{n}", endpoint)


def test_a_parameter_of_the_path_need_not_be_asked_for() -> None:
    app = MiniBG()

    @app.get("/{n}/{m}")
    def endpoint(n: int) -> int:
        return n

    assert ask(app, path="/1/2").body == b"1"


def test_what_would_work_is_said_where_nothing_gives_a_parameter() -> None:
    with pytest.raises(TypeError, match=r"scalar .*query.*JSON body.*UploadFile.*Depends"):
        Route("/", asks_for_an_unknown)


def test_a_body_cannot_be_both_json_and_a_form() -> None:
    def endpoint(item: Item, file: UploadFile) -> None: ...

    with pytest.raises(TypeError, match=r"endpoint asks for JSON and for uploads .*item.*file"):
        Route("/", endpoint, methods=["POST"])


def test_a_websocket_has_no_body_and_is_no_request() -> None:
    def of_a_body(websocket: WebSocket, item: Item) -> None: ...

    def of_a_file(websocket: WebSocket, item: UploadFile) -> None: ...

    def of_a_request(item: Request) -> None: ...

    for endpoint in (of_a_body, of_a_file, of_a_request):
        with pytest.raises(TypeError, match=rf"{endpoint.__name__} asks for .*item"):
            WebSocketRoute("/", endpoint)


def misspelled(tasks: "NotDefinedAnywhere") -> None: ...  # type: ignore[name-defined]  # noqa: F821
def no_attribute(tasks: "Unknown.missing") -> None: ...  # type: ignore[name-defined]  # on purpose
def of_no_expression(tasks: "a type") -> None: ...  # type: ignore[valid-type]  # noqa: F722


@pytest.mark.parametrize("call", [misspelled, no_attribute, of_no_expression, type, 5])
def test_a_signature_that_cannot_be_read_names_the_endpoint(
    call: Any,
) -> None:
    """A signature that cannot be read is a `TypeError` that names the endpoint."""
    name = getattr(call, "__name__", "int")
    with pytest.raises(TypeError, match=rf"signature of .*{name} cannot be read"):
        Dependant(call)


@pytest.mark.parametrize("annotation", [Unknown, 5])
def test_a_path_parameter_must_be_of_a_type_that_text_becomes(
    annotation: Any,
) -> None:
    """A path parameter of a type that no text can become is a `TypeError`."""

    def endpoint(value: annotation) -> None: ...

    with pytest.raises(TypeError, match="value"):
        Route("/{value}", endpoint)
