"""The words by which logs and errors name a function, and the reason why a run has ended.

What may live here: names for people to read. An argument never becomes part of one: it may be a
secret.
"""

from functools import partial
from typing import Any


def reason_of(exc: BaseException) -> str:
    """For the log, why a run ended early: an `Exception` is a failure, any other a cancellation."""
    cause = "an earlier failure" if isinstance(exc, Exception) else "cancelled"
    return f"{cause}, {type(exc).__name__}"


def name_of(func: Any) -> str:
    """The name by which logs and errors call a callable: `module.qualname`, never an argument.

    A `partial` has the name of its function; an object without a name has that of its class.
    """
    while isinstance(func, partial):
        func = func.func
    cls = type(func)
    try:
        module, name = getattr(func, "__module__", None), getattr(func, "__qualname__", None)
    except Exception:  # noqa: BLE001  # a proxy may raise anything
        name = None
    if not isinstance(name, str):
        module, name = cls.__module__, cls.__qualname__
    return f"{module}.{name}" if module else name
