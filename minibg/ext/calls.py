"""A call as text: a function that another process finds by its name, and arguments as JSON.

**capture** is by value here. A task is called with the arguments as read from its text, even the
first time; otherwise a program would work until its first crash. The arguments are written under
the names of the parameters, and read as the types of their annotations. A call that would come back
changed is refused when it is added. Nothing is pickled, so a file cannot bring code of its own.

What may live here: calls and their text. `journal.py` keeps the text.
"""

import re
from contextlib import suppress
from functools import cache
from inspect import BoundArguments, Parameter, Signature, unwrap
from pkgutil import resolve_name
from typing import Any, NamedTuple

import msgspec

from minibg.ext.handover import refuse_what_changes, refuse_what_is_not_written
from minibg.naming import name_of
from minibg.signatures import parameters_of


class Function(NamedTuple):
    """A function that another process can find, and how its arguments are read there."""

    path: str
    signature: Signature
    decoder: msgspec.json.Decoder[Any]

    def copy(self, /, *args: Any, **kwargs: Any) -> tuple[str, BoundArguments]:
        """Write arguments as text, and return it with the arguments that are read back from it.

        Raises:
            TypeError: If the function does not take them, or they would come back changed.
        """
        try:
            given = self.signature.bind(*args, **kwargs)
        except TypeError as exc:
            raise TypeError(f"{self.path}: {exc}") from exc
        try:
            written = _write(given.arguments).decode()
        except Exception:
            refuse_what_is_not_written(self.path, given.arguments, _write)
            raise
        copies = self.read(written)
        refuse_what_changes(self.path, given.arguments, copies.arguments)
        return written, copies

    def read(self, arguments: str) -> BoundArguments:
        """The arguments in the text, as the types with which the parameters are annotated.

        Raises:
            TypeError: If they do not fit. The error names the parameter, but no value.
        """
        try:
            given = self.decoder.decode(arguments)
        except msgspec.ValidationError as exc:
            where = re.sub(r".* - at `\$\.", "`", str(exc))
            raise TypeError(
                f"{self.path} is not given what it is annotated with: {where}"
            ) from None
        values = {name: getattr(given, name) for name in self.signature.parameters}
        values = {name: value for name, value in values.items() if value is not msgspec.UNSET}
        return BoundArguments(self.signature, values)


@cache
def function_of(func: Any) -> Function:
    """Find out how another process imports a function, and how it reads the arguments.

    Raises:
        TypeError: If the function is not found by its name, or its parameters cannot be read back.
    """
    named = unwrap(func)  # a decorator need not copy the name to the function that it returns
    path = f"{getattr(named, '__module__', None)}:{getattr(named, '__qualname__', None)}"
    found = None
    with suppress(ValueError, ImportError, AttributeError):
        found = resolve_name(path)
    if found != func:  # not `is not`: each access to a class method gives another, equal object
        raise TypeError(
            f"{name_of(func)} is not found by its name in another process: name a "
            "function of a module"
        )
    try:
        parameters = parameters_of(func)
        fields = [(name, _type_of(each), msgspec.UNSET) for name, each in parameters.items()]
        arguments = msgspec.defstruct("Arguments", fields, forbid_unknown_fields=True)
        decoder = msgspec.json.Decoder(arguments, dec_hook=_decode)
    except Exception as exc:
        raise TypeError(f"the parameters of {name_of(func)} cannot be read back: {exc}") from exc
    return Function(path, Signature([*parameters.values()]), decoder)


def _type_of(parameter: Parameter) -> Any:
    hint: Any = Any if parameter.annotation is Parameter.empty else parameter.annotation
    if parameter.kind is Parameter.VAR_POSITIONAL:
        return tuple[hint, ...]
    return dict[str, hint] if parameter.kind is Parameter.VAR_KEYWORD else hint


def _write(value: Any) -> bytes:
    return msgspec.json.encode(value, enc_hook=_encode)


def _encode(value: Any) -> Any:
    """The JSON form of a value that msgspec does not know: pydantic's models provide one."""
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    raise TypeError(f"JSON has nothing for a {type(value).__name__}")


def _decode(cls: Any, value: Any) -> Any:
    if hasattr(cls, "model_validate"):
        return cls.model_validate(value)
    raise TypeError(f"JSON does not become a {cls.__name__}")
