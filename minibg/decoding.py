"""Text or JSON from a client, decoded as the type that was asked for.

msgspec reads it. This module also bounds the cost that a client can cause, and accepts two forms of
time that browsers send and RFC 3339 lacks. For either, the JSON is first read without a particular
type, then looked through, and then converted: `carefully`, in `json_decoder`.

* Numbers near the ends of what a float can hold cost msgspec 10 us each, and Python's own parser a
  fraction of that.
* Python's hash of a number or a UUID is known, so a client can choose thousands with the same one;
  a set of those takes time with their square. Text has a hash that nobody knows.

Large JSON is read in a thread. msgspec keeps Python's lock while it reads: 10 to 80 ms for each
MiB, depending on what it holds; Python does while it frees the values, for half as long again.
Where that is too long for other requests, lower the application's `max_body_size`.

Exceptions of msgspec, or of Python below it, are the client's fault. Exceptions of the
application's code (a validator, the factory of a default) go on to the server's log.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from decimal import Decimal
from functools import partial, reduce
from itertools import islice
from operator import or_
from traceback import walk_tb
from typing import Any
from uuid import UUID

import msgspec
from msgspec import inspect as types

DOES_NOT_FIT = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""The exceptions that say that a value does not fit."""

SMALL = 16 * 1024
"""Up to this many bytes no precaution is taken: any content is read within 50 ms."""

MAX_COLLISIONS = 16
"""How many different values of a set, or keys of a mapping, may have the same hash."""

HAS_NO_HASH = ("unhashable type", "Cannot hash")
"""The beginning of Python's message that a value cannot stand in a set."""

ARRAYS = (
    *(types.ListType, types.SetType, types.FrozenSetType, types.VarTupleType, types.TupleType),
    *(types.NamedTupleType, types.AnyType),
)
OBJECTS = (types.DictType, types.TypedDictType, types.DataclassType, types.AnyType)
SETS = (types.SetType, types.FrozenSetType)
TIMES = (types.DateTimeType, types.TimeType)
CHOSEN = (types.IntType, types.DecimalType, types.UUIDType)
NUMBERS = (types.IntType, types.FloatType)
FLOATS = (types.FloatType, types.AnyType, types.DecimalType)
ANY = types.AnyType()

# The exponent of a number that is slow to read. In a text it does no harm to be taken for one.
SLOW_FLOAT = rb"[eE][+-]?0*[1-9]\d\d"
TIME = r"(\d\d:\d\d)([Zz]|[+-]\d\d:?\d\d)?"
DATETIME = rf"(\d{{4}}-\d\d-\d\d)(?:[Tt ]{TIME})?"


def text_decoder(annotation: Any) -> Callable[[Any], Any]:
    """Return a function that reads a text, or a list of texts, of a query or path as the type.

    Raises:
        Exception: When it is called; `fault_of` tells whose fault it is.
    """
    info = types.type_info(annotation)
    convert = partial(msgspec.convert, type=annotation, strict=False)
    if _hashes_chosen(info) or _holds(info, *TIMES):
        return lambda given: convert(_looked_through(info, given))
    return convert


def json_decoder(annotation: Any) -> Callable[[bytes], Any]:
    """Return a function that reads JSON as the type.

    Raises:
        Exception: When it is called; `fault_of` tells whose fault it is.
    """
    info = types.type_info(annotation)
    decode = msgspec.json.Decoder(annotation).decode
    has_times, has_floats = _holds(info, *TIMES), _holds(info, *FLOATS)
    hashes_chosen, is_raw = _hashes_chosen(info), _holds(info, types.RawType)
    number = Decimal if _holds(info, types.DecimalType) else float
    # Another thread may have its turn in a function written in Python, never in `float` itself.
    decode_any = msgspec.json.Decoder(float_hook=lambda text: number(text)).decode  # noqa: PLW0108  # as said above

    def carefully(body: bytes) -> Any:
        """Read the JSON without a particular type, look it through, and convert it."""
        data = decode_any(body)
        if has_times or hashes_chosen or number is Decimal:
            data = _looked_through(info, data)
        return msgspec.convert(data, annotation, str_keys=True)

    def read(body: bytes) -> Any:
        if len(body) > SMALL and (hashes_chosen or (has_floats and _has_slow_floats(body))):
            return carefully(body)
        try:
            return decode(body)
        except msgspec.ValidationError as exc:
            if not (has_times and str(exc).startswith("Invalid RFC3339")):
                raise
        return carefully(body)

    return decode if is_raw else read  # raw JSON, to be left as it was sent, cannot be converted


def fault_of(exc: Exception) -> Exception:
    """Return the exception, as one of `DOES_NOT_FIT` if it is the client's fault.

    It is if msgspec, or Python below it, has raised. Otherwise it comes from the application's
    Python code, a validator for example, and is returned unchanged.
    """
    *_, (frame, _) = frames = [*walk_tb(exc.__traceback__)]
    is_clients = len(frames) == 1 or frame.f_globals is globals()
    if isinstance(exc, DOES_NOT_FIT) or not (is_clients or str(exc).startswith(HAS_NO_HASH)):
        return exc
    return msgspec.ValidationError(str(exc) or type(exc).__name__)


def _has_slow_floats(body: bytes) -> bool:
    """Whether there are more than a few; the regular expression stops there."""
    return any(True for _ in islice(re.finditer(SLOW_FLOAT, body), 1000, None))


def _parts(info: Any) -> Iterator[Any]:
    """The type and all its parts, each once."""
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


def _holds(info: Any, *kinds: type[types.Type]) -> bool:
    """Whether it is, or holds, one of these types."""
    return any(isinstance(part, kinds) for part in _parts(info))


def _hashes_chosen(info: Any) -> bool:
    """Whether it is, or holds, a set or mapping of values whose hashes a client can choose."""
    for part in _parts(info):
        chosen = (*CHOSEN, types.AnyType) if isinstance(part, SETS) else CHOSEN
        hashed = part.item_type if isinstance(part, SETS) else getattr(part, "key_type", None)
        if _holds(hashed, *chosen):
            return True
    return False


def _looked_through(info: Any, data: Any) -> Any:
    """The same data, with times as msgspec reads them.

    Raises:
        msgspec.ValidationError: If more values collide in a set or mapping than by chance.
    """
    if isinstance(data, Decimal):
        return data if _holds(info, types.DecimalType) else float(data)
    if isinstance(info, types.UnionType):
        has_numbers = any(isinstance(member, NUMBERS) for member in info.types)
        for member in info.types:
            if not (has_numbers and isinstance(member, TIMES)):  # text may stand for a number there
                data = _looked_through(member, data)
        return data
    if isinstance(data, str):
        return _completed(info, data)
    if isinstance(data, list) and _takes(info, data):
        return _list_looked_through(info, data)
    if isinstance(data, dict) and _takes(info, data):
        return _dict_looked_through(info, data)
    return data


def _takes(info: Any, data: list[Any] | dict[str, Any]) -> bool:
    """Whether it is the member of a union that such data may become."""
    is_array = isinstance(data, list)
    if not isinstance(info, types.StructType):
        return isinstance(info, ARRAYS if is_array else OBJECTS)
    if info.array_like != is_array:
        return False
    tags = data[:1] if isinstance(data, list) else [data.get(info.tag_field or "", info.tag)]
    return info.tag is None or tags == [info.tag]


def _list_looked_through(info: Any, data: list[Any]) -> list[Any]:
    has_tag = getattr(info, "tag", None) is not None
    fields = [ANY] * has_tag + [field.type for field in getattr(info, "fields", ())]
    each = getattr(info, "item_types", fields)
    rest = [getattr(info, "item_type", ANY)] * (len(data) - len(each))
    data = [*map(_looked_through, [*each, *rest], data)]
    if isinstance(info, SETS):
        _refuse_collisions(info.item_type, data)
    return data


def _dict_looked_through(info: Any, data: dict[str, Any]) -> dict[str, Any]:
    of = {field.encode_name: field.type for field in getattr(info, "fields", ())}
    key_type, value_type = getattr(info, "key_type", ANY), getattr(info, "value_type", ANY)
    data = {
        _completed(key_type, key): _looked_through(of.get(key, value_type), value)
        for key, value in data.items()
    }
    if isinstance(info, types.DictType):
        _refuse_collisions(key_type, [*data])
    return data


def _completed(info: Any, text: str) -> str:
    """A time with its seconds, which `<input type=datetime-local>` leaves out (WHATWG HTML).

    A date stands for its midnight, and 13 digits for milliseconds, as of JavaScript's `Date.now()`.
    """
    if isinstance(info, types.DateTimeType):
        if found := re.fullmatch(DATETIME, text, re.ASCII):
            return f"{found[1]}T{found[2] or '00:00'}:00{found[3] or ''}"
        if len(text) == 13 and text.isdecimal():
            return f"{text[:-3]}.{text[-3:]}"
    elif isinstance(info, types.TimeType) and (found := re.fullmatch(TIME, text, re.ASCII)):
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


decode_json = json_decoder(Any)
"""Reads JSON as plain Python data."""
