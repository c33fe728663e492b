"""An endpoint's signature, read once, when it is registered, and compiled into how to call it.

An endpoint and all that it depends on become one plan: values are taken from the request, then
dependencies are called, each after those that it asks for, then the endpoint. A request only
carries the plan out. That a dependency is computed once is decided before there is a request.

What may live here: what a parameter means and where its value comes from. What a request holds
meanwhile stands in `injection.py`; when an endpoint is called, and what becomes of what it returns,
is decided in `routing.py`.
"""

from collections.abc import Callable, Collection, Hashable, Mapping
from contextlib import asynccontextmanager, contextmanager
from copy import copy
from functools import partial
from inspect import (
    Parameter,
    isasyncgenfunction,
    isawaitable,
    isclass,
    isgeneratorfunction,
    isroutine,
    signature,
    unwrap,
)
from typing import Annotated, Any, NamedTuple, NoReturn, get_args, get_origin

import msgspec

from minibg.background import BackgroundTasks
from minibg.concurrency import is_async_callable, run_in_threadpool
from minibg.exceptions import HTTPException, name_of
from minibg.injection import SCOPES, Injection, Scope, in_threads
from minibg.params import MISSING, READ, fault, from_path, kind_of, whole_body
from minibg.requests import HTTPConnection, Request
from minibg.responses import Response

Call = Callable[..., Any]

WHAT_WORKS = (
    "it can be a scalar or a list of scalars (path, query), a dict, list, dataclass, TypedDict or "
    "msgspec.Struct (JSON body), UploadFile, Request or WebSocket, Response, BackgroundTasks, or a "
    "Depends(...)"
)


class Dependency(NamedTuple):
    """The mark that `Depends` leaves on a parameter."""

    call: Call | None
    use_cache: bool
    scope: Scope


def Depends(  # noqa: N802  # FastAPI's name
    dependency: Call | None = None, *, use_cache: bool = True, scope: Scope = "request"
) -> Any:
    """Give a parameter what a callable returns, or yields; as its default or within `Annotated`.

    Args:
        dependency: A function, sync (then in a worker thread) or async, a class, a callable object
            or a generator function. It may ask for whatever an endpoint may. By default it is the
            parameter's annotation.
        use_cache: Whether it is called once a request, and all who ask for it share the result.
        scope: When a generator goes on after its `yield`: when the response has been sent
            ("request"), or before that, when the endpoint has returned ("function").
    """
    if scope not in SCOPES:
        raise TypeError(f"a dependency's scope is one of {SCOPES}, not {scope!r}")
    return Dependency(dependency, use_cache, scope)


class Value(NamedTuple):
    """Something taken from the request: read, then decoded into what the annotation says."""

    slot: int
    read: Callable[[Injection], Any]
    decode: Callable[[Any], Any] | None = None
    loc: tuple[str, ...] = ()
    default: Any = Parameter.empty


class Step(NamedTuple):
    """A dependency to be called, and the slots in which its arguments stand by then."""

    slot: int
    call: Call
    arguments: dict[str, int]
    scope: Scope

    async def solve(self, injection: Injection, slots: list[Any]) -> Any:
        """What the dependency returns, or yields; what yields is held until it is released."""
        call = partial(self.call, **{name: slots[slot] for name, slot in self.arguments.items()})
        if is_async_callable(self.call):
            return await call()
        if isasyncgenfunction(_function(self.call)):
            return await injection.hold(self.scope, asynccontextmanager(call)())
        if isgeneratorfunction(_function(self.call)):
            return await injection.hold(self.scope, in_threads(contextmanager(call)()))
        result = await run_in_threadpool(call)
        return await result if isawaitable(result) else result


class Dependant:
    """An endpoint with all that it depends on, as a plan that each request carries out.

    Args:
        call: The endpoint, sync or async.
        path_params: The names of the parameters in its path.
        connection: What it serves, `Request` or `WebSocket`.
        overrides: What is called in place of a dependency.

    Raises:
        TypeError: If a signature cannot be served; it names the function and the parameter.
    """

    def __init__(
        self,
        call: Call,
        path_params: Collection[str] = (),
        connection: type[HTTPConnection] = Request,
        overrides: Mapping[Call, Call] | None = None,
    ) -> None:
        self.call = call
        self.is_async = is_async_callable(call)
        self.path_params = path_params
        self.connection = connection
        self.overrides = overrides or {}
        self.slots: dict[Hashable, int] = {}
        self.values: list[Value] = []
        self.bodies: dict[str, Any] = {}
        self.files: dict[str, Any] = {}
        self.steps: list[Step] = []
        self.asked_for: list[tuple[str, Any, Any, int]] = []
        self.arguments = self._compile(call, "request")
        self._check()

    async def solve_and_call(self, injection: Injection) -> Any:
        """Carry out the plan for one request, and return what the endpoint returns.

        What was held no longer than that is closed by then (**release**).

        Raises:
            HTTPException: 422, with all values that are missing or do not fit, before anything
                has been called.
        """
        arguments = {}
        if self.slots:
            if self.bodies or self.files:
                await self._read_body(injection)
            slots = self._read_values(injection)
            for step in self.steps:
                slots[step.slot] = await step.solve(injection, slots)
            arguments = {name: slots[slot] for name, slot in self.arguments.items()}
        if self.is_async:
            result = await self.call(**arguments)
        else:
            result = await run_in_threadpool(self.call, **arguments)
        if injection.held:
            await injection.release("function")
        return result

    async def _read_body(self, injection: Injection) -> None:
        request = injection.connection
        assert isinstance(request, Request)
        if self.bodies:
            injection.body = await request.body()
        else:
            injection.form = await request.form()

    def _read_values(self, injection: Injection) -> list[Any]:
        slots: list[Any] = [None] * len(self.slots)
        faults = []
        for slot, read, decode, loc, default in self.values:
            try:
                raw = read(injection)
                if raw is MISSING and default is Parameter.empty:
                    faults.append({"loc": [*loc], "msg": "Field required", "type": "missing"})
                elif raw is MISSING:
                    slots[slot] = copy(default)  # one that a request changes stays its own
                else:
                    slots[slot] = raw if decode is None else decode(raw)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
                faults.append(fault(loc, exc))
        if faults:  # each once, also where several ask for the same
            raise HTTPException(422, [f for i, f in enumerate(faults) if f not in faults[:i]])
        return slots

    def _compile(self, call: Call, scope: Scope) -> dict[str, int]:
        """The slots of a function's arguments, after adding to the plan what will fill them."""
        try:
            parameters = signature(call, eval_str=True).parameters
        except Exception as exc:
            raise TypeError(f"the signature of {name_of(call)} cannot be read: {exc}") from exc
        bound = call.keywords if isinstance(call, partial) else {}  # not for a client to change
        return {
            name: self._slot_of(call, scope, parameters[name])
            for name in parameters
            if name not in bound
        }

    def _slot_of(self, call: Call, scope: Scope, parameter: Parameter) -> int:
        def refuse(reason: str) -> NoReturn:
            raise TypeError(f"{name_of(call)} asks for `{parameter}`, which {reason}")

        if parameter.kind not in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY):
            refuse("cannot be given by keyword, as all arguments are")
        marks, annotation = [parameter.default], parameter.annotation
        if get_origin(annotation) is Annotated:
            base, *metadata = get_args(annotation)
            marks += metadata
            if not any(isinstance(mark, msgspec.Meta) for mark in metadata):
                annotation = base
        for mark in marks:
            if isinstance(mark, Dependency):
                if _is_generator(call) and (scope, mark.scope) == ("request", "function"):
                    refuse("is closed before it; give both the same scope")
                if mark.call is None and annotation is Parameter.empty:
                    refuse("names no dependency: Depends(function), or annotate it with a class")
                return self._depend(mark, annotation)
        for name, same, default, slot in self.asked_for:
            if name == parameter.name and same == annotation and default is parameter.default:
                return slot
        value = self._value(parameter, annotation) or refuse(f"nothing gives; {WHAT_WORKS}")
        self.values.append(value)
        self.slots[object()] = value.slot
        self.asked_for.append((parameter.name, annotation, parameter.default, value.slot))
        return value.slot

    def _depend(self, mark: Dependency, annotation: Any) -> int:
        """The slot of what a dependency gives; one that is shared has one slot."""
        call = annotation if mark.call is None else mark.call
        call = self.overrides.get(call, call)
        key = (call, mark.scope) if mark.use_cache else object()
        if key not in self.slots:
            arguments = self._compile(call, mark.scope)
            slot = self.slots[key] = len(self.slots)
            self.steps.append(Step(slot, call, arguments, mark.scope))
        return self.slots[key]

    def _value(self, parameter: Parameter, annotation: Any) -> Value | None:
        """How a parameter is taken from the request: by what it is, or by its name."""
        slot, name, default = len(self.slots), parameter.name, parameter.default
        if annotation is Response:
            return Value(slot, Injection.response_to_be)
        if isclass(annotation) and issubclass(annotation, BackgroundTasks):
            return Value(slot, lambda injection: injection.tasks(annotation))
        if annotation in (HTTPConnection, self.connection):
            return Value(slot, lambda injection: injection.connection, loc=("connection",))
        kind = kind_of(annotation)
        decode = partial(msgspec.convert, type=annotation, strict=False)
        read: Callable[[str, Injection], Any]
        if name in self.path_params and kind in ("scalar", "anything"):
            where, read, default = "path", from_path, Parameter.empty
        elif name in self.path_params or kind not in READ:
            return None
        else:
            where, read = READ[kind]
        if where == "body":
            decode = partial(msgspec.json.decode, type=annotation)
            asked_for = self.bodies if kind == "body" else self.files
            if asked_for.setdefault(name, annotation) != annotation:
                return None
        as_it_is = annotation in (str, Parameter.empty) or kind in ("upload", "uploads")
        return Value(
            slot, partial(read, name), None if as_it_is else decode, (where, name), default
        )

    def _check(self) -> None:
        """Refuse what only the whole plan shows, and settle what a body is."""
        endpoint, bodies = name_of(self.call), [*self.bodies, *self.files]
        if self.bodies and self.files:
            raise TypeError(f"{endpoint} asks for JSON and for uploads ({bodies}) in one body")
        if bodies and self.connection is not Request:
            raise TypeError(f"{endpoint} asks for {bodies}, but a WebSocket has no body")
        taken = {value.loc for value in self.values}
        for name in () if self.overrides else self.path_params:
            if ("path", name) not in taken and ("connection",) not in taken:
                raise TypeError(f"{endpoint} has no parameter for {{{name}}} in its path")
        if len(self.bodies) == 1:  # the body as a whole; several are keyed by name
            for index, value in enumerate(self.values):
                if value.loc == ("body", *self.bodies):
                    self.values[index] = value._replace(loc=("body",), read=whole_body)


def _function(call: Call) -> Any:
    """What shows whether a callable is a generator function: of an object, its `__call__`."""
    while isinstance(call, partial):
        call = call.func
    return unwrap(call if isclass(call) or isroutine(call) else type(call).__call__)


def _is_generator(call: Call) -> bool:
    return isgeneratorfunction(_function(call)) or isasyncgenfunction(_function(call))
