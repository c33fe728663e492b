"""A value as the type that was asked for, out of text or JSON that a client sent.

msgspec reads it. What is done besides is to bound what a client can make that cost, and to take two
forms of time that browsers send and RFC 3339 has not. For either the JSON is first read as no type
in particular (`_Reader.carefully`), then looked through, and then converted.

* Numbers near the ends of what a float can hold cost msgspec 10 us each, and Python's own parser a
  fraction of that.
* Python's hash of a number or a UUID is known, so a client can choose thousands with the same one;
  a set of those takes time with their square. Text has a hash that nobody knows.

A fault of the client's is one that msgspec, or Python below it, raises. What code of the
application's raises meanwhile (a validator, the factory of a default) goes on to the server's log.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from decimal import Decimal
from functools import partial, reduce
from itertools import islice
from operator import or_
from typing import Any
from uuid import UUID

import msgspec
from msgspec import inspect as types

DOES_NOT_FIT = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What is raised where a value does not fit."""

SMALL = 4096
"""Up to so many bytes, whatever they hold is read within a few milliseconds."""

MAX_COLLISIONS = 16
"""How many different values of a set, or keys of a mapping, may have the same hash."""

HAS_NO_HASH = ("unhashable type", "Cannot hash")
"""How Python begins to say that a value cannot stand in a set."""

SETS = (types.SetType, types.FrozenSetType)
TIMES = (types.DateTimeType, types.TimeType)
CHOSEN = (types.IntType, types.DecimalType, types.UUIDType)
ANY = types.AnyType()

# A JSON number whose exponent has three digits, which is what makes one slow.
_slow_float = re.compile(rb"[\[,:\s]-?[\d.]++[eE][+-]?0*[1-9]\d\d")
_datetime = re.compile(r"(\d{4}-\d\d-\d\d)(?:[Tt ](\d\d:\d\d)([Zz]|[+-]\d\d:?\d\d)?)?", re.ASCII)
_time = re.compile(r"(\d\d:\d\d)([Zz]|[+-]\d\d:?\d\d)?", re.ASCII)


def text_decoder(annotation: Any) -> Callable[[Any], Any]:
    """What reads the text, or the list of texts, of a query or a path as that type.

    Raises:
        Exception: One of `DOES_NOT_FIT` when it is called, if that is not possible.
    """
    info = types.type_info(annotation)
    convert = partial(msgspec.convert, type=annotation, strict=False)
    if not _hashes_chosen(info) and not any(isinstance(part, TIMES) for part in _parts(info)):
        return partial(_call, convert)
    return lambda given: _call(convert, _looked_through(info, given))


def json_decoder(annotation: Any) -> Callable[[bytes], Any]:
    """What reads JSON as that type.

    Raises:
        Exception: One of `DOES_NOT_FIT` when it is called, if that is not possible.
    """
    return _Reader(annotation).read


def decode_json(body: bytes) -> Any:
    """JSON as whatever it is. Raises one of `DOES_NOT_FIT`."""
    return _read_any(body)


class _Reader:
    """Reads JSON as one type; which precautions that needs is settled beforehand."""

    def __init__(self, annotation: Any) -> None:
        self.info = types.type_info(annotation)
        parts = [*_parts(self.info)]
        self.decode = msgspec.json.Decoder(annotation).decode
        number = Decimal if any(isinstance(part, types.DecimalType) for part in parts) else float
        self.decode_any = msgspec.json.Decoder(float_hook=number).decode
        self.convert = partial(msgspec.convert, type=annotation, str_keys=True)
        self.has_times = any(isinstance(part, TIMES) for part in parts)
        self.hashes_chosen = _hashes_chosen(self.info)
        self.has_raw = any(isinstance(part, types.RawType) for part in parts)
        self.is_looked_through = self.has_times or self.hashes_chosen or number is Decimal

    def read(self, body: bytes) -> Any:
        if self.has_raw or len(body) <= SMALL or not (self.hashes_chosen or _has_slow_floats(body)):
            try:
                return _call(self.decode, body)
            except msgspec.ValidationError as exc:
                if self.has_raw or not (self.has_times and str(exc).startswith("Invalid RFC3339")):
                    raise
        return self.carefully(body)

    def carefully(self, body: bytes) -> Any:
        """Read it as no type in particular, look it through, and convert it."""
        data = _call(self.decode_any, body)
        if self.is_looked_through:
            data = _looked_through(self.info, data)
        return _call(self.convert, data)


def _call(decode: Callable[[Any], Any], data: Any) -> Any:
    """Call a function of msgspec's; what fails below it, and not in Python code, does not fit."""
    try:
        return decode(data)
    except DOES_NOT_FIT:
        raise
    except Exception as exc:
        is_ours = exc.__traceback__ is None or exc.__traceback__.tb_next is None
        if not (is_ours or str(exc).startswith(HAS_NO_HASH)):
            raise
        raise msgspec.ValidationError(str(exc) or type(exc).__name__) from exc


def _has_slow_floats(body: bytes) -> bool:
    """Whether there are more than a few; the regular expression stops there."""
    return any(True for _ in islice(_slow_float.finditer(body), 100, None))


def _parts(info: Any) -> Iterator[Any]:
    """The type, and all that it is made of, each once."""
    seen: dict[int, Any] = {}
    todo = [info]
    while todo:
        part = todo.pop()
        if id(part) not in seen:
            seen[id(part)] = part
            yield part
            names = ("item_type", "key_type", "value_type")
            todo += [getattr(part, name) for name in names if hasattr(part, name)]
            todo += [*getattr(part, "item_types", ()), *getattr(part, "types", ())]
            todo += [field.type for field in getattr(part, "fields", ())]


def _hashes_chosen(info: Any) -> bool:
    """Whether it is, or holds, a set or mapping of values whose hashes a client can choose."""
    for part in _parts(info):
        chosen = (*CHOSEN, types.AnyType) if isinstance(part, SETS) else CHOSEN
        hashed = part.item_type if isinstance(part, SETS) else getattr(part, "key_type", None)
        if any(isinstance(inner, chosen) for inner in _parts(hashed)):
            return True
    return False


def _looked_through(info: Any, data: Any) -> Any:
    """The same data, with times as msgspec reads them.

    Raises:
        msgspec.ValidationError: If more values collide in a set or mapping than by chance.
    """
    if isinstance(info, types.UnionType):
        if not any(isinstance(member, (types.IntType, types.FloatType)) for member in info.types):
            for member in info.types:
                data = _looked_through(member, data)
        return data
    if isinstance(data, str):
        return _completed(info, data)
    if isinstance(data, Decimal):
        return data if isinstance(info, types.DecimalType) else float(data)
    if isinstance(data, list):
        fields = [field.type for field in getattr(info, "fields", ())]
        each = getattr(info, "item_types", fields) or [getattr(info, "item_type", ANY)] * len(data)
        data = [*map(_looked_through, each, data), *data[len(each) :]]
        if isinstance(info, SETS):
            _refuse_collisions(info.item_type, data)
    elif isinstance(data, dict):
        of = {field.encode_name: field.type for field in getattr(info, "fields", ())}
        value_type = getattr(info, "value_type", ANY)
        data = {k: _looked_through(of.get(k, value_type), value) for k, value in data.items()}
        if isinstance(info, types.DictType):
            _refuse_collisions(info.key_type, [*data])
    return data


def _completed(info: Any, text: str) -> str:
    """A time with its seconds, which `<input type=datetime-local>` leaves out (WHATWG HTML).

    A date stands for its midnight, and 13 digits for milliseconds, as of JavaScript's `Date.now()`.
    """
    if isinstance(info, types.DateTimeType):
        if found := _datetime.fullmatch(text):
            return f"{found[1]}T{found[2] or '00:00'}:00{found[3] or ''}"
        if len(text) == 13 and text.isdecimal():
            return f"{text[:-3]}.{text[-3:]}"
    elif isinstance(info, types.TimeType) and (found := _time.fullmatch(text)):
        return f"{found[1]}:00{found[2] or ''}"
    return text


def _refuse_collisions(info: Any, items: list[Any]) -> None:
    if len(items) <= MAX_COLLISIONS or isinstance(info, types.StrType):
        return
    annotation, hashes = _annotation(info), Counter[int]()
    for item in {msgspec.json.encode(item): item for item in items}.values():
        with suppress(Exception):  # it does not fit, and that is said when all are converted
            hashes[hash(msgspec.convert(item, annotation, strict=False))] += 1
    if hashes and max(hashes.values()) > MAX_COLLISIONS:
        raise msgspec.ValidationError(f"Expected at most {MAX_COLLISIONS} values with one hash")


SCALARS: dict[Any, Any] = {
    types.IntType: int,
    types.FloatType: float,
    types.DecimalType: Decimal,
    types.UUIDType: UUID,
}


def _annotation(info: Any) -> Any:
    """A type whose values have the hashes that those of the described one have."""
    if isinstance(info, types.UnionType):
        return reduce(or_, map(_annotation, info.types))
    if isinstance(info, types.TupleType):
        return tuple[tuple(map(_annotation, info.item_types))]  # type: ignore[misc]  # made here
    if isinstance(info, types.VarTupleType):
        return tuple[_annotation(info.item_type), ...]  # type: ignore[misc]  # likewise
    if isinstance(info, types.FrozenSetType):
        return frozenset[_annotation(info.item_type)]  # type: ignore[misc]  # likewise
    return SCALARS.get(type(info)) or getattr(info, "cls", Any)


_read_any = _Reader(Any).read
