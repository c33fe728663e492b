"""From method and path to an endpoint, and the order in which a request goes on from there.

Rule kept here: **nothing lost**, where a request ends before there is a response.

What may live here: finding the endpoint, and the order *endpoint, response, release, background*,
whose last three steps are the response's (`Response.respond`).
"""

import re
from collections.abc import Awaitable, Callable, Collection, Iterable
from contextlib import suppress
from typing import Any
from uuid import UUID

from minibg.dependencies import Dependant
from minibg.exceptions import HTTPException
from minibg.injection import Injection
from minibg.lifespan import Runs
from minibg.requests import HTTPConnection, Request
from minibg.responses import (
    JSONResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
    run_in_turn,
)
from minibg.types import ASGIApp, Receive, Scope, Send
from minibg.websockets import WebSocket, WebSocketDisconnect

WEBSOCKET = "WEB SOCKET"
"""Stands for the method of a WebSocket route; with its space it is none that a client can send."""

CONVERTORS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "str": (r"[^/]+", str),
    "path": (r".*", str),
    "int": (r"[0-9]+", int),
    "float": (r"[0-9]+(?:\.[0-9]+)?", float),
    "uuid": (r"[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}", UUID),
}
"""What `{name:convertor}` in a path matches, and what turns it into the parameter's value."""

Recover = Callable[[Request, Exception], Awaitable[Response]]
"""Gives the response to an exception, or raises it again."""


class Route:
    """A path, the methods that it is served for, and the endpoint that serves it.

    Args:
        path: Begins with "/". `{name}` stands for one segment, `{name:convertor}` for what one of
            `CONVERTORS` matches; the value goes to the endpoint's parameter of that name.
        endpoint: The function to call. What it returns, if no `Response`, is answered as JSON.
        methods: GET by default. HEAD is served where GET is.
        status_code: The status where the endpoint returns no `Response`.

    Raises:
        ValueError: If the path is malformed, or the status is none of an answer.
        TypeError: If the methods are a string, or the endpoint's signature cannot be served.
    """

    connection: type[HTTPConnection] = Request

    def __init__(
        self,
        path: str,
        endpoint: Callable[..., Any],
        *,
        methods: Collection[str] = ("GET",),
        status_code: int = 200,
    ) -> None:
        self.path = path
        self.endpoint = endpoint
        if isinstance(methods, str):
            raise TypeError(f"methods are a collection, [{methods!r}], not a string")
        self.methods = {method.upper() for method in methods}
        if not (isinstance(status_code, int) and 200 <= status_code <= 599):
            raise ValueError(f"a status is a number from 200 to 599, not {status_code!r}")
        if "GET" in self.methods:
            self.methods.add("HEAD")
        self.status_code = status_code
        self.path_regex, self.convertors = compile_path(path)
        self.dependant = Dependant(endpoint, self.convertors, self.connection)

    def match(self, path: str) -> dict[str, Any] | None:
        """The values of the path's parameters, or None where the path is not this route's."""
        found = self.path_regex.fullmatch(path)
        if found is None:
            return None
        params: dict[str, Any] = found.groupdict()
        try:
            for name, convertor in self.convertors.items():
                params[name] = convertor(params[name])
        except ValueError:  # an int of more digits than Python converts
            return None
        return params

    def plan(self, connection: HTTPConnection) -> Dependant:
        """How the endpoint is called, with the dependencies that the application overrides."""
        if self.dependant.steps:
            overrides = connection.app.dependency_overrides
            if overrides:
                return Dependant(self.endpoint, self.convertors, self.connection, overrides)
        return self.dependant

    def response(self, result: Any, wished: Response | None) -> Response:
        """The response to a request for which the endpoint returned that, and wished that."""
        if isinstance(result, Response):
            response = result
        else:
            status_code = (wished and wished.status_code) or self.status_code
            response = JSONResponse(result, status_code)
        return response if wished is None else response.with_wishes(wished)


class WebSocketRoute(Route):
    """A path, and the endpoint that serves the WebSocket connections to it.

    Args:
        path: As that of a `Route`.
        endpoint: The function to call. Its background tasks run when it has returned.
    """

    connection = WebSocket

    def __init__(self, path: str, endpoint: Callable[..., Any]) -> None:
        super().__init__(path, endpoint, methods=[WEBSOCKET])


def compile_path(path: str) -> tuple[re.Pattern[str], dict[str, Callable[[str], Any]]]:
    """The pattern that a path stands for, and for each of its parameters what converts it.

    Raises:
        ValueError: If it does not begin with "/", or a parameter is malformed, comes twice, or
            names a convertor that does not exist.
    """
    if not path.startswith("/"):
        raise ValueError(f"a path begins with '/', {path!r} does not")
    regex, converts = "", {}
    for literal, braced, name, convertor in re.findall(r"([^{}]+)|({(\w+)(?::(\w+))?}|.)", path):
        if literal:
            regex += re.escape(literal)
        elif not name.isidentifier() or name in converts:
            raise ValueError(f"{braced!r} in {path!r} must be '{{name}}', each name once")
        elif (convertor or "str") not in CONVERTORS:
            raise ValueError(f"{braced!r} in {path!r}: a convertor is one of {list(CONVERTORS)}")
        else:
            pattern, converts[name] = CONVERTORS[convertor or "str"]
            regex += f"(?P<{name}>{pattern})"
    return re.compile(regex, re.DOTALL), converts


def _other_slash(path: str) -> str:
    """The path without the slash at its end, or with one."""
    return path.rstrip("/") if path.endswith("/") else path + "/"


async def _redirect(request: Request) -> RedirectResponse:
    url = request.url
    return RedirectResponse(url._replace(path=_other_slash(url.path)).geturl())


TO_OTHER_SLASH = Route("/", _redirect)


class Router:
    """An ASGI application that gives each connection to the route that serves it.

    A path without parameters is one look-up; a pattern is tried, in order, only where no such path
    serves the request.

    Args:
        routes: The routes to begin with. Of two alike, the first serves.
        recover: Gives the response to an exception that was raised before there was one.
        live: Serves the lifespan.
    """

    def __init__(self, routes: Iterable[Route], recover: Recover, live: ASGIApp) -> None:
        self.recover = recover
        self.live = live
        self.runs = Runs()
        self.static: dict[str, dict[str, Route]] = {}
        self.patterns: list[Route] = []
        for route in routes:
            self.add(route)

    def add(self, route: Route) -> None:
        """Serve this route as well."""
        if route.convertors:
            self.patterns.append(route)
        else:
            methods = self.static.setdefault(route.path, {})
            for method in route.methods:
                methods.setdefault(method, route)

    def find(self, method: str, path: str) -> tuple[Route, dict[str, Any]]:
        """The route that serves the connection, and the values of its path's parameters.

        Where the path is served only with, or only without, a slash at its end, that is a redirect.

        Raises:
            HTTPException: 404, or 405 where other methods are served (RFC 9110, section 15.5.6).
        """
        methods = self.static.get(path, {})
        if method in methods:
            return methods[method], {}
        for route in self.patterns:
            if method in route.methods and (params := route.match(path)) is not None:
                return route, params
        if allowed := self._allowed(path):
            raise HTTPException(405, headers={"allow": ", ".join(sorted(allowed))})
        if method != WEBSOCKET and self._allowed(_other_slash(path)):
            return TO_OTHER_SLASH, {}
        raise HTTPException(404)

    def _allowed(self, path: str) -> set[str]:
        """The methods of HTTP for which the path is served."""
        allowed = set(self.static.get(path, ()))
        for route in self.patterns:
            if route.match(path) is not None:
                allowed |= route.methods
        return allowed - {WEBSOCKET}

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] == "http":
            return self._serve(Request(scope, receive), send)
        if scope["type"] == "websocket":
            return self._serve_websocket(WebSocket(scope, receive, send))
        return self.live(scope, receive, send)

    async def _serve(self, request: Request, send: Send) -> None:
        """Serve one request: endpoint, response, release, background."""
        injection = Injection(request)
        try:
            scope = request.scope
            route, scope["path_params"] = self.find(scope["method"], _route_path(scope))
            result = await route.plan(request).solve_and_call(injection)
            response = route.response(result, injection.response)
        except BaseException as exc:  # noqa: BLE001  # raised, or answered, below
            failure = await injection.fail(f"the endpoint raised {type(exc).__name__}", exc)
            if not isinstance(failure, Exception):
                raise failure from None
            response = await self.recover(request, failure)
        if request.has_unread_body:
            send = request.lingering(send)
        holds = injection.held or request.has_form or isinstance(response, StreamingResponse)
        release = injection.let_go if holds else None  # a stream may read the form yet
        receive, lists = request.receive_disconnect, injection.lists.values()
        if not (lists or response.background or release):  # nothing comes after it
            await response.send_response(request.scope, receive, send)
            return
        answer = response.respond(request.scope, receive, send, lists, release)
        await (self.runs.include(answer) if lists or response.background else answer)

    async def _serve_websocket(self, websocket: WebSocket) -> None:
        """Serve one WebSocket: endpoint, release, background."""
        injection = Injection(websocket)
        try:
            scope = websocket.scope
            route, scope["path_params"] = self.find(WEBSOCKET, _route_path(scope))
            await route.plan(websocket).solve_and_call(injection)
            if not websocket.is_closed:
                with suppress(OSError):  # the client may be gone
                    await websocket.close()
        except WebSocketDisconnect as exc:  # the client's way to end the conversation
            await injection.let_go(exc)
        except BaseException as exc:  # noqa: BLE001  # raised, or answered, below
            failure = await injection.fail(f"the endpoint raised {type(exc).__name__}", exc)
            if not websocket.is_closed:
                with suppress(OSError):
                    await websocket.close(1008 if isinstance(failure, HTTPException) else 1011)
            if isinstance(failure, HTTPException):
                return
            raise failure from None
        else:
            await injection.let_go(None)
        await self.runs.include(run_in_turn(list(injection.lists.values())))


def _route_path(scope: Scope) -> str:
    """The path below the one at which the application is mounted (ASGI, `root_path`)."""
    path: str = scope["path"]
    root_path: str = scope.get("root_path", "")
    return path[len(root_path) :] if root_path and path.startswith(root_path + "/") else path
