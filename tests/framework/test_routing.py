"""From method and path to an endpoint, compared with Starlette and with a reference matcher."""

import json
import re
from collections.abc import Callable
from inspect import Parameter, Signature
from string import ascii_letters
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from starlette.routing import Match
from starlette.routing import Route as StarletteRoute

from minibg import (
    HTMLResponse,
    JSONResponse,
    MiniBG,
    PlainTextResponse,
    RedirectResponse,
    Response,
    Route,
    StreamingResponse,
    WebSocketRoute,
)
from minibg.routing import CONVERTORS, METHOD_NOT_ALLOWED, NOT_FOUND, TO_OTHER_SLASH
from minibg.types import Receive, Scope, Send
from tests.framework.asgi import ask, http_scope

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
EXAMPLES = {
    "str": "a-ü.1",
    "path": "a/b//c",
    "int": "0123",
    "float": "12.50",
    "uuid": "6F9619FF-8b86-d011-b42d-00c04fc964ff",
}

literals = st.text(ascii_letters + "0123-._~ü+*()[]^$|\\", max_size=3)
methods = st.sets(st.sampled_from(METHODS), min_size=1, max_size=3)


def endpoint_for(names: list[str]) -> Callable[..., Any]:
    """An endpoint with those parameters."""

    async def endpoint(**values: Any) -> None: ...

    parameters = [Parameter(name, Parameter.KEYWORD_ONLY) for name in names]
    endpoint.__signature__ = Signature(parameters)  # type: ignore[attr-defined]  # as wraps
    return endpoint


def other_slash(path: str) -> str:
    return path.rstrip("/") if path.endswith("/") else path + "/"


def route(path: str, methods: set[str]) -> Route:
    names = [part.partition("}")[0].partition(":")[0] for part in path.split("{")[1:]]
    return Route(path, endpoint_for(names), methods=methods)


@st.composite
def paths(draw: st.DrawFn) -> tuple[str, str]:
    """A route's path, and a path that is asked for and often fits."""
    path = asked = ""
    for number in range(draw(st.integers(1, 3))):
        literal = "/" + draw(literals)
        path, asked = path + literal, asked + literal
        convertor = draw(st.sampled_from([None, *CONVERTORS]))
        if convertor is not None:
            path += f"{{p{number}:{convertor}}}"
            asked += draw(st.just(EXAMPLES[convertor]) | st.sampled_from(["x", "7.", "a/b", ""]))
    return path, asked + draw(st.sampled_from(["", "/", "x"]))


@given(paths=paths(), method=st.sampled_from(METHODS), served=methods)
def test_one_route_serves_what_starlettes_serves(
    paths: tuple[str, str], method: str, served: set[str]
) -> None:
    path, asked = paths
    oracle = StarletteRoute(path, endpoint_for([]), methods=list(served))
    match, found = oracle.matches(http_scope(method, asked))
    ours = route(path, served)
    router = MiniBG(routes=[ours]).router
    serving = router.find(http_scope(method, asked))
    if match is Match.FULL:
        assert serving == (ours, found["path_params"])
    elif match is Match.PARTIAL:
        assert serving == (METHOD_NOT_ALLOWED, {})
        assert router.allowed("http", asked) == oracle.methods
    elif oracle.matches(http_scope(method, other_slash(asked)))[0] is not Match.NONE:
        assert serving == (TO_OTHER_SLASH, {})
    else:
        assert serving == (NOT_FOUND["http"], {})


@given(
    routes=st.lists(
        st.builds(
            route,
            st.sampled_from(["/", "/a", "/1", "/{p}", "/{p:int}", "/{p:path}"]),
            methods,
        )
    ),
    method=st.sampled_from(METHODS),
    asked=st.sampled_from(["/", "/a", "/1", "/b", "/2", "/a/", "/a/b", ""]),
)
def test_the_first_static_route_serves_then_the_first_pattern(
    routes: list[Route], method: str, asked: str
) -> None:
    """Of many routes the first static one serves, then the first pattern."""
    fitting = [route for route in routes if route.match(asked) is not None]
    fitting.sort(key=lambda route: bool(route.convertors))  # stable: of each kind the first
    able = [route for route in fitting if method in route.methods]
    router = MiniBG(routes=routes).router
    serving, _ = router.find(http_scope(method, asked))
    if able:
        assert serving is able[0]
    elif fitting:
        assert serving is METHOD_NOT_ALLOWED
        assert router.allowed("http", asked) == {m for route in fitting for m in route.methods}
    elif any(route.match(other_slash(asked)) is not None for route in routes):
        assert serving is TO_OTHER_SLASH
    else:
        assert serving is NOT_FOUND["http"]


# --- paths ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("convertor", "expected"),
    [
        ("str", "a-ü.1"),
        ("path", "a/b//c"),
        ("int", 123),
        ("float", 12.5),
        ("uuid", UUID(EXAMPLES["uuid"])),
    ],
)
def test_a_convertor_gives_a_value_of_its_type(convertor: str, expected: Any) -> None:
    route = Route(f"/x/{{value:{convertor}}}", endpoint_for(["value"]))
    assert route.match("/x/" + EXAMPLES[convertor]) == {"value": expected}


@given(convertor=st.sampled_from(list(CONVERTORS)), text=st.text(max_size=8))
@example(convertor="int", text="9" * 5000)
@example(convertor="float", text="9" * 5000)
@example(convertor="int", text="٣")
@example(convertor="path", text="a\nb")
@example(convertor="str", text="\udcff")
def test_any_path_is_served_or_not_found(convertor: str, text: str) -> None:
    def endpoint(value: Any) -> None:
        assert text in (value, "") or convertor not in ("str", "path")

    app = MiniBG(routes=[Route(f"/{{value:{convertor}}}", endpoint)])
    status = ask(app, path="/" + text).status
    assert status in (200, 404)
    if convertor == "path":
        assert status == 200
    elif convertor == "str":
        assert (status == 200) == (text != "" and "/" not in text)
    else:
        assert status == 404 or text.isascii()


@pytest.mark.parametrize("path", ["/a\n", "/A", "//a", "/a?", "a", ""])
def test_a_path_is_matched_exactly(path: str) -> None:
    app = MiniBG(routes=[Route("/a", endpoint_for([])), Route("/a{p:int}", endpoint_for(["p"]))])
    assert ask(app, path=path).status == 404


@pytest.mark.parametrize(
    ("asked", "location"),
    [
        ("/a/", "/a"),
        ("/a//", "/a"),
        ("/b", "/b/"),
        ("/7/c/", "/7/c"),
        ("/ü/d", "/%C3%BC/d/"),
        ("/X/", "/X"),
    ],
)
def test_a_client_is_sent_to_the_slash_that_is_served(asked: str, location: str) -> None:
    """Where only the path with the other slash is served, the client is sent there."""
    paths = ["/", "/a", "/b/", "/{n:int}/c", "/{n}/d/", "/X"]
    app = MiniBG(routes=[Route(path, endpoint_for(["n"] * ("n" in path))) for path in paths])
    for root in ("", "/root"):
        answer = ask(app, path=root + asked, root_path=root, query_string=b"q=1")
        assert answer.status == 307
        assert (b"location", f"{root}{location}?q=1".encode()) in answer.headers


@pytest.mark.parametrize("path", ["/root/a/", "/a/"])
def test_a_redirect_keeps_the_root_path(path: str) -> None:
    """A redirect keeps the root path, also where a proxy has cut it off."""
    for root in ("/root", "/root/"):
        answer = ask(MiniBG(routes=[Route("/a", endpoint_for([]))]), path=path, root_path=root)
        assert (b"location", b"/root/a") in answer.headers


@given(
    asked=st.text("/\\.:@?#%;=&+ ae\u00fc\n", max_size=8).map("/".__add__),
    root=st.text("/r", max_size=3),
)
@example(asked="//evil.example/", root="")
@example(asked="/\\evil.example", root="/")
@example(asked="/evil.example/", root="//")
def test_a_redirect_stays_with_the_host(asked: str, root: str) -> None:
    """A redirect stays with the host and leads to what is served.

    As a browser reads it: there a backslash is a slash (WHATWG URL, section 4.4).
    """
    app = MiniBG(routes=[Route("/{p:path}/end", endpoint_for(["p"]))])
    path = f"{asked}/end/"
    answer = ask(app, path=path, root_path=root)
    if answer.status == 307:
        location = dict(answer.headers)[b"location"].decode()
        assert location.isascii()
        assert "\\" not in location
        target = urlsplit(location)
        assert (target.scheme, target.netloc, target.query, target.fragment) == ("", "", "", "")
        assert ask(app, path=unquote(target.path), root_path=root).status == 200


def test_the_redirect_to_the_other_slash_can_be_switched_off() -> None:
    app = MiniBG(routes=[Route("/a", endpoint_for([]))], redirect_slashes=False)
    assert [ask(app, path=path).status for path in ("/a", "/a/")] == [200, 404]


def test_another_method_is_told_all_methods_of_the_path() -> None:
    """Another method is told all those for which the path is served."""
    routes = [
        Route(path, endpoint_for(["n"] * ("n" in path)), methods=[method])
        for path, method in [("/a", "PUT"), ("/{n}", "POST"), ("/{n:path}", "DELETE")]
    ]
    answer = ask(MiniBG(routes=routes), "GET", "/a")
    assert (answer.status, answer.headers[0]) == (405, (b"content-length", b"31"))
    assert (b"allow", b"DELETE, POST, PUT") in answer.headers


def test_no_websocket_is_sent_to_the_other_slash() -> None:
    """No WebSocket is sent to the other slash, and no client to a WebSocket."""
    router = MiniBG(
        routes=[WebSocketRoute("/a", endpoint_for([])), Route("/b", endpoint_for([]))]
    ).router
    for scope_type, path in (("http", "/a/"), ("websocket", "/a/"), ("websocket", "/b/")):
        route, _ = router.find({"type": scope_type, "method": "GET", "path": path})
        assert route is NOT_FOUND[scope_type]


@pytest.mark.parametrize(
    ("root_path", "path", "below"),
    [
        ("", "/a", "/a"),
        ("/api", "/api/a", "/a"),
        ("/api", "/a", "/a"),  # the server in front has cut the root path off
        ("/ap", "/api/a", "/api/a"),
        ("/api/", "/api/a", "/a"),
        ("/", "/a", "/a"),
        ("/api/a", "/api/a/a", "/a"),
    ],
)
def test_a_path_is_looked_up_below_the_root_path(root_path: str, path: str, below: str) -> None:
    app = MiniBG(routes=[Route("/a", lambda: "/a"), Route("/api/a", lambda: "/api/a")])
    assert json.loads(ask(app, path=path, root_path=root_path).body) == below


def test_a_request_for_the_root_path_itself_is_sent_to_its_slash() -> None:
    app = MiniBG(routes=[Route(path, endpoint_for([])) for path in ("/", "/api")])
    for root in ("/api", "/api/"):
        answer = ask(app, path="/api", root_path=root)
        assert (answer.status, dict(answer.headers)[b"location"]) == (307, b"/api/")
        assert ask(app, path="/api/", root_path=root).status == 200


@pytest.mark.parametrize("path", ["", "a", "{a}"])
def test_a_path_begins_with_a_slash(path: str) -> None:
    with pytest.raises(ValueError, match="begins with"):
        Route(path, endpoint_for(["a"]))


@pytest.mark.parametrize(
    "parameter",
    ["{a", "a}", "}{", "{{a}}", "{a}}", "{}", "{:int}", "{a:}", "{a:number}", "{a-b}", "{b}/{b}"],
)
def test_a_malformed_path_is_a_value_error_that_shows_it(parameter: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr("/" + parameter))):
        Route("/" + parameter, endpoint_for(["a", "b"]))


@given(path=st.text("/{}:a1 \n", max_size=8).map("/".__add__))
def test_any_path_makes_a_route_or_an_error_that_shows_it(path: str) -> None:
    names = [part.partition("}")[0].partition(":")[0] for part in path.split("{")[1:]]
    endpoint = endpoint_for(sorted({name for name in names if name.isidentifier()}))
    try:
        Route(path, endpoint)
    except ValueError as error:
        shown = repr(path) in str(error)
    else:
        shown = True
    assert shown


# --- methods -------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["get", "post", "put", "patch", "delete"])
def test_each_decorator_serves_its_method(method: str) -> None:
    app = MiniBG()
    endpoint = endpoint_for([])
    assert getattr(app, method)("/", status_code=201)(endpoint) is endpoint
    for asked in METHODS:
        served = asked == method.upper() or (asked == "HEAD" and method == "get")
        assert ask(app, asked).status == (201 if served else 405)


def test_the_route_decorator_serves_get_unless_told_otherwise() -> None:
    """The decorator for any method serves GET unless told otherwise."""
    app = MiniBG()
    app.route("/a")(endpoint_for([]))
    app.route("/b", methods=["link", "POST"])(endpoint_for([]))
    assert ask(app, "GET", "/a").status == ask(app, "LINK", "/b").status == 200
    assert dict(ask(app, "GET", "/b").headers)[b"allow"] == b"LINK, POST"


def test_methods_are_several_and_no_string() -> None:
    """As one, "POST" would be the methods "P", "O", "S" and "T"."""
    with pytest.raises(TypeError, match=r"a collection, \['POST'\]"):
        Route("/", endpoint_for([]), methods="POST")


def test_a_route_for_head_may_stand_before_that_for_get() -> None:
    """A route for HEAD of its own may stand before that for GET."""
    app = MiniBG()
    app.route("/", methods=["HEAD"])(lambda: PlainTextResponse("", 204))
    app.get("/")(lambda: PlainTextResponse("got"))
    assert (ask(app, "HEAD").status, ask(app, "GET").status) == (204, 200)


@pytest.mark.parametrize(
    "make",
    [
        lambda: {"json": 1},
        lambda: PlainTextResponse("text"),
        lambda: HTMLResponse("text"),
        lambda: JSONResponse([1]),
        lambda: RedirectResponse("/elsewhere"),
        lambda: StreamingResponse(["a", "b"]),
        lambda: Response(status_code=204),
    ],
)
def test_head_is_answered_by_get_without_its_body(make: Callable[[], Any], backend: str) -> None:
    app = MiniBG(routes=[Route("/", make)])
    get, head = (ask(app, method, backend=backend) for method in ("GET", "HEAD"))
    assert (head.status, head.headers, head.body) == (get.status, get.headers, b"")


# --- what an endpoint returns --------------------------------------------------------------------


@pytest.mark.parametrize("value", [None, True, 1, "a", [1, "a"], {"a": None}])
def test_what_is_no_response_becomes_json(value: Any) -> None:
    answer = ask(MiniBG(routes=[Route("/", lambda: value, status_code=201)]))
    assert (answer.status, json.loads(answer.body)) == (201, value)
    assert (b"content-type", b"application/json") in answer.headers


def test_a_response_goes_out_as_it_is() -> None:
    app = MiniBG(routes=[Route("/", lambda: PlainTextResponse("a", 202), status_code=201)])
    assert (ask(app).status, ask(app).body) == (202, b"a")


@pytest.mark.parametrize("value", [None, {"a": 1}])
@pytest.mark.parametrize("status", [204, 304])
def test_a_status_without_content_is_answered_without(status: int, value: Any) -> None:
    answer = ask(MiniBG(routes=[Route("/", lambda: value, status_code=status)]))
    assert (answer.status, answer.headers, answer.body) == (status, [], b"")


# --- several parameters in a segment -------------------------------------------------------------

CLEAR = [
    "/{a}-{b}",
    "/{name}.{ext}/x",
    "/{year:int}-{slug}/e",
    "/{slug}-{id:int}.{ext}",
    "/{z}/{x}/{y}.png",
    "/{p:path}/e/{x}",
    "/{p:path}/{n}.e",
    "/{p:path}.e/{q:path}",
    "/{a}-{q:path}",
    "/{a}-{id:uuid}",
    "/{x:float},{y:float}",
]
AMBIGUOUS = [
    "/{a}{b}",
    "/{a}-{b}-{c}",
    "/{a}-{b}x",
    "/{a}1{b:int}",
    "/{a}.{b:float}",
    "/{p:path}-{x}",
    "/{p:path}/{q:path}/x",
    "/{p:path}/{a}.{b}",
]


@given(st.sampled_from(CLEAR), st.text("/-.,1aex", max_size=12))
def test_a_path_of_parameters_is_read_as_starlette_reads_it(path: str, asked: str) -> None:
    """A path of several parameters is read as Starlette reads it."""
    ours = route(path, {"GET"}).match("/" + asked)
    match, scope = StarletteRoute(path, endpoint_for([])).matches(http_scope(path="/" + asked))
    assert ours == (scope["path_params"] if match is Match.FULL else None)


@pytest.mark.parametrize("path", AMBIGUOUS)
def test_a_path_that_can_be_read_in_many_ways_is_refused(path: str) -> None:
    """Matching it could take a time with the square or the cube of what a client asks for."""
    with pytest.raises(ValueError, match=re.escape(repr(path))):
        route(path, {"GET"})


# --- what middleware is told ---------------------------------------------------------------------


def test_the_scope_names_the_route_and_the_endpoint() -> None:
    """By its template Sentry and OpenTelemetry name a request; what no route serves has none."""
    scopes: list[Scope] = []

    async def noting(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, send)
        scopes.append(scope)

    app = MiniBG()

    @app.get("/items/{id:int}")
    async def item(id: int) -> int:  # noqa: A002  # the parameter of a path
        return id

    for path, method in [
        ("/items/1", "GET"),
        ("/items/1/", "GET"),
        ("/no", "GET"),
        ("/items/1", "PUT"),
    ]:
        ask(noting, method, path)
    assert [scope["route"].path if "route" in scope else None for scope in scopes] == [
        "/items/{id:int}",
        None,
        None,
        None,
    ]
    assert [scope.get("endpoint") for scope in scopes] == [item, None, None, None]
