"""A contender's recording agrees with the rules' model, whatever is done to the contender."""

import sys
import threading
from contextlib import suppress
from pathlib import Path
from types import CodeType, SimpleNamespace
from typing import Any

import anyio
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minibg import BackgroundTasks
from minibg.lab import experiment as module
from minibg.lab.composition import RequestSpec, RunSpec, TaskSpec
from minibg.lab.contender import main
from minibg.lab.experiment import Experiment
from minibg.lab.sources import sources_of
from minibg.lab.stepping import Stepper, codes_of
from minibg.responses import respond
from tests.lab.trying import events_of, said, tried
from tests.rules.language.model import expected
from tests.rules.language.words import Program, Task

ROOT = Path(__file__).parents[2]
KIND = {"sync": "a function", "async": "a coroutine function"}
MODELLED: dict[str, dict[str, Any]] = {
    "ends": {},
    "fails": {"raises": ValueError},
    "adds": {},
    "hands back": {},
    "cancels": {"cancels": True},
    "cancels and fails": {"cancels": True, "raises": ValueError},
}
"""What a task does, in the words of the rules' model."""

tasks = st.builds(
    TaskSpec,
    kind=st.sampled_from(["sync", "async"]),
    ms=st.integers(2, 10),
    does=st.sampled_from([*["ends", "fails", "adds", "hands back"] * 3, *MODELLED]),
)
requests = st.builds(
    RequestSpec, tasks=st.lists(tasks, max_size=8).map(tuple), fail_fast=st.booleans()
)


def program_of(request: RequestSpec) -> Program:
    """A request, as the rules' model is given it."""
    tasks = []
    for task in request.tasks:
        kind = KIND[task.kind]
        adds = (Task(kind),) if task.does == "adds" else ()
        tasks.append(Task(kind, adds=adds, **MODELLED[task.does]))
    return Program(tuple(tasks), "fail fast" if request.fail_fast else "isolate")


def told_by_model(request: RequestSpec) -> tuple[str, list[tuple[str, str]]]:
    """What must become of each task, and where those that start do, in their order."""
    fates: dict[str, str] = {str(number): "" for number, _ in enumerate(request.tasks)}
    places = []
    for kind, *details in expected(program_of(request)):
        if kind == "start":
            places.append((details[0], "loop" if details[1] == "loop" else "worker"))
            if request.tasks[int(details[0].split(".")[0])].does == "adds":
                fates.setdefault(f"{details[0]}.0", "")
        fate = FATES.get(kind)
        if fate is not None:
            fates[details[0]] = fate
    fates = {label: fate for label, fate in fates.items() if fate}
    numbers = {label: f"task {number}" for number, label in enumerate(fates, 1)}
    line = ", ".join(fates.values()) or "no task"
    return f"200: {line}", [(numbers[label], place) for label, place in places]


FATES = {
    "end": "ended",
    "error": "failed",
    "cut off": "cut off and named",
    "not run": "never started and named",
}


@settings(max_examples=8)
@given(request=requests)
def test_what_is_recorded_is_what_the_model_says(request: RequestSpec) -> None:
    experiment = tried(request, "minibg")
    seen = [
        (event["what"].split(":")[0], event["lane"].split(" ")[0])
        for event in events_of(experiment, "begin")
        if event["kind"] == "task" and event["what"].startswith("task")
    ]
    assert (said(experiment)["minibg"], seen) == told_by_model(request)


TWO = (TaskSpec("sync", 40), TaskSpec("async", 40))
SLOW = (TaskSpec("async", 300), TaskSpec("sync", 40))


@pytest.mark.parametrize(
    ("request_", "minibg", "fastapi"),
    [
        (
            RequestSpec(TWO, client="hangs up before"),
            "no answer: ended, ended",
            "no answer: ended, ended",
        ),
        (
            RequestSpec(TWO, endpoint="streams", client="hangs up within"),
            "no answer: never started and named, never started and named",
            "no answer: ended, ended",
        ),
        (
            RequestSpec(TWO, client="hangs up after"),
            "200: ended, ended",
            "200: ended, ended",
        ),
        (RequestSpec(TWO, endpoint="streams"), "200: ended, ended", "200: ended, ended"),
        (RequestSpec(SLOW, server="SIGTERM"), "200: ended, ended", "200: ended, ended"),
        (RequestSpec(SLOW, server="SIGTERM twice"), "200: ended, ended", "200: ended, ended"),
        (
            RequestSpec(SLOW, server="SIGKILL"),
            "200: never ended, never started",
            "200: never ended, never started",
        ),
        (
            RequestSpec((TaskSpec("async", 20, "blocks"), TaskSpec("sync", 20, "exits"))),
            "200: ended, failed",
            "200: ended, failed",
        ),
        (RequestSpec(), "200: no task", "200: no task"),
        (RequestSpec(server="SIGTERM twice"), "200: no task", "200: no task"),
    ],
    ids=str,
)
def test_what_the_client_and_the_server_do(
    request_: RequestSpec, minibg: str, fastapi: str
) -> None:
    experiment = tried(request_, "minibg", "fastapi")
    assert said(experiment) == {"minibg": minibg, "fastapi": fastapi}
    assert events_of(experiment, "error") == []


def test_a_pipelined_request_waits_for_a_task_that_blocks() -> None:
    """The second of two pipelined requests waits for a task that blocks."""
    request = RequestSpec((TaskSpec("async", 300, "blocks"),), client="pipelines")
    experiment = tried(request, "minibg")
    (second,) = (e for e in events_of(experiment, "mark") if e["what"] == "second answer complete")
    assert second["t"] > 300


def test_what_a_kill_cuts_short_never_ends() -> None:
    experiment = tried(RequestSpec(SLOW, server="SIGKILL"), "starlette")
    ends = {event["id"]: event for event in events_of(experiment, "finish")}
    (task,) = (event for event in events_of(experiment, "begin") if event["kind"] == "task")
    assert (ends[task["id"]]["how"], ends[task["id"]]["t"]) == ("never ended", None)
    marks = [event["what"] for event in events_of(experiment, "mark")]
    assert marks.index("answer complete") < marks.index("killed") < marks.index("server has ended")


def test_a_contender_that_takes_too_long_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SECONDS", 2)
    experiment = tried(RequestSpec((TaskSpec("async", 2000),) * 5), "v3")
    (error,) = events_of(experiment, "error")
    assert error["message"] == "it was stopped after 2 seconds"
    assert "never started" in said(experiment)["v3"]


@pytest.mark.parametrize("client", ["stays", "pipelines"])
@pytest.mark.parametrize("does", ["ends", "fails"])
def test_what_a_slow_client_says_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, client: Any, does: Any
) -> None:
    """Else a visitor would read that there was no answer, or that the connection was kept."""
    on_time = module.started

    def started(name: str, *arguments: str) -> Any:
        return on_time(name.replace("minibg.lab.client", "tests.lab.late_client"), *arguments)

    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(module, "started", started)
    request = RequestSpec((TaskSpec("async", 20, does),), client=client)
    experiment = tried(request, "minibg", "fastapi")
    ours, theirs = experiment.outcomes
    assert (ours.status, ours.connection, theirs.status) == (200, "kept", 200)
    assert theirs.connection == ("closed" if does == "fails" else "kept")
    if client == "pipelines":
        assert ours.second_status == 200


def test_all_contenders_stream() -> None:
    experiment = tried(RequestSpec(TWO, endpoint="streams"), "starlette", "v3")
    assert said(experiment) == {"starlette": "200: ended, ended", "v3": "200: ended, ended"}
    taken = [event["detail"] for event in events_of(experiment, "mark") if "body" in event["what"]]
    assert taken[:4] == ["piece taken"] * 3 + ["last byte taken"]


def test_what_a_second_request_leaves_open_is_not_the_firsts() -> None:
    """What the second request leaves open is not a task of the first."""
    request = RequestSpec(SLOW, client="pipelines", server="SIGKILL")
    experiment = tried(request, "minibg")
    assert said(experiment) == {"minibg": "200: never ended, never started"}


def test_the_machine_may_have_no_process_left(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*args: Any, **options: Any) -> None:
        raise OSError("Resource temporarily unavailable")

    monkeypatch.setattr("anyio.open_process", refuse)
    experiment = tried(RequestSpec(), "minibg", "v1")
    assert [event["contender"] for event in events_of(experiment, "error")] == ["minibg", "v1"]
    assert "temporarily unavailable" in events_of(experiment, "error")[0]["message"]
    assert experiment.is_over


@pytest.mark.parametrize(
    ("request_", "contender", "cause"),
    [
        (RequestSpec((TaskSpec("sync", 5, "fails"),)), "fastapi", "the ValueError of task 1"),
        (RequestSpec((TaskSpec("sync", 5, "exits"),)), "v12", "the SystemExit of task 1"),
        (
            RequestSpec(TWO, dependency="fails closing"),
            "fastapi",
            "the OSError of the dependency that fails while it closes",
        ),
        (
            RequestSpec(TWO[::-1]),
            "v2",
            "a TypeError (sync task 2 has ended, and the None that it returned is awaited)",
        ),
        (
            RequestSpec((TaskSpec("sync", 5, "fails, handled"),)),
            "fastapi",
            "a RuntimeError",
        ),
    ],
    ids=str,
)
def test_what_reaches_the_server_is_named(
    request_: RequestSpec, contender: str, cause: str
) -> None:
    found = events_of(tried(request_, "minibg", contender), "difference")
    (what,) = (event["what"] for event in found if event["name"] == "connection")
    assert f" {cause} reaches the server" in what


def test_not_more_lines_are_told_than_can_be_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LINES", 10)
    experiment = tried(RequestSpec(TWO), "minibg", step=True)
    assert len(events_of(experiment, "line")) == 10
    assert said(experiment) == {"minibg": "200: ended, ended"}


def test_a_contender_that_cannot_be_started_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    (error,) = events_of(tried(RequestSpec(), "minibg"), "error")
    assert error["message"] == "it could not be started"


def test_a_run_can_be_stopped() -> None:
    """Its last event is the end all the same, and its processes are gone."""

    async def main() -> list[str]:
        experiment = Experiment(RunSpec(RequestSpec((TaskSpec("async", 2000),)), ("v3",)))
        seen = []
        async with anyio.create_task_group() as group:
            group.start_soon(experiment.perform)
            async for event in experiment.follow():
                seen.append(event["event"])
                if event["event"] == "begin":
                    experiment.stop()
        return seen

    assert anyio.run(main)[-1] == "end"
    assert [child for child in psutil.Process().children() if is_of_a_run(child)] == []


def is_of_a_run(process: psutil.Process) -> bool:
    """Whether it is a contender or a client, and is still there."""
    with suppress(psutil.NoSuchProcess):  # or it is a zombie
        return any(word.startswith("minibg.lab.") for word in process.cmdline())
    return False


@pytest.mark.parametrize("contender", ["minibg", "starlette", "fastapi", "v0", "v8", "v14"])
def test_a_stepped_run_tells_each_line_with_the_list(contender: str) -> None:
    request = RequestSpec((TaskSpec("async", 5), TaskSpec("async", 5)))
    experiment = tried(request, contender, step=True)
    lines = events_of(experiment, "line")
    shown = {
        (part["file"], number)
        for part in sources_of(contender)
        for number in range(part["first"], part["last"] + 1)
    }
    assert {(line["file"], line["line"]) for line in lines} <= shown
    assert [line["n"] for line in lines] == [*range(len(lines))]
    names = {"task 1", "task 2"}
    if contender != "v0":  # which has no list
        stands = [(*line["list"]["started"], "|", *line["list"]["waiting"]) for line in lines]
        assert ("|", "task 1", "task 2") in stands
        assert all(set(stand) <= {*names, "|"} for stand in stands)
        assert lines[-1]["list"] == {"started": ["task 1", "task 2"], "waiting": []}


def text_of(contender: str) -> dict[tuple[str, int], str]:
    """The text of each line that is shown."""
    return {
        (part["file"], part["first"] + index): text.strip()
        for part in sources_of(contender)
        for index, text in enumerate(part["text"])
    }


@pytest.mark.parametrize("contender", ["starlette", "fastapi"])
def test_the_loop_of_a_frameworks_own_list_is_seen_to_run(contender: str) -> None:
    """It is asked for each task, and the list is told before the first of them and at the end."""
    request = RequestSpec((TaskSpec("sync", 5), TaskSpec("async", 5)))
    lines = events_of(tried(request, contender, step=True), "line")
    texts = text_of(contender)
    ran = [(texts[line["file"], line["line"]], line["list"]) for line in lines]
    looks = [list_ for text, list_ in ran if text == "for task in self.tasks:"]
    assert looks == [
        {"started": [], "waiting": ["task 1", "task 2"]},
        {"started": ["task 1"], "waiting": ["task 2"]},
        {"started": ["task 1", "task 2"], "waiting": []},
    ]
    calls = [list_["waiting"] for text, list_ in ran if text == "await task()"]
    assert calls == [["task 1", "task 2"], ["task 2"]]


def test_a_function_is_stepped_through_where_it_is_defined(monkeypatch: pytest.MonkeyPatch) -> None:
    """FastAPI's list has a loop of its own in some versions, and inherits Starlette's in others."""
    monkeypatch.delattr("fastapi.background.BackgroundTasks.__call__", raising=False)
    assert codes_of("fastapi") == codes_of("starlette")
    assert {part["file"] for part in sources_of.__wrapped__("fastapi")} == {
        "starlette/background.py"
    }


def test_the_lines_of_a_row_run_in_its_thread() -> None:
    request = RequestSpec((TaskSpec("sync", 5), TaskSpec("sync", 5)))
    lines = events_of(tried(request, "minibg", step=True), "line")
    lanes = {line["lane"] for line in lines if line["file"] == "minibg/outcomes.py"}
    assert lanes == {"worker 1"}
    assert {line["lane"] for line in lines} == {"loop", "worker 1"}


def test_only_functions_of_the_mechanism_are_traced() -> None:
    """Asked as the interpreter asks, since what a tracer does is hidden from those that measure."""
    told: list[dict[str, Any]] = []
    stepper = Stepper("minibg", lambda event, **fields: told.append({"event": event, **fields}))

    def frame_of(code: CodeType, **names: Any) -> Any:
        return SimpleNamespace(f_code=code, f_lineno=7, f_locals=names)

    tasks = BackgroundTasks()
    tasks.add_task(told.clear)
    for code in (BackgroundTasks.__call__.__code__, respond.__code__):
        frame = frame_of(code, self=tasks, lists=[tasks, tasks])
        assert stepper.trace(frame, "call", None) == stepper.line
        stepper.line(frame, "line", None)
        stepper.line(frame, "return", None)
    assert [line["list"] for line in told] == [["clear", "clear"]] * 2
    for other in (BackgroundTasks.drain.__code__, frame_of.__code__):
        assert stepper.trace(frame_of(other), "call", None) is None
    stepper.line(frame_of(respond.__code__), "line", None)
    assert told[-1]["list"] is None


def test_a_tracer_leaves_those_that_were_there() -> None:
    before = sys.gettrace(), threading.gettrace()
    stepper = Stepper("v3", lambda event, **fields: None)
    with stepper:
        assert sys.gettrace() == threading.gettrace() == stepper.trace
    assert (sys.gettrace(), threading.gettrace()) == before
    stepper.__exit__(None, None, None)  # once more, for those that measure what is run
    assert (sys.gettrace(), threading.gettrace()) == before


def test_a_contender_that_there_is_not_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["contender", "django", "{}"])
    with pytest.raises(SystemExit):
        main()
