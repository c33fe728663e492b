"""The server's side of an HTTP connection: what is answered, and how it is sent.

Rules kept here: **after** (no task starts before the server has taken the last byte, and none where
the response was never completed), when to **release** (between the two), and **nothing lost** where
a response is not sent.

What may live here: turning content into ASGI messages (ASGI specification, "Response Start" and
"Response Body"), and what follows them. What is answered is decided above.
"""

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
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
from minibg.concurrency import iterate_in_threadpool
from minibg.datastructures import URL, MutableHeaders, RawHeaders, encode_header
from minibg.naming import reason_of
from minibg.requests import ClientDisconnect
from minibg.types import Background, Message, Receive, Scope, Send

NOTHING_HELD = nullcontext()


NO_BODY = frozenset({*range(200), 204, 304})
"""The statuses of responses that have neither body nor length (RFC 9110, section 6.4.1)."""


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
            self.body, self.raw_headers = b"", []
        else:
            self.body = self.render(content)
            self.raw_headers = self._body_headers()
        if headers:
            self._set_headers([encode_header(*item) for item in headers.items()])

    def render(self, content: Any) -> bytes:
        """The body for that content."""
        if content is None:
            return b""
        if isinstance(content, str):
            return content.encode(self.charset)
        if isinstance(content, bytes | bytearray | memoryview):
            return bytes(content)
        raise TypeError(f"content must be str or bytes, not {type(content).__name__}")

    def _body_headers(self) -> RawHeaders:
        length = (b"content-length", b"%d" % len(self.body))
        if self.media_type is None:
            return [length]
        return [length, _content_type(self.media_type, self.charset)]

    def _set_headers(self, given: RawHeaders) -> None:
        """Set headers in place of those of their names; cookies stand beside each other."""
        names = {name for name, _ in given} - {b"set-cookie"}
        self.raw_headers = [pair for pair in self.raw_headers if pair[0] not in names] + given

    @cached_property
    def headers(self) -> MutableHeaders:
        """The headers; what is changed here is sent."""
        return MutableHeaders(self.raw_headers)

    def combined_with(self, injected: "Response") -> Self:
        """A copy with what was set on another response: its headers, cookies and background.

        This one stays as it is, as it may be sent again.
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
            value: Its value; what a cookie may not hold is quoted.
            max_age: How many seconds it lives.
            expires: Until when it lives: a `datetime` with a time zone, seconds from now, or text.
            path, domain: Where the client sends it.
            secure, httponly, samesite: When the client sends it, and to whom it shows it.
            partitioned: Whether each site that embeds this one has a cookie of its own (CHIPS).

        Raises:
            ValueError: If the name is none that a cookie can have, an attribute holds ";", or
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

        The arguments are those with which it was set. A client takes no header for a cookie whose
        name begins with `__Host-` or `__Secure-` that is not `secure` (RFC 6265bis), so it is.
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
        return {
            "type": "http.response.start",
            "status": self.status_code,
            "headers": self.raw_headers,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await respond(self, scope, receive, send)


class PlainTextResponse(Response):
    """A response of plain text."""

    media_type = "text/plain"


class HTMLResponse(Response):
    """A response of HTML."""

    media_type = "text/html"


class JSONResponse(Response):
    """A response of JSON: of whatever msgspec encodes, dates, UUIDs and dataclasses among it.

    Raises:
        TypeError: If the content holds something that JSON has no form for.
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
        content: What yields the pieces, strings or bytes. A sync iterable is driven in a worker
            thread. Left before its end, an iterator that can be closed is closed.

    The other arguments are those of `Response`.
    """

    def __init__(
        self,
        content: AsyncIterable[str | bytes] | Iterable[str | bytes],
        status_code: int = 200,
        headers: Mapping[str, str] | None = None,
        media_type: str | None = None,
        background: Background | None = None,
    ) -> None:
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
        """
        await send(self._start())
        if not await self._send_pieces(scope, receive, send):
            raise ClientDisconnect("the client went away before the response was complete")
        await send({"type": "http.response.body", "body": b""})

    async def _send_pieces(self, scope: Scope, receive: Receive, send: Send) -> bool:
        """Send all pieces, and give whether the client was there until the last."""
        try:
            async with create_task_group() as group:
                self._start_companions(group, receive, send)
                await self._send_body(scope, send)
                group.cancel_scope.cancel()
                return True
        except BaseExceptionGroup as several:  # what was raised first is what is reported
            raise several.exceptions[0] from None
        return False  # a companion has cancelled the group

    def _encode(self, chunk: Any) -> bytes:
        return chunk.encode(self.charset) if isinstance(chunk, str) else chunk

    def _start_companions(self, group: TaskGroup, receive: Receive, send: Send) -> None:
        """Start what goes on while the body is sent; it ends with it."""
        group.start_soon(_cancel_on_disconnect, receive, group.cancel_scope)

    async def _send_body(self, scope: Scope, send: Send) -> None:
        try:
            if scope["method"] != "HEAD" and self.status_code not in NO_BODY:
                async for chunk in self.body_iterator:
                    body = self._encode(chunk)
                    await send({"type": "http.response.body", "body": body, "more_body": True})
                    await checkpoint()  # a server whose client is gone takes all without a pause
        finally:
            close = getattr(self.body_iterator, "aclose", None)
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
    resources: AbstractAsyncContextManager[Any] = NOTHING_HELD,
) -> None:
    """Send a response, then release what the request holds, then run the background.

    Args:
        response: What is sent.
        scope, send: Those of the request.
        receive: That of the request, or `Request.receive_disconnect`, which leaves its body alone.
        injected: Lists that run before the response's own background.
        resources: What the request holds. It is left between response and background.
    """
    lists = [*injected]
    own = response.background
    if own is not None:
        lists.append(own if isinstance(own, BackgroundTasks) else BackgroundTasks([own]))
    reason = "the response was not sent"
    try:
        async with resources:
            await response.send_response(scope, receive, send)
            reason = "cancelled"  # what else fails while the resources are released is logged
    except BaseException as exc:
        for tasks in lists:
            tasks.abandon(f"{reason}, {type(exc).__name__}")
        if isinstance(exc, ClientDisconnect):
            return  # nobody is left to answer, and nothing of ours has failed
        raise
    await run_in_turn(lists)


tasks_of = attrgetter("tasks")  # `any(map(...))` takes half the instructions of a generator


async def run_in_turn(lists: list[BackgroundTasks]) -> None:
    """Run all that a request left behind, list after list.

    Each list keeps its own policy; a failure that one lets through ends the whole run.
    """
    try:
        while any(map(tasks_of, lists)):  # a task may add to a list that has run
            for tasks in lists:
                await tasks()
    except BaseException as exc:
        for tasks in lists:
            tasks.abandon(reason_of(exc))
        raise
