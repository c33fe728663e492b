"""The client's side of an HTTP connection: the request, and its body as it comes in.

What may live here: reading the scope and the messages that a server hands in (ASGI specification,
HTTP connection scope). Nothing is parsed before somebody asks for it.
"""

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from functools import cached_property, partial
from io import BytesIO
from typing import Any

from anyio import current_time

from minibg.datastructures import URL, Address, Headers, QueryParams, State, unquote_cookie
from minibg.decoding import DOES_NOT_FIT, decode_json
from minibg.exceptions import BadRequest, HTTPException
from minibg.formparsers import (
    MAX_LENGTH_ON_THE_LOOP,
    FormData,
    FormReading,
    Limits,
    parse_form,
    run_parser,
)
from minibg.inbox import Inbox
from minibg.types import Message, Receive, Scope, Send

LINGERING_TIME = 30.0
"""For how many seconds the rest of a refused body is read, so that the client sees the answer."""

LINGERING_TIMEOUT = 5.0
"""For how many seconds the client may pause meanwhile. Names and values of both are nginx's."""

SHORT_PAUSE = 0.5
"""The seconds of such a pause after which the client is given the answer's body as well."""

_host = re.compile(r"(?:[A-Za-z0-9._~-]+|\[([0-9A-Fa-f:.]+)\])(?::0*([0-9]{0,5}))?")
_default_ports = {"http": 80, "https": 443, "ws": 80, "wss": 443}


def is_host(netloc: str) -> bool:
    """Whether a text is a host, perhaps with a port, as in a `Host` header (RFC 9110, 7.2)."""
    found = _host.fullmatch(netloc)
    if found is None or int(found[2] or 0) >= 2**16:
        return False
    return found[1] is None or _is_ipv6(found[1])


def _is_ipv6(text: str) -> bool:
    from ipaddress import IPv6Address  # noqa: PLC0415  # seldom used, slow to import

    with suppress(ValueError):
        return bool(IPv6Address(text))
    return False


class ClientDisconnect(BadRequest):
    """The client went away before the request's body, or the response, was complete."""


class InvalidJSON(BadRequest, ValueError):
    """The body is not JSON. If uncaught, it answers 400; `except ValueError` catches it as well."""


async def _no_receive() -> Message:
    raise RuntimeError("this request was made without `receive`, so it has no body")


class HTTPConnection:
    """What an HTTP request and a WebSocket have in common.

    Args:
        scope: The connection scope.
    """

    has_form = False
    """Whether a form was read, so that it has to be closed."""
    _query_params: QueryParams | None = None

    def __init__(self, scope: Scope) -> None:
        self.scope = scope

    @property
    def app(self) -> Any:
        """The application that serves this connection."""
        return self.scope["app"]

    @cached_property
    def url(self) -> URL:
        """The URL that was asked for (RFC 9112, section 3.3).

        A `Host` header that does not hold a host is replaced by the server's address, or by
        "localhost" if the server has none, as on a Unix socket.
        """
        return self._url(self.scope["path"], self.scope.get("query_string", b""))

    @cached_property
    def base_url(self) -> URL:
        """The URL at which the application is mounted (ASGI, `root_path`), and a slash."""
        return self._url(self.scope.get("root_path", "").rstrip("/") + "/", b"")

    def _url(self, path: str, query: bytes) -> URL:
        default = "ws" if self.scope["type"] == "websocket" else "http"
        scheme, netloc = self.scope.get("scheme", default), self.headers.get("host", "")
        if not is_host(netloc):
            host, port = self.scope.get("server") or ("", None)
            host = host.partition("%")[0]  # the zone of an IPv6 address means nothing elsewhere
            netloc = f"[{host}]" if ":" in host else host
            if port != _default_ports.get(scheme) and port is not None:
                netloc += f":{port}"
        netloc = netloc if is_host(netloc) else "localhost"
        return URL.as_sent(scheme, netloc, path, self.scope.get("raw_path") or b"", query)

    @cached_property
    def headers(self) -> Headers:
        """The headers. Their names are case-insensitive."""
        # ASGI allows any iterable, also one that can be read only once.
        raw = self.scope["headers"] = list(self.scope.get("headers", ()))
        return Headers(raw)

    @property
    def query_params(self) -> QueryParams:
        """The parameters of the query string, decoded."""
        if self._query_params is None:  # `cached_property` takes a lock on Python 3.11: 0.5 us
            self._query_params = QueryParams(self.scope.get("query_string", b""))
        return self._query_params

    @property
    def path_params(self) -> dict[str, Any]:
        """The values of the route's parameters in the path, converted."""
        params: dict[str, Any] = self.scope.get("path_params", {})
        return params

    @cached_property
    def cookies(self) -> dict[str, str]:
        """The cookies. Anything but `name=value` is skipped."""
        headers = ";".join(self.headers.getlist("cookie"))
        pairs = (pair.partition("=") for pair in headers.split(";"))
        cookies = {name.strip(): unquote_cookie(value.strip()) for name, eq, value in pairs if eq}
        cookies.pop("", None)
        return cookies

    @property
    def client(self) -> Address | None:
        """The client's host and port, if the server knows them."""
        return Address(*client) if (client := self.scope.get("client")) else None

    @property
    def session(self) -> Any:
        """What Starlette's `SessionMiddleware` keeps for the client from request to request."""
        assert "session" in self.scope, (
            "SessionMiddleware must be installed to access request.session"
        )
        return self.scope["session"]

    @property
    def state(self) -> State:
        """Free attributes of this request; at first, those that the lifespan yielded."""
        return State(self.scope.setdefault("state", {}))


class Request(HTTPConnection):
    """An HTTP request.

    Args:
        scope: The connection scope, of type "http".
        receive: The source of the body.
    """

    _body: bytes | None = None
    _form: FormData | None = None
    _stream_consumed = False
    _is_refused = False  # because its body is too large
    _is_passed_on = False  # to an application that may leave a part of the body unread
    has_inbox = False
    """Whether somebody has asked for anything of the `inbox`."""

    def __init__(self, scope: Scope, receive: Receive = _no_receive) -> None:
        self.scope = scope
        self._receive = receive

    @cached_property
    def inbox(self) -> Inbox:
        """The messages of this request. All its readers share this inbox."""
        self.has_inbox = True
        return Inbox(self._receive, getattr(self.scope.get("app"), "max_body_size", None))

    @property
    def method(self) -> str:
        """The method, in upper case."""
        return str(self.scope["method"])

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """The body in the pieces in which it comes, once.

        Raises:
            HTTPException: 413, if the body is larger than the application's `max_body_size`
                (bytes). No more of it is read than that.
            ClientDisconnect: If the client goes away before the body is complete.
            RuntimeError: If the body has been streamed before.
        """
        if self._body is not None:
            yield self._body
            return
        if self._stream_consumed:
            raise RuntimeError("the body was streamed already; only `body()` keeps it")
        self._stream_consumed = True
        self._refuse_unread()
        inbox, limit = self.inbox, self.inbox.limit
        received, more_body = 0, True
        try:
            while more_body:
                message = await inbox.receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect("the client went away before the body was complete")
                chunk, more_body = message.get("body", b""), message.get("more_body", False)
                received += len(chunk)
                self._refuse_if_larger(received, limit)
                if chunk:
                    yield chunk
        finally:
            if more_body:
                inbox.discard()

    def _refuse_unread(self) -> None:
        """Refuse a body that is announced as too large, or was discarded."""
        declared = self.headers.get("content-length", "")
        size = int(declared[:20]) if declared.isdecimal() else 0  # more digits are no smaller
        self._refuse_if_larger(size, self.inbox.limit)
        if self.inbox.is_discarded:
            self._refuse_if_larger(self.inbox.room + 1, self.inbox.room)

    def _refuse_if_larger(self, size: int, limit: int | None) -> None:
        if limit is not None and size > limit:
            self._is_refused = True
            self.inbox.discard()
            # The connection serves no other request, as the rest of the body may never come.
            detail = f"the body is larger than {limit} bytes"
            raise HTTPException(413, detail, headers={"connection": "close"})

    @property
    def has_unread_body(self) -> bool:
        """Whether the client may still send a body, so that the response has to be `lingering`.

        The headers announce it (RFC 9112, section 6.3).
        """
        return self.inbox.more_body and (
            self._is_refused
            or self.headers.get("content-length", "0") != "0"
            or "transfer-encoding" in self.headers
        )

    def lingering(self, send: Send) -> Send:
        """A `send` that completes the response when the rest of the body has been read.

        The server closes the connection when the response is complete, and granian when all of its
        length has been sent. Closed while the client still sends, a connection is reset, and the
        client may never see the answer (RFC 9112, section 9.6). So the head is sent at once, the
        body when the client has sent all, or pauses: it may have seen the head.
        """

        async def send_and_linger(message: Message) -> None:
            is_last = message["type"] == "http.response.body" and not message.get("more_body")
            if is_last and self._is_passed_on:
                self.inbox.discard()
            deadline = current_time() + LINGERING_TIME
            if is_last and not await self._has_sent_all(deadline):
                await send({**message, "more_body": True})
                await self.inbox.drain(LINGERING_TIMEOUT, deadline)
                message = {"type": "http.response.body", "body": b""}
            await send(message)

        return send_and_linger

    async def _has_sent_all(self, deadline: float) -> bool:
        """Wait until the client has sent its body, or pauses, and return whether it has sent all.

        One that expects "100 Continue" sends nothing without it (RFC 9110, section 10.1.1), and
        granian would send that if the body was asked for now.
        """
        expects = self.headers.get("expect", "").lower() == "100-continue"
        if expects and not self.inbox.has_begun:
            return False
        return await self.inbox.drain(SHORT_PAUSE, deadline)

    async def body(self) -> bytes:
        """The whole body. Raises what `stream` raises."""
        if self._body is None:
            body = BytesIO()  # pieces of a byte or two would each take many times that in a list
            async for chunk in self.stream():
                body.write(chunk)
            self._body = body.getvalue()
        return self._body

    async def json(self) -> Any:
        """The body as JSON, whatever type the client declares.

        Raises:
            InvalidJSON: If it is not JSON. `stream`'s errors are raised as well.
        """
        body = await self.body()
        in_thread = len(body) > MAX_LENGTH_ON_THE_LOOP
        try:
            return await run_parser(partial(decode_json, body), in_thread)
        except RecursionError as exc:
            raise InvalidJSON("JSON is nested too deeply") from exc
        except DOES_NOT_FIT as exc:
            raise InvalidJSON(str(exc)) from exc

    def form(
        self, *, max_files: int = 1000, max_fields: int = 1000, max_part_size: int = 1024 * 1024
    ) -> FormReading:
        """The body as a form, to be awaited; its files are closed on **release**.

        With `async with request.form() as form:` they are closed at the end of that block.

        Args:
            max_files: How many files it may have.
            max_fields: How many fields it may have besides files.
            max_part_size: How many bytes such a field may have as it is sent.

        Raises:
            HTTPException: 400, if it is malformed or larger than that; and what `stream` raises.
        """
        return FormReading(self._read_form(Limits(max_files, max_fields, max_part_size)))

    async def _read_form(self, limits: Limits) -> FormData:
        if self._form is None:
            self.has_form = True
            async with aclosing(self.stream()) as stream:
                self._form = await parse_form(self.headers.get("content-type", ""), stream, limits)
        return self._form

    async def close(self) -> None:
        """Close the files of the form, if it was read."""
        if self._form is not None:
            await self._form.close()

    async def receive_disconnect(self) -> Message:
        """Wait until the client goes away. The body can still be read, meanwhile and afterwards.

        For that it is kept in memory, up to the application's `max_body_size` and `MAX_UNREAD`. If
        more comes, and nobody has begun to read it, it is discarded; to read it then is a 413.
        While somebody reads it, the disconnect is heard when that much of it is not left unread.
        """
        return await self.inbox.receive_disconnect()

    def receive_again(self) -> Receive:
        """A `receive` for an application that may read the body itself, even if `body()` has.

        Where the body was streamed before, it waits for the disconnect. It raises what `stream`
        raises.
        """
        kept, received, is_reading = self._body, 0, False
        if self._is_refused:
            kept = b""  # what is read now answers the refusal

        async def receive() -> Message:
            nonlocal kept, received, is_reading
            if kept is not None:
                body, kept = kept, None
                return {"type": "http.request", "body": body, "more_body": False}
            if not is_reading and self._stream_consumed:
                return await self.receive_disconnect()
            if not is_reading:
                is_reading = self._stream_consumed = self._is_passed_on = True
                self._refuse_unread()
            message = await self.inbox.receive()
            received += len(message.get("body", b""))
            self._refuse_if_larger(received, self.inbox.limit)
            return message

        return receive

    async def is_disconnected(self) -> bool:
        """Whether the client has gone, as far as the server has said by now.

        The first call gives the server ten milliseconds to say it; the others do not wait. The body
        can still be read: what has come of it is kept in memory, as by `receive_disconnect`. But it
        is discarded only above `max_body_size`. So where `MAX_UNREAD` is less than that, and more
        is unread, this hears of a disconnect only when the body is read.
        """
        await self.inbox.poll()
        return self.inbox.is_disconnected
