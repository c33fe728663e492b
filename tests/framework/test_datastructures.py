"""Headers, query parameters and free attributes, compared with Starlette's from the same data."""

import pickle
import tracemalloc
from collections import defaultdict
from copy import copy
from typing import Any
from urllib.parse import parse_qsl, unquote_plus, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette import datastructures as oracle
from starlette.datastructures import Headers as StarletteHeaders
from starlette.datastructures import MutableHeaders as StarletteMutableHeaders
from starlette.datastructures import QueryParams as StarletteQueryParams

from minibg.datastructures import URL, Headers, MutableHeaders, QueryParams, State, encode_header

names = st.sampled_from(["accept", "cookie", "x-a", "x-b"])
values = st.text(st.characters(codec="latin-1", exclude_characters="\r\n\0"), max_size=8)
texts = st.text(st.characters(codec="utf-8"), max_size=6)
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
def test_a_name_is_a_token_and_a_value_any_other_latin_1_text(name: str, value: str) -> None:
    """A header's name is any token, and its value any other text of Latin-1."""
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


@given(query=queries | st.binary(max_size=20).filter(bytes.isascii))
def test_a_query_is_parsed_as_the_standard_library_does(query: bytes) -> None:
    """A query string is parsed as the standard library parses it."""
    params, oracle = QueryParams(query), StarletteQueryParams(query)
    pairs = parse_qsl(query.decode(), keep_blank_values=True)
    assert params.multi_items() == oracle.multi_items() == pairs
    assert dict(params) == dict(oracle) == dict(pairs)
    assert len(params) == len(dict(pairs))
    for key in [*dict(pairs), "missing"]:
        assert params.getlist(key) == oracle.getlist(key)


@given(pairs=st.lists(st.tuples(texts, texts)), data=st.data())
def test_bytes_are_utf_8_whether_or_not_they_are_percent_encoded(
    pairs: list[tuple[str, str]], data: st.DataObject
) -> None:
    """WHATWG URL, section 5.1; each byte is encoded, or not, by itself."""

    def written(text: str) -> bytes:
        encoded = [b"%%%02X" % byte for byte in text.encode()]
        plain = [bytes([byte]) for byte in text.encode()]
        ways = zip(encoded, plain, strict=True)
        return b"".join(
            way[data.draw(st.booleans())] if way[1] not in (b"&", b"=", b"+", b"%") else way[0]
            for way in ways
        )

    query = b"&".join(written(name) + b"=" + written(value) for name, value in pairs)
    assert QueryParams(query).multi_items() == pairs


@pytest.mark.parametrize(
    ("query", "pairs"),
    [
        (b"", []),
        (b"&&a&=&b=%zz%", [("a", ""), ("", ""), ("b", "%zz%")]),
        (b"a=%FF%C3&\xef\xbb\xbfb=+%2B", [("a", "\ufffd\ufffd"), ("\ufeffb", " +")]),
        (b"\xc3%BC=a;b", [("ü", "a;b")]),
    ],
)
def test_a_query_string_is_parsed_as_browsers_parse_it(
    query: bytes, pairs: list[tuple[str, str]]
) -> None:
    assert QueryParams(query).multi_items() == pairs


@pytest.mark.parametrize("encoded", ["%41", "%41a", "%41aa", "%zz", "%C3%BC", "+"])
def test_to_decode_a_parameter_takes_a_few_times_its_memory(encoded: str) -> None:
    """The standard library's decoder takes 75 times as much."""
    query = encoded.encode() * 20_000
    tracemalloc.start()
    try:
        params = QueryParams(query)
        assert tracemalloc.get_traced_memory()[1] < 6 * len(query)
    finally:
        tracemalloc.stop()
    assert list(params) == [unquote_plus(encoded * 20_000)]


@given(pairs=st.lists(st.tuples(texts, texts)))
def test_query_parameters_as_text_are_a_query_of_the_same(pairs: list[tuple[str, str]]) -> None:
    params = QueryParams(pairs)
    assert str(params) == str(StarletteQueryParams(pairs))
    assert QueryParams(str(params)) == QueryParams(str(params).encode()) == params
    assert QueryParams(params) == params
    assert QueryParams(dict(pairs)).multi_items() == list(dict(pairs).items())


short = st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("12")), max_size=3)


@given(one=short, other=short)
def test_equal_is_what_gives_each_name_the_same_values(
    one: list[tuple[str, str]], other: list[tuple[str, str]]
) -> None:
    ours = QueryParams(one) == QueryParams(other)
    assert ours == (StarletteQueryParams(one) == StarletteQueryParams(other))
    assert QueryParams(one) != dict(one)
    raw = [[(name.encode(), value.encode()) for name, value in pairs] for pairs in (one, other)]
    assert (Headers(raw[0]) == Headers(raw[1])) == (sorted(one) == sorted(other))


def test_a_vary_header_is_added_to_what_stands_there() -> None:
    headers, oracle = MutableHeaders([]), StarletteMutableHeaders()
    for name in ("Accept", "Cookie"):
        headers.add_vary_header(name)
        oracle.add_vary_header(name)
        assert headers["vary"] == oracle["vary"]
    assert headers["vary"] == "Accept, Cookie"


def test_headers_and_parameters_show_all_that_they_hold() -> None:
    raw = [(b"x-a", b"1"), (b"x-a", b"2")]
    assert repr(Headers(raw)) == f"Headers({raw})"
    assert repr(MutableHeaders(raw)) == f"MutableHeaders({raw})"
    assert repr(QueryParams(b"a=1&a=2")) == "QueryParams([('a', '1'), ('a', '2')])"


@pytest.mark.parametrize(
    "parts",
    [
        {"scheme": "https"},
        {"path": "/x", "query": "q=1", "fragment": "f"},
        {"netloc": "other"},
        {"hostname": "other"},
        {"hostname": "::1"},
        {"hostname": "[::1]"},
        {"port": 9000},
        {"port": None},
        {"hostname": "::1", "port": 1},
        {"username": "anna"},
        {"username": "anna", "password": "secret"},
        {"username": None, "password": None},
    ],
)
@pytest.mark.parametrize(
    "text", ["http://example.org:123/path?a=1#f", "https://u:p@[fe::2]:12/", "http://h/"]
)
def test_a_url_with_other_parts_is_as_starlettes(text: str, parts: dict[str, Any]) -> None:
    assert str(URL(text)) == text
    assert str(URL(text).replace(**parts)) == str(oracle.URL(text).replace(**parts))


def test_a_url_is_what_its_text_is() -> None:
    url = URL("http://u:secret@example.org:1/a?b=1")
    assert url == "http://u:secret@example.org:1/a?b=1" == url
    assert url == URL(str(url)) == copy(url) == pickle.loads(pickle.dumps(url))
    assert not url != str(url)  # noqa: SIM202  # a tuple, which it is as well, has its own "!="
    assert url != tuple(url)
    assert {url: 1}[URL(str(url))] == 1
    assert (url.hostname, url.port, url.path, url.query) == ("example.org", 1, "/a", "b=1")
    assert repr(url) == "URL('http://u:********@example.org:1/a?b=1')"


def test_a_state_is_attributes_over_the_given_dictionary() -> None:
    """A state is free attributes over the dictionary that it was given."""
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
