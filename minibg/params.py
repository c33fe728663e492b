"""What one parameter means: which part of a request can hold its value, and how it is read there.

What may live here: types and where they are found. Who asks for a parameter, and when it is read,
is the business of `dependencies.py`.
"""

import re
from collections.abc import Callable
from functools import reduce
from inspect import Parameter
from operator import or_
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

import msgspec
from msgspec import inspect as types

from minibg.formparsers import UploadFile
from minibg.injection import Injection

MISSING: Any = object()

SCALARS = (
    *(types.BoolType, types.IntType, types.FloatType, types.StrType, types.DecimalType),
    *(types.UUIDType, types.DateTimeType, types.DateType, types.EnumType, types.LiteralType),
)
COLLECTIONS = (types.ListType, types.SetType, types.FrozenSetType, types.VarTupleType)
BODIES = (types.DictType, types.DataclassType, types.TypedDictType, types.StructType)
UNHASHABLE = (types.AnyType, types.ListType, types.SetType, *BODIES)


def kind_of(annotation: Any) -> str:
    """What a value is, so that it is known which part of a request can hold it."""
    if annotation in (Parameter.empty, Any):
        return "anything"
    if annotation in (UploadFile, UploadFile | None, list[UploadFile], list[UploadFile] | None):
        return "upload" if annotation in (UploadFile, UploadFile | None) else "uploads"
    try:
        info = types.type_info(annotation)
    except Exception:  # noqa: BLE001  # whatever msgspec cannot read, no request can give
        return "unknown"
    members = _members(info)
    if all(isinstance(member, SCALARS) for member in members):
        return "scalar"
    if all(
        isinstance(m, COLLECTIONS) and all(isinstance(i, SCALARS) for i in _members(m.item_type))
        for m in members
    ):
        return "scalars"
    is_body = all(isinstance(m, (*COLLECTIONS, *BODIES)) and _is_plain(m, []) for m in members)
    return "body" if is_body else "unknown"


def _members(info: Any) -> list[Any]:
    """The types that a union is made of, None apart; of any other type, itself."""
    members = info.types if isinstance(info, types.UnionType) else (info,)
    return [member for member in members if not isinstance(member, types.NoneType)]


def _is_plain(info: Any, seen: list[Any]) -> bool:
    """Whether a type is made of what JSON can be turned into, all the way down."""
    if isinstance(info, types.CustomType):
        return False
    if isinstance(info, (types.SetType, types.FrozenSetType)) and not _is_hashable(info.item_type):
        return False
    if any(info is other for other in seen):
        return True
    return all(_is_plain(part, [*seen, info]) for part in _parts(info))


def _parts(info: Any) -> list[Any]:
    """The types that a type is made of."""
    parts = [getattr(info, name, None) for name in ("item_type", "key_type", "value_type")]
    parts += [*getattr(info, "types", ()), *getattr(info, "item_types", ())]
    parts += [field.type for field in getattr(info, "fields", ())]
    return [part for part in parts if part is not None]


def _is_hashable(info: Any) -> bool:
    """Whether what JSON becomes, read as that type, can stand in a set."""
    return not isinstance(info, UNHASHABLE) and all(_is_hashable(part) for part in _parts(info))


def without_none(annotation: Any) -> Any:
    """What text is read as where it is optional: it may be missing, but `null` is no None."""
    if get_origin(annotation) in (Union, UnionType):
        return reduce(or_, (m for m in get_args(annotation) if m is not NoneType))
    return annotation


def from_path(name: str, injection: Injection) -> Any:
    return injection.connection.scope["path_params"][name]


def _from_query(name: str, injection: Injection) -> Any:
    return injection.connection.query_params.get(name, MISSING)


def _all_from_query(name: str, injection: Injection) -> Any:
    return injection.connection.query_params.getlist(name) or MISSING


def whole_body(injection: Injection) -> Any:
    return injection.body or MISSING


def _from_body(name: str, injection: Injection) -> Any:
    body = injection.body or b"{}"
    return msgspec.json.decode(body, type=dict[str, msgspec.Raw]).get(name, MISSING)


def _all_from_form(name: str, injection: Injection) -> Any:
    given = injection.form.getlist(name) if injection.form else []
    if any(item and isinstance(item, str) for item in given):
        raise msgspec.ValidationError("Expected a file, got text")
    # A browser sends a file without a name where none was chosen.
    return [item for item in given if isinstance(item, UploadFile) and item.filename] or MISSING


def _from_form(name: str, injection: Injection) -> Any:
    files = _all_from_form(name, injection)
    return files if files is MISSING else files[-1]


READ: dict[str, tuple[str, Callable[[str, Injection], Any]]] = {
    "scalar": ("query", _from_query),
    "scalars": ("query", _all_from_query),
    "body": ("body", _from_body),
    "upload": ("body", _from_form),
    "uploads": ("body", _all_from_form),
}
"""For each kind of value, which part of the request holds it and how it is read."""


UNFIT = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, TypeError)
"""What is raised where a value does not fit; a TypeError by `{Decimal("sNaN")}` alone."""


def fault(loc: tuple[str, ...], exc: Exception) -> dict[str, Any]:
    """A fault as FastAPI reports it: where, what, and of which kind.

    Raises:
        TypeError: If that is the exception, and no client's fault.
    """
    if isinstance(exc, TypeError) and not str(exc).startswith("Cannot hash a signaling NaN"):
        raise exc
    message, within = _place(exc)
    kind = (
        "value_error" if isinstance(exc, (msgspec.ValidationError, TypeError)) else "json_invalid"
    )
    missing = re.fullmatch(r"Object missing required field `(.+)`", message)
    if missing:
        message, kind, within = "Field required", "missing", [*within, missing[1]]
    return {"loc": [*loc, *within], "msg": message, "type": kind}


def _place(exc: Exception) -> tuple[str, list[str | int]]:
    """What msgspec says, parted from where: ` - at `$.names[0]``. The rest may be a client's."""
    text, own_words = str(exc), str(exc.__cause__ or "")
    place = re.compile(r" - at (?:`key` in )?`\$([^`]*)`$").search(text, len(own_words))
    if place is None or text.startswith("Object contains unknown field"):
        return text, []
    steps = re.findall(r"\[\.\.\.\]|\.([^.\[]+)|\[(\d+)\]", place[1])
    return text[: place.start()], [int(n) if n else name for name, n in steps if n or name]
