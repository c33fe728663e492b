"""Errors that become answers.

What may live here: exception classes. How an error becomes a response is the business of
`applications.py`.
"""

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
