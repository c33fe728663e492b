"""From method and path to an endpoint, and the order in which a request goes on from there.

Rules kept here: **after** (no task starts before the last byte has been taken), **release** (what
the request held is let go between response and background), and **nothing lost**, where a request
ends before its background began.

What may live here: finding the endpoint, and the order *endpoint, response, release, background*.
"""

import re
from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import Any
from uuid import UUID

from minibg.background import BackgroundTasks, FailFastTasks
from minibg.dependencies import Dependant, TaskLists
from minibg.exceptions import HTTPException
from minibg.requests import Request
from minibg.responses import JSONResponse, Response, has_no_body
from minibg.types import Background, Receive, Scope, Send

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
        ValueError: If the path is malformed.
        TypeError: If the methods are a string, or the endpoint's signature cannot be served.
    """

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
        if "GET" in self.methods:
            self.methods.add("HEAD")
        self.status_code = status_code
        self.path_regex, self.convertors = compile_path(path)
        self.dependant = Dependant(endpoint, self.convertors)

    def match(self, path: str) -> dict[str, Any] | None:
        """The values of the path's parameters, or None where the path is not this route's."""
        found = self.path_regex.fullmatch(path)
        if found is None:
            return None
        try:
            return {name: self.convertors[name](text) for name, text in found.groupdict().items()}
        except ValueError:  # an int of more digits than Python converts
            return None

    async def respond(self, request: Request, lists: TaskLists) -> Response:
        """Call the endpoint and make a response of what it returns."""
        result = await self.dependant.solve_and_call(request, lists)
        if isinstance(result, Response):
            return result
        if has_no_body(self.status_code):
            return Response(status_code=self.status_code)
        return JSONResponse(result, self.status_code)


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


class Router:
    """An ASGI application that gives each HTTP request to the route that serves it.

    A path without parameters is one look-up; a pattern is tried, in order, only where no such path
    serves the request.

    Args:
        routes: The routes to begin with. Of two alike, the first serves.
        recover: Gives the response to an exception that was raised before there was one.
    """

    def __init__(self, routes: Iterable[Route], recover: Recover) -> None:
        self.recover = recover
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
        """The route that serves the request, and the values of its path's parameters.

        Raises:
            HTTPException: 404, or 405 where other methods are served (RFC 9110, section 15.5.6).
        """
        methods = self.static.get(path, {})
        if method in methods:
            return methods[method], {}
        allowed = set(methods)
        for route in self.patterns:
            params = route.match(path)
            if params is not None:
                if method in route.methods:
                    return route, params
                allowed |= route.methods
        if allowed:
            raise HTTPException(405, headers={"allow": ", ".join(sorted(allowed))})
        raise HTTPException(404)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request: endpoint, response, release, background."""
        request, lists = Request(scope, receive), TaskLists()
        try:
            route, scope["path_params"] = self.find(scope["method"], _route_path(scope))
            response = await route.respond(request, lists)
        except BaseException as exc:
            for tasks in lists.values():
                tasks.abandon(f"the endpoint raised {type(exc).__name__}")
            if not isinstance(exc, Exception):
                raise
            response = await self.recover(request, exc)
        background = None
        if lists or response.background is not None:
            background = _afterwards(lists, response.background)
        try:
            await response.send_response(scope, request.receive_disconnect, send)
        except BaseException as exc:
            if background is not None:
                background.abandon(f"the response was not sent, {type(exc).__name__}")
            raise
        if background is not None:
            await background()


def _route_path(scope: Scope) -> str:
    """The path below the one at which the application is mounted (ASGI, `root_path`)."""
    path, root_path = str(scope["path"]), str(scope.get("root_path", ""))
    return path[len(root_path) :] if root_path and path.startswith(root_path + "/") else path


def _afterwards(lists: TaskLists, background: Background | None) -> BackgroundTasks:
    """All that a request leaves behind as one list: what was injected, then the response's own.

    Each list keeps its own policy; a failure that its policy lets through ends the whole run.
    """
    runs = list(lists.values())
    if isinstance(background, BackgroundTasks):
        runs.append(background)
    elif background is not None:
        runs.append(BackgroundTasks([background]))
    return runs[0] if len(runs) == 1 else FailFastTasks(runs)
