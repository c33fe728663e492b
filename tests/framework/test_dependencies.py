"""An endpoint's signature: what it is given, and what it cannot ask for.

That each request has its own lists is shown by the rules' tests.
"""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from enum import Enum
from functools import partial
from typing import Any, Literal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minibg import BackgroundTasks, FailFastTasks, MiniBG, Request, Route
from minibg.dependencies import Dependant
from tests.framework.asgi import Answer, ask


class Mine(BackgroundTasks):
    pass


class Size(Enum):
    SMALL = "s"


def served(
    endpoint: Callable[..., Any], path: str = "/", asked: str = "/", **options: Any
) -> Answer:
    return ask(MiniBG(routes=[Route(path, endpoint)]), path=asked, **options)


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


def test_a_class_can_be_an_endpoint() -> None:
    @dataclass
    class Item:
        n: int

    assert served(Item, "/{n}", "/1").body == b'{"n":1}'


# --- what it is given ----------------------------------------------------------------------------


def test_a_parameter_is_served_by_its_annotation_whatever_its_name_and_place() -> None:
    def endpoint(first: Mine, n: int, *, second: Request, third: BackgroundTasks, m: Any) -> Any:
        kinds = [type(value).__name__ for value in (first, second, third)]
        return [*kinds, n, m]

    answer = served(endpoint, "/{n}/{m}", "/1/2")
    assert json.loads(answer.body) == ["Mine", "Request", "BackgroundTasks", 1, "2"]


def test_an_annotation_may_be_text() -> None:
    def endpoint(request: "Request", tasks: "Mine", n: "int") -> Any:
        return [request.method, type(tasks).__name__, n]

    assert json.loads(served(endpoint, "/{n}", "/1").body) == ["GET", "Mine", 1]


def test_parameters_of_one_class_are_one_list_and_of_two_classes_two() -> None:
    lists = []

    def endpoint(a: BackgroundTasks, b: BackgroundTasks, c: FailFastTasks) -> None:
        lists.extend([a, b, c])

    served(endpoint)
    assert lists[0] is lists[1]
    assert lists[0] is not lists[2]
    assert [type(tasks) for tasks in lists] == [BackgroundTasks, BackgroundTasks, FailFastTasks]


def test_a_path_parameter_goes_to_its_name_even_if_that_is_request() -> None:
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
def test_a_value_that_does_not_fit_its_annotation_is_a_422_that_says_where(
    annotation: Any, text: str
) -> None:
    def endpoint(value: annotation) -> None:
        pytest.fail("it was called")

    answer = served(endpoint, "/{value}", "/" + text)
    assert answer.status == 422
    [fault] = json.loads(answer.body)["detail"]
    assert fault["loc"] == ["path", "value"]
    assert isinstance(fault["msg"], str)


@given(text=st.text(st.characters(codec="utf-8", exclude_characters="/"), min_size=1))
@pytest.mark.parametrize("annotation", [int, float, bool, UUID, date, Size])
def test_any_text_fits_an_annotation_or_is_a_422(annotation: Any, text: str) -> None:
    def endpoint(value: annotation) -> None:
        assert isinstance(value, annotation)

    assert served(endpoint, "/{value}", "/" + text).status in (200, 422)


# --- what it cannot ask for ----------------------------------------------------------------------


def untyped(request) -> None: ...  # type: ignore[no-untyped-def]


def asks_for_a_value(n: int) -> None: ...


def asks_for_a_default(n: int = 1) -> None: ...


def asks_for_many(*tasks: BackgroundTasks) -> None: ...


def asks_for_keywords(**tasks: BackgroundTasks) -> None: ...


def asks_by_position(tasks: BackgroundTasks, /) -> None: ...


def asks_for_one_of_two(tasks: BackgroundTasks | None) -> None: ...


@pytest.mark.parametrize(
    ("endpoint", "parameter"),
    [
        (untyped, "request"),
        (asks_for_a_value, "n: int"),
        (asks_for_a_default, "n: int = 1"),
        (asks_for_many, "*tasks: "),
        (asks_for_keywords, "**tasks: "),
        (asks_by_position, "tasks: "),
        (asks_for_one_of_two, "tasks: "),
    ],
)
def test_a_parameter_that_nothing_gives_is_a_type_error_that_names_it(
    endpoint: Callable[..., Any], parameter: str
) -> None:
    with pytest.raises(TypeError) as raised:
        MiniBG().get("/")(endpoint)
    assert f"{__name__}.{endpoint.__name__} asks for `{parameter}" in str(raised.value)


def test_a_parameter_of_the_path_is_given_by_keyword_only() -> None:
    def endpoint(n: int, /) -> None: ...

    with pytest.raises(TypeError, match=r"endpoint asks for `n: int`"):
        Route("/{n}", endpoint)


def test_a_parameter_of_the_path_must_be_one_of_the_endpoint() -> None:
    with pytest.raises(TypeError, match=r"asks_for_a_value has no parameter for \{m\}"):
        Route("/{n}/{m}", asks_for_a_value)


def test_a_signature_that_cannot_be_read_is_a_type_error_that_names_the_endpoint() -> None:
    def endpoint(tasks: "NotDefinedAnywhere") -> None: ...  # type: ignore[name-defined]  # noqa: F821

    for call in (endpoint, type, 5):
        with pytest.raises(TypeError, match=r"signature of .*(endpoint|type|int) cannot be read"):
            Dependant(call)  # type: ignore[arg-type]


class Unknown:
    pass


@pytest.mark.parametrize("annotation", [Unknown, 5])
def test_a_path_parameter_of_a_type_that_no_text_can_become_is_a_type_error(
    annotation: Any,
) -> None:
    def endpoint(value: annotation) -> None: ...

    with pytest.raises(TypeError, match="value"):
        Route("/{value}", endpoint)
