"""The parameters of a callable, each with the annotation and the default that are meant.

`inspect.signature` shows them as they were written: an annotation as text where its module
postpones that, a type variable where `Repo[User]` gives it a meaning, a marker where a class has a
factory for a default. What the text and the variable mean is known to the function or the class
that has them, which need not be the one that is called.

What may live here: how Python writes signatures. What a parameter is given is the business of
`params.py`.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import InitVar, field, fields, is_dataclass, make_dataclass
from functools import cache, partial
from inspect import Parameter, get_annotations, isclass, isroutine, signature
from sys import modules
from typing import Any, NamedTuple, TypeVar, get_args, get_origin

import msgspec

Call = Callable[..., Any]


class Made(NamedTuple):
    """The default of a field whose class names a factory for it."""

    make: Callable[[], Any]


@cache
def factory_types() -> tuple[type, type]:
    """The types of what a dataclass, and a Struct, show as the default that a factory makes."""
    made = make_dataclass("_", [("made", Any, field(default_factory=list))])
    struct_made = msgspec.defstruct("_", [("made", list[int], [])])
    of_dataclass, of_struct = (signature(cls).parameters["made"] for cls in (made, struct_made))
    return type(of_dataclass.default), type(of_struct.default)


def layers(call: Call) -> Iterator[Any]:
    """A callable, and what it binds or wraps, down to the last; of an object, its `__call__`."""
    yield call
    if isinstance(call, partial):
        yield from layers(call.func)
    elif hasattr(call, "__wrapped__"):
        yield from layers(call.__wrapped__)
    elif not (isclass(call) or isroutine(call)):
        yield from layers(type(call).__call__)


def parameters_of(call: Call) -> dict[str, Parameter]:
    """The parameters, their annotations evaluated where those are text.

    The return annotation is not evaluated: its name may exist for type checkers only.
    """
    called = get_origin(call) or call  # of `Repo[User]`, the class
    *_, last = layers(called)
    made: dict[str, Any] = (
        {f.name: f.default_factory for f in fields(last)} if is_dataclass(last) else {}
    )
    means = _type_arguments(call) if isclass(last) else {}
    parameters = {}
    for name, parameter in signature(called).parameters.items():
        annotation, default = parameter.annotation, parameter.default
        home = _home(last, name, annotation) if isclass(last) else last
        if isinstance(annotation, str):
            annotation = eval(annotation, _names(home))
        if isinstance(annotation, InitVar):
            annotation = annotation.type
        annotation = _substituted(annotation, means.get(home, {}))
        if isclass(last) and type(default) in factory_types():
            default = Made(getattr(default, "factory", None) or made[name])
        parameters[name] = parameter.replace(annotation=annotation, default=default)
    return parameters


def _home(cls: type, name: str, annotation: Any) -> type:
    """The class that has annotated a parameter: as a field, or in what constructs it."""
    if is_dataclass(cls) or isinstance(cls, msgspec.StructMeta):
        for base in cls.__mro__:
            if get_annotations(base).get(name) == annotation:
                return base
    constructors = {"__init__", "__new__"}
    return next(base for base in cls.__mro__ if constructors & vars(base).keys())


def _names(home: Any) -> dict[str, Any]:
    """The names that mean something in that function, or in what constructs that class."""
    function = vars(home).get("__init__") if isclass(home) else home
    return getattr(function, "__globals__", None) or vars(modules[home.__module__])


def _type_arguments(call: Any, outer: Mapping[Any, Any] = {}) -> dict[type, dict[Any, Any]]:
    """The meaning of the type variables, for each class that `Repo[User]` is made of."""
    cls = get_origin(call) or call
    given = [_substituted(argument, outer) for argument in get_args(call)]
    means = {cls: dict(zip(getattr(cls, "__parameters__", ()), given, strict=False))}
    for base in getattr(cls, "__orig_bases__", cls.__bases__):
        if isclass(get_origin(base) or base):
            means |= _type_arguments(base, means[cls])
    return means


def _substituted(annotation: Any, means: Mapping[Any, Any]) -> Any:
    """The annotation, with its type variables replaced by their meanings."""
    if isinstance(annotation, TypeVar):
        return means.get(annotation, annotation)
    variables = getattr(annotation, "__parameters__", ()) if get_origin(annotation) else ()
    if not variables:
        return annotation
    return annotation[tuple(means.get(variable, variable) for variable in variables)]
