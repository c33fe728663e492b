"""Errors that become answers.

What may live here: exception classes. How an error becomes a response is the business of
`applications.py`.
"""

import copyreg
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

CLOSE_CODES = frozenset({*range(1000, 1004), *range(1007, 1015)})
"""The registered close codes that an endpoint may send (RFC 6455, section 11.7, and IANA)."""

PHRASES = {status.value: status.phrase for status in HTTPStatus}


class HTTPException(Exception):
    """Raised by an endpoint to answer with an error.

    Args:
        status_code: The status of the answer, from 200 to 599.
        detail: The content of the answer's `{"detail": ...}`, anything that fits JSON. By default
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

    def __str__(self) -> str:
        return f"{self.status_code}: {self.detail}"

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle by the attributes: a subclass's `__init__` may take other arguments."""
        made = (type(self), *self.args)
        return copyreg.__newobj__, made, vars(self)  # type: ignore[attr-defined]  # undocumented


class BadRequest(HTTPException):
    """The request cannot be read, for something that the client has sent or left out."""

    def __init__(self, detail: str) -> None:
        super().__init__(400, detail)


class WebSocketException(Exception):
    """Raised by a WebSocket endpoint to close the connection, or to refuse it before `accept`.

    Args:
        code: The close code (RFC 6455, section 7.4). A code below 3000 must be registered.
        reason: Why, in words: at most 123 bytes of UTF-8 (RFC 6455, section 5.5).

    Raises:
        ValueError: If the code may not be sent, or the reason does not fit.
    """

    def __init__(self, code: int, reason: str | None = None) -> None:
        super().__init__(code, reason)
        if not (isinstance(code, int) and (code in CLOSE_CODES or 3000 <= code <= 4999)):
            codes = "1000 to 1003, 1007 to 1014 or 3000 to 4999"
            raise ValueError(f"a close code that may be sent is one of {codes}, not {code!r}")
        self.code = code
        self.reason = reason or ""
        size = len(self.reason.encode())
        if size > 123:
            raise ValueError(f"a close reason has at most 123 bytes of UTF-8, not {size}")

    def __str__(self) -> str:
        return f"{self.code}: {self.reason}"


def let_go(exc: BaseException) -> None:
    """Part an answered exception from the frames, and so the requests, through which it came.

    It may live longer than the request, as an instance that a module raises again and again does.
    """
    several: list[BaseException | None] = [exc]
    for each in several:
        if each is not None:
            several += each.__cause__, each.__context__
            each.__traceback__ = each.__cause__ = each.__context__ = None
