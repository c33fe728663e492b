"""An endpoint's signature, read once, when it is registered, and compiled into how to call it.

An endpoint and all that it depends on become one plan: values are taken from the request, then
dependencies are called, each after those that it asks for, then the endpoint. A request only
carries the plan out. That a dependency is computed once is decided before there is a request.

What may live here: what a parameter means and where its value comes from. What a request holds
meanwhile stands in `injection.py`; when an endpoint is called, and what becomes of what it returns,
is decided in `routing.py`.
"""

from collections.abc import Callable, Collection, Hashable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from copy import deepcopy
from functools import partial
from inspect import (
    Parameter,
    isasyncgenfunction,
    isawaitable,
    isclass,
    isgeneratorfunction,
    isroutine,
    signature,
)
from sys import modules
from typing import Annotated, Any, NamedTuple, NoReturn, get_args, get_origin

import msgspec

from minibg.background import BackgroundTasks
from minibg.concurrency import is_async_callable, run_in_threadpool
from minibg.exceptions import HTTPException
from minibg.injection import SCOPES, Injection, Scope, in_threads
from minibg.naming import name_of
from minibg.params import MISSING, READ, UNFIT, fault, from_path, kind_of, whole_body, without_none
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

    def __repr__(self) -> str:
        return "Depends()" if self.call is None else f"Depends({name_of(self.call)})"


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
    is_copied: bool = False  # as a request could change the default, each has its own


class Step(NamedTuple):
    """A dependency to be called, and the slots in which its arguments stand by then."""

    slot: int
    call: Call
    arguments: dict[str, int]
    scope: Scope
    generator: Any  # the generator function by which it yields, or None where it returns

    async def solve(self, injection: Injection, slots: list[Any]) -> Any:
        """What the dependency returns, or yields; what yields is held until it is released."""
        call = partial(self.call, **{name: slots[slot] for name, slot in self.arguments.items()})
        if is_async_callable(self.call):
            return await call()
        if isasyncgenfunction(self.generator):
            return await injection.hold(self.scope, asynccontextmanager(call)())
        if self.generator is not None:
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
        self.arguments = self._compile(call, "function")
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
            if isawaitable(result):
                result = await result
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
        for slot, read, decode, loc, default, is_copied in self.values:
            try:
                raw = read(injection)
                if raw is MISSING and default is Parameter.empty:
                    faults.append({"loc": [*loc], "msg": "Field required", "type": "missing"})
                elif raw is MISSING:
                    slots[slot] = deepcopy(default) if is_copied else default
                else:
                    slots[slot] = raw if decode is None else decode(raw)
            except UNFIT as exc:
                faults.append(fault(loc, exc))
        if faults:  # each once, also where several ask for the same
            raise HTTPException(422, [f for i, f in enumerate(faults) if f not in faults[:i]])
        return slots

    def _compile(self, call: Call, scope: Scope) -> dict[str, int]:
        """The slots of a function's arguments, after adding to the plan what will fill them."""
        try:
            parameters = _parameters(call)
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
        while hasattr(annotation, "__value__"):  # a TypeAliasType
            annotation = annotation.__value__
        if get_origin(annotation) is Annotated:
            base, *metadata = get_args(annotation)
            marks += metadata
            if not any(isinstance(mark, msgspec.Meta) for mark in metadata):
                annotation = base
        for mark in marks:
            if isinstance(mark, Dependency):
                if _generator(call) and (scope, mark.scope) == ("request", "function"):
                    refuse("is closed before it; give both the same scope")
                if mark.call is None and annotation is Parameter.empty:
                    refuse("names no dependency: Depends(function), or annotate it with a class")
                if not callable(annotation if mark.call is None else mark.call):
                    refuse("names nothing that can be called; Depends(f), not Depends(f())")
                return self._depend(mark, annotation)
        for name, same, default, slot in self.asked_for:
            if name == parameter.name and same == annotation and default is parameter.default:
                return slot
        value = self._value(parameter, annotation, refuse)
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
            self.steps.append(Step(slot, call, arguments, mark.scope, _generator(call)))
        return self.slots[key]

    def _value(
        self, parameter: Parameter, annotation: Any, refuse: Callable[[str], NoReturn]
    ) -> Value:
        """How a parameter is taken from the request: by what it is, or by its name."""
        slot, name, default = len(self.slots), parameter.name, parameter.default
        if annotation is Response:
            return Value(slot, Injection.response_to_be)
        if isclass(annotation) and issubclass(annotation, BackgroundTasks):
            try:
                signature(annotation).bind()
            except TypeError as exc:
                refuse(f"cannot be made without arguments: {exc}")
            return Value(slot, lambda injection: injection.tasks(annotation))
        if annotation in (HTTPConnection, self.connection):
            return Value(slot, lambda injection: injection.connection)
        kind = kind_of(annotation)
        if kind == "scalar":
            annotation = without_none(annotation)
        decode = partial(msgspec.convert, type=annotation, strict=False)
        read: Callable[[str, Injection], Any]
        if name in self.path_params and kind in ("scalar", "anything"):
            where, read, default = "path", from_path, Parameter.empty
        elif name in self.path_params:
            refuse("stands in the path, which gives a single value: a scalar")
        elif kind not in READ:
            refuse(self._why_nothing_gives(annotation))
        else:
            where, read = READ[kind]
        if where == "body":
            decode = partial(msgspec.json.decode, type=annotation)
            asked_for = self.bodies if kind == "body" else self.files
            if asked_for.setdefault(name, annotation) != annotation:
                refuse("is asked for as another type elsewhere")
        as_it_is = annotation in (str, Parameter.empty) or kind in ("upload", "uploads")
        how = (slot, partial(read, name), None if as_it_is else decode, (where, name))
        return Value(*how, default, is_copied=deepcopy(default) is not default)

    def _why_nothing_gives(self, annotation: Any) -> str:
        given = (BackgroundTasks, HTTPConnection, Response)
        if annotation is Parameter.empty:
            return "says not what it is: annotate it, `request: Request` for example"
        if isclass(annotation) and issubclass(annotation, HTTPConnection):
            return f"is not what is served here; that is `{self.connection.__name__}`"
        if any(isclass(member) and issubclass(member, given) for member in get_args(annotation)):
            return "is never None: leave that out of its annotation"
        return f"nothing gives; {WHAT_WORKS}"

    def _check(self) -> None:
        """Refuse what only the whole plan shows, and settle what a body is."""
        endpoint, bodies = name_of(self.call), [*self.bodies, *self.files]
        if _generator(self.call):
            raise TypeError(
                f"{endpoint} yields; let it return a StreamingResponse of what it yields"
            )
        if self.bodies and self.files:
            raise TypeError(f"{endpoint} asks for JSON and for uploads ({bodies}) in one body")
        if bodies and self.connection is not Request:
            raise TypeError(f"{endpoint} asks for {bodies}, but a WebSocket has no body")
        if len(self.bodies) == 1:  # the body as a whole; several are keyed by name
            for index, value in enumerate(self.values):
                if value.loc == ("body", *self.bodies):
                    self.values[index] = value._replace(loc=("body",), read=whole_body)


def _layers(call: Call) -> Iterator[Any]:
    """A callable, and what it binds or wraps, down to the last; of an object, its `__call__`."""
    yield call
    if isinstance(call, partial):
        yield from _layers(call.func)
    elif hasattr(call, "__wrapped__"):
        yield from _layers(call.__wrapped__)
    elif not (isclass(call) or isroutine(call)):
        yield from _layers(type(call).__call__)


def _generator(call: Call) -> Any:
    """The first of its layers that is a generator function."""
    generators = (f for f in _layers(call) if isgeneratorfunction(f) or isasyncgenfunction(f))
    return next(generators, None)


def _parameters(call: Call) -> dict[str, Parameter]:
    """The parameters, their annotations evaluated where those are text.

    Not so what the function returns: its name may exist for type checkers only.
    """
    *_, last = _layers(call)
    function = last.__init__ if isclass(last) else last
    parameters = {}
    for name, parameter in signature(call).parameters.items():
        annotation = parameter.annotation
        if isinstance(annotation, str):
            names = getattr(function, "__globals__", None) or vars(modules[last.__module__])
            annotation = eval(annotation, names)
        parameters[name] = parameter.replace(annotation=annotation)
    return parameters
