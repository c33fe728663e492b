"""Which route serves a connection, and how a route serves it.

Rule kept here: **nothing lost**, where a request ends before there is a response.

What may live here: finding the route, and the order *endpoint, response, release, background*. The
endpoint's arguments, and the call, are the business of `dependencies.py`; the last three steps are
those of `respond`.
"""

import re
from collections.abc import Awaitable, Callable, Collection, Iterable
from itertools import pairwise
from typing import Any
from uuid import UUID

from minibg.background import BackgroundTasks
from minibg.datastructures import quote_path
from minibg.dependencies import Dependant
from minibg.exceptions import HTTPException, let_go
from minibg.injection import RequestResources
from minibg.lifespan import Runs
from minibg.requests import ClientDisconnect, HTTPConnection, Request
from minibg.responses import (
    JSONResponse,
    RedirectResponse,
    Response,
    as_response,
    respond,
    run_in_turn,
    tasks_of,
)
from minibg.types import ASGIApp, Message, Receive, Scope, Send
from minibg.websockets import WebSocket

CONVERTORS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "str": (r"[^/]+", str),
    "path": (r".*", str),
    "int": (r"[0-9]+", int),
    "float": (r"[0-9]+(?:\.[0-9]+)?", float),
    "uuid": (r"[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}", UUID),
}
"""By its name, what a convertor matches, and the function that makes a value of the match."""

BODILESS = ("GET", "HEAD")
"""The methods with which a body is unusual (RFC 9110, sections 9.3.1 and 9.3.2)."""

Recover = Callable[[Request, BaseException], Awaitable[Response]]
"""Returns the response to an exception, or raises the exception again."""


class Route:
    """A path, the methods for which it is served, and the endpoint that serves it.

    Args:
        path: Begins with "/". `{name}` stands for one segment, `{name:convertor}` for what one of
            `CONVERTORS` matches; the value goes to the endpoint's parameter of that name.
        endpoint: The function to call. What it returns is answered as JSON, unless it is a
            response: minibg's, Starlette's, or any other ASGI application.
        methods: GET by default. HEAD is served where GET is.
        status_code: The status if the endpoint does not return a response.

    Raises:
        ValueError: If the path is malformed or ambiguous, or the status is none of an answer.
        TypeError: If the methods are a string, or the endpoint's signature cannot be served.
    """

    scope_type = "http"
    connection: type[HTTPConnection] = Request

    def __init__(
        self,
        path: str,
        endpoint: Callable[..., Any],
        *,
        methods: Collection[str] = ("GET",),
        status_code: int = 200,
    ) -> None:
        if isinstance(methods, str):
            raise TypeError(f"methods are a collection, [{methods!r}], not a string")
        if not (isinstance(status_code, int) and 200 <= status_code <= 599):
            raise ValueError(f"a status is a number from 200 to 599, not {status_code!r}")
        self.path = path
        self.endpoint = endpoint
        self.methods = {method.upper() for method in methods}
        if "GET" in self.methods:
            self.methods.add("HEAD")
        self.status_code = status_code
        self.path_regex, self.convertors = compile_path(path)
        self.dependant = Dependant(endpoint, self.convertors, self.connection)
        self.in_scope: dict[str, Any] = {"route": self, "endpoint": endpoint}

    def match(self, path: str) -> dict[str, Any] | None:
        """The values of the path's parameters, or None if this route does not serve the path."""
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

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request: endpoint, response, release, background."""
        request = Request(scope, receive)
        resources = RequestResources(request)
        runs = scope["router"].runs  # an application that is returned may replace the router
        answered = run = None
        try:
            try:
                dependant = self.dependant
                if dependant.steps:  # the application may override its dependencies
                    dependant = self.dependant_for(request)
                result = await dependant.solve_and_call(resources)
                response = self.response_to(result, resources.response)
            except BaseException as exc:  # noqa: BLE001  # raised again, or answered
                response, answered = await _recovered(request, resources, exc)
            lists = resources.lists
            # An open dependency may still add a task. A stream may too, and it may read the form.
            is_open = resources.stacks or request.has_form or not response.is_plain
            reads = is_open and response.reads_body
            may_be_unread = reads or answered or scope["method"] not in BODILESS
            if may_be_unread and request.has_unread_body:
                send = request.lingering(send)
            if is_open or response.background or (lists and any(map(tasks_of, lists.values()))):
                if lists or response.background or reads:
                    run = runs.begin()
                injected, held = lists.values(), resources if is_open else None
                await (
                    _respond_or_refuse(request, response, send, injected, held)
                    if reads
                    else respond(response, scope, request.receive_disconnect, send, injected, held)
                )
            else:
                await response.send_response(scope, receive, send)
                if lists and any(map(tasks_of, lists.values())):  # a middleware has added to them
                    await run_in_turn([*lists.values()])
        finally:
            if run is not None:
                runs.remove(run)
            if request.has_inbox:
                request.inbox.close()
            if answered is not None:
                let_go(answered)

    def dependant_for(self, connection: HTTPConnection) -> Dependant:
        """The plan of the endpoint's call, with the application's overrides of dependencies."""
        overrides = connection.app.dependency_overrides
        if self.dependant.steps and overrides:
            return Dependant(self.endpoint, self.convertors, self.connection, overrides)
        return self.dependant

    def response_to(self, result: Any, injected: Response | None) -> Response:
        """The response to a request for which the endpoint returned `result`.

        Args:
            result: What the endpoint returned.
            injected: The response on which it, or a dependency, has set something.
        """
        response = as_response(result) if callable(result) else None
        if response is None:
            status_code = (injected and injected.status_code) or self.status_code
            response = JSONResponse(result, status_code)
        return response if injected is None else response.combined_with(injected)


async def _recovered(
    request: Request, resources: RequestResources, exc: BaseException
) -> tuple[Response, BaseException]:
    """Answer the endpoint's exception: return the response and the exception, or raise it."""
    failure = await resources.abort(exc)
    try:
        return await request.scope["router"].recover(request, failure), failure
    finally:
        del exc, failure  # its traceback holds this frame


async def _respond_or_refuse(
    request: Request,
    response: Response,
    send: Send,
    injected: Iterable[BackgroundTasks],
    resources: RequestResources | None,
) -> None:
    """Respond with an application that may read the body, or refuse a body that is too large.

    The application does not know the limit. So it is told that the client has gone, and when it has
    ended, the refusal is sent in its place.
    """
    receive_again, recover = request.receive_again(), request.scope["router"].recover
    refusal: HTTPException | None = None
    has_begun = False

    async def receive() -> Message:
        nonlocal refusal
        if refusal is None:
            try:
                return await receive_again()
            except HTTPException as exc:
                refusal = exc
        return {"type": "http.disconnect"}

    async def send_unless_refused(message: Message) -> None:
        nonlocal has_begun
        if refusal is not None:
            raise ClientDisconnect("the body was refused")
        has_begun = True
        await send(message)

    try:
        await respond(response, request.scope, receive, send_unless_refused, injected, resources)
    except Exception:  # it may take the disconnect for a failure
        if refusal is None or has_begun:
            raise
    if refusal is not None:
        try:
            if not has_begun:
                answer = await recover(request, refusal)
                reads = answer.reads_body
                gone = request.receive_again() if reads else request.receive_disconnect
                await respond(answer, request.scope, gone, send)
        finally:
            let_go(refusal)


class WebSocketRoute(Route):
    """A path, and the endpoint that serves the WebSocket connections to it.

    Args:
        path: As that of a `Route`.
        endpoint: The function to call. Its background tasks run when it has returned.
    """

    scope_type = "websocket"
    connection = WebSocket

    def __init__(self, path: str, endpoint: Callable[..., Any]) -> None:
        super().__init__(path, endpoint)  # the handshake is a GET (RFC 6455, section 4.1)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one WebSocket: endpoint, release, background."""
        websocket = WebSocket(scope, receive, send)
        resources = RequestResources(websocket)
        gone: BaseException | None = None
        try:
            await self.dependant_for(websocket).solve_and_call(resources)
            await websocket.close()
        except BaseException as exc:  # noqa: BLE001  # raised, or told the client
            if not websocket.was_ended_by(exc):
                failure = await resources.abort(exc)
                await websocket.fail(failure, scope["router"].recover)
                return
            gone = exc
        await resources.close_all(gone)
        runs = scope["router"].runs
        run = runs.begin()
        try:
            await run_in_turn(list(resources.lists.values()))
        finally:
            runs.remove(run)


def compile_path(path: str) -> tuple[re.Pattern[str], dict[str, Callable[[str], Any]]]:
    """The pattern for a path, and the convertor of each of its parameters.

    Matching takes time in proportion to the length of the requested path: in each segment at most
    one parameter may hold the text that follows it, as in `{name}.{extension}`, and so be read in
    several ways. The longest reading is taken.

    Raises:
        ValueError: If it does not begin with "/", or a parameter is malformed, comes twice, names
            a convertor that does not exist, or could be read in too many ways.
    """
    if not path.startswith("/"):
        raise ValueError(f"a path begins with '/', {path!r} does not")
    converts: dict[str, Callable[[str], Any]] = {}
    regex = segment = ends = ""  # the last is what follows the parameter that may hold it
    spans = False  # whether such a parameter spans segments
    tokens = re.findall(r"(/|[^{}/]+)|({(\w+)(?::(\w+))?}|.)", path)
    for (literal, braced, name, convertor), (after, adjacent, *_) in pairwise([*tokens, END]):
        if literal == "/":
            regex, segment, ends = regex + _once(segment, ends, spans) + "/", "", ""
        elif literal:
            segment += re.escape(literal)
        elif not name.isidentifier() or name in converts:
            raise ValueError(f"{braced!r} in {path!r} must be '{{name}}', each name once")
        elif (convertor or "str") not in CONVERTORS:
            raise ValueError(f"{braced!r} in {path!r}: a convertor is one of {[*CONVERTORS]}")
        else:
            pattern, converts[name] = CONVERTORS[convertor or "str"]
            is_open = _may_hold(pattern, after)
            takes_the_rest = after in ("", "/") and _may_hold(pattern, "-")
            fits = takes_the_rest or not _may_hold(pattern, ends)
            is_wide = is_open and _may_hold(pattern, "/")
            if adjacent or (ends and (spans or is_open or not fits)) or (spans and is_wide):
                raise ValueError(f"{path!r} can be read in many ways: set {braced!r} apart by '/'")
            spans = spans or is_wide
            ends = after if is_open else ends
            segment += f"(?P<{name}>{pattern})"
    return re.compile(regex + _once(segment, ends, spans), re.DOTALL), converts


END = ("", "", "", "")
NO_METHODS: dict[str, Route] = {}


def _may_hold(pattern: str, text: str) -> bool:
    """Whether a convertor's match may hold the beginning of the text."""
    return bool(text) and re.fullmatch(pattern, f"0{text[0]}0", re.DOTALL) is not None


def _once(segment: str, ends: str, spans: bool) -> str:
    """A segment's pattern that matches in the first way found, and never tries another."""
    return f"(?>{segment}(?=/|\\Z))" if ends and not spans else segment


def _other_slash(path: str) -> str:
    """The path without the slash at its end, or with one if it has none."""
    return path.rstrip("/") if path.endswith("/") else path + "/"


def _route_path(scope: Scope) -> str:
    """The path below the one at which the application is mounted (ASGI, `root_path`).

    It is empty if exactly the path of the mount was asked for, without the slash of "/".
    """
    path: str = scope["path"]
    root_path: str = scope.get("root_path", "")
    if not root_path:
        return path
    below = path.removeprefix(root_path.rstrip("/"))
    return below if below[:1] in ("", "/") else path


async def _redirect(request: Request) -> RedirectResponse:
    """Redirect without naming a host: a proxy may have another (RFC 9110, section 10.2.2)."""
    root_path = request.scope.get("root_path", "").rstrip("/")
    path = quote_path(root_path + _other_slash(_route_path(request.scope)))
    path = re.sub("^//", "/%2F", path)  # else it would begin with a host (RFC 3986, section 4.2)
    query = request.url.query
    return RedirectResponse(f"{path}?{query}" if query else path)


async def _not_found() -> None:
    raise HTTPException(404)


async def _method_not_allowed(request: Request) -> None:
    """Say which methods are served (RFC 9110, section 15.5.6)."""
    allowed = request.scope["router"].allowed("http", _route_path(request.scope))
    raise HTTPException(405, headers={"allow": ", ".join(sorted(allowed))})


TO_OTHER_SLASH = Route("/", _redirect)
METHOD_NOT_ALLOWED = Route("/", _method_not_allowed)
NOT_FOUND = {"http": Route("/", _not_found), "websocket": WebSocketRoute("/", _not_found)}
for own in (TO_OTHER_SLASH, METHOD_NOT_ALLOWED, *NOT_FOUND.values()):
    own.in_scope = {}  # what is named by its route is named by one of the application's


class Router:
    """An ASGI application that gives each connection to the route that serves it.

    A path without parameters takes one look-up. Patterns are tried, in order, only if no such path
    serves the request.

    Args:
        routes: The routes to begin with. Of two equal ones, the first serves.
        recover: Returns the response to an exception that was raised before any response.
        live: Serves the lifespan.
        redirect_slashes: Whether a request is redirected if its path is served only with, or only
            without, a slash at its end.
    """

    def __init__(
        self,
        routes: Iterable[Route],
        recover: Recover,
        live: ASGIApp,
        redirect_slashes: bool = True,
    ) -> None:
        self.recover = recover
        self.live = live
        self.redirect_slashes = redirect_slashes
        self.runs = Runs()
        self.static: dict[str, dict[str, dict[str, Route]]] = {"http": {}, "websocket": {}}
        self.patterns: dict[str, list[Route]] = {"http": [], "websocket": []}
        for route in routes:
            self.add(route)

    def add(self, route: Route) -> None:
        """Serve this route as well."""
        if route.convertors:
            self.patterns[route.scope_type].append(route)
        else:
            methods = self.static[route.scope_type].setdefault(route.path, {})
            for method in route.methods:
                methods.setdefault(method, route)

    def find(self, scope: Scope) -> tuple[Route, dict[str, Any]]:
        """The route that serves the connection, and the values of its path's parameters.

        If none of the application's routes does, the result is a route that answers so, or one that
        redirects to the path with, or without, a slash at its end.
        """
        scope_type = scope["type"]
        path = _route_path(scope) if scope.get("root_path") else scope["path"]
        method = scope.get("method", "GET")  # a WebSocket has none
        methods = self.static[scope_type].get(path, NO_METHODS)
        if method in methods:
            return methods[method], {}
        others = []
        for route in self.patterns[scope_type]:
            if method not in route.methods:
                others.append(route)
            elif (params := route.match(path)) is not None:
                return route, params
        if methods or any(route.match(path) is not None for route in others):
            return METHOD_NOT_ALLOWED, {}
        if scope_type == "http" and self.redirect_slashes and self._is_served(_other_slash(path)):
            return TO_OTHER_SLASH, {}
        return NOT_FOUND[scope_type], {}

    def _is_served(self, path: str) -> bool:
        """Whether any route serves the path, to which the request could be redirected."""
        ends = ("/", "path}") if path.endswith("/") else ("",)
        candidates = (r for r in self.patterns["http"] if r.path.endswith(ends))
        return path in self.static["http"] or any(r.match(path) is not None for r in candidates)

    def allowed(self, scope_type: str, path: str) -> set[str]:
        """The methods for which the path is served."""
        allowed = set(self.static[scope_type].get(path, ()))
        for route in self.patterns[scope_type]:
            if route.match(path) is not None:
                allowed |= route.methods
        return allowed

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] == "lifespan":
            return self.live(scope, receive, send)
        route, path_params = self.find(scope)
        scope.update(route.in_scope)
        scope["router"], scope["path_params"] = self, path_params
        return route.handle(scope, receive, send)
