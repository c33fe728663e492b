"""Hostile input: the application answers whatever a client sends, and a 4xx says what was wrong.

The client asserts that no exception reaches the server: it would raise it. What may live here: what
holds for any input. The tests of forms, requests and signatures show what a certain input means.
"""

import asyncio
import json
import tracemalloc
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from functools import partial
from http import HTTPStatus
from itertools import chain, count, repeat
from time import thread_time
from typing import Any, NamedTuple
from unittest.mock import patch
from urllib.parse import quote_from_bytes, unquote
from uuid import UUID

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st

from minibg import BackgroundTasks, MiniBG, Request, Route, UploadFile, WebSocket, requests
from minibg.formparsers import MAX_LENGTH_ON_THE_LOOP, MAX_MEMORY_FILE_SIZE, plain_filename
from minibg.types import ASGIApp, Message, Receive, Scope, Send
from tests.framework import hostile
from tests.framework.asgi import Answer, ask, http_scope, one_loop, untraced

IS_DEEP = settings().max_examples >= 500
INPUTS = settings().max_examples * (16 if IS_DEEP else 5)
"""How many inputs each attack consists of: 250 in the profile `ci`, 8,000 in `deep`."""

pytestmark = pytest.mark.timeout(600 if IS_DEEP else 60)

KIB = 1024
LIMIT = 64 * KIB
"""The largest body that the application takes."""


# --- the application that is attacked ------------------------------------------------------------


class Colour(Enum):
    RED = "red"


@dataclass
class Order:
    n: int
    ratio: float = 0
    exact: Decimal = Decimal(0)
    flag: bool = False
    at: datetime | None = None
    day: date | None = None
    id: UUID | None = None
    colour: Colour = Colour.RED
    tags: set[str] = field(default_factory=set)
    numbers: set[Decimal] = field(default_factory=set)
    wait: timedelta | None = None
    counts: dict[int, str] = field(default_factory=dict)
    below: list["Order"] = field(default_factory=list)
    notes: Any = None


app = MiniBG(max_body_size=LIMIT)


@app.get("/query")
async def query(
    n: int = 0,
    ratio: float = 0,
    exact: Decimal | None = None,
    flag: bool | None = None,
    at: datetime | None = None,
    day: date | None = None,
    id: UUID | None = None,  # noqa: A002  # likewise in the body
    colour: Colour | None = None,
    tags: list[str] = [],  # noqa: B006  # each request is given a copy of its own
    numbers: set[Decimal] = set(),  # noqa: B006  # likewise
) -> Any:
    return [n, ratio, exact, flag, at, day, id, colour, tags, numbers]


@app.get("/int/{value:int}")
@app.get("/float/{value:float}")
@app.get("/uuid/{value:uuid}")
@app.get("/path/{value:path}")
@app.get("/str/{value}/")
async def path(value: str, request: Request) -> Any:
    return [value, request.path_params, str(request.url)]


@app.get("/at/{at}")
async def instant(at: datetime) -> Any:
    return at


@app.get("/connection")
async def connection(request: Request) -> Any:
    return [dict(request.headers), str(request.url), request.client]


@app.get("/cookies")
async def cookies(request: Request) -> Any:
    return request.cookies


@app.post("/json")
async def read_json(request: Request) -> Any:
    return await request.json()


@app.post("/order")
async def read_order(order: Order) -> Any:
    return order


@app.post("/orders")
async def read_two(below: list[Order] | None = None, notes: dict[str, Any] | None = None) -> Any:
    return [below, notes]


@app.post("/form")
async def read_form(request: Request) -> Any:
    form = await request.form(max_files=4, max_fields=4, max_part_size=40)
    return [[n, v if isinstance(v, str) else v.filename] for n, v in form.multi_items()]


@app.post("/upload")
async def read_upload(file: UploadFile, others: list[UploadFile] | None = None) -> Any:
    assert plain_filename(file.filename) == file.filename
    return [file.filename, file.size, (await file.read()).hex(), len(others or [])]


def outcome_of(answer: Answer) -> str:
    """The status, and where it serves, whether there is anything in what it answers.

    Asserts that the answer is complete, and says why where it refuses.
    """
    assert answer.complete
    if answer.status == 200:
        return "200" if json.loads(answer.body) else "200, nothing"
    if answer.status == 307:
        assert dict(answer.headers)[b"location"]
        return "307"
    assert 400 <= answer.status < 500
    detail = json.loads(answer.body)["detail"]
    if answer.status == 422:
        assert detail
        assert all(fault["msg"] and fault["loc"] for fault in detail)
    elif answer.status in (404, 405):
        assert detail == HTTPStatus(answer.status).phrase
    else:
        assert len(detail) > len(HTTPStatus(answer.status).phrase)
    return str(answer.status)


def served(pieces: Iterable[bytes], *, breaks_off: bool = False, by: ASGIApp = app) -> ASGIApp:
    """An application behind a server that takes the body's pieces from there, one at a time.

    The client breaks off after the last, or its body has ended.
    """
    source = iter(pieces)
    end = {"type": "http.disconnect"} if breaks_off else {"type": "http.request"}

    async def receive() -> Message:
        await checkpoint()
        for piece in source:
            return {"type": "http.request", "body": piece, "more_body": True}
        return end

    async def server(scope: Scope, _: Receive, send: Send) -> None:
        await by(scope, receive, send)

    return server


def breaks_off(sent: tuple[str, list[bytes]]) -> str:
    headers = [(b"content-type", hostile.FORM_DATA), (b"content-length", b"9999")]
    answer = ask(served(sent[1], breaks_off=True), "POST", sent[0], headers)
    assert outcome_of(answer) in ("400", "413")
    return "noticed" if b"went away" in answer.body else "refused before"


def is_cut(pieces: list[bytes]) -> str:
    header = (b"content-type", hostile.FORM_DATA)
    whole = ask(app, "POST", "/form", [header], [b"".join(pieces)])
    cut = ask(app, "POST", "/form", [header], pieces)
    assert whole.status == cut.status
    assert whole.status != 200 or whole.body == cut.body
    return f"{outcome_of(cut)}, {'cut' if len(pieces) > 1 else 'whole'}"


READ: dict[str, Callable[[WebSocket], Awaitable[Any]]] = {
    "text": WebSocket.receive_text,
    "bytes": WebSocket.receive_bytes,
    "json": WebSocket.receive_json,
}
ran: list[str] = []


@app.websocket("/{kind}")
async def listen(kind: str, websocket: WebSocket, tasks: BackgroundTasks, n: int = 0) -> None:
    tasks.add_task(ran.append, kind)
    await websocket.accept()
    while True:
        await websocket.send_json(len(str(await READ[kind](websocket))))


texts = st.text(max_size=5) | st.sampled_from(["1", "[" * 5000, "9" * 5000, "\0"])
binaries = hostile.json_bodies | st.binary(max_size=8)
messages = st.one_of(
    st.fixed_dictionaries({"text": texts}, optional={"bytes": st.none()}),
    st.fixed_dictionaries({"bytes": binaries}, optional={"text": st.none()}),
    st.fixed_dictionaries({"text": texts, "bytes": binaries}),
).map(lambda message: {"type": "websocket.receive", **message})
goodbyes = st.fixed_dictionaries(
    {"type": st.just("websocket.disconnect")},
    optional={
        "code": st.integers(0, 2**16) | st.none(),
        "reason": st.text(max_size=5) | st.none(),
    },
)
conversations = st.tuples(
    st.sampled_from(list(READ)),
    hostile.queries,
    st.booleans(),
    st.lists(messages, max_size=4),
    goodbyes,
)


def converse(said: tuple[str, bytes, bool, list[Message], Message]) -> str:
    """What cannot be read closes it with 1007 or 1008: a client's mistake is no error of ours."""
    kind, query, connects, payload, goodbye = said
    coming = [{"type": "websocket.connect"}, *payload] if connects else []
    coming.append(goodbye)
    heard: list[Message] = []
    ran.clear()

    async def receive() -> Message:
        return coming.pop(0)

    async def send(message: Message) -> None:
        assert not heard or heard[-1]["type"] != "websocket.close"
        heard.append(message)

    scope = {**http_scope(path=f"/{kind}", query_string=query), "type": "websocket"}
    anyio.run(app, scope, receive, send)
    if heard and heard[-1]["type"] == "websocket.close":
        assert heard[-1]["code"] in (1007, 1008)
        assert ran == []
        return "refused"
    assert ran == [kind]
    return "heard" if len(heard) > 1 else "gone"


class Attack(NamedTuple):
    """Inputs, what an input comes to, and what many of them come to, as else little was tried."""

    inputs: st.SearchStrategy[Any]
    outcome_of: Callable[[Any], str]
    frequent: tuple[str, ...]


def get(path: str, **sent: Any) -> str:
    return outcome_of(ask(app, path=path, **sent))


def post(path: str, pieces: list[bytes], content_type: bytes = b"") -> str:
    return outcome_of(ask(app, "POST", path, [(b"content-type", content_type)], pieces))


json_bodies = hostile.in_pieces(hostile.json_bodies)
multipart_bodies = hostile.in_pieces(hostile.multipart_bodies)
urlencoded_bodies = hostile.in_pieces(hostile.queries)

ATTACKS = {
    "query": Attack(hostile.queries, lambda sent: get("/query", query_string=sent), ("200", "422")),
    "path": Attack(
        hostile.paths,
        lambda sent: get(unquote(sent.decode("latin-1"))),
        ("200", "307", "404", "422"),
    ),
    "headers": Attack(hostile.headers, lambda sent: get("/connection", headers=sent), ("200",)),
    "cookies": Attack(
        hostile.cookies,
        lambda sent: get("/cookies", headers=[(b"cookie", sent)]),
        ("200", "200, nothing"),
    ),
    "JSON": Attack(json_bodies, lambda sent: post("/json", sent), ("200", "400")),
    "JSON, an order": Attack(
        json_bodies, lambda sent: post("/order", sent, hostile.JSON_TYPE), ("200", "422")
    ),
    "JSON, several values": Attack(
        json_bodies, lambda sent: post("/orders", sent, hostile.JSON_TYPE), ("200", "422")
    ),
    "multipart": Attack(
        multipart_bodies, lambda sent: post("/form", sent, hostile.FORM_DATA), ("200", "400")
    ),
    "multipart, an upload": Attack(
        multipart_bodies,
        lambda sent: post("/upload", sent, hostile.FORM_DATA),
        ("200", "400", "422"),
    ),
    "multipart, however it is cut": Attack(multipart_bodies, is_cut, ("200, cut", "400, cut")),
    "urlencoded": Attack(
        urlencoded_bodies,
        lambda sent: post("/form", sent, hostile.URLENCODED),
        ("200", "200, nothing", "400"),
    ),
    "any content type": Attack(
        st.tuples(multipart_bodies | urlencoded_bodies, hostile.content_types),
        lambda sent: post("/form", *sent),
        ("200", "200, nothing", "400"),
    ),
    "a body that breaks off": Attack(
        st.tuples(
            st.sampled_from(["/json", "/order", "/orders", "/form", "/upload"]),
            multipart_bodies | json_bodies,
        ),
        breaks_off,
        ("noticed",),
    ),
    "WebSocket": Attack(conversations, converse, ("heard", "refused", "gone")),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_whatever_a_client_sends_is_served_or_refused(attack: str) -> None:
    """Whatever a client sends is served, or refused with the reason."""
    inputs, outcome_of, frequent = ATTACKS[attack]
    outcomes: Counter[str] = Counter()

    @settings(max_examples=INPUTS, database=None)  # all attacks would share what is kept there
    @given(inputs)
    def each(sent: Any) -> None:
        outcomes[outcome_of(sent)] += 1

    with one_loop():
        each()
    assert outcomes.total() >= INPUTS
    assert all(outcomes[outcome] >= INPUTS // 100 for outcome in frequent), outcomes


def test_a_hundred_thousand_inputs_are_tried_or_a_few_thousand() -> None:
    wanted = 100_000 if IS_DEEP else 60 * settings().max_examples  # 3,000 in the profile `ci`
    assert len(ATTACKS) * INPUTS >= wanted


@pytest.mark.parametrize("text", hostile.TEXTS, ids=lambda text: ascii(text[:20]))
def test_a_text_that_is_hardly_a_value_is_served_or_refused(text: bytes) -> None:
    """A text that is hardly a value is served, or refused with the reason."""
    for start in hostile.PATHS:
        get((start + text).decode(errors="replace"))
    for name in hostile.VALID:
        get("/query", query_string=name + b"=" + quote_from_bytes(text).encode())
        post("/order", [b'{"n":1,"%b":"%b"}' % (name, text)], hostile.JSON_TYPE)
        post("/order", [b'{"n":1,"%b":["%b"]}' % (name, text)], hostile.JSON_TYPE)


@pytest.mark.parametrize("value", hostile.JSON, ids=lambda value: ascii(value[:20]))
def test_a_value_that_is_hardly_json_is_served_or_refused(value: bytes) -> None:
    """A value that is hardly JSON is served, or refused with the reason."""
    post("/json", [value])
    for name in hostile.VALID:
        post("/order", [b'{"n":1,"%b":%b}' % (name, value)], hostile.JSON_TYPE)


PART = b'--xXx\r\nContent-Disposition: form-data; name="a"\r\n'


@pytest.mark.parametrize(
    ("path", "content_type", "body", "why"),
    [
        ("/json", b"", b"[1, oops]", "byte 4"),
        ("/json", b"", b"[" * 60_000, "nested too deeply"),
        ("/json", b"", b"1e999", "out of range"),
        ("/order", hostile.JSON_TYPE, b'{"n": 1.5}', "Expected `int`"),
        ("/order", hostile.JSON_TYPE, b'{"n": 1, "below": [{}]}', "below"),
        ("/upload", hostile.FORM_DATA, PART + b"\r\n1\r\n--xXx--", "Field required"),
        ("/form", b"multipart/form-data", PART, "names no boundary"),
        ("/form", hostile.FORM_DATA, PART, "before its last boundary"),
        ("/form", hostile.FORM_DATA, b"--other", "boundary"),
        ("/form", hostile.FORM_DATA, PART + b"\r\n" + b"1" * 41, "more than 40 bytes"),
        ("/form", hostile.FORM_DATA, (PART + b"\r\n1\r\n") * 5, "more than 4 fields"),
        ("/form", hostile.FORM_DATA, PART + b"X: 1\r\n" * 9, "header count"),
        ("/form", hostile.FORM_DATA, PART + b"X: " + b"1" * 5000, "header size"),
        ("/form", hostile.FORM_DATA, b"--xXx\r\nX: 1\r\n\r\n1\r\n--xXx--", "no name"),
        ("/form", hostile.URLENCODED, b"a=" + b"1" * 41, "more than 40 bytes"),
        ("/form", hostile.URLENCODED, b"1" * 41 + b"=a", "more than 40 bytes"),
        ("/form", hostile.URLENCODED, b"a=1&" * 5, "more than 4 fields"),
        ("/json", b"", b"1" * (LIMIT + 1), "larger than 65536 bytes"),
    ],
)
def test_a_refusal_says_what_was_wrong(
    path: str, content_type: bytes, body: bytes, why: str
) -> None:
    answer = ask(app, "POST", path, [(b"content-type", content_type)], [body])
    assert outcome_of(answer)[0] == "4"
    assert why in answer.body.decode()


# --- time and memory -----------------------------------------------------------------------------


def test_cookies_take_time_in_proportion_to_their_length() -> None:
    """A quadratic decoder takes seconds for what a linear one takes milliseconds."""
    cookie = b'a="' + b'\\"' * 32 * KIB + b'"'
    start = thread_time()
    read = Request(http_scope(headers=[(b"cookie", cookie)])).cookies
    assert thread_time() - start < 1
    assert read == {"a": '"' * 32 * KIB}


PATTERNS = ["{a}-{b}", "{name}.{ext}/x", "{s}-{id:int}.{ext}/x", "{x:float},{y:float}"]
PATTERNS += ["{p:path}/e/{x}", "{p:path}/{n}.e/x", "{p:path}.e", "{a}/{b}-x/{c}"]


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("unit", ["-", ".", "/", "1", "-1", "-1.a", "1,1.1", "/e", ".e/", "-x/"])
def test_a_path_is_matched_in_time_in_proportion_to_its_length(pattern: str, unit: str) -> None:
    """Whether it is served, or is searched for in vain; 64 KiB are all that a server takes."""

    async def endpoint(request: Request) -> None: ...

    application = MiniBG(routes=[Route("/" + pattern, endpoint)])
    for end in ("", "/", "/y"):
        scope = http_scope(path="/" + unit * (LIMIT // len(unit)) + end)
        start = thread_time()
        application.router.find(scope)
        assert thread_time() - start < 0.05


digesting = MiniBG()
"""An application that reads what is sent, and answers nothing."""


@digesting.get("/")
@digesting.get("/of/{value:path}")
async def digest_head(
    request: Request,
    n: int = 0,
    tags: list[str] = [],  # noqa: B006  # each request is given a copy of its own
    numbers: set[Decimal] = set(),  # noqa: B006  # likewise
) -> None:
    assert [request.cookies, request.url, request.base_url, request.query_params]


@digesting.post("/json")
async def digest_json(request: Request) -> None:
    await request.json()


@digesting.post("/orders")
async def digest_orders(orders: list[Order]) -> None: ...


@digesting.post("/form")
async def digest_form(request: Request) -> None:
    await request.form()


LIMIT_OF_A_STEP = 0.05
"""For how many seconds a step of reading may hold the event loop."""


def longest_step(*request: Any, **scope: Any) -> float:
    """For how many seconds of processor time such a request holds the event loop at the most."""
    steps: list[float] = []
    run = asyncio.Handle._run

    def timed(handle: asyncio.Handle) -> None:
        start = thread_time()
        run(handle)
        steps.append(thread_time() - start)

    with patch.object(asyncio.Handle, "_run", timed):
        assert outcome_of(ask(*request, **scope))[0] in "24"
    return max(steps)


def shortest(step: Callable[[], float]) -> float:
    """The time of the shortest of three, or of the first that is short enough to need no other."""
    found: list[float] = []
    while len(found) < 3 and min(found, default=1) >= LIMIT_OF_A_STEP:
        found.append(step())
    return min(found)


FIELD = b'--xXx\r\nContent-Disposition: form-data; name="a"'
HEAVY: dict[str, tuple[str, bytes, bytes, bytes, bytes]] = {
    "numbers": ("/json", hostile.JSON_TYPE, b"[", b"1,", b"1]"),
    "floats": ("/json", hostile.JSON_TYPE, b"[", b"1e-320,", b"1]"),
    "objects": ("/json", hostile.JSON_TYPE, b"[", b'{"a":{}},', b"1]"),
    "orders": ("/orders", hostile.JSON_TYPE, b"[", b'{"n":1},', b'{"n":1}]'),
    "times": ("/orders", hostile.JSON_TYPE, b"[", b'{"n":1,"at":"2024-02-29T12:00"},', b"{}]"),
    "numbers in a set": ("/orders", hostile.JSON_TYPE, b'[{"n":1,"numbers":[', b"1.5,", b"1]}]"),
    "fields": ("/form", hostile.FORM_DATA, b"", FIELD + b"\r\n\r\n1\r\n", b"--xXx--"),
    "files": ("/form", hostile.FORM_DATA, b"", FIELD + b'; filename=""\r\n\r\n\r\n', b"--xXx--"),
    "options": (
        "/form",
        hostile.FORM_DATA,
        b"",
        FIELD + b";a=1" * 98 + b"\r\n\r\n\r\n",
        b"--xXx--",
    ),
    "encoded words": (
        *("/form", hostile.FORM_DATA, b"--xXx\r\n"),
        *(b'Content-Disposition: form-data; name="=?q?q?=41?="\r\n\r\n\r\n--xXx\r\n', b"--"),
    ),
    "a file": ("/form", hostile.FORM_DATA, FIELD + b'; filename=""\r\n\r\n', b"\r\n--xX", b"--"),
    "pairs": ("/form", hostile.URLENCODED, b"", b"%41=%41&", b""),
    "escapes": ("/form", hostile.URLENCODED, b"", b"%41", b""),
}
"""For each kind of body where it goes, its type, its beginning, what is repeated, and its end."""


@untraced
@pytest.mark.parametrize("size", [MAX_LENGTH_ON_THE_LOOP, 512 * KIB])
@pytest.mark.parametrize("kind", HEAVY)
def test_no_step_of_reading_a_body_holds_the_loop_for_50_ms(kind: str, size: int) -> None:
    """What is read in one step is small; the rest is read in a thread, or piece by piece.

    To free what was read holds the loop too, for 40 ms after a MiB of small objects.
    """
    path, content_type, start, unit, end = HEAVY[kind]
    body = start + unit * ((size - len(start + end)) // len(unit)) + end
    pieces = [body[at : at + 64 * KIB] for at in range(0, size, 64 * KIB)]
    headers = [(b"content-type", content_type)]

    def step() -> float:
        return longest_step(served(pieces, by=digesting), "POST", path, headers)

    assert shortest(step) < LIMIT_OF_A_STEP


@untraced
@pytest.mark.parametrize(
    "unit", [b"1", b"%31", b"%ff", b"n=1&", b"tags=a&", b"numbers=1.5&", b"a;"]
)
def test_no_step_of_reading_a_head_holds_the_loop_for_50_ms(unit: bytes) -> None:
    """Of 64 KiB, which is what servers take."""
    text = unit * (64 * KIB // len(unit))
    for sent in (
        {"path": "/of/" + text.decode()},
        {"query_string": text},
        {"headers": [(b"cookie", text)]},
        {"headers": [(b"cookie", b'a="' + text + b'"')]},
        {"headers": [(b"host", text)]},
        {"headers": [(unit, b"")] * (64 * KIB // len(unit))},
    ):
        assert shortest(partial(longest_step, digesting, **sent)) < LIMIT_OF_A_STEP


SLACK = 256 * KIB
"""What serving a request takes of memory besides what it keeps of the body."""


def kept(path: str, content_type: bytes, body: Iterable[bytes]) -> tuple[int, str]:
    """How many bytes of memory a body takes at the most, and what is answered."""
    headers = [(b"content-type", content_type)]
    ask(app, "POST", path, headers)  # what is imported on the way is no matter of this body
    tracemalloc.start()
    try:
        answer = ask(served(body), "POST", path, headers)
        return tracemalloc.get_traced_memory()[1], f"{outcome_of(answer)} {answer.body.decode()}"
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("size", [4, 16 * KIB])
@pytest.mark.parametrize(("path", "content_type"), [("/json", b""), ("/form", hostile.URLENCODED)])
def test_a_body_without_end_takes_no_more_memory_than_its_limit(
    path: str, content_type: bytes, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In whatever pieces it comes; a list of small ones would take many times their length."""
    monkeypatch.setattr(requests, "LINGERING_TIME", 0.1)
    pieces = (b"1" * (size - 1) + b"%d" % (number % 10) for number in count())
    memory, answer = kept(path, content_type, pieces)
    assert answer.startswith("413")
    assert memory < 2 * LIMIT + SLACK


FILE = b'--xXx\r\nContent-Disposition: form-data; name="a"; filename="f"\r\n'
PIECE = b"x" * 16 * KIB


@pytest.mark.parametrize(
    ("start", "rest", "why"),
    [
        pytest.param(b"", b"\r\n" + PIECE, "before its last boundary", id="preamble"),
        pytest.param(PART + b"X", b"x" * 99, "header size", id="name of a header"),
        pytest.param(PART + b"X: ", b"x" * 99, "header size", id="header"),
        pytest.param(PART, b"X: 1\r\n", "header count", id="headers"),
        pytest.param(PART + b"\r\n", PIECE, "more than 40 bytes", id="field"),
        pytest.param(b"", PART + b"\r\n1\r\n", "more than 4 fields", id="fields"),
        pytest.param(b"", FILE + b"\r\n1\r\n", "more than 4 files", id="files"),
        pytest.param(PART + b"\r\n1\r\n--xXx--", PIECE, "200", id="epilogue"),
        pytest.param(FILE + b"\r\n", b"\r\n--xX" * 4 * KIB, "before its last", id="file"),
    ],
)
def test_a_form_keeps_no_more_in_memory_than_its_own_limits(
    start: bytes, rest: bytes, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the body has no limit; what is no field is passed over, or goes to the disk."""
    monkeypatch.setattr(app, "max_body_size", None)
    memory, answer = kept("/form", hostile.FORM_DATA, chain([start], repeat(rest, 512)))
    assert why in answer
    assert memory < (2 * MAX_MEMORY_FILE_SIZE if start.startswith(FILE) else 0) + SLACK


def test_a_field_that_is_too_large_is_not_decoded() -> None:
    """Decoding takes many times the memory of what is decoded."""
    body = b"a=" + b"%41" * (LIMIT // 3 - 1)
    memory, answer = kept("/form", hostile.URLENCODED, [body])
    assert "more than 40 bytes" in answer
    assert memory < 2 * LIMIT + SLACK


@pytest.mark.parametrize(
    ("content_type", "body", "why"),
    [
        (hostile.FORM_DATA, [PART + b"\r\n1\r\n"] * 10_000, "more than 1000 fields"),
        (hostile.FORM_DATA, [PART + b"\r\n", *[PIECE] * 65], "more than 1048576 bytes"),
        (hostile.URLENCODED, [b"a=1&"] * 10_000, "more than 1000 fields"),
        (hostile.URLENCODED, [b"a=", *[PIECE] * 65], "more than 1048576 bytes"),
        (hostile.URLENCODED, [PIECE] * 1025, "larger than 16777216 bytes"),
    ],
)
def test_each_limit_has_a_default(content_type: bytes, body: list[bytes], why: str) -> None:
    by_default = MiniBG()

    @by_default.post("/")
    async def endpoint(request: Request) -> None:
        await request.form()

    answer = ask(by_default, "POST", "/", [(b"content-type", content_type)], body)
    assert outcome_of(answer) in ("400", "413")
    assert why in answer.body.decode()
