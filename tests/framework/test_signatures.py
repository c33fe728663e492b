"""What a signature may say, which mistakes a client can make, and how a wrong one is refused."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from dataclasses import InitVar, dataclass, field
from enum import Enum
from functools import wraps
from textwrap import dedent
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar

import msgspec
import pytest
from typing_extensions import TypeAliasType

from minibg import (
    BackgroundTasks,
    Depends,
    MiniBG,
    Request,
    Response,
    Route,
    UploadFile,
    WebSocket,
    WebSocketRoute,
)
from tests.framework.asgi import JSON, Answer, ask

if TYPE_CHECKING:
    from nowhere import KnownToTypeCheckers  # type: ignore[import-not-found]  # on purpose

MULTIPART = [(b"content-type", b"multipart/form-data; boundary=xXx")]


def served(endpoint: Callable[..., Any], query: bytes = b"", body: bytes = b"") -> Answer:
    app = MiniBG()
    app.post("/")(endpoint)
    headers = [(b"content-type", b"application/json")]
    return ask(app, "POST", "/", headers, [body], query_string=query)


def fault_of(answer: Answer) -> tuple[list[str | int], str, str]:
    assert answer.status == 422
    (fault,) = json.loads(answer.body)["detail"]
    return fault["loc"], fault["type"], fault["msg"]


# --- what it may say -----------------------------------------------------------------------------


def test_a_return_type_may_be_known_to_type_checkers_only() -> None:
    """What a function returns may be known to type checkers only."""

    def dependency(n: int) -> KnownToTypeCheckers:
        return n

    async def endpoint(n: int = Depends(dependency)) -> KnownToTypeCheckers:
        return n

    assert served(endpoint, b"n=1").body == b"1"


class Counter:
    def __init__(self, n: int) -> None:
        self.n = n

    def __call__(self, m: int) -> int:
        return self.n + m


@dataclass
class Page:
    number: int


class Amount(int):  # its constructor is `__new__`
    def __new__(cls, count: int) -> Amount:
        return super().__new__(cls, count)


def test_annotations_of_classes_and_objects_are_evaluated_too() -> None:
    """Annotations of classes and objects are evaluated as well."""

    async def endpoint(
        counter: Annotated[Counter, Depends()],
        added: Annotated[int, Depends(Counter(2))],
        page: Annotated[Page, Depends()],
        amount: Annotated[Amount, Depends()],
    ) -> list[int]:
        return [counter.n, added, page.number, int(amount)]

    app = MiniBG()
    app.get("/")(endpoint)
    assert ask(app, query_string=b"n=1&m=3&number=7&count=9").body == b"[1,5,7,9]"


def defined_in(namespace: dict[str, Any], source: str) -> Any:
    """What `source`, whose annotations stay text, defines there as `defined`."""
    exec("from __future__ import annotations\n" + dedent(source), namespace)
    return namespace["defined"]


ELSEWHERE = {"__name__": "json", "Whole": int}  # a module in which that name has no meaning
BASE = """
class defined:
    def __init__(self, n: Whole):
        self.n = n
"""


class Inheriting(defined_in(dict(ELSEWHERE), BASE)):  # type: ignore[misc]  # known at run time only
    pass


def test_annotations_mean_what_they_mean_where_they_were_written() -> None:
    async def endpoint(made: Annotated[Inheriting, Depends()]) -> int:
        return made.n  # type: ignore[no-any-return]  # likewise

    assert served(endpoint, b"n=1").body == b"1"
    function = defined_in(dict(ELSEWHERE), "async def defined(n: Whole): return n")
    assert served(function, b"n=1").body == b"1"


FIELDS = """
from dataclasses import dataclass
@dataclass
class defined:
    amount: Decimal
"""


@dataclass
class Payment(defined_in({"__name__": "decimal"}, FIELDS)):  # type: ignore[misc]  # likewise
    note: str = "n"


def test_an_inherited_field_is_read_in_its_own_module() -> None:
    """An inherited field means what it means in its own module."""

    async def endpoint(made: Annotated[Payment, Depends()]) -> Any:
        return [type(made.amount).__name__, made.note]

    assert served(endpoint, b"amount=1").body == b'["Decimal","n"]'


@dataclass
class Filled:
    text: str = "x"
    tags: list[str] = field(default_factory=lambda: ["new"])
    limit: int = field(default_factory=lambda: 20, kw_only=True)
    extra: InitVar[int] = 3
    total: int = field(init=False)

    def __post_init__(self, extra: int) -> None:
        self.total = self.limit + extra


@dataclass
class FilledMore(Filled):
    numbers: set[int] = field(default_factory=set)


class FilledStruct(msgspec.Struct, kw_only=True):
    text: str = "x"
    tags: list[str] = msgspec.field(default_factory=lambda: ["new"])
    limit: int = msgspec.field(default_factory=lambda: 20)


class Overriding(Filled):
    def __init__(self, tags: list[str] = ["own"]) -> None:  # noqa: B006  # each has its own
        self.text, self.tags, self.limit = "x", tags, 20


@pytest.mark.parametrize("cls", [Filled, FilledMore, FilledStruct, Overriding])
def test_a_default_that_a_factory_makes_is_made_for_each_request(cls: Any) -> None:
    async def endpoint(first, second) -> Any:  # type: ignore[no-untyped-def]  # set below
        first.tags.append("changed")
        return [first.text, first.limit, first.tags, second.tags]

    endpoint.__annotations__["first"] = Annotated[cls, Depends(use_cache=False)]
    endpoint.__annotations__["second"] = Annotated[cls, Depends(use_cache=False)]
    made = "own" if cls is Overriding else "new"
    app = MiniBG()
    app.get("/")(endpoint)
    for _ in range(2):
        assert json.loads(ask(app).body) == ["x", 20, [made, "changed"], [made]]
    assert json.loads(ask(app, query_string=b"tags=a").body)[3] == ["a"]


def test_an_init_variable_is_read_as_its_type() -> None:
    """A variable that a dataclass only passes on (`InitVar`) is read as its type."""

    async def endpoint(made: Annotated[Filled, Depends()]) -> int:
        return made.total

    assert served(endpoint, b"extra=5").body == b"25"


def test_a_bug_in_a_factory_is_no_fault_of_the_client() -> None:
    async def endpoint(made: Annotated[Stamped, Depends()]) -> None: ...

    app = MiniBG()
    app.get("/")(endpoint)
    assert ask(app, query_string=b"n=1", fails=TypeError).status == 500


T = TypeVar("T")
K = TypeVar("K")


class Repo(Generic[T]):
    def __init__(self, key: T, more: list[T] | None = None) -> None:
        self.seen: list[Any] = [key, more]


class OfInts(Repo[int]):
    pass


class Passing(Repo[K]):
    pass


class Swapping(Repo[K], Generic[T, K]):
    pass


@dataclass
class Held(Generic[T]):
    key: T
    more: list[T] | None = None

    @property
    def seen(self) -> list[Any]:
        return [self.key, self.more]


@pytest.mark.parametrize(
    "cls", [Repo[int], OfInts, Passing[int], Swapping[str, int], Held[int]], ids=str
)
def test_a_generic_class_asks_for_what_its_variables_stand_for(cls: Any) -> None:
    async def endpoint(made) -> Any:  # type: ignore[no-untyped-def]  # set below
        return made.seen

    endpoint.__annotations__["made"] = Annotated[cls, Depends()]
    assert served(endpoint, b"key=1&more=2&more=3").body == b"[1,[2,3]]"
    assert fault_of(served(endpoint, b"key=x"))[0] == ["query", "key"]


Number = TypeAliasType("Number", Annotated[int, Depends(lambda: 5)])
Alias = TypeAliasType("Alias", Number)


def test_an_annotation_may_be_a_type_alias() -> None:
    async def endpoint(number: Number, alias: Alias) -> list[int]:
        return [number, alias]

    assert served(endpoint).body == b"[5,5]"


def test_what_a_sync_endpoint_hands_back_is_awaited() -> None:
    def decorated(endpoint: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(endpoint)
        def wrapper(**values: Any) -> Any:
            return endpoint(**values)

        return wrapper

    @decorated
    async def endpoint(n: int) -> int:
        return n

    assert served(endpoint, b"n=1").body == b"1"


def test_a_generator_may_wrap_a_function_that_is_none() -> None:
    def yielding(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def wrapper(**values: Any) -> Iterator[Any]:
            yield function(**values)
            closed.append(True)

        return wrapper

    def async_yielding(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        async def wrapper(**values: Any) -> AsyncIterator[Any]:
            for value in function(**values):
                yield value
            closed.append(True)

        return wrapper

    @yielding
    def one(n: int) -> int:
        return n

    @async_yielding
    def other(n: int) -> Iterator[int]:
        yield -n

    closed: list[bool] = []

    async def endpoint(one: int = Depends(one), other: int = Depends(other)) -> list[int]:
        return [one, other]

    assert served(endpoint, b"n=1").body == b"[1,-1]"
    assert closed == [True, True]


def test_what_a_request_changes_within_a_default_stays_its_own() -> None:
    async def endpoint(item: dict[str, list[int]] = {"n": []}) -> Any:  # noqa: B006  # the subject
        item["n"].append(1)
        return item

    app = MiniBG()
    app.post("/")(endpoint)
    assert [ask(app, "POST").body for _ in range(2)] == [b'{"n":[1]}'] * 2


# --- what a client can get wrong -----------------------------------------------------------------


@pytest.mark.parametrize("annotation", [int | None, Annotated[int, msgspec.Meta(ge=0)] | None])
def test_the_text_null_is_no_none(annotation: Any) -> None:
    async def endpoint(n=None) -> Any:  # type: ignore[no-untyped-def]  # set below
        return n

    endpoint.__annotations__["n"] = annotation
    assert served(endpoint).body == b"null"
    assert served(endpoint, b"n=1").body == b"1"
    assert fault_of(served(endpoint, b"n=null"))[0] == ["query", "n"]


class Line(msgspec.Struct, rename="kebab"):
    unit_price: int


class Order(msgspec.Struct, forbid_unknown_fields=True):
    lines: list[Line]
    by_name: dict[str, Line] = {}


class Checked(msgspec.Struct):
    text: str

    def __post_init__(self) -> None:
        raise ValueError(self.text)


@pytest.mark.parametrize(
    ("body", "loc", "kind"),
    [
        ('{"lines":[]', [], "json_invalid"),
        ("{}", ["lines"], "missing"),
        ('{"lines":[{"unit-price":1},{}]}', ["lines", 1, "unit-price"], "missing"),
        ('{"lines":[{"unit-price":"x"}]}', ["lines", 0, "unit-price"], "value_error"),
        ('{"lines":[],"by_name":{"a.b":{}}}', ["by_name", "unit-price"], "missing"),
        ('{"lines":[],"x` - at `$.lines":1}', [], "value_error"),
    ],
)
def test_a_fault_in_a_body_says_where_it_is(body: str, loc: list[str | int], kind: str) -> None:
    async def endpoint(order: Order) -> None: ...

    seen_loc, seen_kind, message = fault_of(served(endpoint, body=body.encode()))
    assert (seen_loc, seen_kind) == (["body", *loc], kind)
    assert kind != "missing" or message == "Field required"


def test_what_a_client_says_is_not_taken_for_a_place() -> None:
    async def of_one(given: Checked) -> None: ...
    async def of_many(given: list[Checked]) -> None: ...

    told = "x - at `$.secret`"
    answer = served(of_one, body=msgspec.json.encode({"text": told}))
    assert fault_of(answer) == (["body"], "value_error", told)
    answer = served(of_many, body=msgspec.json.encode([{"text": told}]))
    assert fault_of(answer) == (["body", 0], "value_error", told)


@pytest.mark.parametrize(
    ("annotation", "fitting", "unfit"),
    [
        (set, "[1,2]", "[[1]]"),
        (list[set], "[[1],[2]]", "[[[1]]]"),
        (set[frozenset[int]], "[[1],[2]]", "[1]"),
        (list[set[str]], '[["a"],["b"]]', "[[1]]"),
        (dict[str, set[Any]], '{"a":[1],"b":[]}', '{"a":[{}]}'),
    ],
)
def test_what_cannot_stand_in_a_set_does_not_fit(annotation: Any, fitting: str, unfit: str) -> None:
    async def endpoint(values) -> int:  # type: ignore[no-untyped-def]  # set below
        return len(values)

    endpoint.__annotations__["values"] = annotation
    assert served(endpoint, body=fitting.encode()).body == b"2"
    assert fault_of(served(endpoint, body=unfit.encode()))[1] == "value_error"


@pytest.mark.parametrize("annotation", [UploadFile, list[UploadFile]])
@pytest.mark.parametrize(
    ("text", "kind", "word"), [("abc", "value_error", "file"), ("", "missing", "required")]
)
def test_text_where_a_file_is_asked_for_is_a_422_that_says_so(
    annotation: Any, text: str, kind: str, word: str
) -> None:
    async def endpoint(f) -> None: ...  # type: ignore[no-untyped-def]  # set below

    endpoint.__annotations__["f"] = annotation
    app = MiniBG()
    app.post("/")(endpoint)
    form = f'--xXx\r\nContent-Disposition: form-data; name="f"\r\n\r\n{text}\r\n--xXx--\r\n'
    loc, seen, message = fault_of(ask(app, "POST", headers=MULTIPART, body=[form.encode()]))
    assert (loc, seen) == (["body", "f"], kind)
    assert word in message


def test_a_list_of_uploads_may_be_optional() -> None:
    async def endpoint(files: list[UploadFile] | None = None) -> Any:
        return files and [file.filename for file in files]

    app = MiniBG()
    app.post("/")(endpoint)
    file = b'--xXx\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n\r\n'
    assert ask(app, "POST", headers=MULTIPART, body=[file + b"--xXx--\r\n"]).body == b'["a"]'
    assert ask(app, "POST", headers=MULTIPART, body=[b"--xXx--\r\n"]).body == b"null"


# --- what is refused -----------------------------------------------------------------------------


class Limited(BackgroundTasks):
    def __init__(self, limit: int) -> None:
        super().__init__()


def numbers() -> Generator[int]:
    yield 1


@pytest.mark.parametrize(
    ("annotation", "why"),
    [
        (WebSocket, "not what is served here; that is `Request`"),
        (BackgroundTasks | None, "never None"),
        (Request | None, "^is never None: leave that out of its annotation$"),
        (Response | None, "^is never None: leave that out of its annotation$"),
        (Limited, "cannot be made without arguments: .*limit"),
        (Annotated[int, Depends(numbers())], r"Depends\(f\), not Depends\(f\(\)\)"),
        (Annotated[int, Depends(1)], r"^names nothing .*Depends\(f\), not Depends\(f\(\)\)$"),
    ],
)
def test_what_nothing_gives_is_refused_with_the_reason(annotation: Any, why: str) -> None:
    def endpoint(asked) -> None: ...  # type: ignore[no-untyped-def]  # set below

    endpoint.__annotations__["asked"] = annotation
    with pytest.raises(TypeError) as refused:
        Route("/", endpoint)
    asked, _, reason = str(refused.value).partition(", which ")
    assert re.search("endpoint asks for `asked: .*`$", asked)
    assert re.search(why, reason)


class Mixed(Enum):
    ONE, TWO = 1, "two"


@dataclass
class OfMixed:
    value: Mixed


@dataclass
class OfTwo:
    value: Page | Stamped


@dataclass
class OfUnknown:
    value: KnownToTypeCheckers


@pytest.mark.parametrize(
    ("annotation", "reason"),
    [
        (OfMixed, "Enums must contain either all str or all int values"),
        (OfTwo, "unions may not contain more than one dataclass"),
        (OfUnknown, "name 'KnownToTypeCheckers' is not defined"),
        (list[OfMixed] | None, "Enums must contain either all str or all int values"),
    ],
)
def test_what_cannot_be_read_is_refused_with_msgspecs_reason(annotation: Any, reason: str) -> None:
    """What cannot be read is refused with the reason that msgspec gives."""

    def endpoint(asked) -> None: ...  # type: ignore[no-untyped-def]  # set below

    endpoint.__annotations__["asked"] = annotation
    with pytest.raises(TypeError, match=f"endpoint asks for `asked: .*{reason}"):
        Route("/", endpoint)


def test_a_parameter_without_annotation_or_default_is_refused() -> None:
    """A parameter without annotation or default is refused with the reason."""

    def untyped(request) -> None: ...  # type: ignore[no-untyped-def]  # on purpose
    def undepending(value=Depends()) -> None: ...  # type: ignore[no-untyped-def]  # noqa: B008
    def of_a_request(asked: Request) -> None: ...

    why = "which says not what it is: annotate it, `request: Request` for example"
    with pytest.raises(TypeError, match=f"untyped asks for `request`, {why}$"):
        Route("/", untyped)
    with pytest.raises(TypeError) as refused:
        Route("/", undepending)
    asked, _, reason = str(refused.value).partition(", which ")
    assert asked.endswith("undepending asks for `value=Depends()`")
    assert reason == "names no dependency: Depends(function), or annotate it with a class"
    with pytest.raises(TypeError, match="that is `WebSocket`"):
        WebSocketRoute("/", of_a_request)


@pytest.mark.parametrize("annotation", [list[int], Page, UploadFile])
def test_a_parameter_of_the_path_is_a_scalar(annotation: Any) -> None:
    def endpoint(value) -> None: ...  # type: ignore[no-untyped-def]  # set below

    endpoint.__annotations__["value"] = annotation
    with pytest.raises(TypeError, match=r"`value: .*`, which stands in the path.*scalar"):
        Route("/{value}", endpoint)


def test_one_name_is_no_two_bodies() -> None:
    def dependency(page: dict[str, int]) -> None: ...
    def endpoint(page: Page, other: None = Depends(dependency)) -> None: ...

    with pytest.raises(TypeError, match=r"`, which is asked for as another type elsewhere$"):
        Route("/", endpoint)


def test_an_endpoint_does_not_yield() -> None:
    with pytest.raises(TypeError, match=r"numbers yields; .*StreamingResponse"):
        Route("/", numbers)


def test_an_endpoint_that_yields_is_refused_with_that_reason() -> None:
    """An endpoint that yields is told so, whatever it depends on."""

    def endpoint(n: int = Depends(numbers, scope="function")) -> Iterator[int]:
        yield n

    with pytest.raises(TypeError, match=r"endpoint yields; .*StreamingResponse"):
        Route("/", endpoint)


@pytest.mark.parametrize("status_code", ["201", 99, 600, None])
def test_a_status_that_no_answer_has_is_refused(status_code: Any) -> None:
    def endpoint() -> None: ...

    with pytest.raises(ValueError, match=f"200 to 599, not {status_code!r}"):
        MiniBG().post("/", status_code=status_code)(endpoint)


@pytest.mark.parametrize("status_code", [200, 599])
def test_a_status_of_any_answer_is_taken(status_code: int) -> None:
    def endpoint() -> None: ...

    app = MiniBG()
    app.post("/", status_code=status_code)(endpoint)
    assert ask(app, "POST").status == status_code


@pytest.mark.parametrize("decorator", ["get", "route", "websocket"])
def test_a_decorator_without_a_path_is_refused(decorator: str) -> None:
    with pytest.raises(TypeError, match=r"a path is text.*numbers"):
        getattr(MiniBG(), decorator)(numbers)


def test_a_dependency_is_shown_as_it_is_written() -> None:
    assert repr(Depends(numbers)) == f"Depends({__name__}.numbers)"
    assert repr(Depends()) == "Depends()"


def test_what_cannot_be_given_by_keyword_is_refused() -> None:
    """What cannot be given by keyword is refused with the reason."""

    def endpoint(asked: int, /) -> None: ...

    with pytest.raises(TypeError) as refused:
        Route("/", endpoint)
    assert str(refused.value).endswith(", which cannot be given by keyword, as all arguments are")


def test_a_dependency_may_be_the_default_of_any_annotation() -> None:
    """A dependency may be the default of what is annotated otherwise."""

    def endpoint(value: Annotated[int, "how many"] = Depends(lambda: 7)) -> int:
        return value

    assert served(endpoint).body == b"7"


@dataclass
class Stamped:
    n: int
    stamp: str = field(default_factory=lambda: "v" + 1)  # type: ignore[operator]  # the bug


def test_a_bug_in_a_bodys_default_is_not_the_clients_fault() -> None:
    """A bug in a default of the body is not the client's fault."""
    app = MiniBG()

    @app.post("/")
    async def endpoint(body: Stamped) -> None: ...

    answer = ask(app, "POST", "/", JSON, [b'{"n": 1}'], fails=TypeError)
    assert answer.status == 500
    assert answer.body == b"Internal Server Error"
