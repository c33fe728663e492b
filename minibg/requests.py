"""The client's side of an HTTP connection: what was asked, and the body as it comes in.

What may live here: reading the scope and the messages that a server hands in (ASGI specification,
HTTP connection scope). Nothing is parsed before somebody asks for it.
"""

from collections.abc import AsyncGenerator
from functools import cached_property
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import quote

import msgspec
from anyio import CancelScope

from minibg.datastructures import URL, Address, Headers, QueryParams, State
from minibg.exceptions import HTTPException
from minibg.types import Message, Receive, Scope


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


class Request:
    """An HTTP request.

    Args:
        scope: The connection scope, of type "http".
        receive: Where the body comes from.
    """

    def __init__(self, scope: Scope, receive: Receive = _no_receive) -> None:
        self.scope = scope
        self.receive = receive
        self._body: bytes | None = None
        self._unread: Message | None = None
        self._stream_consumed = False
        self._is_disconnected = False

    @property
    def app(self) -> Any:
        """The application that serves this request."""
        return self.scope["app"]

    @property
    def method(self) -> str:
        """The method, in upper case."""
        return str(self.scope["method"])

    @cached_property
    def url(self) -> URL:
        """The URL that was asked for, as far as the server and the `Host` header tell."""
        netloc = self.headers.get("host")
        if netloc is None:
            host, port = self.scope.get("server") or ("", None)
            netloc = host if port is None else f"{host}:{port}"
        query = self.scope.get("query_string", b"").decode("latin-1")
        return URL(self.scope.get("scheme", "http"), netloc, quote(self.scope["path"]), query, "")

    @cached_property
    def headers(self) -> Headers:
        """The headers. Their names know no case."""
        return Headers(self.scope["headers"])

    @cached_property
    def query_params(self) -> QueryParams:
        """The parameters of the query string, decoded."""
        return QueryParams(self.scope.get("query_string", b""))

    @property
    def path_params(self) -> dict[str, Any]:
        """The values that the path had where the route has parameters, converted."""
        params: dict[str, Any] = self.scope.get("path_params", {})
        return params

    @cached_property
    def cookies(self) -> dict[str, str]:
        """The cookies. What is no `name=value` is passed over."""
        decode = SimpleCookie().value_decode
        pairs = (
            pair.partition("=")
            for header in self.headers.getlist("cookie")
            for pair in header.split(";")
        )
        return {name.strip(): decode(value.strip())[0] for name, equals, value in pairs if equals}

    @property
    def client(self) -> Address | None:
        """The client's host and port, where the server knows them."""
        client = self.scope.get("client")
        return None if client is None else Address(*client)

    @property
    def state(self) -> State:
        """Free attributes of this request; they begin as what the lifespan yielded."""
        return State(self.scope.setdefault("state", {}))

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
        limit = getattr(self.scope.get("app"), "max_body_size", None)
        declared = self.headers.get("content-length", "")
        size = int(declared) if declared.isdecimal() else 0
        self._refuse_if_larger(size, limit)
        received, more_body = 0, True
        while more_body:
            message = self._unread or await self.receive()
            self._unread = None
            if message["type"] == "http.disconnect":
                self._is_disconnected = True
                raise ClientDisconnect("the client went away before the body was complete")
            chunk, more_body = message.get("body", b""), message.get("more_body", False)
            received += len(chunk)
            self._refuse_if_larger(received, limit)
            if chunk:
                yield chunk

    @staticmethod
    def _refuse_if_larger(size: int, limit: int | None) -> None:
        if limit is not None and size > limit:
            # What is left of the body stays unread, so the connection cannot serve another request.
            detail = f"the body is larger than {limit} bytes"
            raise HTTPException(413, detail, headers={"connection": "close"})

    async def body(self) -> bytes:
        """The whole body. Raises what `stream` raises."""
        if self._body is None:
            self._body = b"".join([chunk async for chunk in self.stream()])
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

    async def is_disconnected(self) -> bool:
        """Whether the client has gone, as far as the server has said by now. Does not wait.

        While a body comes in, the server says so only after its end.
        """
        if not self._is_disconnected and self._unread is None:
            with CancelScope() as scope:
                scope.cancel()
                message = await self.receive()
                if message["type"] == "http.disconnect":
                    self._is_disconnected = True
                else:
                    self._unread = message
        return self._is_disconnected
