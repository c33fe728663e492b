"""The server's side of an HTTP connection: what is answered, and how it is sent.

Rules kept here: **after** (no task starts before the server has taken the last byte, and none where
the response was never completed), when to **release** (between the two), and **nothing lost** where
a response is not sent.

What may live here: turning content into ASGI messages (ASGI specification, "Response Start" and
"Response Body"), and what follows them. The callers decide what is answered.
"""

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from copy import copy
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from operator import attrgetter
from typing import Any, Literal, Self
from urllib.parse import quote

import msgspec
from anyio import CancelScope, create_task_group
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint

from minibg.background import BackgroundTasks
from minibg.concurrency import is_async_callable, iterate_in_threadpool
from minibg.datastructures import URL, MutableHeaders, RawHeaders, encode_header
from minibg.naming import reason_of
from minibg.requests import ClientDisconnect
from minibg.types import ASGIApp, Background, Message, Receive, Scope, Send

NO_BODY = frozenset({*range(200), 204, 205, 304})
"""The statuses of responses that have no content (RFC 9110, sections 6.4.1 and 15.3.6)."""

LAST_OF_BODY = ("http.response.body", "http.response.pathsend", "http.response.zerocopysend")
"""The messages that end a response where none of them is to follow (ASGI, "Extensions")."""


NO_LENGTH = (b"content-length", b"0")
BINARY = (bytes, bytearray, memoryview)


@lru_cache
def _content_type(media_type: str, charset: str) -> tuple[bytes, bytes]:
    if media_type.startswith("text/") and "charset=" not in media_type:
        media_type += f"; charset={charset}"
    return encode_header("content-type", media_type)


class Response:
    """An HTTP response, and an ASGI application that answers every request with it.

    Args:
        content: The body; a string is encoded as UTF-8.
        status_code: The status (RFC 9110, section 15).
        headers: Headers besides `Content-Length` and `Content-Type`, or in place of those.
        media_type: The `Content-Type`; to a text type `charset=utf-8` is added.
        background: An async callable that is awaited when the response has been sent.

    Raises:
        ValueError: If a header's name is no token, or its value holds CR, LF or NUL.
    """

    media_type: str | None = None
    charset = "utf-8"
    is_plain = True
    """Whether `send_response` is that of this class, which does not `receive`."""
    reads_body = False
    """Whether it reads the request's body while it is sent."""
    _has_own_headers = False

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.is_plain = cls.send_response is Response.send_response

    def __init__(
        self,
        content: Any = None,
        status_code: int = 200,
        headers: Mapping[str, str] | None = None,
        media_type: str | None = None,
        background: Background | None = None,
    ) -> None:
        self.status_code = status_code
        if media_type is not None:
            self.media_type = media_type
        self.background = background
        if status_code in NO_BODY:
            self.body, self.raw_headers = b"", [NO_LENGTH] if status_code == 205 else []
        else:
            self.body = self.render(content)
            self.raw_headers = self._body_headers()
        if headers:
            self._set_headers([encode_header(*item) for item in headers.items()])

    def render(self, content: Any) -> bytes:
        """The body for the content."""
        return b"" if content is None else self._encode(content)

    def _encode(self, piece: Any) -> bytes:
        if isinstance(piece, str):
            return piece.encode(self.charset)
        if isinstance(piece, BINARY):
            return bytes(piece)
        raise TypeError(f"content must be str or bytes, not {type(piece).__name__}")

    def _body_headers(self) -> RawHeaders:
        length = (b"content-length", b"%d" % len(self.body))
        if self.media_type is None:
            return [length]
        return [length, _content_type(self.media_type, self.charset)]

    def _set_headers(self, given: RawHeaders) -> None:
        self._has_own_headers = True
        self.raw_headers = _replaced(self.raw_headers, given)

    @cached_property
    def headers(self) -> MutableHeaders:
        """The headers; changes to them are sent."""
        self._has_own_headers = True
        return MutableHeaders(self.raw_headers)

    def combined_with(self, injected: "Response") -> Self:
        """A copy with the headers, cookies and background that were set on another response.

        This response stays unchanged, since it may be sent again.
        """
        response = copy(self)
        response.__dict__.pop("headers", None)
        response._set_headers(injected.raw_headers)
        if injected.background is not None:
            both = [b for b in (injected.background, self.background) if b is not None]
            response.background = BackgroundTasks(both)
        return response

    def set_cookie(
        self,
        key: str,
        value: str = "",
        max_age: int | None = None,
        expires: datetime | str | int | None = None,
        path: str | None = "/",
        domain: str | None = None,
        secure: bool = False,
        httponly: bool = False,
        samesite: Literal["lax", "strict", "none"] | None = "lax",
        partitioned: bool = False,
    ) -> None:
        """Add a `Set-Cookie` header (RFC 6265).

        Args:
            key: The cookie's name.
            value: Its value; characters that a cookie may not hold are quoted.
            max_age: How many seconds it lives.
            expires: Until when it lives: a `datetime` with a time zone, seconds from now, or text.
            path, domain: Where the client sends it.
            secure, httponly, samesite: When the client sends it, and to whom it shows it.
            partitioned: Whether each site that embeds this one has a cookie of its own (CHIPS).

        Raises:
            ValueError: If a cookie cannot have the name, an attribute holds ";", or
                this Python cannot write one (`partitioned` needs 3.14).
        """
        from http.cookies import CookieError, SimpleCookie  # noqa: PLC0415  # slow to import

        if isinstance(expires, datetime):
            from email.utils import format_datetime  # noqa: PLC0415  # seldom used, slow to import

            expires = format_datetime(expires.astimezone(UTC), usegmt=True)
        attributes: dict[str, Any] = {
            "max-age": max_age,
            "expires": expires,
            "path": path,
            "domain": domain,
            "secure": secure or None,
            "httponly": httponly or None,
            "samesite": samesite,
            "partitioned": partitioned or None,
        }
        given = {name: item for name, item in attributes.items() if item is not None}
        for name, item in given.items():
            if ";" in str(item):
                raise ValueError(f"the {name} of the cookie {key!r} must not hold ';'")
        try:
            cookie: SimpleCookie = SimpleCookie({key: value})
            cookie[key].update(given)
        except CookieError as exc:
            raise ValueError(f"the cookie {key!r} cannot be set: {exc}") from exc
        self.headers.append("set-cookie", cookie[key].OutputString())

    def delete_cookie(
        self,
        key: str,
        path: str = "/",
        domain: str | None = None,
        secure: bool = False,
        httponly: bool = False,
        samesite: Literal["lax", "strict", "none"] | None = "lax",
        partitioned: bool = False,
    ) -> None:
        """Add a `Set-Cookie` header that makes the client forget the cookie.

        The arguments are those with which it was set. If the name begins with `__Host-` or
        `__Secure-`, the header is `secure`: clients ignore it otherwise (RFC 6265bis).
        """
        secure = secure or key.lower().startswith(("__host-", "__secure-"))
        self.set_cookie(key, "", 0, None, path, domain, secure, httponly, samesite, partitioned)

    async def send_response(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response to its last byte, and run nothing after it.

        A HEAD request gets the headers only (RFC 9110, section 9.3.2).
        """
        await send(self._start())
        body = b"" if scope["method"] == "HEAD" else self.body
        await send({"type": "http.response.body", "body": body})

    def _start(self) -> Message:
        headers = self.raw_headers.copy()  # middleware may change the list that it gets
        if self._has_own_headers:
            headers = _framed(headers, self.status_code)
        return {"type": "http.response.start", "status": self.status_code, "headers": headers}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await respond(self, scope, receive, send)


class ASGIResponse(Response):
    """Any ASGI application as a response: one of Starlette's, or one with a `__call__` of its own.

    Its `background` runs by minibg's rules. Headers set on another response go out with it. An
    application without a `status_code` is not a response, and may read the body of the request. A
    body larger than `max_body_size` is refused in its place (413): it sees a client that has gone.

    Args:
        app: The application.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.reads_body = getattr(app, "reads_body", not hasattr(app, "status_code"))
        self.status_code = 0
        self.raw_headers = []
        self.background = getattr(app, "background", None)
        if not callable(self.background):
            self.background = None
        else:
            self.app = copy(app)  # it may be sent again, and must not run its background itself
            self.app.background = None  # type: ignore[attr-defined]  # it has one, as asked above

    async def send_response(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Have the application send its response, and run nothing after it.

        Raises:
            ClientDisconnect: If it returns before it has sent the last byte.
        """
        is_complete = False

        async def send_and_note(message: Message) -> None:
            nonlocal is_complete
            if message["type"] == "http.response.start":
                headers = _replaced(message.get("headers", ()), self.raw_headers)
                message = {**message, "headers": _framed(headers, message["status"])}
            await send(message)
            if message["type"] in LAST_OF_BODY:
                is_complete = not message.get("more_body", False)

        try:
            await self.app(scope, receive, send_and_note)
        finally:
            await close_pieces(self.app)
        if not is_complete:
            raise ClientDisconnect("the response was given up before it was complete")


def as_response(result: Any) -> Response | None:
    """The response that a function has returned, or None if it has returned something else."""
    if isinstance(result, Response) and type(result).__call__ is Response.__call__:
        return result
    return ASGIResponse(result) if callable(result) and is_async_callable(result) else None


def _replaced(headers: Iterable[tuple[bytes, bytes]], given: RawHeaders) -> RawHeaders:
    """The headers, with given ones in place of those of the same name; cookies are added."""
    names = {name for name, _ in given} - {b"set-cookie"}
    return [pair for pair in headers if pair[0].lower() not in names] + given


def _framed(headers: RawHeaders, status_code: int) -> RawHeaders:
    """The headers, with nothing in them that contradicts the framing.

    The server decides how a body is transferred, and one length is enough, if any is allowed
    (RFC 9112, sections 6.1 and 6.3; RFC 9110, section 8.6).
    """
    names = [name for name, _ in headers]
    lengths = names.count(b"content-length")
    if b"transfer-encoding" in names or lengths > 1 or (lengths and status_code in NO_BODY):
        length = [pair for pair in headers if pair[0] == b"content-length"][-1:]
        if status_code in NO_BODY:
            length = {304: length, 205: [NO_LENGTH]}.get(status_code, [])
        framing = (b"transfer-encoding", b"content-length")
        return [pair for pair in headers if pair[0] not in framing] + length
    return headers


class PlainTextResponse(Response):
    """A response of plain text."""

    media_type = "text/plain"


class HTMLResponse(Response):
    """A response of HTML."""

    media_type = "text/html"


class JSONResponse(Response):
    """A response of JSON: anything that msgspec encodes, including dates, UUIDs and dataclasses.

    Raises:
        TypeError: If the content holds a value that JSON cannot represent.
    """

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return msgspec.json.encode(content)


class RedirectResponse(Response):
    """A response that sends the client elsewhere; 307 lets it keep its method and body."""

    def __init__(
        self,
        url: str | URL,
        status_code: int = 307,
        headers: Mapping[str, str] | None = None,
        background: Background | None = None,
    ) -> None:
        super().__init__(None, status_code, headers, background=background)
        self.headers["location"] = quote(str(url), safe=":/%#?=@[]!$&'()*+,;")


class StreamingResponse(Response):
    """A response whose body is sent piece by piece, as an iterator yields it.

    Args:
        content: An iterable of the pieces, strings or bytes. A sync one runs in a worker thread.
            An iterator that is left before its end is closed, if it can be.

    The other arguments are those of `Response`.

    Raises:
        TypeError: If the content is one string, or one piece of bytes: it has no pieces.
    """

    def __init__(
        self,
        content: AsyncIterable[str | bytes] | Iterable[str | bytes],
        status_code: int = 200,
        headers: Mapping[str, str] | None = None,
        media_type: str | None = None,
        background: Background | None = None,
    ) -> None:
        if isinstance(content, (str, *BINARY)):
            got = type(content).__name__
            raise TypeError(f"a stream is made of pieces, not of {got}; Response takes it whole")
        super().__init__(None, status_code, headers, media_type, background)
        if not isinstance(content, AsyncIterable):
            content = iterate_in_threadpool(content)
        self.body_iterator: AsyncIterator[str | bytes] = aiter(content)

    def _body_headers(self) -> RawHeaders:
        return super()._body_headers()[1:]  # the length is not known

    async def send_response(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response to its last byte, and run nothing after it.

        Raises:
            ClientDisconnect: If the client goes away before the last byte.
            TypeError: If a piece is neither text nor bytes.
        """
        try:
            await send(self._start())
            is_whole = await self._send_pieces(scope, receive, send)
        finally:
            await close_pieces(self)
        if not is_whole:
            raise ClientDisconnect("the client went away before the response was complete")
        await send({"type": "http.response.body", "body": b""})

    async def _send_pieces(self, scope: Scope, receive: Receive, send: Send) -> bool:
        """Send all pieces, and return whether the client was there until the last."""
        try:
            async with create_task_group() as group:
                self._start_companions(group, receive, send)
                await self._send_body(scope, send)
                group.cancel_scope.cancel()
                return True
        except BaseExceptionGroup as several:  # the exception that was raised first is reported
            raise several.exceptions[0] from None
        return False  # a companion has cancelled the group

    def _start_companions(self, group: TaskGroup, receive: Receive, send: Send) -> None:
        """Start the tasks that run while the body is sent, and end with it."""
        group.start_soon(_cancel_on_disconnect, receive, group.cancel_scope)

    async def _send_body(self, scope: Scope, send: Send) -> None:
        if scope["method"] != "HEAD" and self.status_code not in NO_BODY:
            async for chunk in self.body_iterator:
                body = self._encode(chunk)
                await send({"type": "http.response.body", "body": body, "more_body": True})
                await checkpoint()  # a server whose client is gone takes all pieces without a pause


async def close_pieces(response: Any) -> None:
    """Close the iterator of a response, if it has one that can be closed."""
    close = getattr(getattr(response, "body_iterator", None), "aclose", None)
    if close is not None:
        with CancelScope(shield=True):
            await close()


async def _cancel_on_disconnect(receive: Receive, scope: CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


async def respond(
    response: Response,
    scope: Scope,
    receive: Receive,
    send: Send,
    injected: Iterable[BackgroundTasks] = (),
    resources: AbstractAsyncContextManager[Any] | None = None,
) -> None:
    """Send a response, then release what the request holds, then run the background.

    Args:
        response: The response to send.
        scope, send: Those of the request.
        receive: That of the request, or `Request.receive_disconnect`, which leaves its body alone.
        injected: Lists that run before the response's own background.
        resources: All that the request holds, if anything; closed between response and background.
    """
    lists = [*injected]
    own = response.background
    if own is not None:
        lists.append(own if isinstance(own, BackgroundTasks) else BackgroundTasks([own]))
    reason = "the response was not sent"
    try:
        if resources is None:
            await response.send_response(scope, receive, send)
        else:
            async with resources:
                await response.send_response(scope, receive, send)
                reason = "cancelled"  # other failures during the release are logged
    except BaseException as exc:
        for tasks in lists:
            tasks.abandon(f"{reason}, {type(exc).__name__}")
        if isinstance(exc, ClientDisconnect):
            return  # nobody is left to answer, and nothing of ours has failed
        raise
    await run_in_turn(lists)


tasks_of = attrgetter("tasks")  # `any(map(...))` takes half the instructions of a generator


def run_in_turn(lists: list[BackgroundTasks]) -> Awaitable[None]:
    """Run all that a request left behind, list after list.

    Each list keeps its own policy. A failure that one of them raises ends the whole run.
    """
    if len(lists) == 1 and type(lists[0]).__call__ is BackgroundTasks.__call__:
        return lists[0]()
    return _run_in_turn(lists)


async def _run_in_turn(lists: list[BackgroundTasks]) -> None:
    try:
        while any(map(tasks_of, lists)):  # a task may add to a list that has run
            for tasks in lists:
                await tasks()
    except BaseException as exc:
        for tasks in lists:
            tasks.abandon(reason_of(exc))
        raise
