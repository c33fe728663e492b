"""`MiniBG`: an application made of routes, middleware, a lifespan and answers to errors.

What may live here: putting the parts together, and the answers to errors. An exception that is
raised before the response becomes a response: inside the middleware if the exception has a handler,
outside it otherwise. Once a response has begun, no second one is sent.
"""

import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping
from contextlib import nullcontext, suppress
from functools import partial
from typing import Any, TypeVar

from anyio import get_cancelled_exc_class

from minibg.concurrency import is_async_callable, run_in_threadpool
from minibg.datastructures import State
from minibg.exceptions import HTTPException
from minibg.lifespan import live, tell_of_failure
from minibg.naming import name_of
from minibg.requests import Request
from minibg.responses import JSONResponse, PlainTextResponse, Response, as_response
from minibg.routing import Route, Router, WebSocketRoute
from minibg.types import ASGIApp, Lifespan, Message, Receive, Scope, Send
from minibg.websockets import WebSocket, WebSocketDisconnect

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])

ExceptionHandler = Callable[[Request, Any], Any]
"""Answers an exception with a `Response`; async, or sync and called in a worker thread."""


logger = logging.getLogger("minibg.applications")

BEGINNINGS = (
    "http.response.start",
    "websocket.accept",
    "websocket.close",
    "websocket.http.response.start",
)
"""The messages by which an application answers a connection; nothing answers it twice."""


class Middleware:
    """A class of ASGI middleware and its options, to be built around an application."""

    def __init__(self, cls: Callable[..., ASGIApp], *args: Any, **options: Any) -> None:
        self.cls = cls
        self.args = args
        self.options = options

    def __iter__(self) -> Iterator[Any]:
        return iter((self.cls, self.args, self.options))


class MiniBG:
    """A web application, itself an ASGI application.

    Args:
        routes: The routes to begin with.
        middleware: Plain ASGI middleware, the outermost first; Starlette's `Middleware` fits too.
        exception_handlers: Handlers, by the class of the exceptions or the status of the
            `HTTPException` that each answers. The handler for `Exception`, or 500, answers all
            others; it cannot read the body, and the exception still goes on to the server.
        lifespan: Returns, for the application, the async context in which it serves. The value
            that the context yields is the initial `state` of each request.
        max_body_size: The largest request body that is read, in bytes. None means no limit.
        redirect_slashes: Whether a request is redirected if its path is served only with, or only
            without, a slash at its end.
    """

    def __init__(
        self,
        *,
        routes: Iterable[Route] = (),
        middleware: Iterable[Middleware] = (),
        exception_handlers: Mapping[type[Exception] | int, ExceptionHandler] | None = None,
        lifespan: Lifespan | None = None,
        max_body_size: int | None = 16 * 1024 * 1024,
        redirect_slashes: bool = True,
    ) -> None:
        self.router = Router(routes, self._recover, self._live, redirect_slashes)
        self.user_middleware = list(middleware)
        self.exception_handlers: dict[type[Exception] | int, ExceptionHandler] = {
            HTTPException: http_exception,
            Exception: server_error,
            **(exception_handlers or {}),
        }
        self.lifespan = lifespan or (lambda app: nullcontext())
        self.max_body_size = max_body_size
        self.state = State()
        self.dependency_overrides: dict[Callable[..., Any], Callable[..., Any]] = {}
        self._stack: ASGIApp | None = None

    def route(
        self, path: str, *, methods: Collection[str] = ("GET",), status_code: int = 200
    ) -> Callable[[Endpoint], Endpoint]:
        """Serve the path with the decorated function. See `Route`."""
        return self._registering(path, partial(Route, methods=methods, status_code=status_code))

    def get(self, path: str, *, status_code: int = 200) -> Callable[[Endpoint], Endpoint]:
        """Serve GET, and HEAD, on that path."""
        return self.route(path, methods=["GET"], status_code=status_code)

    def post(self, path: str, *, status_code: int = 200) -> Callable[[Endpoint], Endpoint]:
        """Serve POST on that path."""
        return self.route(path, methods=["POST"], status_code=status_code)

    def put(self, path: str, *, status_code: int = 200) -> Callable[[Endpoint], Endpoint]:
        """Serve PUT on that path."""
        return self.route(path, methods=["PUT"], status_code=status_code)

    def patch(self, path: str, *, status_code: int = 200) -> Callable[[Endpoint], Endpoint]:
        """Serve PATCH on that path."""
        return self.route(path, methods=["PATCH"], status_code=status_code)

    def delete(self, path: str, *, status_code: int = 200) -> Callable[[Endpoint], Endpoint]:
        """Serve DELETE on that path."""
        return self.route(path, methods=["DELETE"], status_code=status_code)

    def websocket(self, path: str) -> Callable[[Endpoint], Endpoint]:
        """Serve the WebSocket connections to that path."""
        return self._registering(path, WebSocketRoute)

    def _registering(self, path: str, make: Callable[..., Route]) -> Callable[[Endpoint], Endpoint]:
        if not isinstance(path, str):
            raise TypeError(f"a path is text, as in @app.get('/'), not {name_of(path)}")

        def register(endpoint: Endpoint) -> Endpoint:
            self.router.add(make(path, endpoint))
            return endpoint

        return register

    def exception_handler(self, exception: type[Exception] | int) -> Callable[[Endpoint], Endpoint]:
        """Answer exceptions of a class, or a status, with the decorated function."""

        def register(handler: Endpoint) -> Endpoint:
            self.exception_handlers[exception] = handler
            return handler

        return register

    def add_middleware(self, cls: Callable[..., ASGIApp], *args: Any, **options: Any) -> None:
        """Wrap the application, as built so far, in `cls(app, *args, **options)`.

        Raises:
            RuntimeError: If the application is already serving.
        """
        if self._stack is not None:
            raise RuntimeError("middleware is added before the application serves, not after")
        self.user_middleware.insert(0, Middleware(cls, *args, **options))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"] = self
        if scope["type"] == "lifespan":
            await tell_of_failure(self._serve_lifespan, scope, receive, send)
            return
        stack = self._stack or self._build_stack()
        started = False

        def send_and_note(message: Message) -> Awaitable[None]:
            nonlocal started
            started = started or message["type"] in BEGINNINGS
            return send(message)

        try:
            await stack(scope, receive, send_and_note)
        except Exception as exc:
            if not started and scope["type"] == "http":
                try:
                    response = await self._last_resort(Request(scope), exc)
                    await response(scope, receive, send)
                except get_cancelled_exc_class():
                    logger.error(
                        "an error was not answered: the request is cancelled", exc_info=exc
                    )
                    raise
            elif not started and (websocket := WebSocket(scope, receive, send)).can_deny:
                response = await self._last_resort(websocket.handshake, exc)
                with suppress(WebSocketDisconnect):
                    await websocket.send_denial_response(response)
            raise

    def _serve_lifespan(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        stack = self._stack or self._build_stack()
        return stack(scope, receive, send)

    def _build_stack(self) -> ASGIApp:
        stack: ASGIApp = self.router
        for cls, args, options in reversed(self.user_middleware):
            stack = cls(stack, *args, **options)
        self._stack = stack
        return stack

    def _live(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        return live(partial(self.lifespan, self), self.router.runs, scope, receive, send)

    async def _recover(self, request: Request, exc: BaseException) -> Response:
        """Answer an exception that has a handler of its own; raise any other again."""
        handler = self._own_handler(exc)
        if handler is None:
            raise exc
        return await _answer(handler, request, exc)

    def _own_handler(self, exc: BaseException) -> ExceptionHandler | None:
        """The handler for the status, or else for the nearest class of the exception."""
        if isinstance(exc, HTTPException) and exc.status_code in self.exception_handlers:
            return self.exception_handlers[exc.status_code]
        for cls in type(exc).__mro__:
            if cls is not Exception and cls in self.exception_handlers:
                return self.exception_handlers[cls]
        return None

    async def _last_resort(self, request: Request, exc: Exception) -> Response:
        """The answer to an exception that has no handler of its own."""
        handlers = self.exception_handlers
        try:
            return await _answer(handlers.get(500, handlers[Exception]), request, exc)
        except Exception:
            logger.exception("the handler of last resort failed")
            return server_error(request, exc)


async def _answer(handler: ExceptionHandler, request: Request, exc: BaseException) -> Response:
    if is_async_callable(handler):
        response = await handler(request, exc)
    else:
        response = await run_in_threadpool(handler, request, exc)
    answer = as_response(response)
    if answer is None:
        got = type(response).__name__
        raise TypeError(f"{name_of(handler)} must answer with a Response, not with {got}")
    return answer


def http_exception(request: Request, exc: HTTPException) -> Response:
    """Answer an `HTTPException` that has no other handler."""
    return JSONResponse({"detail": exc.detail}, exc.status_code, exc.headers)


def server_error(request: Request, exc: Exception) -> Response:
    """Answer an unexpected exception. The client is told nothing about it."""
    return PlainTextResponse("Internal Server Error", 500)
