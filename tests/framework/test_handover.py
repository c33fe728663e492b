"""When a list is handed over: after the endpoint has returned, and before the answer leaves."""

import gc
import inspect
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from enum import IntEnum
from itertools import permutations
from typing import Annotated, Any

import anyio
import fastapi
import pytest
from anyio.lowlevel import checkpoint

from minibg import BackgroundTasks, Depends, MiniBG, Response, WebSocket
from minibg.ext.fastapi import BackgroundRoute, tasks_of
from minibg.ext.handover import HandedOverTasks, refuse_what_changes
from minibg.types import Message
from tests.framework.asgi import ask, http_scope
from tests.rules.language.logs import logged

seen: list[str] = []
"""What has happened, in order."""


@pytest.fixture(autouse=True)
def _nothing_seen() -> None:
    seen.clear()


def job(name: str) -> None:
    seen.append(f"{name} ran here")


class Sent(HandedOverTasks):
    """Hands over all but what is to be `kept`."""

    async def hand_over(self) -> None:
        for task in list(self.tasks):
            if task.args == ("broken",):
                raise ConnectionError("no broker")
            if task.args != ("kept",):
                self.tasks.remove(task)
                seen.append(f"{task.args[0]} handed over")


def served(endpoint: Callable[..., Any], app: Any = None, **options: Any) -> int:
    """The status of the answer, with `seen` telling when it left."""
    app = app or MiniBG()
    app.post("/", status_code=202)(endpoint)

    async def noting(scope: Any, receive: Any, send: Any) -> None:
        async def send_and_note(message: Message) -> None:
            seen.append(message["type"])
            await send(message)

        await app(scope, receive, send_and_note)

    return ask(noting, "POST", **options).status


ANSWER = ["http.response.start", "http.response.body"]


def test_a_list_is_handed_over_before_the_answer_leaves(backend: str) -> None:
    async def endpoint(tasks: Sent) -> None:
        tasks.add_task(job, "one")
        tasks.add_task(job, "two")
        seen.append("returns")

    assert served(endpoint, backend=backend) == 202
    assert seen == ["returns", "one handed over", "two handed over", *ANSWER]


def test_what_it_leaves_in_the_list_runs_after_the_answer(backend: str) -> None:
    async def endpoint(tasks: Sent) -> None:
        tasks.add_task(job, "kept")

    assert served(endpoint, backend=backend) == 202
    assert seen == [*ANSWER, "kept ran here"]


def test_the_endpoint_and_its_dependencies_share_one_list() -> None:
    def dependency(tasks: Sent) -> None:
        tasks.add_task(job, "the dependency's")

    async def endpoint(tasks: Sent, value: Annotated[None, Depends(dependency)]) -> None:
        tasks.add_task(job, "the endpoint's")

    assert served(endpoint) == 202
    assert seen == ["the dependency's handed over", "the endpoint's handed over", *ANSWER]


def test_a_list_is_handed_over_after_what_ends_with_the_endpoint() -> None:
    """A list is handed over after all that ends with the endpoint.

    A session that is committed by a dependency of the scope "function" has been by then.
    """

    async def session(tasks: Sent) -> AsyncIterator[None]:
        yield
        tasks.add_task(job, "added while it closes")
        seen.append("committed")

    async def endpoint(
        session: Annotated[None, Depends(session, scope="function")], tasks: Sent
    ) -> None: ...

    assert served(endpoint) == 202
    assert seen == ["committed", "added while it closes handed over", *ANSWER]


def test_what_is_added_after_the_answer_is_handed_over_as_well() -> None:
    async def session(tasks: Sent) -> AsyncIterator[None]:
        yield
        tasks.add_task(job, "late")

    async def endpoint(session: Annotated[None, Depends(session)]) -> None: ...

    assert served(endpoint) == 202
    assert seen == [*ANSWER, "late handed over"]


def test_an_endpoint_that_raises_hands_nothing_over(caplog: pytest.LogCaptureFixture) -> None:
    async def endpoint(tasks: Sent) -> None:
        tasks.add_task(job, "one")
        raise ValueError("failed on purpose")

    assert served(endpoint, fails=ValueError) == 500
    assert seen == ANSWER
    assert "not run (the endpoint raised ValueError)" in caplog.text


def test_a_dependency_that_fails_to_close_hands_nothing_over() -> None:
    """A dependency that fails while it closes hands nothing over."""

    async def session() -> AsyncIterator[None]:
        yield
        raise ValueError("not committed")

    async def endpoint(
        session: Annotated[None, Depends(session, scope="function")], tasks: Sent
    ) -> None:
        tasks.add_task(job, "one")

    assert served(endpoint, fails=ValueError) == 500
    assert seen == ANSWER


def test_a_failure_to_hand_over_is_answered_with_a_500(caplog: pytest.LogCaptureFixture) -> None:
    async def endpoint(tasks: Sent) -> None:
        tasks.add_task(job, "one")
        tasks.add_task(job, "broken")
        tasks.add_task(job, "two")

    assert served(endpoint, fails=ConnectionError) == 500
    assert seen == ["one handed over", *ANSWER]
    [record] = [r for r in caplog.records if r.name == "minibg.background"]
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith("background tasks not run (not handed over, Connection")
    assert record.getMessage().count("job") == 2


def test_a_websocket_hands_over_when_its_endpoint_has_returned() -> None:
    async def endpoint(websocket: WebSocket, tasks: Sent) -> None:
        await websocket.accept()
        tasks.add_task(job, "one")

    app = MiniBG()
    app.websocket("/")(endpoint)

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        seen.append(message["type"])

    scope = {**http_scope(), "type": "websocket", "subprotocols": []}
    anyio.run(app, scope, receive, send)
    assert seen == ["websocket.accept", "one handed over", "websocket.close"]


def test_a_list_of_ones_own_is_handed_over_when_it_runs() -> None:
    async def endpoint() -> Response:
        return Response(status_code=202, background=Sent([job_of_one]))

    def job_of_one() -> None: ...

    class Sent(HandedOverTasks):
        async def hand_over(self) -> None:
            seen.extend(f"{task.name.split('.')[-1]} handed over" for task in self.drain())

    assert served(endpoint) == 202
    assert seen == [*ANSWER, "job_of_one handed over"]


def test_a_list_that_cannot_be_handed_over_when_it_runs_is_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tasks = Sent()
    tasks.add_task(job, "broken")
    with pytest.raises(ConnectionError):
        anyio.run(tasks)
    assert "not run (not handed over, ConnectionError)" in caplog.text
    del tasks
    gc.collect()
    assert caplog.text.count("not run") == 1


def test_a_plain_list_beside_it_runs_as_ever() -> None:
    async def endpoint(sent: Sent, tasks: BackgroundTasks) -> None:
        sent.add_task(job, "one")
        tasks.add_task(job, "plain")

    assert served(endpoint) == 202
    assert seen == ["one handed over", *ANSWER, "plain ran here"]


def test_a_class_that_does_not_say_to_whom_is_told() -> None:
    async def endpoint(tasks: HandedOverTasks) -> None:
        tasks.add_task(job, "one")

    assert served(endpoint, fails=NotImplementedError) == 500


# --- in FastAPI ----------------------------------------------------------------------------------

HAS_SCOPES = "scope" in inspect.signature(fastapi.Depends).parameters
has_scopes = pytest.mark.skipif(not HAS_SCOPES, reason="FastAPI before 0.121")


def in_fastapi(endpoint: Callable[..., Any], **options: Any) -> int:
    return served(endpoint, app=fastapi.FastAPI(), **options)


@has_scopes
def test_fastapi_hands_over_before_the_answer_leaves() -> None:
    mine = Annotated[Sent, tasks_of(Sent)]

    def dependency(tasks: mine) -> None:
        tasks.add_task(job, "the dependency's")

    async def endpoint(
        tasks: mine, value: Annotated[None, fastapi.Depends(dependency)]
    ) -> dict[str, bool]:
        tasks.add_task(job, "kept")
        seen.append("returns")
        return {"done": True}

    assert in_fastapi(endpoint) == 202
    assert seen == ["returns", "the dependency's handed over", *ANSWER, "kept ran here"]


@has_scopes
@pytest.mark.parametrize("failure", [ValueError, ConnectionError])
def test_fastapi_answers_a_500_and_hands_nothing_over(
    failure: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    async def endpoint(tasks: Annotated[Sent, tasks_of(Sent)]) -> None:
        tasks.add_task(job, "broken")
        if failure is ValueError:
            raise ValueError("the endpoint's own")

    assert in_fastapi(endpoint, fails=failure) == 500
    assert seen == ANSWER
    assert "test_handover.job" in caplog.text


def closing(name: str, fails: bool = False) -> Any:
    """A dependency that is closed before the answer leaves, as a session that commits then."""

    async def session() -> AsyncIterator[None]:
        yield
        seen.append(f"{name} commits")
        if fails:
            raise ConnectionError

    return Annotated[None, fastapi.Depends(session, scope="function")]


@has_scopes
@pytest.mark.parametrize("order", [*permutations(["first", "second", "tasks"])], ids="-".join)
@pytest.mark.parametrize("is_asked_for_by", ["endpoint", "dependency", "yield", "route"])
def test_fastapi_hands_over_when_all_sessions_have_committed(
    order: tuple[str, ...], is_asked_for_by: str
) -> None:
    """In whatever order they were asked for: a worker may be quicker than a commit."""
    mine = Annotated[Sent, tasks_of(Sent)]

    class Route(BackgroundRoute):
        tasks_class = Sent

    def asking(tasks: mine) -> Any:
        return tasks

    def yielding(tasks: mine) -> Iterator[Any]:
        yield tasks

    annotations = {
        "endpoint": mine,
        "dependency": Annotated[Any, fastapi.Depends(asking)],
        "yield": Annotated[Any, fastapi.Depends(yielding)],
        "route": fastapi.BackgroundTasks,
    }
    parameters = {
        "first": closing("first"),
        "second": closing("second"),
        "tasks": annotations[is_asked_for_by],
    }

    async def endpoint(**given: Any) -> None:
        given["tasks"].add_task(job, "it")

    kind = inspect.Parameter.KEYWORD_ONLY
    endpoint.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(name, kind, annotation=parameters[name]) for name in order]
    )
    app = fastapi.FastAPI()
    if is_asked_for_by == "route":
        app.router.route_class = Route
    assert served(endpoint, app=app) == 202
    sessions = [f"{name} commits" for name in reversed(order) if name != "tasks"]
    assert seen == [*sessions, "it handed over", *ANSWER]


@has_scopes
def test_fastapi_gives_one_list_beneath_security_too() -> None:
    """FastAPI asks its dependencies again there (before 0.123)."""
    lists: list[BackgroundTasks] = []
    mine = Annotated[Sent, tasks_of(Sent)]

    def asking(tasks: mine) -> None:
        lists.append(tasks)

    async def endpoint(
        tasks: mine,
        one: Annotated[None, fastapi.Security(asking, scopes=["one"])],
        other: Annotated[None, fastapi.Security(asking, scopes=["other"])],
    ) -> None:
        tasks.add_task(job, "it")
        lists.append(tasks)

    assert in_fastapi(endpoint) == 202
    assert len(set(map(id, lists))) == 1
    assert seen == ["it handed over", *ANSWER]


@has_scopes
@pytest.mark.parametrize("session_first", [False, True])
def test_a_commit_that_fails_hands_nothing_over(session_first: bool) -> None:
    mine, session = Annotated[Sent, tasks_of(Sent)], closing("session", fails=True)

    async def session_last(tasks: mine, session: session) -> None:
        tasks.add_task(job, "it")

    async def session_before(session: session, tasks: mine) -> None:
        tasks.add_task(job, "it")

    endpoint = session_before if session_first else session_last
    with logged() as log:
        assert in_fastapi(endpoint, fails=ConnectionError) == 500
    assert seen == ["session commits", *ANSWER]
    (warning,) = log.warnings
    assert "the endpoint raised ConnectionError" in warning


@has_scopes
def test_fastapi_hands_over_what_a_closing_dependency_adds() -> None:
    mine = Annotated[Sent, tasks_of(Sent)]

    async def dependency(tasks: mine) -> AsyncIterator[None]:
        yield
        tasks.add_task(job, "late")
        tasks.add_task(job, "kept")

    async def endpoint(value: Annotated[None, fastapi.Depends(dependency)]) -> None: ...

    assert in_fastapi(endpoint) == 202
    assert seen == [*ANSWER, "late handed over", "kept ran here"]


@has_scopes
def test_a_cancellation_does_not_part_a_commit_from_its_tasks() -> None:
    scopes: list[anyio.CancelScope] = []
    session = closing("it")

    class Slowly(Sent):
        async def hand_over(self) -> None:
            scopes[0].cancel()
            await checkpoint()
            await super().hand_over()

    async def endpoint(tasks: Annotated[Slowly, tasks_of(Slowly)], session: session) -> None:
        tasks.add_task(job, "its task")

    app = fastapi.FastAPI()
    app.post("/")(endpoint)

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None: ...

    async def main() -> None:
        with anyio.CancelScope() as scope:
            scopes.append(scope)
            await app(http_scope("POST"), receive, send)

    anyio.run(main)
    assert seen == ["it commits", "its task handed over"]


@pytest.mark.skipif(HAS_SCOPES, reason="FastAPI 0.121 or newer")
def test_an_older_fastapi_is_named() -> None:
    with pytest.raises(RuntimeError, match="Sent needs FastAPI"):
        tasks_of(Sent)


# --- copies --------------------------------------------------------------------------------------


class Colour(IntEnum):
    RED = 1


@pytest.mark.parametrize(
    ("given", "back"),
    [
        ((1, 2), [1, 2]),
        (Colour.RED, 1),
        (1, True),
        (1, 2.0),
        (2**53 + 1, float(2**53)),
        ([Colour.RED], [1]),
        ({"a": (1,)}, {"a": [1]}),
        ({"a": {"b": True}}, {"a": {"b": 1}}),
        ({1: "a"}, {"1": "a"}),
        (float("nan"), None),
        ([0], [1]),
    ],
)
def test_what_would_come_back_as_something_else_is_refused(given: Any, back: Any) -> None:
    with pytest.raises(TypeError, match="argument 'x' of job is a "):
        refuse_what_changes("job", {"x": given}, {"x": back})


def test_what_comes_back_as_it_was_is_accepted() -> None:
    value = {"a": [1, True, None, 1.5, "text", {"b": (1, {2})}]}
    refuse_what_changes("job", {"x": value, "seconds": 1}, {"x": dict(value), "seconds": 1.0})
