"""Errors that become answers.

What may live here: exception classes. How an error becomes a response is the business of
`applications.py`.
"""

from collections.abc import Mapping
from copyreg import __newobj__  # type: ignore[attr-defined]  # typeshed has it not
from http import HTTPStatus
from typing import Any

PHRASES = {status.value: status.phrase for status in HTTPStatus}


class HTTPException(Exception):
    """Raised by an endpoint to answer with an error.

    Args:
        status_code: The status of the answer, from 200 to 599.
        detail: What the answer's `{"detail": ...}` holds, anything that JSON can hold. By default
            the phrase that belongs to the status (RFC 9110, section 15), or no text if none does.
        headers: Headers of the answer.

    Raises:
        ValueError: If no answer has that status.
    """

    def __init__(
        self, status_code: int, detail: Any = None, headers: Mapping[str, str] | None = None
    ) -> None:
        if not (isinstance(status_code, int) and 200 <= status_code <= 599):
            raise ValueError(f"a status is a number from 200 to 599, not {status_code!r}")
        self.status_code = status_code
        self.detail = PHRASES.get(status_code, "") if detail is None else detail
        self.headers = headers

    def __reduce__(self) -> tuple[Any, ...]:  # `Exception` forgets what was given by keyword
        return __newobj__, (type(self), *self.args), self.__dict__

    def __str__(self) -> str:
        return f"{self.status_code}: {self.detail}"
