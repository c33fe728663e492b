"""The server's side of an HTTP connection: what is answered, and how it is sent.

Rules kept here: **after** (no task starts before the server has taken the last byte, and none where
the response was never completed), when to **release** (between the two), and **nothing lost** where
a response is not sent.

What may live here: turning content into ASGI messages (ASGI specification, "Response Start" and
"Response Body"), and what follows them. What is answered is decided above.
"""

from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Mapping,
)
from copy import copy
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from typing import Any, Literal, Self
from urllib.parse import quote

import msgspec
from anyio import CancelScope, create_task_group
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint

from minibg.background import BackgroundTasks, FailFastTasks
from minibg.concurrency import iterate_in_threadpool
from minibg.datastructures import URL, MutableHeaders, RawHeaders, encode_header
from minibg.naming import reason_of
from minibg.requests import ClientDisconnect
from minibg.types import Background, Message, Receive, Scope, Send


def has_no_body(status_code: int) -> bool:
    """Whether a response of that status has neither body nor length (RFC 9110, section 6.4.1)."""
    return status_code < 200 or status_code in (204, 304)


Release = Callable[[BaseException | None], Awaitable[None]]


async def run_in_turn(lists: list[BackgroundTasks]) -> None:
    """Run all that a request left behind, list after list.

    Each list keeps its own policy; a failure that this lets through ends the whole run.
    """
    if len(lists) == 1:
        await lists[0]()
    else:
        while any(tasks.tasks for tasks in lists):  # a task may add to a list that has run
            await FailFastTasks(lists)()


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
        if has_no_body(status_code):
            self.body, self.raw_headers = b"", []
        else:
            self.body = self.render(content)
            self.raw_headers = self._describe_body(len(self.body))
        if headers:
            self._add(headers)

    def render(self, content: Any) -> bytes:
        """The body for that content."""
        if content is None:
            return b""
        if isinstance(content, str):
            return content.encode(self.charset)
        if isinstance(content, bytes | bytearray | memoryview):
            return bytes(content)
        raise TypeError(f"content must be str or bytes, not {type(content).__name__}")

    def _describe_body(self, length: int | None) -> RawHeaders:
        raw = [] if length is None else [(b"content-length", b"%d" % length)]
        if self.media_type is not None:
            raw.append(_content_type(self.media_type, self.charset))
        return raw

    def _add(self, headers: Mapping[str, str]) -> None:
        given = [encode_header(*item) for item in headers.items()]
        names = {name for name, _ in given}
        self.raw_headers = [pair for pair in self.raw_headers if pair[0] not in names] + given

    @cached_property
    def headers(self) -> MutableHeaders:
        """The headers; what is changed here is sent."""
        return MutableHeaders(self.raw_headers)

    def with_wishes(self, wished: "Response") -> Self:
        """The same response with what was set on another one: its headers and its background.

        This one stays as it is, as it may be sent again.
        """
        response = copy(self)
        response.__dict__.pop("headers", None)
        replaced = {name for name, _ in wished.raw_headers} - {b"set-cookie"}
        response.raw_headers = [pair for pair in self.raw_headers if pair[0] not in replaced]
        response.raw_headers += wished.raw_headers
        if wished.background is not None:
            both = [b for b in (wished.background, self.background) if b is not None]
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

    async def respond(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        injected: Iterable[BackgroundTasks] = (),
        release: Release | None = None,
    ) -> None:
        """Send the response, then release what the request held, then run the background.

        Args:
            scope, receive, send: Those of the request.
            injected: Lists that run before the response's own background.
            release: Awaited between response and background, with what sending raised, if anything
                is held.
        """
        lists, own = list(injected), self.background
        if own is not None:
            lists.append(own if isinstance(own, BackgroundTasks) else BackgroundTasks([own]))
        try:
            await self.send_response(scope, receive, send)
        except BaseException as exc:
            if release is not None:
                await release(exc)
            for tasks in lists:
                tasks.abandon(f"the response was not sent, {type(exc).__name__}")
            if isinstance(exc, ClientDisconnect):
                return  # nobody is left to answer, and nothing of ours has failed
            raise
        try:
            if release is not None:
                await release(None)
            if lists:
                await run_in_turn(lists)
        except BaseException as exc:
            for tasks in lists:
                tasks.abandon(reason_of(exc))
            raise

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.respond(scope, receive, send)


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
        self.status_code = status_code
        if media_type is not None:
            self.media_type = media_type
        self.background = background
        self.raw_headers = [] if has_no_body(status_code) else self._describe_body(None)
        if headers:
            self._add(headers)
        if not isinstance(content, AsyncIterable):
            content = iterate_in_threadpool(content)
        self.body_iterator: AsyncIterator[str | bytes] = aiter(content)

    async def send_response(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response to its last byte, and run nothing after it.

        Raises:
            ClientDisconnect: If the client goes away before the last byte.
        """
        await send(self._start())
        completed = False
        try:
            async with create_task_group() as group:
                self._accompany(group, receive, send)
                await self._send_body(scope, send)
                completed = True
                group.cancel_scope.cancel()
        except BaseExceptionGroup as several:  # what was raised first is what is reported
            raise several.exceptions[0] from None
        if not completed:
            raise ClientDisconnect("the client went away before the response was complete")
        await send({"type": "http.response.body", "body": b""})

    def _encode(self, chunk: Any) -> bytes:
        return chunk.encode(self.charset) if isinstance(chunk, str) else chunk

    def _accompany(self, group: TaskGroup, receive: Receive, send: Send) -> None:
        """Start what goes on while the body is sent; it ends with it."""
        group.start_soon(_cancel_on_disconnect, receive, group.cancel_scope)

    async def _send_body(self, scope: Scope, send: Send) -> None:
        try:
            if scope["method"] != "HEAD" and not has_no_body(self.status_code):
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
