"""Headers, query parameters and free attributes, against what Starlette makes of the same data."""

from collections import defaultdict
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers as StarletteHeaders
from starlette.datastructures import QueryParams as StarletteQueryParams

from minibg.datastructures import Headers, MutableHeaders, QueryParams, State, encode_header

names = st.sampled_from(["accept", "cookie", "x-a", "x-b"])
values = st.text(st.characters(codec="latin-1", exclude_characters="\r\n\0"), max_size=8)
raw_headers = st.lists(
    st.tuples(names.map(str.encode), values.map(lambda value: value.encode("latin-1"))), max_size=6
)
queries = st.lists(st.tuples(st.text(max_size=4), st.text(max_size=4)), max_size=5).map(
    lambda pairs: urlencode(pairs, errors="replace").encode()
)


@given(name=st.text(max_size=6), value=st.text(max_size=12))
def test_a_header_is_encoded_whole_or_refused(name: str, value: str) -> None:
    try:
        raw_name, raw_value = encode_header(name, value)
    except ValueError:
        return
    assert (raw_name.decode("latin-1"), raw_value.decode("latin-1")) == (name.lower(), value)
    assert raw_name.isascii()
    assert not set(raw_name) & set(b'\r\n\0\t "(),/:;<=>?@[\\]{}')
    assert not set(raw_value) & set(b"\r\n\0")


@given(name=st.text("!#$%&'*+-.^_`|~09azAZ", min_size=1), value=values)
def test_every_token_is_a_name_and_every_other_latin_1_text_a_value(name: str, value: str) -> None:
    assert encode_header(name, value) == (name.lower().encode(), value.encode("latin-1"))


@pytest.mark.parametrize("character", ["\r", "\n", "\0", "€"])
def test_a_value_that_could_end_its_header_is_refused(character: str) -> None:
    with pytest.raises(ValueError, match="'x-a'"):
        encode_header("x-a", f"a{character}b")


@given(raw=raw_headers)
def test_headers_read_as_starlettes(raw: list[tuple[bytes, bytes]]) -> None:
    headers, oracle = Headers(raw), StarletteHeaders(raw=raw)
    for key in ["Accept", "cookie", "X-A", "x-b", "missing"]:
        assert headers.getlist(key) == oracle.getlist(key)
        assert headers.get(key) == oracle.get(key)
        assert (key in headers) == (key in oracle)
    # Starlette's Mapping gives a name as often as it came; by the protocol of Mapping it is once.
    assert list(headers) == list(dict.fromkeys(oracle.keys()))
    assert len(headers) == len(list(headers))
    assert "€" not in headers  # a name that no header can have; Starlette's raise an error


@given(raw=raw_headers, changes=st.lists(st.tuples(st.integers(0, 2), names, values), max_size=8))
def test_mutable_headers_keep_of_each_name_what_starlettes_keep(
    raw: list[tuple[bytes, bytes]], changes: list[tuple[int, str, str]]
) -> None:
    headers = MutableHeaders(list(raw))
    model: dict[str, list[str]] = defaultdict(list)
    for raw_name, raw_value in raw:
        model[raw_name.decode()].append(raw_value.decode("latin-1"))
    for change, name, value in changes:
        if change == 0:
            headers[name.upper()] = value
            model[name] = [value]
        elif change == 1:
            headers.append(name.title(), value)
            model[name].append(value)
        else:
            assert headers.pop(name.upper(), None) == next(iter(model.pop(name, [])), None)
    assert {name: headers.getlist(name) for name in headers} == {
        k: v for k, v in model.items() if v
    }


def test_what_is_changed_is_the_list_that_was_given() -> None:
    raw = [(b"x-a", b"1")]
    headers = MutableHeaders(raw)
    headers["x-b"] = "2"
    del headers["X-A"]
    assert raw == [(b"x-b", b"2")]
    with pytest.raises(KeyError):
        del headers["x-a"]


@given(query=queries | st.binary(max_size=20))
def test_a_query_string_is_parsed_as_the_standard_library_parses_it(query: bytes) -> None:
    params, oracle = QueryParams(query), StarletteQueryParams(query)
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    assert params.multi_items() == oracle.multi_items() == pairs
    assert dict(params) == dict(oracle) == dict(pairs)
    assert len(params) == len(dict(pairs))
    for key in [*dict(pairs), "missing"]:
        assert params.getlist(key) == oracle.getlist(key)


def test_headers_and_parameters_show_all_that_they_hold() -> None:
    raw = [(b"x-a", b"1"), (b"x-a", b"2")]
    assert repr(Headers(raw)) == f"Headers({raw})"
    assert repr(MutableHeaders(raw)) == f"MutableHeaders({raw})"
    assert repr(QueryParams(b"a=1&a=2")) == "QueryParams([('a', '1'), ('a', '2')])"


def test_a_state_is_free_attributes_over_the_dictionary_it_was_given() -> None:
    values: dict[str, Any] = {"a": 1}
    state = State(values)
    state.b = state.a + 1
    assert values == {"a": 1, "b": 2}
    del state.a
    assert values == {"b": 2}
    for operation in (getattr, delattr):
        with pytest.raises(AttributeError, match="'a'"):
            operation(state, "a")


def test_states_share_nothing() -> None:
    State().a = 1
    assert not hasattr(State(), "a")
