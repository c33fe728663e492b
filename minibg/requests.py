"""The client's side of an HTTP connection: what was asked, and the body as it comes in.

What may live here: reading the scope and the messages that a server hands in (ASGI specification,
HTTP connection scope). Nothing is parsed before somebody asks for it.
"""

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from enum import Enum
from functools import cached_property
from io import BytesIO
from typing import Any
from urllib.parse import quote

import msgspec
from anyio import CancelScope, Event, current_time, move_on_after
from anyio.lowlevel import checkpoint

from minibg.concurrency import start_apart
from minibg.datastructures import URL, Address, Headers, QueryParams, State, unquote_cookie
from minibg.exceptions import HTTPException
from minibg.formparsers import FormData, parse_form
from minibg.types import Message, Receive, Scope, Send

MAX_UNREAD = 16 * 1024 * 1024
"""How many bytes of a body are kept for its reader, while others listen for the disconnect."""

A_MOMENT = 0.01
"""For how many seconds the server is asked, the first time, whether the client has gone."""

LINGERING_TIME = 30.0
"""For how many seconds the rest of a refused body is read, so that the client sees the answer."""

LINGERING_TIMEOUT = 5.0
"""For how many seconds the client may pause meanwhile. Names and values of both are nginx's."""

SHORT_PAUSE = 0.5
"""After how many seconds of such a pause the client is given the answer's body as well."""

_host = re.compile(r"(?:[A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?")  # RFC 9110, section 7.2


class ClientDisconnect(HTTPException):
    """The client went away before the request's body, or the response, was complete."""

    def __init__(self, detail: str) -> None:
        super().__init__(400, detail)


class InvalidJSON(HTTPException, ValueError):
    """The body is no JSON. Uncaught it answers 400; `except ValueError` catches it as well."""

    def __init__(self, detail: str) -> None:
        super().__init__(400, detail)


async def _no_receive() -> Message:
    raise RuntimeError("this request was made without `receive`, so it has no body")


class Body(Enum):
    """What becomes of the pieces of a body that come in. See the table of `Inbox`."""

    EXPECTED = "kept for whoever will read them"
    READ = "kept for the one who reads"
    DISCARDED = "forgotten"


class Inbox:
    """The messages of one request, for several readers at a time.

    One reads the body, with `receive`. Others wait until the client goes away, or ask whether it
    has. A server tells that behind the body only. So for them a task of the inbox's own listens: it
    takes in message after message, and keeps the body for its reader, up to `room` bytes and one
    piece more. A `receive` that it has begun is never cancelled, as granian and Starlette's
    `BaseHTTPMiddleware` would lose what comes at that moment.

    ========= ====================== ============= ==============================================
    the body  since                  its pieces    when more than `room` bytes are kept
    ========= ====================== ============= ==============================================
    EXPECTED  the beginning          are kept      it is DISCARDED, if it exceeds its limit, or
                                                   somebody waits for the disconnect; else the
                                                   inbox listens no more until it is READ
    READ      the first `receive`    are kept      the inbox listens no more until the reader has
                                                   taken them, so the reader is the first to hear
    DISCARDED `discard`, or as above are forgotten (no more than `room` are)
    ========= ====================== ============= ==============================================

    Args:
        receive: That of the server.
        limit: How many bytes the body may have; a larger one is refused to its reader anyway.
            `room` is that, or `MAX_UNREAD` where that is less.
    """

    body = Body.EXPECTED
    has_begun = False  # to come in
    more_body = True
    is_disconnected = False
    _is_listening = False
    _is_read_directly = False  # by the reader, so that the listener waits
    _waiting = 0  # so many wait for the disconnect
    _kept: bytearray | None = None  # None where all that came was read
    _failure: Exception | None = None  # what `receive` raised while the inbox listened
    _change: Event | None = None  # for those who wait for anything new

    def __init__(self, receive: Receive, limit: int | None) -> None:
        self._receive = receive
        self.limit = limit

    @property
    def room(self) -> int:
        """How many bytes of the body are kept."""
        return MAX_UNREAD if self.limit is None else min(self.limit, MAX_UNREAD)

    async def receive(self) -> Message:
        """Wait for the next message, a piece of the body or the disconnect."""
        if self.body is Body.EXPECTED:
            self.body = Body.READ
        while self._is_listening and self._kept is None:
            await self._changed()
        if self._kept is not None:
            body, self._kept = bytes(self._kept), None
            self._announce()
            return {"type": "http.request", "body": body, "more_body": self.more_body}
        if self.is_disconnected:
            return {"type": "http.disconnect"}
        self._is_read_directly = True
        try:
            message = await self._receive()
            self._note(message)
        finally:
            self._is_read_directly = False
            if self._change is not None:
                self._announce()
        return message

    async def receive_disconnect(self) -> Message:
        """Wait for the disconnect. Raises what the server's `receive` raises meanwhile."""
        self._waiting += 1
        try:
            while not self.is_disconnected:
                self._listen()
                await self._changed()
        finally:
            self._waiting -= 1
        return {"type": "http.disconnect"}

    async def poll(self) -> None:
        """Take in what the server has to say by now. Raises what its `receive` raises."""
        if not self._listen():
            await checkpoint()
            return
        with move_on_after(A_MOMENT):
            while self._is_listening:
                await self._changed()

    def discard(self) -> None:
        """Forget the body, as nobody reads it any more."""
        self.body, self._kept = Body.DISCARDED, None
        self._announce()

    async def drain(self, pause: float, deadline: float) -> bool:
        """Wait until the body has come in, or the client has gone, and give whether it was so.

        Args:
            pause: For how many seconds the client may send nothing.
            deadline: Until when it may take, by the clock of the event loop.
        """
        with CancelScope(deadline=deadline):
            while self.more_body and not self.is_disconnected:
                with move_on_after(pause) as silence:
                    self._listen()
                    await self._changed()
                if silence.cancelled_caught:
                    return False
        return not self.more_body or self.is_disconnected

    def _listen(self) -> bool:
        """Begin to take messages in, where that is possible and not done already."""
        if self._is_listening or self.is_disconnected or not self._has_room():
            return False
        self._is_listening = True
        start_apart(self._take_in)
        return True

    async def _take_in(self) -> None:
        try:
            while self._is_read_directly:
                await self._changed()
            while not self.is_disconnected and self._has_room():
                self._keep(await self._receive())
                await checkpoint()  # there may be no end of what is there already
        except Exception as exc:  # noqa: BLE001  # raised where somebody waits
            self._failure = exc
        except BaseException:
            self.is_disconnected = True  # the loop ends
            raise
        finally:
            self._is_listening = False
            self._announce()

    def _keep(self, message: Message) -> None:
        self._note(message)
        if message["type"] == "http.request" and self.body is not Body.DISCARDED:
            self._kept = self._kept or bytearray()
            self._kept += message.get("body", b"")
        self._announce()

    def _note(self, message: Message) -> None:
        if message["type"] == "http.disconnect":
            self.is_disconnected = True
        else:
            self.has_begun = True
            self.more_body = message.get("more_body", False)

    def _has_room(self) -> bool:
        size = len(self._kept or b"")
        if size <= self.room:
            return True
        is_too_large = self.limit is not None and size > self.limit
        if self.body is Body.EXPECTED and (is_too_large or self._waiting):
            self.discard()
            return True
        return False

    async def _changed(self) -> None:
        self._change = self._change or Event()
        await self._change.wait()
        if self._failure is not None:
            raise self._failure

    def _announce(self) -> None:
        if self._change is not None:
            self._change.set()
            self._change = None


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
        """The URL that was asked for. A `Host` header that is no host is not believed."""
        netloc = self.headers.get("host", "")
        if not _host.fullmatch(netloc):
            host, port = self.scope.get("server") or ("", None)
            netloc = host if port is None else f"{host}:{port}"
        query = self.scope.get("query_string", b"").decode("latin-1")
        return URL(self.scope.get("scheme", "http"), netloc, quote(self.scope["path"]), query, "")

    @cached_property
    def headers(self) -> Headers:
        """The headers. Their names know no case."""
        return Headers(self.scope["headers"])

    @property
    def query_params(self) -> QueryParams:
        """The parameters of the query string, decoded."""
        if self._query_params is None:
            self._query_params = QueryParams(self.scope.get("query_string", b""))
        return self._query_params

    @property
    def path_params(self) -> dict[str, Any]:
        """The values that the path had where the route has parameters, converted."""
        params: dict[str, Any] = self.scope.get("path_params", {})
        return params

    @cached_property
    def cookies(self) -> dict[str, str]:
        """The cookies. What is no `name=value` is passed over."""
        pairs = (
            pair.partition("=")
            for header in self.headers.getlist("cookie")
            for pair in header.split(";")
        )
        return {name.strip(): unquote_cookie(value.strip()) for name, eq, value in pairs if eq}

    @property
    def client(self) -> Address | None:
        """The client's host and port, where the server knows them."""
        client = self.scope.get("client")
        return None if client is None else Address(*client)

    @property
    def state(self) -> State:
        """Free attributes of this request; they begin as what the lifespan yielded."""
        return State(self.scope.setdefault("state", {}))


class Request(HTTPConnection):
    """An HTTP request.

    Args:
        scope: The connection scope, of type "http".
        receive: Where the body comes from.
    """

    _body: bytes | None = None
    _form: FormData | None = None
    _stream_consumed = False
    _is_refused = False  # as its body is too large

    def __init__(self, scope: Scope, receive: Receive = _no_receive) -> None:
        self.scope = scope
        self._receive = receive

    @cached_property
    def inbox(self) -> Inbox:
        """The messages of this request. All its readers share this inbox."""
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
        declared = self.headers.get("content-length", "")
        size = int(declared[:20]) if declared.isdecimal() else 0  # more digits are no smaller
        inbox, limit = self.inbox, self.inbox.limit
        self._refuse_if_larger(size, limit)
        if inbox.body is Body.DISCARDED:
            self._refuse_if_larger(inbox.room + 1, inbox.room)
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

    def _refuse_if_larger(self, size: int, limit: int | None) -> None:
        if limit is not None and size > limit:
            self._is_refused = True
            self.inbox.discard()
            # The connection serves no other request, as what is left of the body may never come.
            detail = f"the body is larger than {limit} bytes"
            raise HTTPException(413, detail, headers={"connection": "close"})

    @property
    def has_unread_body(self) -> bool:
        """Whether the client may still send a body, so that the response has to be `lingering`.

        What a client announces (RFC 9112, section 6.3) is asked only where a body is usual.
        """
        if self.scope["method"] in ("GET", "HEAD") and not self._is_refused:
            return False
        return self.inbox.more_body and (
            self._is_refused
            or self.headers.get("content-length", "0") != "0"
            or "transfer-encoding" in self.headers
        )

    def lingering(self, send: Send) -> Send:
        """A `send` that completes the response when what is left of the body was read.

        The server closes the connection when the response is complete, and granian when all of its
        length has been sent. Closed while the client still sends, a connection is reset, and the
        client may never see the answer (RFC 9112, section 9.6). So the head is sent at once, the
        body when the client has sent all, or pauses: it may have seen the head.
        """

        async def send_and_linger(message: Message) -> None:
            is_last = message["type"] == "http.response.body" and not message.get("more_body")
            deadline = current_time() + LINGERING_TIME
            if is_last and not await self._has_sent_all(deadline):
                await send({**message, "more_body": True})
                await self.inbox.drain(LINGERING_TIMEOUT, deadline)
                message = {"type": "http.response.body", "body": b""}
            await send(message)

        return send_and_linger

    async def _has_sent_all(self, deadline: float) -> bool:
        """Wait until the client has sent its body, or pauses, and give whether it has sent all.

        One that expects "100 Continue" sends nothing without it (RFC 9110, section 10.1.1), and
        granian would say it if the body was asked for now.
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
        """The body as JSON. Raises `InvalidJSON`, and what `stream` raises."""
        body = await self.body()
        try:
            return msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            raise InvalidJSON(str(exc)) from exc
        except RecursionError as exc:
            raise InvalidJSON("JSON is nested too deeply") from exc

    async def form(self, *, max_fields: int = 1000, max_field_size: int = 1024 * 1024) -> FormData:
        """The body as a form; its files are closed when the request is released (**release**).

        Args:
            max_fields: How many fields and files it may have.
            max_field_size: How many bytes of UTF-8 a field may have, decoded, that is no file.

        Raises:
            HTTPException: 400, if it is malformed or larger than that; and what `stream` raises.
        """
        if self._form is None:
            content_type = self.headers.get("content-type", "")
            self.has_form = True
            async with aclosing(self.stream()) as stream:
                self._form = await parse_form(content_type, stream, max_fields, max_field_size)
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

    async def is_disconnected(self) -> bool:
        """Whether the client has gone, as far as the server has said by now.

        The first call gives the server ten milliseconds to say it; the others do not wait. The body
        can still be read: what has come of it is kept in memory, as by `receive_disconnect`. But it
        is discarded only above `max_body_size`. So where `MAX_UNREAD` is less than that, and more
        is unread, this hears of a disconnect only when the body is read.
        """
        await self.inbox.poll()
        return self.inbox.is_disconnected
