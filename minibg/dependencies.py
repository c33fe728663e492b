"""An endpoint's signature, read once at registration and compiled into a plan for calling it.

An endpoint and all its dependencies become one plan: take values from the request, call the
dependencies, each after those that it asks for, and then call the endpoint. A request only carries
out the plan. The plan itself decides which dependencies share one call.

What may live here: who asks for what, the order of the calls, and the calls. What one parameter
means is the business of `params.py`; the use of the result is that of `routing.py`.
"""

from collections.abc import Awaitable, Callable, Collection, Hashable, Mapping
from contextlib import (
    AbstractAsyncContextManager,
    AsyncContextDecorator,
    ContextDecorator,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from functools import partial
from inspect import Parameter, isasyncgen, isawaitable, isgenerator
from typing import Annotated, Any, NamedTuple, get_args, get_origin

import msgspec

from minibg.concurrency import given_by, is_async_callable, run_in_threadpool
from minibg.decoding import DOES_NOT_FIT
from minibg.exceptions import HTTPException
from minibg.formparsers import MAX_LENGTH_ON_THE_LOOP, run_parser
from minibg.injection import LIFETIMES, Lifetime, RequestResources, in_threads
from minibg.naming import name_of
from minibg.params import (
    FILES,
    Given,
    Refused,
    Value,
    error_of,
    given_by_class,
    read_json_body,
    value_by_name,
    whole_body,
)
from minibg.requests import HTTPConnection, Request
from minibg.signatures import layers, parameters_of

Call = Callable[..., Any]


class Dependency(NamedTuple):
    """The mark that `Depends` leaves on a parameter."""

    call: Call | None
    use_cache: bool
    scope: Lifetime

    def __repr__(self) -> str:
        return "Depends()" if self.call is None else f"Depends({name_of(self.call)})"


def Depends(  # noqa: N802  # FastAPI's name
    dependency: Call | None = None, *, use_cache: bool = True, scope: Lifetime = "request"
) -> Any:
    """Fill a parameter with what a callable returns or yields; as a default or in `Annotated`.

    Args:
        dependency: A function, sync (then in a worker thread) or async, a class, a callable object
            or a generator function. It may ask for all that an endpoint may. By default it is the
            parameter's annotation.
        use_cache: Whether it is called once per request, and all who ask for it share the result.
        scope: When a generator resumes after its `yield`: when the response has been sent
            ("request"), or earlier, when the endpoint has returned ("function").
    """
    if scope not in LIFETIMES:
        raise TypeError(f"a dependency's scope is one of {LIFETIMES}, not {scope!r}")
    return Dependency(dependency, use_cache, scope)


class Step(msgspec.Struct, eq=False):
    """A dependency to call, and the source of each of its arguments."""

    call: Call
    arguments: "dict[str, Source]"
    lifetime: Lifetime  # how long the yielded value stays open
    gives: str  # the kind of object that a call returns, by `given_by`
    may_yield: bool

    async def solve(self, resources: RequestResources, solved: "dict[Source, Any]") -> Any:
        """Return what the dependency returns or yields; a generator stays open for its lifetime."""
        given = {name: solved[source] for name, source in self.arguments.items()}
        if self.gives == "coroutine":
            result = await self.call(**given)
        elif self.gives == "generator":
            result = self.call(**given)  # which runs nothing of it
        else:
            result = await run_in_threadpool(self.call, **given)
            if isawaitable(result):
                result = await result
        context = _context_of(result) if self.may_yield else None
        if context is None:
            return result
        return await resources.open(self.lifetime, context, self.call)


TAKES_ANYTHING = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)

Source = Given | Value | Step
"""The source of an argument."""


class Dependant:
    """An endpoint with all its dependencies, as a plan that each request carries out.

    Args:
        call: The endpoint, sync or async.
        path_params: The names of the parameters in its path.
        connection: What it serves, `Request` or `WebSocket`.
        overrides: The callables that replace dependencies, by the dependency.

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
        self.given: list[Given] = []  # those given by their class
        self.values: list[Value] = []  # those read by their name
        self.in_body: dict[str, Value] = {}  # of those, the ones in the body
        self.steps: list[Step] = []  # then called, each after those that it asks for
        self._shared: dict[Hashable, Step] = {}
        self.arguments = self._compile(call, "function")
        self.read_body: Callable[[Any], Awaitable[Any]] | None = None
        self._settle()

    # --- for each request ------------------------------------------------------------------------

    async def solve_and_call(self, resources: RequestResources) -> Any:
        """Carry out the plan for one request, and return what the endpoint returns.

        By then, all that has the endpoint's lifetime is closed (**release**).

        Raises:
            HTTPException: 422, with all values that are missing or do not fit, before any
                dependency is called.
        """
        arguments = {}
        if self.arguments:
            if self.read_body is not None:
                resources.body = await self.read_body(resources.connection)
            solved: dict[Source, Any] = {}
            for given in self.given:
                solved[given] = given.of(resources)
            if self.values:
                size = len(resources.connection.scope.get("query_string", b""))
                if resources.body:
                    size += len(resources.body)
                if size > MAX_LENGTH_ON_THE_LOOP:
                    await run_parser(partial(self._read_values, resources, solved), True)
                else:
                    self._read_values(resources, solved)
            for step in self.steps:
                solved[step] = await step.solve(resources, solved)
            arguments = {name: solved[source] for name, source in self.arguments.items()}
        if self.is_async:
            result = await self.call(**arguments)
        else:
            result = await run_in_threadpool(self.call, **arguments)
            if isawaitable(result):
                result = await result
        if resources.stacks:
            resources.result = result
            await resources.close("function")
        return result

    def _read_values(self, resources: RequestResources, solved: dict[Source, Any]) -> None:
        errors: list[dict[str, Any]] = []
        for value in self.values:
            try:
                solved[value] = value.of(resources)
            except DOES_NOT_FIT as exc:
                error = error_of(value.loc, exc)
                if error not in errors:  # several may ask for the same
                    errors.append(error)
        if errors:
            raise HTTPException(422, errors)

    # --- when it is registered -------------------------------------------------------------------

    def _compile(
        self, call: Call, lifetime: Lifetime, overrides: bool = False
    ) -> dict[str, Source]:
        """Add the sources of a function's arguments to the plan, and return them by name.

        An override may take `*args` and `**kwargs`, as a mock does; it is given nothing for those.
        """
        try:
            parameters = parameters_of(call)
        except Exception as exc:
            raise TypeError(f"the signature of {name_of(call)} cannot be read: {exc}") from exc
        bound = call.keywords if isinstance(call, partial) else {}  # not for a client to change
        arguments = {}
        for name, parameter in parameters.items():
            if name in bound or (overrides and parameter.kind in TAKES_ANYTHING):
                continue
            try:
                arguments[name] = self._source(parameter, call, lifetime)
            except Refused as exc:
                asked = f"{name_of(call)} asks for `{parameter}`"
                raise TypeError(f"{asked}, which {exc}") from exc.__cause__
        return arguments

    def _source(self, parameter: Parameter, call: Call, lifetime: Lifetime) -> Source:
        """The source of the value of a function's parameter."""
        if parameter.kind not in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY):
            raise Refused("cannot be given by keyword, as all arguments are")
        annotation, dependency = _annotation_and_mark(parameter)
        if dependency is not None:
            may_yield = _may_yield(call) and given_by(call) != "coroutine"
            if may_yield and (lifetime, dependency.scope) == ("request", "function"):
                raise Refused("is closed before it; give both the same scope")
            return self._step(dependency, annotation)
        given = given_by_class(annotation, self.connection)
        if given is not None:
            self.given.append(given)
            return given
        name, default = parameter.name, parameter.default
        value = value_by_name(name, annotation, default, self.path_params)
        if value.loc[0] == "body" and self.in_body.setdefault(name, value).type != value.type:
            raise Refused("is asked for as another type elsewhere")
        self.values.append(value)
        return value

    def _step(self, mark: Dependency, annotation: Any) -> Step:
        """The call of a dependency; all who share its result share the call."""
        if mark.call is None and annotation is Parameter.empty:
            raise Refused("names no dependency: Depends(function), or annotate it with a class")
        call = annotation if mark.call is None else mark.call
        if not callable(call):
            raise Refused("names nothing that can be called; Depends(f), not Depends(f())")
        overridden = call
        with suppress(TypeError):  # it has no hash, so nothing overrides it
            call = self.overrides.get(call, call)
        if call.__class__ is not type(call):  # a mock with a spec, which passes for a function
            call = type(call).__call__.__get__(call)
        key = (_hashable(call), mark.scope) if mark.use_cache else object()
        if key not in self._shared:
            arguments = self._compile(call, mark.scope, call is not overridden)
            step = Step(call, arguments, mark.scope, given_by(call), _may_yield(call))
            self._shared[key] = step
            self.steps.append(step)
        return self._shared[key]

    def _settle(self) -> None:
        """Refuse faults that only the whole plan shows; settle whether the body is one value."""
        endpoint = name_of(self.call)
        if given_by(self.call) == "generator":
            hint = "let it return a StreamingResponse of what it yields"
            raise TypeError(f"{endpoint} yields; {hint}")
        if not self.in_body:
            return
        names = [*self.in_body]
        json = [name for name, value in self.in_body.items() if value.kind not in FILES]
        if self.connection is not Request:
            raise TypeError(f"{endpoint} asks for {names}, but a WebSocket has no body")
        if json and json != names:
            raise TypeError(f"{endpoint} asks for JSON and for uploads ({names}) in one body")
        self.read_body = read_json_body if json else Request.form
        if len(json) == 1:  # the body as a whole; several are keyed by name
            for value in self.values:
                if value.loc == ("body", json[0]):
                    value.read, value.loc = whole_body, ("body",)


def _annotation_and_mark(parameter: Parameter) -> tuple[Any, Dependency | None]:
    """The type that a parameter is annotated with, and the mark of `Depends` if it has one."""
    annotation, marks = parameter.annotation, [parameter.default]
    while hasattr(annotation, "__value__"):  # a TypeAliasType
        annotation = annotation.__value__
    if get_origin(annotation) is Annotated:
        base, *metadata = get_args(annotation)
        marks += metadata
        if not any(isinstance(mark, msgspec.Meta) for mark in metadata):
            annotation = base
    return annotation, next((mark for mark in marks if isinstance(mark, Dependency)), None)


def _may_yield(call: Call) -> bool:
    """Whether it is, or wraps, a generator function. Only a wrapper's call shows its result: the
    generator, a context made from it (`@contextmanager`), or the items drained from it.
    """
    return any(given_by(layer) == "generator" for layer in layers(call))


def _context_of(result: Any) -> AbstractAsyncContextManager[Any] | None:
    """The context to enter for the value that a generator yields, or None if there is none."""
    if isasyncgen(result):
        return asynccontextmanager(lambda: result)()
    if isgenerator(result):
        return in_threads(contextmanager(lambda: result)())
    if isinstance(result, AsyncContextDecorator):  # `@asynccontextmanager` makes such
        return result  # type: ignore[return-value]  # they can be entered
    if isinstance(result, ContextDecorator):
        return in_threads(result)  # type: ignore[arg-type]  # likewise
    return None


def _hashable(call: Call) -> Hashable:
    try:
        hash(call)
    except TypeError:
        return id(call)
    return call
