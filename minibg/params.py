"""The meaning of a parameter: by its class, or by its name and the part of a request it is in.

What may live here: types, where their values are found, and errors for values that do not fit.
Who asks for a parameter, and when it is read, is the business of `dependencies.py`.
"""

import re
from collections.abc import Callable, Collection
from copy import deepcopy
from functools import lru_cache, partial, reduce
from inspect import Parameter, isclass, signature
from operator import attrgetter, methodcaller, or_
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

import msgspec
from msgspec import inspect as types

from minibg.background import BackgroundTasks
from minibg.decoding import fault_of, json_decoder, text_decoder
from minibg.exceptions import HTTPException
from minibg.formparsers import UploadFile
from minibg.injection import RequestResources
from minibg.requests import HTTPConnection, Request
from minibg.responses import Response
from minibg.signatures import Made

Read = Callable[[RequestResources], Any]

MISSING: Any = object()

WHAT_WORKS = (
    "it can be a scalar or a list of scalars (path, query), a dict, list, dataclass, TypedDict or "
    "msgspec.Struct (JSON body), UploadFile, Request or WebSocket, Response, BackgroundTasks, or a "
    "Depends(...)"
)


class Refused(Exception):
    """Nothing can give a parameter its value. The message continues "..., which"."""


class Given(msgspec.Struct, eq=False):
    """The value of a parameter that is given by its class, whatever its name."""

    of: Read


class Value(msgspec.Struct, eq=False):
    """The value of a parameter that is found by its name in a part of the request."""

    read: Read  # takes it from there, or returns `MISSING`
    decode: Callable[[Any], Any] | None  # converts it to the type asked for, where needed
    kind: str  # one of those that `kind_of` gives
    loc: tuple[str, ...]  # where it is, as FastAPI says it: `("query", "limit")`
    type: Any
    default: Any

    def of(self, resources: RequestResources) -> Any:
        """The value in this request; each request has its own copy of the default.

        Raises:
            Exception: One of `DOES_NOT_FIT`.
        """
        raw, decode = self.read(resources), self.decode
        if raw is MISSING:
            return self._default()
        if decode is None:
            return raw
        try:
            return decode(raw)
        except Exception as exc:  # noqa: BLE001  # raised again
            raise fault_of(exc) from exc.__cause__

    def _default(self) -> Any:
        if self.default is Parameter.empty:
            raise Missing
        return self.default.make() if isinstance(self.default, Made) else deepcopy(self.default)


def given_by_class(annotation: Any, served: type[HTTPConnection]) -> Given | None:
    """The source of a parameter whose class determines it; None for any other class.

    Args:
        annotation: The class.
        served: What the endpoint serves, `Request` or `WebSocket`.

    Raises:
        Refused: If it is such a class, but cannot be given here.
    """
    if annotation is Response:
        return Given(RequestResources.injected_response)
    if annotation in (HTTPConnection, served):
        return Given(attrgetter("connection"))
    if _is_any_of(annotation, HTTPConnection):
        raise Refused(f"is not what is served here; that is `{served.__name__}`")
    if _is_any_of(annotation, BackgroundTasks):
        try:
            signature(annotation).bind()
        except TypeError as exc:
            raise Refused(f"cannot be made without arguments: {exc}") from exc
        is_context = hasattr(annotation, "__aexit__")
        return Given(methodcaller("open_tasks" if is_context else "tasks", annotation))
    given = (BackgroundTasks, HTTPConnection, Response)
    if any(_is_any_of(member, given) for member in get_args(annotation)):
        raise Refused("is never None: leave that out of its annotation")
    return None


def _is_any_of(annotation: Any, classes: type | tuple[type, ...]) -> bool:
    return isclass(annotation) and issubclass(annotation, classes)


def value_by_name(
    name: str, annotation: Any, default: Any, path_params: Collection[str] = ()
) -> Value:
    """The source of a parameter: the path if that has its name, or else query or body.

    Raises:
        Refused: If no part of a request can hold a value of that type.
    """
    kind, why = kind_of(annotation)
    if name in path_params:
        if kind not in ("scalar", "anything"):
            raise Refused("stands in the path, which gives a single value: a scalar")
        default = Parameter.empty
    elif annotation is Parameter.empty:
        raise Refused("says not what it is: annotate it, `request: Request` for example")
    elif kind not in READERS:
        raise Refused(f"nothing gives; {WHAT_WORKS}{why}")
    where, read = ("path", _from_path) if name in path_params else READERS[kind]
    decode = _decoder(kind, annotation)
    return Value(partial(read, name), decode, kind, (where, name), annotation, default)


def _decoder(kind: str, annotation: Any) -> Callable[[Any], Any] | None:
    if kind in FILES or annotation in (str, Parameter.empty):
        return None
    if kind == "body":
        return json_decoder(annotation)
    return text_decoder(_without_none(annotation) if kind == "scalar" else annotation)


def _without_none(annotation: Any) -> Any:
    """The type to read text as, if it is optional: it may be missing, but `null` is not None."""
    if get_origin(annotation) in (Union, UnionType):
        return reduce(or_, (m for m in get_args(annotation) if m is not NoneType))
    return annotation


# --- what a type is ------------------------------------------------------------------------------

SCALARS = (
    *(types.BoolType, types.IntType, types.FloatType, types.StrType, types.DecimalType),
    *(types.UUIDType, types.DateTimeType, types.DateType, types.TimeType, types.TimeDeltaType),
    *(types.BytesType, types.EnumType, types.LiteralType),
)
COLLECTIONS = (
    *(types.ListType, types.SetType, types.FrozenSetType, types.VarTupleType, types.TupleType),
)
BODIES = (types.DictType, types.DataclassType, types.TypedDictType, types.StructType)
FILES = ("upload", "uploads")


def kind_of(annotation: Any) -> tuple[str, str]:
    """The kind of a value, which tells which part of a request can hold it; or why none can."""
    if annotation in (Parameter.empty, Any):
        return "anything", ""
    if annotation in (UploadFile, UploadFile | None):
        return "upload", ""
    if annotation in (list[UploadFile], list[UploadFile] | None):
        return "uploads", ""
    try:
        info = types.type_info(annotation)
        msgspec.json.schema(annotation)  # JSON can become that type, all the way down
    except Exception as exc:  # noqa: BLE001  # no request can give what msgspec cannot read
        return "unknown", f". msgspec cannot read it: {' '.join(str(exc).split())}"
    members = _members(info)
    fitting = (kind for kind, fits in KINDS.items() if all(fits(member) for member in members))
    return next(fitting, "unknown"), ""


def _members(info: Any) -> list[Any]:
    """The members of a union except None; for any other type, that type itself."""
    members = info.types if isinstance(info, types.UnionType) else (info,)
    return [member for member in members if not isinstance(member, types.NoneType)]


def _is_scalar(info: Any) -> bool:
    return isinstance(info, SCALARS)


def _is_list_of_scalars(info: Any) -> bool:
    items = getattr(info, "item_types", None) or [getattr(info, "item_type", None)]
    members = [member for item in items for member in _members(item)]
    return isinstance(info, COLLECTIONS) and all(map(_is_scalar, members))


def _is_body(info: Any) -> bool:
    return isinstance(info, (*COLLECTIONS, *BODIES))


KINDS = {"scalar": _is_scalar, "scalars": _is_list_of_scalars, "body": _is_body}
"""The kinds of what msgspec can read, each with what tells it; the first that fits."""


# --- where a value is ----------------------------------------------------------------------------


@lru_cache
def is_json(content_type: str) -> bool:
    """Whether a media type is JSON's, `application/json` or `application/...+json`.

    A page of another site may send text, a form, or a body without any type, but must ask before
    it sends such a body (Fetch standard, CORS-safelisted request-header).
    """
    kind, _, subtype = content_type.partition(";")[0].strip().lower().partition("/")
    name, plus, suffix = subtype.rpartition("+")
    return (kind, suffix) == ("application", "json") and bool(name) == bool(plus)


async def read_json_body(request: Request) -> bytes:
    """The body to read as JSON, if the client says that it is JSON.

    Raises:
        HTTPException: 415 if it has another type, or none (RFC 9110, section 15.5.16). Also what
            `stream` raises.
    """
    body = await request.body()
    kind = request.headers.get("content-type")
    if body and not is_json(kind or ""):
        came = repr(kind) if kind else "one without a Content-Type"
        detail = f"expected a body of type 'application/json', got {came}"
        raise HTTPException(415, detail, headers={"accept": "application/json"})
    return body


def _from_path(name: str, resources: RequestResources) -> Any:
    return resources.connection.scope["path_params"][name]


def _from_query(name: str, resources: RequestResources) -> Any:
    return resources.connection.query_params.get(name, MISSING)


def _all_from_query(name: str, resources: RequestResources) -> Any:
    return resources.connection.query_params.getlist(name) or MISSING


def whole_body(resources: RequestResources) -> Any:
    """The body as the value of the only name that asks for it."""
    return resources.body or MISSING


def _from_body(name: str, resources: RequestResources) -> Any:
    return _members_of(resources.body or b"{}").get(name, MISSING)


_members_of = json_decoder(dict[str, msgspec.Raw])


def _all_from_form(name: str, resources: RequestResources) -> Any:
    given = resources.body.getlist(name)
    if any(item and isinstance(item, str) for item in given):
        raise msgspec.ValidationError("Expected a file, got text")
    # A browser sends a file without a name if the user has chosen none.
    return [item for item in given if isinstance(item, UploadFile) and item.filename] or MISSING


def _from_form(name: str, resources: RequestResources) -> Any:
    files = _all_from_form(name, resources)
    return files if files is MISSING else files[-1]


READERS: dict[str, tuple[str, Callable[[str, RequestResources], Any]]] = {
    "scalar": ("query", _from_query),
    "scalars": ("query", _all_from_query),
    "body": ("body", _from_body),
    "upload": ("body", _from_form),
    "uploads": ("body", _all_from_form),
}
"""For each kind of value, which part of the request holds it and how it is read."""

# --- what does not fit ---------------------------------------------------------------------------


class Missing(msgspec.ValidationError):
    """The request does not hold a value that has no default."""


def error_of(loc: tuple[str, ...], exc: Exception) -> dict[str, Any]:
    """An error as FastAPI reports it: where, what, and of which kind."""
    message, within = _split_location(exc)
    if isinstance(exc, Missing):
        message, kind = "Field required", "missing"
    elif field := re.fullmatch(r"Object missing required field `(.+)`", message):
        message, kind, within = "Field required", "missing", [*within, field[1]]
    elif isinstance(exc, msgspec.ValidationError):
        kind = "value_error"
    else:
        kind = "json_invalid"
    return {"loc": [*loc, *within], "msg": message, "type": kind}


def _split_location(exc: Exception) -> tuple[str, list[str | int]]:
    """Split msgspec's message into the fault and its location.

    It says "Expected `int`, got `str` - at `$.names[0]`" of a value, and "... - at `key` in
    `$.names`" of a key; within a mapping or a set, `[...]` stands for any place. The message of
    an application's own exception may hold a client's text; so may an unknown field's name.
    """
    text, users_words = str(exc), str(exc.__cause__ or "")
    if text.startswith("Object contains unknown field"):
        return text, []
    location = re.compile(r" - at (?:`key` in )?`\$([^`]*)`$").search(text, len(users_words))
    if location is None:
        return text, []
    steps = re.findall(r"\.([^.\[]+)|\[(\d+)\]", location[1].replace("[...]", ""))
    return text[: location.start()], [name or int(index) for name, index in steps]
