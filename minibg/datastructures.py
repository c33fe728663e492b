"""The parts of requests and responses: headers, query parameters, URLs, attributes.

What may live here: containers that know the form of their data and nothing of a connection.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from operator import itemgetter
from typing import Any, NamedTuple, Self, TypeVar
from urllib.parse import SplitResult, quote, urlencode, urlsplit

V = TypeVar("V")

RawHeaders = list[tuple[bytes, bytes]]

_token = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110, section 5.6.2
_escaped = re.compile(r"\\(?:([0-3][0-7][0-7])|(.))")
_escapes = re.compile(rb"(?:%[0-9A-Fa-f]{2})++")
_forbidden = re.compile(rb"[\r\n\0]")  # RFC 9110, section 5.5


def encode_header(name: str, value: str) -> tuple[bytes, bytes]:
    """A header as ASGI carries it: lower-case name and value, as bytes.

    Raises:
        ValueError: If the name is not a token, or the value holds CR, LF, NUL or characters that
            Latin-1 lacks. Otherwise a value could become a header, or a response, of its own.
    """
    raw_name = _lower(name)
    if not _token.fullmatch(raw_name):
        raise ValueError(f"a header's name must be a token (RFC 9110, section 5.6.2), not {name!r}")
    try:
        raw_value = value.encode("latin-1")
    except UnicodeEncodeError as exc:
        raise ValueError(f"the value of the header {name!r} must be Latin-1: {exc}") from exc
    if _forbidden.search(raw_value):
        raise ValueError(f"the value of the header {name!r} must not hold CR, LF or NUL")
    return raw_name, raw_value


def _lower(name: str) -> bytes:
    return name.lower().encode("latin-1", "replace")


class Headers(Mapping[str, str]):  # noqa: PLW1641  # no mapping has a hash
    """The headers of a request: a case-insensitive mapping over ASGI's list of pairs.

    Args:
        raw: Pairs of lower-case name and value. The list is kept, not copied.
    """

    def __init__(self, raw: RawHeaders) -> None:
        self.raw = raw

    def getlist(self, key: str) -> list[str]:
        """The values of all headers of that name, in the order in which they came."""
        wanted = _lower(key)
        return [value.decode("latin-1") for name, value in self.raw if name == wanted]

    def __getitem__(self, key: str) -> str:
        wanted = _lower(key)
        for name, value in self.raw:
            if name == wanted:
                return value.decode("latin-1")
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(name.decode("latin-1") for name, _ in self.raw))

    def __len__(self) -> int:
        return len({name for name, _ in self.raw})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Headers) and sorted(self.raw) == sorted(other.raw)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.raw!r})"


class MutableHeaders(Headers, MutableMapping[str, str]):
    """The headers of a response. Setting one replaces all of its name; `append` adds another."""

    def __setitem__(self, key: str, value: str) -> None:
        header = encode_header(key, value)
        self.raw[:] = [*(pair for pair in self.raw if pair[0] != header[0]), header]

    def __delitem__(self, key: str) -> None:
        if key not in self:
            raise KeyError(key)
        self.raw[:] = [pair for pair in self.raw if pair[0] != _lower(key)]

    def append(self, key: str, value: str) -> None:
        """Add a header, even if one of the same name is present, as for `Set-Cookie`."""
        self.raw.append(encode_header(key, value))

    def add_vary_header(self, vary: str) -> None:
        """Name one more request header on which the response depends (RFC 9110, 12.5.5)."""
        self["vary"] = ", ".join([*self.getlist("vary"), vary])


class MultiDict(Mapping[str, V]):  # noqa: PLW1641  # likewise
    """Pairs of name and value. Where a name comes twice, the last value counts.

    Two of them are equal if each name has the same values in the same order.
    """

    def __init__(self, items: Iterable[tuple[str, V]] = ()) -> None:
        self._items = list(items)
        self._last = dict(self._items)

    def getlist(self, key: str) -> list[V]:
        """All values of that name, in the order in which they came."""
        return [value for name, value in self._items if name == key]

    def multi_items(self) -> list[tuple[str, V]]:
        """All pairs, in the order in which they came."""
        return list(self._items)

    def get(self, key: str, default: Any = None) -> Any:  # that of `Mapping` costs twice as much
        return self._last.get(key, default)

    def __getitem__(self, key: str) -> V:
        return self._last[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._last)

    def __len__(self) -> int:
        return len(self._last)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, type(self)):
            return False
        by_name = itemgetter(0)
        return sorted(self._items, key=by_name) == sorted(other._items, key=by_name)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._items!r})"


def parse_urlencoded(data: bytes) -> list[tuple[str, str]]:
    """The pairs of name and value in a query string or form (WHATWG URL, section 5.1)."""
    data = data.replace(b"+", b" ")
    if b"%" in data:
        pairs = [pair.partition(b"=") for pair in data.split(b"&") if pair]
        return [(_decode(name), _decode(value)) for name, _, value in pairs]
    texts = data.decode("utf-8", "replace").split("&")
    return [(name, value) for text in texts if text for name, _, value in [text.partition("=")]]


def _decode(data: bytes) -> str:
    """As `urllib.parse.unquote` does, which takes up to 75 times the memory of the data."""
    decoded, end = bytearray(), 0
    for run in _escapes.finditer(data):
        decoded += data[end : run.start()]
        decoded += bytes.fromhex(run[0].replace(b"%", b"").decode())
        end = run.end()
    decoded += data[end:]
    return decoded.decode("utf-8", "replace")


def unquote_cookie(value: str) -> str:
    """The meaning of a cookie's value, if it is quoted in the way of `http.cookies`.

    That module's own decoder takes time in proportion to the square of the length, on Pythons
    before 3.11.10 and 3.12.6 (CVE-2024-7592).
    """
    if len(value) < 2 or not value[0] == value[-1] == '"':
        return value
    return _escaped.sub(lambda m: chr(int(m[1], 8)) if m[1] else m[2], value[1:-1])


class QueryParams(MultiDict[str]):
    """The parameters of a query string. As text they are that string, encoded.

    Args:
        query: A query string, in bytes as ASGI carries it; or pairs of name and value.
    """

    def __init__(
        self, query: bytes | str | Mapping[str, str] | Iterable[tuple[str, str]] = b""
    ) -> None:
        if isinstance(query, bytes):
            query = parse_urlencoded(query)
        elif isinstance(query, str):
            query = parse_urlencoded(query.encode())
        elif isinstance(query, Mapping):
            query = query.multi_items() if isinstance(query, MultiDict) else query.items()
        super().__init__(query)

    def __str__(self) -> str:
        return urlencode(self._items)


_PATH = "/!$&'()*+,;=:@"  # RFC 3986, section 3.3, besides what `quote` always leaves as it is
_SENT = _PATH + "%[]^`{|}"  # what else clients send


def quote_path(path: str) -> str:
    """The path as it stands in a URL (RFC 3986, section 3.3)."""
    return quote(path, safe=_PATH)


class URL(SplitResult):
    """A URL. It equals its text, and has the parts that `urllib.parse.urlsplit` gives it.

    Raises:
        ValueError: If the text cannot be a URL, for example for a bracket that does not close.
    """

    __slots__ = ()

    def __new__(cls, url: str = "") -> Self:
        return cls._make(urlsplit(url))

    @classmethod
    def as_sent(cls, scheme: str, netloc: str, path: str, raw_path: bytes, query: bytes) -> Self:
        """The URL of a request, whose path is written as it came where `raw_path` tells that."""
        path = quote(raw_path, safe=_SENT) if _decode(raw_path) == path else quote_path(path)
        path = path if path.startswith("/") else "/" + path  # an absolute URL was asked for, or "*"
        return cls._make((scheme, netloc, path, quote(query, safe=_SENT + "?"), ""))

    def replace(self, **parts: Any) -> Self:
        """The same URL with other parts, by their names."""
        whose = ("username", "password", "hostname", "port")
        if not parts.keys().isdisjoint(whose):
            user, password, host, port = (parts.pop(key, getattr(self, key)) for key in whose)
            host = f"[{host}]" if host and ":" in host and host[0] != "[" else host or ""
            secret = "" if password is None else f":{password}"
            login = "" if user is None else f"{user}{secret}@"
            parts["netloc"] = login + host + ("" if port is None else f":{port}")
        return self._replace(**parts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str | URL) and str(self) == str(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(str(self))

    def __getnewargs__(self) -> tuple[str]:
        return (str(self),)

    def __str__(self) -> str:
        return self.geturl()

    def __repr__(self) -> str:
        shown = self if self.password is None else self.replace(password="********")
        return f"{type(self).__name__}({str(shown)!r})"


class Address(NamedTuple):
    """The host and the port of the other side."""

    host: str
    port: int


class State:
    """Free attributes, over a dictionary that others may hold too: `state.db` is `values["db"]`."""

    __slots__ = ("_values",)
    _values: MutableMapping[str, Any]

    def __init__(self, values: MutableMapping[str, Any] | None = None) -> None:
        object.__setattr__(self, "_values", {} if values is None else values)

    def __getattr__(self, key: str) -> Any:
        if key not in self._values:
            raise AttributeError(f"nothing has set {key!r} on this state")
        return self._values[key]

    def __setattr__(self, key: str, value: Any) -> None:
        self._values[key] = value

    def __delattr__(self, key: str) -> None:
        self.__getattr__(key)  # raises if there is none
        del self._values[key]
