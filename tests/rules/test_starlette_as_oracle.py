"""Starlette as an oracle: a task program leaves the same trace on its lists and on `FailFastTasks`.

The trace is that of a whole response: the messages to the server, what each task sees and when, and
the exceptions. Where minibg differs on purpose, a test names the trap and shows both sides of it.

What may live here: the mechanism, driven in this process. `tests/servers/test_traps.py` shows what
a trap does to a connection.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from itertools import groupby
from typing import Any, Literal, NamedTuple
from unittest.mock import patch

import anyio
import pytest
from anyio.to_thread import current_default_thread_limiter
from fastapi import BackgroundTasks as FastAPITasks
from hypothesis import given
from hypothesis import strategies as st
from starlette.background import BackgroundTask as StarletteTask
from starlette.background import BackgroundTasks as StarletteTasks
from starlette.responses import JSONResponse as StarletteResponse

from minibg import BackgroundTask, BackgroundTasks, FailFastTasks, JSONResponse
from minibg.concurrency import background_limiter
from minibg.types import ASGIApp, Background, Message
from tests.rules.language.cancelling import Blocked, let_it_be_delivered
from tests.rules.language.exchange import Exchange
from tests.rules.language.programs import (
    Player,
    additions,
    arguments,
    context,
    everything,
    programs,
    variable,
)
from tests.rules.language.tasks import ASYNC, HANDED_BACK
from tests.rules.language.words import Event, Program, Request, Task

BESIDE_STARLETTE: dict[str, str | None] = {
    "place": "test_minibg_alone_awaits_what_a_lambda_hands_back",
    "capture": "test_minibg_alone_hands_any_keyword_to_the_task",
    "order": "test_a_program_leaves_one_trace_on_both",
    "isolate": "test_starlette_alone_stops_after_a_failing_task",
    "grow": "test_a_program_leaves_one_trace_on_both",
    "own list": None,  # Starlette injects no list; FastAPI's is in tests/servers/test_traps.py
    "after": "test_minibg_alone_names_tasks_if_nothing_was_sent",
    "release": None,  # likewise
    "nothing lost": "test_minibg_alone_names_what_a_failure_stops",
    "context": "test_a_program_leaves_one_trace_on_both",
    "cancel": "test_starlette_alone_starts_a_task_after_cancellation",
    "room": "test_starlette_alone_takes_the_threads_of_endpoints",
}
"""For each rule, a test that shows how Starlette keeps it, or does not."""


class Parts(NamedTuple):
    """A class of responses and one of lists, each of them Starlette's or minibg's."""

    response: Callable[..., ASGIApp]
    tasks: type[Any]


def letting_failures_through(content: object, background: Background) -> JSONResponse:
    """minibg's response takes a list that it does not know for one task, and isolates it."""
    return JSONResponse(content, background=FailFastTasks([background]))


STARLETTE = Parts(StarletteResponse, StarletteTasks)
MINIBG = Parts(JSONResponse, BackgroundTasks)
FAIL_FAST = Parts(JSONResponse, FailFastTasks)

ALIKE = {
    "Starlette": STARLETTE,
    "FastAPI's list": Parts(StarletteResponse, FastAPITasks),
    "minibg": FAIL_FAST,
    "minibg's list behind Starlette's response": Parts(StarletteResponse, FailFastTasks),
    "Starlette's list behind minibg's response": Parts(letting_failures_through, StarletteTasks),
}


class Behind(Player):
    """Runs a program's lists behind a response that is made of those parts."""

    def __init__(self, parts: Parts) -> None:
        super().__init__()
        self.parts = parts

    def class_of(self, policy: str) -> type[Any]:
        """The class of all lists, which has its own policy."""
        return self.parts.tasks

    async def serve(self, request: Request) -> None:
        """Send the response, and note what the server is sent and what context is left."""

        async def note(message: Message) -> None:
            self.events.append(("sent", message))

        exchange = Exchange(on_send=note, client_gone=request.fails == "the response was not sent")
        background = self.list_of(request.own)
        self.given += request.own.appended
        try:
            await exchange(self.parts.response({"a": 1}, background=background))
        finally:
            self.events.append(("left", variable.get()))


# The traps: where minibg differs, and closes one.


def outcome(
    backend: str,
    parts: Parts,
    *tasks: Task,
    fails: Literal[None, "the response was not sent"] = None,
) -> list[str]:
    """What becomes of a list of these tasks: which start, end, are named, and what is raised."""
    request = Request(own=Program(tasks), fails=fails)
    events = anyio.run(Behind(parts).play, request, backend=backend)
    return [
        f"{event[0]} {event[1]}"
        for event in events
        if event[0] in ("start", "end", "not run", "raised")
    ]


A_SYNC_TASK, AN_ASYNC_TASK = Task("a function"), Task("a coroutine function")


def test_starlette_alone_stops_after_a_failing_task(backend: str) -> None:
    tasks = Task(raises=ValueError), A_SYNC_TASK, AN_ASYNC_TASK
    assert outcome(backend, STARLETTE, *tasks) == ["start 0", "raised ValueError"]
    assert outcome(backend, MINIBG, *tasks) == ["start 0", "start 1", "end 1", "start 2", "end 2"]


def test_minibg_alone_names_what_a_failure_stops(backend: str) -> None:
    tasks = Task(raises=ValueError), A_SYNC_TASK, AN_ASYNC_TASK
    assert outcome(backend, STARLETTE, *tasks) == ["start 0", "raised ValueError"]
    assert outcome(backend, FAIL_FAST, *tasks) == [
        "start 0",
        "not run 1",
        "not run 2",
        "raised ValueError",
    ]


def test_minibg_alone_names_tasks_if_nothing_was_sent(backend: str) -> None:
    """Tasks whose response was not sent are named by minibg alone."""
    tasks = A_SYNC_TASK, AN_ASYNC_TASK
    fails: Literal["the response was not sent"] = "the response was not sent"
    assert outcome(backend, STARLETTE, *tasks, fails=fails) == ["raised OSError"]
    assert outcome(backend, MINIBG, *tasks, fails=fails) == [
        "not run 0",
        "not run 1",
        "raised OSError",
    ]


def test_minibg_alone_names_tasks_that_nobody_awaits(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Tasks of a list that nobody awaits are named by minibg alone."""
    for cls in (StarletteTasks, BackgroundTasks):
        cls().add_task(print)
    assert caplog.record_tuples == [
        (
            "minibg.background",
            logging.WARNING,
            "background tasks not run (no run took them): builtins.print",
        )
    ]


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
def test_minibg_alone_awaits_what_a_lambda_hands_back(backend: str) -> None:
    """A coroutine that a sync callable hands back is awaited by minibg alone."""
    tasks = Task("a function that hands back a coroutine"), A_SYNC_TASK
    ignored, refused = ["start 1", "end 1"], ["raised TypeError"]  # the latter by trio itself
    assert outcome(backend, STARLETTE, *tasks) == (ignored if backend == "asyncio" else refused)
    assert outcome(backend, MINIBG, *tasks) == ["start 0", "end 0", "start 1", "end 1"]


@pytest.mark.parametrize("name", ["func", "self"])
def test_minibg_alone_hands_any_keyword_to_the_task(backend: str, name: str) -> None:
    """A keyword that Starlette uses itself reaches the task with minibg alone."""
    called: list[dict[str, object]] = []
    with pytest.raises(TypeError, match=f"multiple values for argument '{name}'"):
        StarletteTasks().add_task(lambda **given: called.append(given), **{name: 1})
    tasks = BackgroundTasks()
    tasks.add_task(lambda **given: called.append(given), **{name: 1})
    anyio.run(tasks, backend=backend)
    assert called == [{name: 1}]


@pytest.mark.parametrize("not_callable", [None, "send"])
def test_minibg_alone_refuses_what_is_not_callable_at_once(backend: str, not_callable: Any) -> None:
    """What is not callable is refused by `add_task` with minibg alone.

    With Starlette it fails when the response has been sent, far from the line that is wrong.
    """
    tasks = StarletteTasks()
    tasks.add_task(not_callable)
    with pytest.raises(TypeError, match="must be callable"):
        anyio.run(tasks, backend=backend)
    with pytest.raises(TypeError, match="a task is a callable"):
        BackgroundTasks().add_task(not_callable)


def test_minibg_alone_calls_a_class_of_async_callables(
    backend: str,
) -> None:
    """A class whose instances are async callables can be a task of minibg alone.

    To call it is to construct; Starlette takes it for async and awaits the instance.
    """
    made: list[object] = []

    class Job:
        def __init__(self) -> None:
            made.append(self)

        async def __call__(self) -> None: ...

    with pytest.raises(TypeError, match="await"):
        anyio.run(StarletteTasks([StarletteTask(Job)]), backend=backend)
    assert len(made) == 1
    anyio.run(FailFastTasks([BackgroundTask(Job)]), backend=backend)
    assert len(made) == 2


def test_starlette_alone_starts_a_task_after_cancellation(
    backend: str,
) -> None:
    """An async task starts after the run was cancelled in a thread."""
    tasks = Task(cancels=True), AN_ASYNC_TASK, A_SYNC_TASK
    assert outcome(backend, STARLETTE, *tasks) == ["start 0", "end 0", "start 1"]
    assert outcome(backend, MINIBG, *tasks) == ["start 0", "end 0", "not run 1", "not run 2"]


def test_minibg_alone_names_a_sync_task_that_is_cancelled(
    backend: str,
) -> None:
    """Neither starts a sync task after the run was cancelled."""
    tasks = Task(cancels=True), A_SYNC_TASK
    assert outcome(backend, STARLETTE, *tasks) == ["start 0", "end 0"]
    assert outcome(backend, MINIBG, *tasks) == ["start 0", "end 0", "not run 1"]


def test_starlette_alone_raises_a_failure_when_cancelled(
    backend: str,
) -> None:
    """The failure of a task that was cancelled is raised in place of the cancellation."""
    tasks = Task(cancels=True, raises=ValueError), A_SYNC_TASK
    assert outcome(backend, STARLETTE, *tasks) == ["start 0", "raised ValueError"]
    assert outcome(backend, FAIL_FAST, *tasks) == ["start 0", "not run 1"]


def test_starlette_alone_leaves_a_thread_behind() -> None:
    """asyncio cancels the run: Starlette does not wait for its thread."""

    async def is_over_before_the_thread(tasks: Any) -> bool:
        blocked = Blocked()
        tasks.add_task(blocked)
        run = asyncio.ensure_future(tasks())
        await blocked.is_running()
        run.cancel()
        await let_it_be_delivered()
        over: bool = run.done()
        blocked.leave.set()
        with pytest.raises(asyncio.CancelledError):
            await run
        return over

    assert anyio.run(is_over_before_the_thread, StarletteTasks())
    assert not anyio.run(is_over_before_the_thread, BackgroundTasks())


def test_starlette_alone_restarts_a_list_inside_its_task(backend: str) -> None:
    """A task awaits its own list: Starlette starts it again, minibg runs the rest."""

    def run(tasks: Any) -> list[str]:
        started: list[str] = []

        async def first() -> None:
            started.append("first")
            if len(started) < 3:
                await tasks()

        tasks.add_task(first)
        tasks.add_task(started.append, "second")
        anyio.run(tasks, backend=backend)
        return started

    assert run(StarletteTasks()) == ["first", "first", "first", "second", "second", "second"]
    assert run(BackgroundTasks()) == ["first", "second"]


def test_starlette_alone_goes_to_a_thread_for_each_sync_task(backend: str) -> None:
    """Starlette makes a call in a thread for each sync task, minibg one for the whole row.

    What each task sees of the context, and what it leaves there, is the same all the same.
    """
    row = Program((Task(sets=1), Task(sets=2), Task(sets=3)))
    for parts, wanted in ((STARLETTE, 3), (MINIBG, 1)):
        with patch.object(anyio.to_thread, "run_sync", wraps=anyio.to_thread.run_sync) as run_sync:
            events = anyio.run(Behind(parts).play, Request(own=row), backend=backend)
        assert run_sync.call_count == wanted
        assert [event[4] for event in events if event[0] == "start"] == [0, 0, 0]
        assert events[-1] == ("left", 0)


def test_starlette_alone_takes_the_threads_of_endpoints(backend: str) -> None:
    """Sync tasks take the threads of endpoints with Starlette alone."""

    def endpoint_threads_taken() -> int:
        return current_default_thread_limiter().borrowed_tokens

    def look() -> None:
        taken.append(anyio.from_thread.run_sync(endpoint_threads_taken))

    taken: list[int] = []
    for tasks in (StarletteTasks(), BackgroundTasks()):
        tasks.add_task(look)
        anyio.run(tasks, backend=backend)
    assert taken == [1, 0]


# The prices: where minibg differs for the sake of something else.


def test_starlette_alone_runs_a_list_at_each_sending(
    backend: str,
) -> None:
    """A response that is sent twice runs its list twice with Starlette alone.

    A single task is run with each sending by both: nothing stands in a list that is emptied.
    """

    def run(response: Any, background: Any) -> int:
        app = response({}, background=background)
        ran.clear()
        for _ in range(2):
            anyio.run(Exchange(), app, backend=backend)
        return len(ran)

    ran: list[str] = []
    single, theirs = BackgroundTask(ran.append, "ran"), StarletteTask(ran.append, "ran")
    assert run(StarletteResponse, StarletteTasks([theirs])) == 2
    assert run(JSONResponse, BackgroundTasks([single])) == 1
    assert run(StarletteResponse, theirs) == run(JSONResponse, single) == 2


def test_starlette_alone_lets_requests_take_turns(
    backend: str,
) -> None:
    """Sync tasks of two requests take turns in the only thread with Starlette alone.

    The price of a row in one thread: another request waits for the row, not for a task.
    """

    async def turns(cls: type[Any]) -> list[int]:
        background_limiter().total_tokens = current_default_thread_limiter().total_tokens = 1
        ran: list[str] = []
        async with anyio.create_task_group() as group:
            for request in ("one", "another"):
                tasks = cls()
                for _ in range(3):
                    tasks.add_task(ran.append, request)
                group.start_soon(tasks)
        return [len(list(turn)) for _, turn in groupby(ran)]

    assert anyio.run(turns, StarletteTasks, backend=backend) == [1] * 6
    assert anyio.run(turns, BackgroundTasks, backend=backend) == [3, 3]


# Likeness: what is left when all that differs is left out.


def common(task: Any) -> Any:
    """What remains of a task, or a program, when all is left out that only minibg can do.

    Nothing is left out of what is added during the run, of lists that stand in lists, of failures
    that are no `Exception`, of context variables: there the two agree.
    """
    if isinstance(task, Program):
        return replace(task, tasks=tuple(map(common, task.tasks)))
    return replace(
        task,
        # Starlette does not await what a sync callable hands back.
        kind="a coroutine function" if task.kind in HANDED_BACK else task.kind,
        # Starlette's own parameters are in the way of these keywords.
        kwargs=tuple((name, value) for name, value in task.kwargs if name not in ("func", "self")),
        adds=tuple(map(common, task.adds)),
        # Starlette does not ask whether it is cancelled between a thread and an async task.
        cancels=task.cancels and task.kind in ASYNC,
    )


# A failure or a cancellation ends most programs after a task or two, so half of them have none.
going_through = programs(arguments | additions | context, st.just("fail fast"))


ending_early = programs(everything, st.just("fail fast"))


@given(program=(going_through | ending_early).map(common))
def test_a_program_leaves_one_trace_on_both(backend: str, program: Program) -> None:
    """A program leaves the same trace on Starlette and on minibg."""

    async def trace(parts: Parts) -> list[Event]:
        events = await Behind(parts).play(Request(own=program))
        # Starlette names no task that has not run to its end.
        return [event for event in events if event[0] not in ("not run", "cut off")]

    async def traces() -> dict[str, list[Event]]:
        return {name: await trace(parts) for name, parts in ALIKE.items()}

    seen = anyio.run(traces, backend=backend)
    for name, events in seen.items():
        assert events == seen["Starlette"], name
