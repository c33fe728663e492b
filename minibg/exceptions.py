"""Errors that become answers.

What may live here: exception classes. How an error becomes a response is the business of
`applications.py`.
"""

import copyreg
from collections.abc import Mapping
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

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle by the attributes: a subclass's `__init__` may take other arguments."""
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]


def let_go(exc: BaseException) -> None:
    """Part an answered exception from the frames, and so the requests, through which it came.

    It may live longer than the request, as an instance that a module raises again and again does.
    """
    several: list[BaseException | None] = [exc]
    for each in several:
        if each is not None:
            several += each.__cause__, each.__context__
            each.__traceback__ = each.__cause__ = each.__context__ = None
