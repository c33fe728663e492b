"""**capture** is by value: the copy runs, even the first time; a call without one is refused."""

import datetime
import decimal
import enum
import functools
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import anyio
import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minibg.ext.calls import function_of
from minibg.ext.durable import DurableTasks
from tests.durable import program


class Colour(enum.Enum):
    RED = "red"


@dataclass
class Order:
    id: int
    items: list[str]


class Shipped(msgspec.Struct):
    when: datetime.datetime


class Model(pydantic.BaseModel):
    when: datetime.datetime


class Typed(TypedDict):
    name: str


NOON = datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.UTC)


def takes(
    dataclass: Order | None = None,
    struct: Shipped | None = None,
    model: Model | None = None,
    typed: Typed | None = None,
    when: datetime.datetime | None = None,
    number_of: uuid.UUID | None = None,
    price: decimal.Decimal | None = None,
    colour: Colour | None = None,
    raw: bytes | None = None,
    some: set[int] | None = None,
    pair: tuple[int, str] | None = None,
    number: float = 0.0,
    names: dict[int, str] | None = None,
    plain: Any = None,
    bare=None,
    mailer: "Mailer | None" = None,
) -> None: ...


def takes_any_number(first: int, /, *rest: datetime.date, key: int, **others: Order) -> None: ...


FITTING: dict[str, Any] = {
    "dataclass": Order(1, ["a"]),
    "struct": Shipped(NOON),
    "model": Model(when=NOON),
    "typed": {"name": "a"},
    "when": NOON,
    "number_of": uuid.UUID(int=1),
    "price": decimal.Decimal("1.10"),
    "colour": Colour.RED,
    "raw": b"\x00\xff",
    "some": {1, 2},
    "pair": (1, "a"),
    "number": 1,
    "names": {1: "a"},
    "plain": {"a": [1, 2.5, None, True, "text"]},
    "bare": [{"a": {}}],
}


@pytest.mark.parametrize("name", FITTING)
def test_what_is_annotated_comes_back_as_that(name: str) -> None:
    _, copies = function_of(takes).copy(**{name: FITTING[name]})
    assert copies.arguments == {name: FITTING[name]}
    assert copies.arguments[name] is not FITTING[name] or isinstance(FITTING[name], int | enum.Enum)


REFUSED: dict[str, Any] = {
    "plain, a tuple": {"plain": (1, 2)},
    "plain, a set": {"plain": {1}},
    "plain, within a list": {"plain": [NOON]},
    "plain, an enum": {"plain": Colour.RED},
    "plain, a dataclass": {"plain": Order(1, [])},
    "plain, a model": {"plain": Model(when=NOON)},
    "plain, no number": {"plain": float("nan")},
    "plain, keys that are numbers": {"plain": {1: "a"}},
    "bare, a path": {"bare": Path("a")},
    "bare, an object": {"bare": object()},
    "number, no number": {"number": float("nan")},
    "number, a text": {"number": "1"},
    "names, other keys": {"names": {"a": "a"}},
    "when, a date": {"when": NOON.date()},
    "dataclass, a dict": {"dataclass": {"id": 1, "items": []}},
    "mailer, what it is not": {"mailer": {}},
    "mailer, what JSON has nothing for": {"mailer": object()},
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_would_come_back_as_something_else_is_refused(
    case: str, tasks_class: type[DurableTasks]
) -> None:
    tasks = tasks_class()
    with pytest.raises(TypeError, match=r"tests\.durable\.test_capture:takes\b"):
        tasks.add_task(takes, **REFUSED[case])
    assert not tasks.tasks


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("value", [Path("a"), [Path("a")], object(), nested(100_000)])
def test_what_cannot_be_written_is_named_with_a_way_out(value: Any) -> None:
    kind = type(value).__name__
    with pytest.raises(TypeError, match=f"argument 'plain' of .*takes is a {kind} and cannot") as e:
        DurableTasks().add_task(takes, plain=value)
    assert "the text of a path, the key of a row" in str(e.value)


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text()
        | st.binary()
        | st.tuples(st.integers()),
        lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
    )
)
def test_any_value_comes_back_equal_or_is_refused(value: Any) -> None:
    try:
        text, copies = function_of(takes).copy(plain=value)
    except TypeError:
        return
    assert repr(copies.arguments["plain"]) == repr(value)
    assert function_of(takes).read(text).arguments == copies.arguments


def test_all_kinds_of_parameters_are_written_by_name() -> None:
    day = NOON.date()
    text, copies = function_of(takes_any_number).copy(1, day, day, key=2, other=Order(3, []))
    assert copies.args == (1, day, day)
    assert copies.kwargs == {"key": 2, "other": Order(3, [])}
    assert '"first":1' in text


class Mailer:
    def send(self) -> None: ...

    @classmethod
    def of_the_class(cls) -> None: ...

    @staticmethod
    def of_nobody() -> None: ...

    def __call__(self) -> None: ...


@functools.wraps(takes)
def named_like_another() -> None: ...


def generator() -> Any:
    yield


NOT_FOUND: dict[str, Callable[..., Any]] = {
    "a lambda": lambda: None,
    "a partial": functools.partial(takes),
    "a bound method": Mailer().send,
    "an object": Mailer(),
    "another function of that name": named_like_another,
    "a builtin method": [].append,
}


@pytest.mark.parametrize("case", NOT_FOUND)
def test_what_no_import_finds_is_refused(case: str, tasks_class: type[DurableTasks]) -> None:
    with pytest.raises(TypeError, match="is not found by its name"):
        tasks_class().add_task(NOT_FOUND[case])


@pytest.mark.parametrize("func", [Mailer.of_the_class, Mailer.of_nobody, takes, print])
def test_what_an_import_finds_is_accepted(
    func: Callable[..., Any], tasks_class: type[DurableTasks]
) -> None:
    tasks = tasks_class()
    tasks.add_task(func)
    tasks.tasks.clear()


def test_a_generator_function_is_refused(tasks_class: type[DurableTasks]) -> None:
    with pytest.raises(TypeError, match="is a generator function"):
        tasks_class().add_task(generator)


def test_parameters_that_nothing_can_be_read_as_are_refused(
    tasks_class: type[DurableTasks],
) -> None:
    with pytest.raises(TypeError, match=r"the parameters of .*unreadable cannot be read back"):
        tasks_class().add_task(unreadable, 1)


def unreadable(value: Path | Colour | Mailer) -> None: ...


@pytest.mark.parametrize(
    ("args", "message"),
    [((), "missing a required"), ((1, 2), "too many"), (("secret",), "is not given what")],
)
def test_arguments_that_do_not_fit_are_refused(
    args: tuple[Any, ...], message: str, tasks_class: type[DurableTasks]
) -> None:
    with pytest.raises(TypeError, match=rf"needs_a_number.* {message}") as raised:
        tasks_class().add_task(needs_a_number, *args)
    assert "secret" not in str(raised.value)


def needs_a_number(number: int) -> None: ...


def test_a_parameter_that_is_gone_is_named_and_no_value_is() -> None:
    with pytest.raises(TypeError, match="unknown field `gone`") as raised:
        function_of(needs_a_number).read('{"gone": "secret"}')
    assert "secret" not in str(raised.value)
    with pytest.raises(TypeError, match=r"with: `colour`$") as raised:
        function_of(takes).read('{"colour": "secret"}')
    assert "secret" not in str(raised.value)


def test_the_copy_is_what_runs_the_first_time_too(tasks_class: type[DurableTasks]) -> None:
    given = ["as it was"]

    async def serve() -> None:
        async with tasks_class.lifespan():
            async with tasks_class() as tasks:
                tasks.add_task(program.async_work, "before")
                tasks.add_task(keeps, given)
                given.append("changed since")
            await tasks()

    anyio.run(serve)
    assert program.seen == ["before", ["as it was"]]


def keeps(value: list[str]) -> None:
    program.seen.append(value)
