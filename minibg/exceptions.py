"""Errors that become answers, and how logs and errors name a function and a reason.

What may live here: exception classes and the words of their messages. How an error becomes a
response is the business of `applications.py`.
"""

from collections.abc import Mapping
from functools import partial
from http import HTTPStatus
from typing import Any


class HTTPException(Exception):
    """Raised by an endpoint to answer with an error.

    Args:
        status_code: The status of the answer, 400 for example.
        detail: What the answer's `{"detail": ...}` holds, anything that JSON can hold. By default
            the phrase that belongs to the status (RFC 9110, section 15).
        headers: Headers of the answer.
    """

    def __init__(
        self, status_code: int, detail: Any = None, headers: Mapping[str, str] | None = None
    ) -> None:
        self.status_code = status_code
        self.detail = HTTPStatus(status_code).phrase if detail is None else detail
        self.headers = headers

    def __str__(self) -> str:
        return f"{self.status_code}: {self.detail}"


def reason_of(exc: BaseException) -> str:
    """Why a run has ended early, for the log: an `Exception` is a failure, all else cancels."""
    cause = "an earlier failure" if isinstance(exc, Exception) else "cancelled"
    return f"{cause}, {type(exc).__name__}"


def name_of(func: Any) -> str:
    """The name by which logs and errors call a callable: `module.qualname`, never an argument.

    A `partial` has the name of its function, an object that has no name that of its class.
    """
    while isinstance(func, partial):
        func = func.func
    if not isinstance(getattr(func, "__qualname__", None), str):
        func = type(func)
    module = getattr(func, "__module__", None)
    return f"{module}.{func.__qualname__}" if module else str(func.__qualname__)
