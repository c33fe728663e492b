"""The recording of requests to a real server: the order of events, places, outcomes."""

import asyncio
import logging
from itertools import count
from math import inf
from pathlib import Path

import pytest

from minibg import Middleware, MiniBG
from minibg.examples.solutions import Retrying
from minibg.lab.delivery import PUSH_EVENT, Answer, deliver
from minibg.lab.recorder import (
    Event,
    Recording,
    RecordingHandler,
    RecordingMiddleware,
    RecordingTasks,
    current_recording,
)
from minibg.lab.run import SECRET, exchange, listen, url_of
from minibg.types import Message, Receive, Scope, Send

TASKS = ["verify_signature", "call_downstream", "store_delivery", "write_log"]


def run(
    directory: Path, path: str = "/webhook", count: int = 1
) -> tuple[list[Answer], list[Recording]]:
    """Deliver to the receiver on a real server; what the client got, and what was recorded."""
    answers: list[Answer] = []
    recordings: list[Recording] = []
    sock = listen(0)
    deliveries = deliver(url_of(sock) + path, PUSH_EVENT, SECRET, count)
    exchange(sock, directory, deliveries, answers.append, recordings.append)
    return answers, recordings


def test_the_answer_leaves_before_the_first_task_starts(tmp_path: Path) -> None:
    (answer,), (recording,) = run(tmp_path)
    whats = [event.what for event in recording.events]
    starts = [event.start for event in recording.events]
    assert whats == [
        "request received",
        "endpoint entered",
        "response start: 202",
        "last byte taken",
        "on_error: URLError",
    ]
    assert starts == sorted(starts)
    assert answer.sent < starts[0]
    assert starts[3] < min(answer.received, *(task.start for task in recording.tasks))


def test_each_task_ends_before_the_next_one_starts(tmp_path: Path) -> None:
    _, (recording,) = run(tmp_path)
    times = [time for task in recording.tasks for time in (task.start, task.end)]
    assert times == sorted(times)
    assert times[-1] < inf


def test_a_failing_task_does_not_stop_the_next(tmp_path: Path) -> None:
    _, (recording,) = run(tmp_path)
    assert [task.what for task in recording.tasks] == TASKS
    assert [task.failed for task in recording.tasks] == [False, True, False, False]
    assert all(task.seconds > 0 for task in recording.tasks)


def test_under_fail_fast_the_tasks_after_a_failure_do_not_run(tmp_path: Path) -> None:
    """Under fail-fast the tasks after the failing one are not run."""
    (answer,), (recording,) = run(tmp_path, "/webhook/fail-fast")
    assert answer.status == 202
    assert [task.what for task in recording.tasks] == TASKS
    assert [task.failed for task in recording.tasks] == [False, True, False, False]
    assert [task.start < inf for task in recording.tasks] == [True, True, False, False]
    assert [task.place for task in recording.tasks[2:]] == ["nowhere", "nowhere"]
    assert recording.events[-1].what == "server gets URLError"


def test_a_task_is_seen_on_the_loop_or_in_a_worker(tmp_path: Path) -> None:
    """Async tasks are seen on the loop, and sync ones in a worker."""
    _, (recording,) = run(tmp_path)
    assert {event.place for event in recording.events} == {"event loop"}
    assert recording.tasks[0].place == "event loop"
    for task in recording.tasks[1:]:
        assert task.place.startswith("worker ")


def test_a_failing_task_leaves_the_connection_open(tmp_path: Path) -> None:
    answers, recordings = run(tmp_path, count=5)
    assert [answer.status for answer in answers] == [202] * 5
    assert len(recordings) == 5


def test_a_recorded_task_keeps_its_name_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(tmp_path)
    assert "background task minibg.lab.receiver.call_downstream failed" in caplog.messages


def test_what_is_not_callable_is_refused_as_without_the_recorder() -> None:
    with pytest.raises(TypeError, match="not a str"):
        RecordingTasks().add_task("store_delivery")  # type: ignore[arg-type]  # on purpose


def test_requests_at_the_same_time_do_not_mix() -> None:
    recordings: list[Recording] = []
    app = MiniBG(middleware=[Middleware(RecordingMiddleware, recordings.append)])

    def red() -> None: ...

    def blue() -> None: ...

    async def main() -> None:
        both_are_here = asyncio.Barrier(2)

        @app.get("/red")
        async def get_red(tasks: RecordingTasks) -> None:
            tasks.add_task(red)
            await both_are_here.wait()
            tasks.add_task(red)

        @app.get("/blue")
        async def get_blue(tasks: RecordingTasks) -> None:
            tasks.add_task(blue)
            await both_are_here.wait()
            tasks.add_task(blue)

        async def receive() -> Message:
            return {"type": "http.request"}

        async def send(message: Message) -> None: ...

        async with asyncio.timeout(10), asyncio.TaskGroup() as group:
            for path in ("/red", "/blue"):
                scope = {"type": "http", "method": "GET", "path": path, "headers": []}
                group.create_task(app(scope, receive, send))

    asyncio.run(main())
    assert sorted([task.what for task in recording.tasks] for recording in recordings) == [
        ["blue", "blue"],
        ["red", "red"],
    ]


def test_each_call_of_a_task_has_an_event_of_its_own() -> None:
    """So a task that is called again shows when it failed, and when it did not."""
    recording, calls = Recording(), count()

    def fail_once() -> None:
        if next(calls) == 0:
            raise ValueError

    class Patient(Retrying, RecordingTasks):
        first_delay = 0

    async def request() -> None:
        current_recording.set(recording)
        tasks = Patient()
        tasks.add_task(fail_once)
        await tasks()

    asyncio.run(request())
    assert [(event.what, event.failed) for event in recording.tasks] == [
        ("fail_once", True),
        ("fail_once", False),
    ]
    assert recording.tasks[0].end <= recording.tasks[1].start


@pytest.mark.parametrize(
    ("event", "outcome"),
    [
        (Event("task"), "not run"),
        (Event("task", start=1.0), "never ended"),
        (Event("task", start=1.0, end=2.0), "ended"),
        (Event("task", start=1.0, end=2.0, failed=True, detail="ValueError"), "failed"),
        (Event("task", start=1.0, end=2.0, failed=True, detail="CancelledError"), "cut off"),
    ],
    ids=str,
)
def test_an_event_says_what_became_of_it(event: Event, outcome: str) -> None:
    assert event.outcome == outcome


def test_what_is_logged_is_recorded_with_its_request() -> None:
    """What is logged is recorded with its request, or elsewhere."""
    elsewhere, recording = Recording(), Recording()
    logger = logging.Logger("mine")
    logger.addHandler(RecordingHandler(elsewhere))
    logger.addHandler(RecordingHandler())  # knows no other place, and leaves it
    logger.warning("before")
    before = current_recording.set(recording)
    logger.error("within", exc_info=ValueError("no"))
    logger.info("nobody needs to know")
    current_recording.reset(before)
    assert [(event.what, event.detail) for event in elsewhere.events] == [
        ("before", "WARNING mine")
    ]
    assert [event.what for event in recording.events] == ["within: ValueError('no')"] * 2


def test_without_an_answer_nothing_goes_on_after_it() -> None:
    recordings: list[Recording] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise LookupError

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None: ...

    recorded = RecordingMiddleware(app, recordings.append, records_lists=True)
    with pytest.raises(LookupError):
        asyncio.run(recorded({"type": "http"}, receive, send))  # type: ignore[arg-type]
    assert [event.what for event in recordings[0].events] == [
        "request received",
        "server gets LookupError",
    ]
