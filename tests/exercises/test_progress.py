"""The exercise `Progress`: all who iterate over the list get what its tasks report."""

import threading
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minibg import EventSourceResponse, MiniBG
from tests.exercises.rules import PLACES, any_program, check_rules, few
from tests.rules.language.cancelling import SECONDS
from tests.rules.language.exchange import Exchange
from tests.rules.language.tasks import any_kind, make
from tests.rules.language.words import Program

EXERCISE = "Progress"


async def told_by(tasks: Any, told: list[Any]) -> None:
    async for item in tasks:
        told.append(item)


@pytest.mark.parametrize("kind", ["a function", "a coroutine function"])
def test_an_item_is_told_while_the_task_runs(solution: Any, backend: str, kind: str) -> None:
    """The task goes on only when its item has arrived, and ends early if it does not."""
    tasks, told = solution(), list[int]()

    def in_a_thread() -> None:
        for number, arrived in enumerate(to_threads):
            tasks.report(number)
            if not arrived.wait(SECONDS):
                return

    async def on_the_loop() -> None:
        with anyio.move_on_after(SECONDS):
            for number, arrived in enumerate(to_the_loop):
                tasks.report(number)
                await arrived.wait()

    async def main() -> None:
        with anyio.fail_after(2 * SECONDS):
            async with anyio.create_task_group() as group:
                group.start_soon(tasks)
                async for item in tasks:
                    told.append(item)
                    to_threads[item].set()
                    to_the_loop[item].set()

    to_threads = [threading.Event() for _ in range(10)]
    to_the_loop = [anyio.Event() for _ in range(10)]
    tasks.add_task(in_a_thread if kind == "a function" else on_the_loop)
    anyio.run(main, backend=backend)
    assert told == list(range(10))


def fail() -> None:
    raise ValueError


@pytest.mark.parametrize("how", ["a task fails", "it is cancelled", "it is abandoned", "no task"])
def test_the_iteration_ends_however_the_run_does(solution: Any, backend: str, how: str) -> None:
    tasks, told = solution(), list[str]()

    async def main() -> None:
        async def be_cancelled() -> None:
            run.cancel()
            await anyio.sleep_forever()

        tasks.add_task(make("a coroutine function", tasks.report), "begun")
        tasks.add_task(be_cancelled if how == "it is cancelled" else fail)
        if how == "no task":
            tasks.tasks.clear()
        with anyio.fail_after(SECONDS):
            async with anyio.create_task_group() as group:
                group.start_soon(told_by, tasks, told)
                await anyio.lowlevel.checkpoint()
                if how == "it is abandoned":
                    tasks.abandon("the endpoint raised")
                else:
                    with anyio.CancelScope() as run:
                        await tasks()

    anyio.run(main, backend=backend)
    assert told == ([] if how in ("it is abandoned", "no task") else ["begun"])


@pytest.mark.parametrize("kind", PLACES)
def test_another_request_streams_what_is_reported(solution: Any, backend: str, kind: str) -> None:
    app, jobs = MiniBG(), list[Any]()

    async def start(tasks: Any) -> None:
        jobs.append(tasks)
        tasks.add_task(make(kind, lambda: [tasks.report(percent) for percent in (50, 100)]))

    async def events() -> EventSourceResponse:
        return EventSourceResponse(jobs[0])

    start.__annotations__["tasks"] = solution
    app.get("/start")(start)
    app.get("/events")(events)

    async def main() -> bytes:
        stream = Exchange("/events")
        await Exchange("/start")(app)
        with anyio.fail_after(SECONDS):
            await stream(app)
        return b"".join(message.get("body", b"") for message in stream.messages)

    assert anyio.run(main, backend=backend) == b"data: 50\n\ndata: 100\n\n"


@given(
    added=st.lists(st.tuples(any_kind(), st.lists(st.none() | st.integers()))),
    followers=st.integers(1, 3),
)
def test_each_iteration_tells_all_in_order_whenever_it_begins(
    solution: Any, backend: str, added: list[tuple[str, list[Any]]], followers: int
) -> None:
    """Each iteration tells everything in order, whenever it begins."""
    tasks, told = solution(), [list[Any]() for _ in range(followers + 1)]

    def body(items: list[Any]) -> Any:
        for item in items:
            tasks.report(item)
            yield

    async def main() -> None:
        with anyio.fail_after(SECONDS):
            async with anyio.create_task_group() as group:
                for each in told[1:]:
                    group.start_soon(told_by, tasks, each)
                await tasks()
            await told_by(tasks, told[0])

    for kind, items in added:
        tasks.add_task(make(kind, body), items)
    anyio.run(main, backend=backend)
    assert told == [[item for _, items in added for item in items]] * (followers + 1)


@few
@given(program=any_program)
def test_the_rules_hold(solution: Any, backend: str, program: Program) -> None:
    check_rules(solution, backend, program)
