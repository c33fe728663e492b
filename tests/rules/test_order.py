"""**order**: tasks run one after another, in the order in which they were added."""

import threading

import anyio
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from minibg import BackgroundTask, BackgroundTasks
from tests.rules.language import SECONDS
from tests.rules.language.programs import PROGRAMS, AnyProgram, check
from tests.rules.language.tasks import any_kind, make
from tests.rules.language.words import Program, Task


@given(kinds=st.lists(any_kind()))
def test_each_task_ends_before_the_next_one_starts(backend: str, kinds: list[str]) -> None:
    events: list[tuple[str, int]] = []

    def body(number: int) -> None:
        events.append(("start", number))
        events.append(("end", number))

    tasks = BackgroundTasks()
    for number, kind in enumerate(kinds):
        tasks.add_task(make(kind, body), number)
    anyio.run(tasks, backend=backend)
    assert events == [
        (moment, number) for number in range(len(kinds)) for moment in ("start", "end")
    ]


@given(kinds=st.lists(st.sampled_from(["sync", "async"]), min_size=1, max_size=5))
def test_a_task_that_takes_long_is_waited_for(backend: str, kinds: list[str]) -> None:
    """Each task gives others every chance to overtake it: it waits for the loop to turn."""
    running, seen_running = 0, []

    async def slow_async() -> None:
        nonlocal running
        running += 1
        seen_running.append(running)
        for _ in range(3):
            await anyio.lowlevel.checkpoint()
        running -= 1

    def slow_sync() -> None:
        nonlocal running
        running += 1
        seen_running.append(running)
        turned = threading.Event()
        anyio.from_thread.run_sync(turned.set)
        assert turned.wait(SECONDS)
        running -= 1

    tasks = BackgroundTasks()
    for kind in kinds:
        tasks.add_task(slow_sync if kind == "sync" else slow_async)
    anyio.run(tasks, backend=backend)
    assert seen_running == [1] * len(kinds)


@given(kinds=st.lists(any_kind(), max_size=5))
def test_tasks_that_a_list_begins_with_run_in_their_order(backend: str, kinds: list[str]) -> None:
    """`BackgroundTasks([first, second])` is the other way to fill a list."""
    ran: list[int] = []
    first = [BackgroundTask(make(kind, ran.append), number) for number, kind in enumerate(kinds)]
    anyio.run(BackgroundTasks(first), backend=backend)
    assert ran == list(range(len(kinds)))


@given(groups=st.lists(st.lists(any_kind(), max_size=3), max_size=3))
def test_a_list_within_a_list_runs_whole_in_its_place(
    backend: str, groups: list[list[str]]
) -> None:
    ran: list[tuple[int, int]] = []
    tasks = BackgroundTasks()
    for outer, group in enumerate(groups):
        inner_list = BackgroundTasks()
        for inner, kind in enumerate(group):
            inner_list.add_task(make(kind, lambda *place: ran.append(place)), outer, inner)
        tasks.add_task(inner_list)
    anyio.run(tasks, backend=backend)
    assert ran == [
        (outer, inner) for outer, group in enumerate(groups) for inner in range(len(group))
    ]


@pytest.mark.basic
@given(program=PROGRAMS["order"])
@example(program=Program((Task(), Task())))
@example(program=Program((Task(kind="a coroutine function"), Task())))
def test_tasks_run_one_after_another_in_any_program(backend: str, program: AnyProgram) -> None:
    check("order", backend, program)
