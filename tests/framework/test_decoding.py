"""Decoding a client's text or JSON: the value, whose fault a failure is, and the cost."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from time import process_time, thread_time
from typing import Any, Literal, NamedTuple, TypedDict
from urllib.parse import quote_from_bytes
from uuid import UUID

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from minibg import MiniBG, Request
from minibg import decoding as decoding_module
from minibg.decoding import MAX_COLLISIONS, SMALL, decode_json, json_decoder, text_decoder
from minibg.formparsers import MAX_LENGTH_ON_THE_LOOP
from tests.framework.asgi import JSON, Answer, ask, one_loop, untraced

MODULUS = 2**61 - 1
"""Numbers that differ by a multiple of it have one hash (Python, `sys.hash_info`)."""


class Colour(Enum):
    RED = "red"


class Level(IntEnum):
    LOW = 1


class Point(NamedTuple):
    x: int
    y: Decimal


@dataclass(frozen=True)
class Place:
    number: int
    name: str = ""


class Typed(TypedDict):
    at: datetime
    ids: set[UUID]


class Early(msgspec.Struct, tag="early"):
    at: datetime
    prices: list[Decimal] = []


class Late(msgspec.Struct, tag="late"):
    at: str
    counts: dict[int, Any] = {}


class Row(msgspec.Struct, array_like=True, tag=True):
    at: datetime
    exact: set[Decimal]


@dataclass
class Tree:
    ratio: float
    exact: Decimal | None = None
    at: datetime | None = None
    wait: timedelta | None = None
    day: time | None = None
    ids: frozenset[UUID] = frozenset()
    places: set[Place] = field(default_factory=set)
    keys: dict[Decimal, int | str] = field(default_factory=dict)
    either: Early | Late | None = None
    rows: list[Row] = field(default_factory=list)
    below: "list[Tree]" = field(default_factory=list)
    rest: Any = None


SCALARS: list[Any] = [
    *(bool, int, float, str, bytes, Decimal, UUID, datetime, date, time, timedelta, Colour, Level),
    *(
        Literal["a", "b"],
        Literal[1, 2],
        int | None,
        float | str,
        datetime | int | None,
        time | None,
    ),
]
LIST: Any = list
DICT: Any = dict
TUPLE: Any = tuple
COLLECTIONS: list[Any] = [list, set, frozenset]
BODIES: list[Any] = [
    *(Tree, Typed, list[Point | None], Early | Late, list[Row], dict, dict[str, Any], list, set),
    *(dict[int, datetime], dict[UUID, str], dict[Decimal, Any], dict[datetime, time]),
    *(set[Place], set[tuple[int, str]], list[set[Any]], dict[Colour, set[float]]),
]


def serving(annotation: Any, path: str = "/") -> MiniBG:
    """An application whose endpoint is given `v` with that annotation, and answers its `repr`."""

    async def endpoint(v) -> str:  # type: ignore[no-untyped-def]  # set below
        return repr(v)

    endpoint.__annotations__["v"] = annotation
    app = MiniBG()
    app.post(path)(endpoint)
    return app


def served(annotation: Any, **request: Any) -> Answer:
    return ask(serving(annotation), "POST", **request)


def assert_read_or_refused(answer: Answer, *loc: str) -> None:
    assert answer.status in (200, 422)
    if answer.status == 422:
        for fault in json.loads(answer.body)["detail"]:
            assert tuple(fault["loc"][: len(loc)]) == loc
            assert fault["msg"]


# --- no value of a client's makes a 500 ----------------------------------------------------------

NUMBERS = [
    *("0", "-0.0", "1", "2", "253402300799.9999999", "253402300800", "-62135596801", "1e5", "1e99"),
    *(
        "1e400",
        "nan",
        "-inf",
        "9" * 25,
        "9" * 5000,
        "1e9999999999999999999",
        "0x1",
        "1_0",
        "\u0661",
    ),
]
TEXTS = [
    *(
        "",
        " ",
        "null",
        "true",
        "red",
        "a",
        "\0",
        "\ud800",
        "\udc80",
        "é",
        "snan",
        "NaN123",
        "YQ==",
        "=",
    ),
    *("2024-01-01", "2024-02-30", "2024-01-01T10:30", "0000-00-00", "0001-01-01T00:00+23:59"),
    *("9999-12-31T23:59:59.9999999Z", "9999-12-31T23:59:59-23:59", "10:30", "23:59:59.9999999"),
    *(
        "P999999999D",
        "PT1e9S",
        "-P9999999999999D",
        "00000000-0000-0000-0000-000000000000",
        "{" * 36,
    ),
]
around = st.text(max_size=3)
texts = (
    st.sampled_from(NUMBERS + TEXTS)
    | st.text(max_size=40)
    | st.tuples(around, st.text("0123456789TZ:.+eP-", min_size=1), around).map("".join)
)


@pytest.mark.parametrize("scalar", SCALARS, ids=str)
def test_any_text_of_a_query_or_path_is_read_or_named_in_a_422(scalar: Any) -> None:
    """Any text of a query or a path is read, or answered with a 422 that names it."""
    tuples = (TUPLE[scalar, ...], TUPLE[scalar, scalar])
    by_query = [serving(one) for one in (scalar, *(of[scalar] for of in COLLECTIONS), *tuples)]
    by_path = serving(scalar, "/{v}")

    @given(st.lists(texts, min_size=1, max_size=3))
    @example(["1", "253402300800"])
    def each(sent: list[str]) -> None:
        pairs = [
            b"v=" + quote_from_bytes(v.encode("utf-8", "surrogatepass")).encode() for v in sent
        ]
        for app in by_query:
            answer = ask(app, "POST", query_string=b"&".join(pairs))
            assert_read_or_refused(answer, "query", "v")
        path = sent[0].replace("/", "") or "0"
        assert_read_or_refused(ask(by_path, "POST", "/" + path), "path", "v")

    with one_loop():
        each()


quoted = texts.map(lambda text: json.dumps(text).encode())
leaves = quoted | st.sampled_from([*NUMBERS, "true", "null"]).map(str.encode)
KEYS = [*Tree.__annotations__, "number", "name", "x", "type", "early", "late", "Row", "1", "red"]
names = st.sampled_from(KEYS) | texts


def as_array(items: list[bytes]) -> bytes:
    return b"[" + b",".join(items) + b"]"


def as_object(members: dict[str, bytes]) -> bytes:
    return b"{" + b",".join(json.dumps(k).encode() + b":" + v for k, v in members.items()) + b"}"


@contextmanager
def carefully() -> Iterator[None]:
    """Have each body read as a large one is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding_module, "SMALL", 0)
        patch.setattr(decoding_module, "_has_slow_floats", lambda body: True)
        yield


documents = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4).map(as_array) | st.dictionaries(names, inner).map(as_object)
    ),
    max_leaves=8,
)


@pytest.mark.parametrize("annotation", [*BODIES, *(LIST[LIST[one]] for one in SCALARS)], ids=str)
def test_any_body_is_read_or_a_422_that_names_it(annotation: Any) -> None:
    """Also if it is read as carefully as a large one is."""
    app = serving(annotation)

    @given(documents | st.lists(leaves, max_size=3).map(as_array) | st.binary(max_size=8))
    def each(body: bytes) -> None:
        assert_read_or_refused(ask(app, "POST", headers=JSON, body=[body]), "body")
        with carefully():
            assert_read_or_refused(ask(app, "POST", headers=JSON, body=[body]), "body")

    with one_loop():
        each()


class Odd(msgspec.Struct):
    n: int

    def __post_init__(self) -> None:
        raise KeyError(self.n)


@dataclass
class Unmade:
    n: int
    made: int = field(default_factory=lambda: 1 // 0)


@pytest.mark.parametrize(("annotation", "raised"), [(Odd, KeyError), (Unmade, ZeroDivisionError)])
@pytest.mark.parametrize("body", [b'{"n":1}', b'{"n":1,"x":[%b0]}' % (b"1e-320," * 10_000)])
def test_a_fault_of_the_applications_own_is_none_of_the_clients(
    annotation: Any, raised: type[Exception], body: bytes
) -> None:
    assert served(annotation, headers=JSON, body=[body], fails=raised).status == 500


# --- what a value is read as ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("annotation", "sent", "read"),
    [
        (time, "12:30:00", time(12, 30)),
        (time, "12:30", time(12, 30)),
        (timedelta, "PT5M", timedelta(minutes=5)),
        (bytes, "YQ==", b"a"),
        (datetime, "2024-01-01T10:30", datetime(2024, 1, 1, 10, 30)),
        (datetime, "2024-01-01 10:30", datetime(2024, 1, 1, 10, 30)),
        (datetime | None, "2024-01-01T10:30", datetime(2024, 1, 1, 10, 30)),
        (datetime, "2024-01-01", datetime(2024, 1, 1)),
    ],
)
def test_times_durations_and_bytes_are_read_from_text(
    annotation: Any, sent: str, read: Any
) -> None:
    """Times also as `<input type=datetime-local>` and `<input type=time>` send them (HTML)."""
    assert text_decoder(annotation)(sent) == read
    assert text_decoder(LIST[annotation])([sent, sent]) == [read, read]
    assert text_decoder(TUPLE[annotation, annotation])([sent, sent]) == (read, read)
    assert json_decoder(DICT[str, annotation])(json.dumps({"v": sent}).encode()) == {"v": read}


def test_a_number_of_thirteen_digits_is_a_time_in_milliseconds() -> None:
    """As JavaScript's `Date.now()` gives it; any other is one in seconds."""
    read = text_decoder(datetime)
    assert read("1704103200500").isoformat() == "2024-01-01T10:00:00.500000+00:00"
    assert read("1704103200").isoformat() == "2024-01-01T10:00:00+00:00"
    assert text_decoder(datetime | int)("1704103200500") == 1704103200500


def test_text_beside_a_time_stays_as_it_was_sent() -> None:
    body = b'[{"type":"late","at":"2024-01-01"},{"type":"early","at":"2024-01-01T10:30"}]'
    late, early = json_decoder(list[Early | Late])(body)
    assert late.at == "2024-01-01"
    assert early.at == datetime(2024, 1, 1, 10, 30)


exact = st.sampled_from([b"0.1", b"3.14159265358979323846", b'"1.50"', b"1e-320", b"1e22"])
moments = st.just(b'"2024-01-01T10:30:00Z"')
identities = st.uuids().map(lambda value: b'"%b"' % str(value).encode())
rows = st.builds(lambda at, xs: b'["Row",%b,%b]' % (at, as_array(xs)), moments, st.lists(exact))
early = st.builds(
    lambda at, xs: b'{"type":"early","at":%b,"prices":%b}' % (at, as_array(xs)),
    moments,
    st.lists(exact),
)
late = exact.map(lambda x: b'{"counts":{"1":%b},"at":"10:30","type":"late"}' % x)
trees = st.recursive(
    st.fixed_dictionaries(
        {"ratio": st.sampled_from([b"0.1", b"1e-320", b"1e22", b"17"])},
        optional={
            "exact": exact,
            "at": moments,
            "ids": st.lists(identities).map(as_array),
            "places": st.lists(st.just(b'{"number":1}'), max_size=2).map(as_array),
            "keys": st.dictionaries(st.sampled_from(["1.5", "2"]), st.just(b"3")).map(as_object),
            "either": early | late,
            "rows": st.lists(rows, max_size=2).map(as_array),
            "rest": exact | rows | early,
        },
    ),
    lambda inner: st.builds(
        lambda tree, below: tree | {"below": as_array([as_object(one) for one in below])},
        inner,
        st.lists(inner, max_size=2),
    ),
).map(as_object)


@given(trees)
def test_what_is_read_carefully_is_the_same(body: bytes) -> None:
    with carefully():
        assert json_decoder(Tree)(body) == msgspec.json.decode(body, type=Tree)


# --- what it costs -------------------------------------------------------------------------------


def one_hash(count: int) -> list[int]:
    return [MODULUS * (number + 1) for number in range(count)]


COLLIDING: dict[str, tuple[Any, Callable[[int], Any]]] = {
    "int": (set[int], lambda n: n),
    "int, not typed": (set, lambda n: n),
    "int, nested": (list[dict[str, frozenset[int] | None]], lambda n: n),
    "int, in a tuple": (set[tuple[int, str]], lambda n: [n, "a"]),
    "int, in a longer tuple": (set[tuple[int, ...]], lambda n: [n, 1]),
    "int, in a set": (set[frozenset[int]], lambda n: [n]),
    "int or UUID": (set[int | UUID], lambda n: str(UUID(int=n))),
    "int, in an object": (set[Place], lambda n: {"number": n, "junk": n}),
    "Decimal": (set[Decimal], str),
    "UUID": (frozenset[UUID], lambda n: str(UUID(int=n))),
    "key, int": (dict[int, str], str),
    "key, UUID": (dict[UUID, str], lambda n: str(UUID(int=n))),
}


def body_of(kind: str, numbers: list[int]) -> bytes:
    _, item = COLLIDING[kind]
    items: Any = [item(number) for number in numbers]
    if kind.startswith("key"):
        items = dict.fromkeys(items, "")
    if kind.endswith("nested"):
        items = [{"a": items}]
    return json.dumps(items).encode()


@pytest.mark.parametrize("kind", COLLIDING)
@pytest.mark.parametrize("last", ["", "that does not fit"])
def test_values_chosen_to_collide_are_refused_at_little_cost(kind: str, last: str) -> None:
    """Values that were chosen to collide are refused at little cost.

    A set of 20,000 of them takes two seconds to forty, and four times as long with twice as many.
    """
    body = body_of(kind, one_hash(20_000))
    if last and body.endswith(b"]"):
        body = body[:-1] + b', "%b"]' % last.encode()
    start = process_time()
    with pytest.raises(msgspec.ValidationError, match="values with one hash"):
        json_decoder(COLLIDING[kind][0])(body)
    assert process_time() - start < 1


def test_values_of_a_query_that_collide_are_refused() -> None:
    pairs = b"&".join(b"v=%d" % number for number in one_hash(1000))
    answer = served(set[int], query_string=pairs)
    assert answer.status == 422
    assert b"values with one hash" in answer.body


@pytest.mark.parametrize("kind", COLLIDING)
def test_as_many_values_that_do_not_collide_are_read(kind: str) -> None:
    body = body_of(kind, list(range(20_000)))
    assert len(body) > SMALL
    assert json_decoder(COLLIDING[kind][0])(body)


def test_what_is_sent_again_and_again_does_not_collide() -> None:
    body = json.dumps(["1.50", "1.5", *["1.500"] * 10_000]).encode()
    assert json_decoder(set[Decimal])(body) == {Decimal("1.5")}
    assert MAX_COLLISIONS > 1


SLOW = [b"1e-320", b"1.7976931348623158E+308", b"2.4703282292062327208e-324", b"1e-0000310"]


@untraced
@pytest.mark.parametrize("number", SLOW)
@pytest.mark.parametrize("annotation", [Any, list[float], list[float | None], list[Decimal]])
def test_floats_take_about_as_long_as_the_standard_library_takes(
    number: bytes, annotation: Any
) -> None:
    """msgspec alone takes twenty times as long."""
    body = as_array([number] * (2 * SMALL // len(number)))

    def duration(read: Callable[[bytes], Any]) -> float:
        start = process_time()
        read(body)
        return process_time() - start

    ours = min(duration(json_decoder(annotation)) for _ in range(3))
    assert ours < 8 * min(duration(json.loads) for _ in range(3))
    if annotation is not list[Decimal]:
        assert decode_json(body) == json.loads(body)


WORST: dict[str, tuple[Any, bytes]] = {
    "floats": (list[float | list[Any]], b"1e-320,"),
    "floats, not typed": (list, b"1e-320,"),
    "lists": (list, b"[],"),
    "numbers": (list, b"1,"),
    "long numbers": (list[int | list[Any]], b"9" * 4000 + b","),
    "texts": (list[str | list[Any]], b'"\\u0061",'),
    "times": (list[datetime | list[Any]], b'"2024-01-01T10:30",'),
    "decimals": (list[Decimal | set[Decimal]], b"1.5,"),
}


@untraced
@pytest.mark.parametrize("size", [MAX_LENGTH_ON_THE_LOOP, 1024 * 1024])
@pytest.mark.parametrize("kind", WORST)
def test_no_json_holds_the_loop_for_more_than_50_milliseconds(kind: str, size: int) -> None:
    """No JSON takes more than fifty milliseconds of the thread of the loop.

    What is smaller is read there, what is larger in a thread of its own.
    """
    annotation, item = WORST[kind]
    body = b"[" + item * ((size - 10) // len(item)) + item[:-1] + b"]"
    app = MiniBG()

    async def typed(v) -> None: ...  # type: ignore[no-untyped-def]  # set below

    typed.__annotations__["v"] = annotation
    app.post("/typed")(typed)

    @app.post("/any")
    async def untyped(request: Request) -> None:
        await request.json()

    def taken(path: str) -> float:
        start = thread_time()
        assert ask(app, "POST", path, JSON, [body]).status == 200
        return thread_time() - start

    for path in ("/typed", "/any"):
        assert any(taken(path) < 0.05 for _ in range(20))  # others may slow each single one


def test_no_query_holds_the_loop_for_more_than_50_milliseconds() -> None:
    """Each query is read within fifty milliseconds of the thread of the loop.

    Of 64 KiB, which is what servers take.
    """
    for annotation, pair in ((list[float], b"v=1e-320&"), (set[int], b"v=1&")):
        query = pair * (64 * 1024 // len(pair))
        start = thread_time()
        answer = served(annotation, query_string=query)
        assert thread_time() - start < 0.1  # it takes half of that apart
        assert answer.status == 200
