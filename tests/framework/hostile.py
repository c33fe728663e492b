"""Input that no honest client sends: valid input that was spoiled, and input that is known to hurt.

What may live here: how such input is made, as a client would send it. The tests say what an
application has to make of it.
"""

from collections.abc import Sequence
from functools import reduce
from itertools import pairwise
from urllib.parse import quote_from_bytes

from hypothesis import strategies as st

Bytes = st.SearchStrategy[bytes]

_places = st.integers(0, 5000)
_lengths = st.sampled_from([0, 1, 2, 8, 64, 10_000])


def spoiled(valid: Bytes, poison: Sequence[bytes]) -> Bytes:
    """What is valid, often as it is, or with pieces cut out, doubled, replaced or put in.

    Args:
        poison: What is put in, besides any few bytes.
    """

    def change(data: bytes, how: tuple[int, int, bytes | None]) -> bytes:
        place, length, put = how
        start = place % (len(data) + 1)
        piece = data[start : start + length]
        return data[:start] + (piece * 2 if put is None else put) + data[start + length :]

    put = st.none() | st.just(b"") | st.sampled_from(poison) | st.binary(max_size=2)
    changes = st.just([]) | st.lists(st.tuples(_places, _lengths, put), min_size=1, max_size=3)
    return st.builds(lambda data, how: reduce(change, how, data), valid, changes)


def in_pieces(body: Bytes) -> st.SearchStrategy[list[bytes]]:
    """A body, cut anywhere."""

    def cut(data: bytes, places: list[int]) -> list[bytes]:
        edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
        return [data[start:end] for start, end in pairwise(edges)] or [b""]

    return st.builds(cut, body, st.lists(_places, max_size=4))


def joined(separator: bytes, items: Bytes, max_size: int) -> Bytes:
    """So many of these at most, with that between them."""
    return st.lists(items, max_size=max_size).map(separator.join)


# --- what stands in a query, a path, a header ----------------------------------------------------

VALID = {
    b"n": b"1",
    b"ratio": b"1.5",
    b"exact": b"1.50",
    b"flag": b"true",
    b"at": b"2024-02-29T12:00:00Z",
    b"day": b"2024-02-29",
    b"id": b"12345678-1234-5678-1234-567812345678",
    b"colour": b"red",
    b"tags": b"a",
    b"numbers": b"2",
}
"""A value for each parameter of the endpoints that the tests attack."""

TEXTS = [
    b"",
    b"-0",
    b"9" * 400,
    b"9" * 5000,
    b"0" * 5000,
    b"1e999",
    b"-1e99999999999999999999",
    b"1e-99999999999999999999",
    b"." + b"9" * 5000,
    b"NaN",
    b"sNaN",
    b"-Infinity",
    b"null",
    b"\0",
    b"0001-01-01T00:00:00+23:59",
    b"9999-12-31T23:59:59.999999-23:59",
    b"2024-02-30",
    b"-9999999999999999",
    b"{00000000-0000-0000-0000-000000000000}",
    b"P99999999999999D",
    b"../../etc/passwd",
    b"a\r\nset-cookie: a=1",
    b"${jndi:ldap://x}",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    "٣".encode(),
]
"""Texts that are no, or hardly, a value of any type."""

texts = st.sampled_from(TEXTS) | st.binary(max_size=12)
percent_encoded = texts.map(lambda text: quote_from_bytes(text).encode())

fields = st.sampled_from([b"=".join(pair) for pair in VALID.items()]) | st.builds(
    lambda name, value: name + b"=" + value, st.sampled_from(list(VALID)), percent_encoded | texts
)
queries = spoiled(
    joined(b"&", fields, 4), [b"%", b"%f", b"%zz", b"%00", b"&", b"=", b"+", b";", b"%ed%a0%80"]
)
PATHS = [b"/int/", b"/float/", b"/uuid/", b"/at/", b"/path/", b"/str/"]
"""Where the paths of those endpoints begin that have a parameter at the end."""

paths = spoiled(
    st.builds(
        bytes.__add__,
        st.sampled_from(PATHS),
        st.sampled_from(list(VALID.values())) | percent_encoded,
    ),
    [b"/", b"//", b"/..", b"%", b"%2f", b"%00", b"%ff", b"%ed%a0%80", b"?", b"#"],
)
cookies = spoiled(
    joined(b"; ", st.builds(lambda name, value: name + b"=" + value, texts, texts), 4)
    | st.just(b'a="1\\054\\"2\\""; b=2'),
    [
        b";",
        b"=",
        b'"',
        b"\\",
        b"\\0",
        b"\\377",
        b"\\777",
        b",",
        b"$Path=",
        b"expires=",
        b"\\" * 999,
    ],
)
headers = st.lists(
    st.tuples(
        st.sampled_from([b"host", b"content-length", b"content-type", b"accept", b"x-a", b""]),
        texts | st.sampled_from([b"evil@host:port", b"[::1", b"a:b:c", b"-1", b"1, 2", b"+1"]),
    ),
    max_size=6,
)

# --- bodies --------------------------------------------------------------------------------------

JSON = [
    b"[" * 5000 + b"]" * 5000,
    b'{"a":' * 5000 + b"1" + b"}" * 5000,
    b"9" * 400,
    b"-" + b"9" * 5000,
    b"1e999",
    b"1e99999999999999999999",
    b"1e-99999999999999999999",
    b"1" + b"0" * 5000 + b".5",
    b"1.",
    b"NaN",
    b"null",
    b"true",
    b"1.5",
    b"[]",
    b"{}",
    b'{"9999999999999999999999999":"a"}',
    b'["sNaN"]',
    b'"\\ud800"',
    b'"\\udc00\\ud800"',
    b'"\xed\xa0\x80"',
    b'"\xff"',
    b'"\\u0000"',
    b'"\0"',
    b"\xef\xbb\xbf1",
]
"""Values that are no, or hardly, JSON."""

_json_values = st.sampled_from(JSON) | st.sampled_from(TEXTS).map(lambda text: b'"%b"' % text)
_json_fields = st.sampled_from(
    [
        *(b'"%b":"%b"' % pair for pair in VALID.items() if pair[0] not in (b"tags", b"numbers")),
        b'"n":1',
        b'"numbers":[1,2]',
        b'"tags":["a"]',
        b'"counts":{"1":"a"}',
        b'"below":[{"n":1},{"n":2,"below":[]}]',
        b'"wait":"PT1S"',
        b'"notes":{"a":[1,null,true]}',
    ]
)
_json_names = [*VALID, b"counts", b"below", b"wait", b"notes", b"elsewhere"]
json_bodies = spoiled(
    joined(
        b",",
        st.one_of(
            _json_fields,
            _json_fields,
            st.builds(b'"%b":%b'.__mod__, st.tuples(st.sampled_from(_json_names), _json_values)),
        ),
        4,
    ).map(lambda text: b'{"n":1,%b}' % text if text else b'{"n":1}')
    | _json_values,
    [*JSON, b",", b":", b'"', b"\\", b"\\u", b"{", b"}", b"[", b"]", b"-", b"/*", b" " * 999],
)

BOUNDARY = b"xXx"
FORM_DATA = b"multipart/form-data; boundary=" + BOUNDARY
URLENCODED = b"application/x-www-form-urlencoded"
JSON_TYPE = b"application/json"

content_types = st.just(FORM_DATA) | spoiled(
    st.sampled_from([FORM_DATA, b'Multipart/Form-Data; charset=x; boundary="xXx"', URLENCODED]),
    [
        b";",
        b'"',
        b"boundary=",
        b"boundary=;",
        b"*=",
        b"\\",
        b"\xff",
        b"x" * 300,
        b"=?utf-8?q?=41?=",
    ],
)

FILENAMES = [
    b"a.txt",
    b"",
    b"..",
    b"../../etc/passwd",
    b"C:\\\\Windows\\\\system.ini",
    b"a\0b\x1b[2J\x7f.txt",
    b'a\\"; name=\\"b',
    b"\xff\xfe",
    b"\xed\xa0\x80",
    "\u202etxt.exe".encode(),
    b"x" * 3000,
]
"""Names of files that must not be believed."""

_part_heads = st.sampled_from(
    [
        b'Content-Disposition: form-data; name="a"\r\n',
        b'Content-Disposition: form-data; name="a"\r\n',
        b'content-disposition:form-data;name=b\r\nContent-Type: text/plain; charset="x\r\n',
        b"Content-Disposition: form-data; filename*=utf-8''a; name*0=\"a\"\r\n",
        b'X-First: 1\r\nContent-Disposition: attachment; name="\xff\0"\r\n',
        b"",
    ]
) | st.sampled_from(FILENAMES).map(
    b'Content-Disposition: form-data; name="file"; filename="%b"\r\nContent-Type: x\r\n'.__mod__
)
_contents = st.binary(max_size=30) | st.sampled_from(
    [b"\r\n--xX", b"\r\n", b"\r", b"--xXx", b"\r\n\r\n--", b"x" * 50, b"x" * 5000]
)
_parts = st.builds(lambda head, content: head + b"\r\n" + content, _part_heads, _contents)
multipart_bodies = spoiled(
    joined(b"\r\n--xXx\r\n", _parts, 5).map(b"--xXx\r\n%b\r\n--xXx--\r\n".__mod__),
    [
        *(b"--xXx", b"\r\n--xXx\r\n", b"\r\n--xXx--", b"\r\n--xXx \t\r\n", b"--", b"\r\n", b"\r"),
        *(b"\n", b":", b";", b'"', b"=", b"\0", b"\xff", b"X-Header: 1\r\n" * 9, b"x" * 5000),
        *(b'; filename="', b"Content-Transfer-Encoding: base64\r\n", b"a" * 4300 + b": b\r\n"),
    ],
)
