"""**room**: background tasks have threads of their own, and never take those of endpoints."""

import threading

import anyio
import pytest
from anyio.to_thread import current_default_thread_limiter
from hypothesis import example, given

from minibg import BackgroundTask, BackgroundTasks
from minibg.concurrency import background_limiter, run_in_extra_thread, run_in_threadpool
from tests.rules.language import SECONDS
from tests.rules.language.programs import PROGRAMS, hold


def test_there_is_room_for_40_unless_it_is_adjusted(backend: str) -> None:
    async def server(adjusted: int | None) -> float:
        if adjusted is not None:
            background_limiter().total_tokens = adjusted
        return background_limiter().total_tokens

    assert anyio.run(server, 3, backend=backend) == 3
    assert anyio.run(server, None, backend=backend) == 40, "each event loop has its own"


def test_more_tasks_than_threads_wait_for_their_turn(backend: str) -> None:
    most, running, ran, lock, both = 0, 0, 0, threading.Lock(), threading.Barrier(2)

    def task() -> None:
        nonlocal most, running, ran
        with lock:
            running += 1
            most = max(most, running)
        both.wait(SECONDS)
        with lock:
            running -= 1
            ran += 1

    async def server() -> None:
        background_limiter().total_tokens = 2
        async with anyio.create_task_group() as group:
            for _ in range(8):
                group.start_soon(BackgroundTask(task))

    anyio.run(server, backend=backend)
    assert (most, ran) == (2, 8)


def test_a_long_row_lets_another_list_have_its_thread(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minibg.background.LONGEST_ROW", 0)
    running, leave = threading.Event(), threading.Event()
    ran: list[str] = []

    def first() -> None:
        running.set()
        assert leave.wait(SECONDS)
        ran.append("the first of the row")

    row = BackgroundTasks([BackgroundTask(first), BackgroundTask(ran.append, "the second")])
    other = BackgroundTasks([BackgroundTask(ran.append, "the other list")])

    async def server() -> None:
        background_limiter().total_tokens = 1
        with anyio.fail_after(SECONDS):
            async with anyio.create_task_group() as group:
                group.start_soon(row)
                await run_in_extra_thread(running.wait, SECONDS)
                group.start_soon(other)
                while not background_limiter().statistics().tasks_waiting:
                    await anyio.lowlevel.checkpoint()
                leave.set()

    anyio.run(server, backend=backend)
    assert ran == ["the first of the row", "the other list", "the second"]


class Crowd:
    """Counts the threads that wait in it, until it is let go."""

    def __init__(self, size: int) -> None:
        self.barrier = threading.Barrier(size + 1)
        self.leave = threading.Event()

    def wait(self) -> None:
        self.barrier.wait(SECONDS)
        assert self.leave.wait(SECONDS)


def test_blocked_endpoint_threads_leave_background_tasks_running(backend: str) -> None:
    async def server() -> None:
        threads = int(current_default_thread_limiter().total_tokens)
        crowd = Crowd(threads)
        with anyio.fail_after(SECONDS):
            async with anyio.create_task_group() as group:
                for _ in range(threads):
                    group.start_soon(run_in_threadpool, crowd.wait)
                ran = threading.Event()
                tasks = BackgroundTasks()
                tasks.add_task(crowd.barrier.wait, SECONDS)
                tasks.add_task(ran.set)
                await tasks()
                assert current_default_thread_limiter().available_tokens == 0
                assert ran.is_set()
                crowd.leave.set()

    anyio.run(server, backend=backend)


def named(borrowed: list[int]) -> dict[str, int]:
    """How many threads of each kind are in use, and how many of background tasks afterwards."""
    kinds = ("background threads in use", "threads of endpoints in use", "afterwards in use")
    return dict(zip(kinds, borrowed, strict=True))


@pytest.mark.basic
@given(program=PROGRAMS["room"])
@example(program=40)
def test_blocked_background_threads_leave_all_others_free(backend: str, program: int) -> None:
    threads = program

    async def server() -> list[int]:
        background_limiter().total_tokens = threads
        crowd, limiters = Crowd(threads), (background_limiter(), current_default_thread_limiter())
        with anyio.fail_after(SECONDS):
            async with anyio.create_task_group() as group:
                for _ in range(threads):
                    group.start_soon(BackgroundTask(crowd.wait))
                await run_in_extra_thread(crowd.barrier.wait, SECONDS)
                borrowed = [limiter.borrowed_tokens for limiter in limiters]
                if limiters[1].available_tokens:
                    await run_in_threadpool(lambda: "an endpoint answers")
                crowd.leave.set()
        return [*borrowed, background_limiter().borrowed_tokens]

    seen = anyio.run(server, backend=backend)
    wanted = [threads, 0, 0]
    hold("room", f"{threads} blocked background tasks", named(wanted), named(seen))
