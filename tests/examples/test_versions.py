"""Each version keeps the rules that it names, and mends the faults of the one before.

Programs are those of the rules, without lists in lists, and run on the version's lists in place of
minibg's. The mechanism itself is the last of the versions.
"""

import asyncio
import io
import re
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from functools import partial
from inspect import iscoroutinefunction
from itertools import pairwise
from types import ModuleType
from typing import Any
from unittest.mock import AsyncMock, patch

import anyio
import pytest
from anyio import from_thread, to_thread
from anyio.to_thread import current_default_thread_limiter
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from minibg import background
from minibg.examples.versions import (
    v0_asgi,
    v1_list,
    v2_capture,
    v3_place,
    v4_isolate,
    v5_nothing_lost,
    v6_row,
    v7_room,
    v8_cancel,
    v9_wait,
    v10_first,
    v11_outcome,
    v12_left,
    v13_failure,
    v14_seam,
)
from tests.examples.as_shown import printed, shown
from tests.rules.language import programs
from tests.rules.language.cancelling import Blocked, in_a_task, let_it_be_delivered
from tests.rules.language.exchange import Exchange
from tests.rules.language.logs import logged
from tests.rules.language.programs import (
    arguments,
    cancellation,
    check,
    context,
    failures,
    policies,
)
from tests.rules.language.tasks import ASYNC, KINDS, SYNC, any_kind
from tests.rules.language.words import RULES, Event, Program, Task
from tests.servers.live import LIMIT

OF_THE_LIST = ["capture", "order", "place", "isolate", "nothing lost", "grow", "cancel", "context"]

KEPT: dict[ModuleType, list[str]] = {
    v0_asgi: ["after"],
    v1_list: ["after", "order", "grow"],
    v2_capture: ["capture", "order", "grow"],
    v3_place: ["capture", "order", "place", "grow", "context"],
    v4_isolate: ["capture", "order", "place", "isolate", "grow", "context"],
    v5_nothing_lost: [rule for rule in OF_THE_LIST if rule != "cancel"],
    v6_row: [rule for rule in OF_THE_LIST if rule != "cancel"],
    v7_room: [*(rule for rule in OF_THE_LIST if rule != "cancel"), "room"],
    v8_cancel: [*OF_THE_LIST, "room"],
    v9_wait: [*OF_THE_LIST, "room"],
    v10_first: [*OF_THE_LIST, "room"],
    v11_outcome: [*OF_THE_LIST, "room"],
    v12_left: [*OF_THE_LIST, "room"],
    v13_failure: [*OF_THE_LIST, "room"],
    v14_seam: [*OF_THE_LIST, "room"],
    background: OF_THE_LIST,  # its threads are had elsewhere
}


BEFORE_FAILURES = (v8_cancel, v9_wait, v10_first, v11_outcome, v12_left)


def name(version: ModuleType) -> str:
    return version.__name__.rpartition(".")[2]


def keeping(*rules: str) -> list[Any]:
    """Each version with each of those rules that it keeps."""
    return [
        pytest.param(version, rule, id=f"{name(version)}, {rule}")
        for version, kept in KEPT.items()
        for rule in rules
        if rule in kept
    ]


class _WithoutArguments(v1_list.BackgroundTasks):
    """A task of v1 takes no arguments, so they are put into the function."""

    def add_task(self, func: Callable[..., Any], /, *args: Any, **kwargs: Any) -> None:
        super().add_task(partial(func, *args, **kwargs))


@contextmanager
def programs_run_on(version: ModuleType) -> Iterator[None]:
    """Have programs run on the version's lists."""
    lists: Any = _WithoutArguments if version is v1_list else version.BackgroundTasks

    class FailFast(lists):  # type: ignore[misc]  # which, is said by the test
        def on_error(self, task: Any, exc: Exception) -> None:
            raise exc

    views = programs.VIEWS
    if version is not background:  # a version names only the tasks that have not started
        views = views | {"nothing lost": _started_or_named}
    with (
        patch.object(programs, "BackgroundTasks", lists),
        patch.object(programs, "FailFastTasks", FailFast),
        patch.object(programs, "VIEWS", views),
    ):
        yield


def _started_or_named(events: list[Event]) -> list[Event]:
    return sorted(
        e[: 3 if e[0] == "not run" else 2] for e in events if e[0] in ("start", "not run")
    )


def _kinds_for(version: ModuleType) -> dict[str, Any]:
    if version is background:
        return KINDS
    if version in (v1_list, v2_capture):
        return ASYNC
    return SYNC | {
        kind: made for kind, made in ASYNC.items() if iscoroutinefunction(made(lambda: None))
    }


def programs_of(version: ModuleType, rule: str) -> st.SearchStrategy[Program]:
    """Programs that have what the rule speaks of, as far as the version can run them."""
    can = _kinds_for(version)
    if rule == "nothing lost":  # in a version, a partial has no name of its own
        can = {kind: made for kind, made in can.items() if "partial" not in kind}
    added = st.lists(st.builds(Task, kind=any_kind(can)), max_size=2).map(tuple)
    features: dict[str, dict[str, st.SearchStrategy[Any]]] = {
        "capture": arguments,
        "isolate": failures,
        "grow": {"adds": added},
        "context": context,
        "cancel": cancellation,
        "nothing lost": {"adds": added} | arguments | failures | context,
    }
    has, chosen = features.get(rule, {}), st.just("isolate")
    if rule in ("isolate", "nothing lost"):
        chosen = policies
    if rule == "nothing lost" and "cancel" in KEPT[version]:
        has |= cancellation
        if version in BEFORE_FAILURES:  # it names the failure where a run fails that was cancelled
            chosen = policies.filter(lambda policy: policy != "fail fast")
    task = st.builds(Task, kind=any_kind(can), **has)
    appended = st.lists(st.integers(0, 9), max_size=2).map(tuple)
    return st.builds(
        Program,
        st.lists(task, max_size=5).map(tuple),
        chosen,
        appended if rule == "capture" else st.just(()),
    )


@pytest.mark.parametrize(("version", "rule"), keeping(*OF_THE_LIST))
def test_a_version_keeps_its_rules_in_any_program(
    backend: str, version: ModuleType, rule: str
) -> None:
    @settings(max_examples=settings().max_examples // 5)  # there are many versions and rules
    @given(program=programs_of(version, rule))
    def in_any_program(program: Program) -> None:
        check(rule, backend, program)

    with programs_run_on(version):
        in_any_program()


@pytest.mark.parametrize(
    ("before", "version", "rule"),
    [
        (v2_capture, v3_place, "place"),
        (v3_place, v4_isolate, "isolate"),
        (v4_isolate, v5_nothing_lost, "nothing lost"),
        (v7_room, v8_cancel, "cancel"),
    ],
)
def test_a_rule_that_a_version_adds_is_broken_before_it(
    backend: str, before: ModuleType, version: ModuleType, rule: str
) -> None:
    """A rule that a version adds does not hold in the version before it."""

    @settings(phases=[Phase.generate], max_examples=500)
    @given(program=programs_of(version, rule))
    def in_any_program(program: Program) -> None:
        check(rule, backend, program)

    with (
        programs_run_on(before),
        pytest.raises(AssertionError, match=rf"the rule \*\*{rule}\*\* is broken"),
    ):
        in_any_program()


@pytest.mark.parametrize(("version", "rule"), keeping("after"))
def test_a_task_starts_when_the_server_has_taken_the_last_byte(
    backend: str, version: ModuleType, rule: str
) -> None:
    events: list[str] = []
    with patch.object(version, "welcome", AsyncMock(side_effect=lambda *_: events.append("task"))):
        anyio.run(Exchange("/ada", events), version.app, backend=backend)
    assert events == ["response", "task"]


@pytest.mark.parametrize(("version", "rule"), keeping("after"))
def test_no_task_starts_if_the_response_was_not_sent(
    backend: str, version: ModuleType, rule: str
) -> None:
    with (
        patch.object(version, "welcome", AsyncMock()) as welcome,
        pytest.raises(OSError, match="the client is gone"),
    ):
        anyio.run(Exchange("/ada", client_gone=True), version.app, backend=backend)
    welcome.assert_not_called()


@pytest.mark.parametrize(("version", "rule"), keeping("place"))
def test_a_single_task_runs_in_its_place_too(backend: str, version: ModuleType, rule: str) -> None:
    threads: list[int] = []

    def note() -> None:
        threads.append(threading.get_ident())

    async def note_on_the_loop() -> None:
        note()

    run(version.BackgroundTask(note_on_the_loop), backend)
    run(version.BackgroundTask(note), backend)
    assert [thread == threading.get_ident() for thread in threads] == [True, False]


@pytest.mark.parametrize(("version", "rule"), keeping("room"))
def test_blocked_background_threads_leave_all_others_free(
    backend: str, version: ModuleType, rule: str
) -> None:
    assert threads_taken_from_endpoints(version, backend) == 0


def run(program: Callable[[], Awaitable[Any]], backend: str) -> Any:
    """Run the program, for at most as long as a test waits."""

    async def within_the_limit() -> Any:
        with anyio.fail_after(LIMIT):
            return await program()

    return anyio.run(within_the_limit, backend=backend)


def welcomes_of_two_requests(version: ModuleType, backend: str) -> list[str]:
    """What is done for requests that differ."""
    with redirect_stdout(io.StringIO()) as printed, patch.object(v0_asgi, "sleep", AsyncMock()):
        for path in ("/ada", "/grace"):
            anyio.run(Exchange(path), version.app, backend=backend)
    return printed.getvalue().splitlines()


def names_of_a_loop(version: ModuleType, backend: str) -> list[str]:
    """What tasks see of a variable that is bound anew for each of them."""
    seen: list[str] = []

    async def see(name: str) -> None:
        seen.append(name)

    tasks = version.BackgroundTasks()
    for each in ("ada", "grace"):
        if version is v1_list:  # it takes no arguments
            tasks.add_task(lambda: see(each))  # noqa: B023  # the fault
        else:
            tasks.add_task(see, each)
    run(tasks, backend)
    return seen


def place_of_a_sync_task(version: ModuleType, backend: str) -> tuple[str, str]:
    """Where a sync function runs, and how the run ends."""
    threads: list[int] = []
    tasks = version.BackgroundTasks()
    tasks.add_task(lambda: threads.append(threading.get_ident()))
    try:
        run(tasks, backend)
    except TypeError:
        ends = "TypeError"
    else:
        ends = "in order"
    return "on the loop" if threads == [threading.get_ident()] else "in a thread", ends


def tasks_around_a_failure(version: ModuleType, backend: str) -> list[str]:
    """Which tasks run, where the second of three fails, and what reaches the server."""
    seen: list[str] = []

    def fail() -> None:
        raise OSError("the mail server is down")

    tasks = version.BackgroundTasks()
    tasks.add_task(seen.append, "first")
    tasks.add_task(fail)
    tasks.add_task(seen.append, "third")
    try:
        run(tasks, backend)
    except OSError:
        seen.append("OSError")
    return seen


def names_of_what_was_not_run(version: ModuleType, backend: str) -> list[str]:
    """What the log says about the tasks of a run that is cancelled."""

    async def end(scope: anyio.CancelScope) -> None:
        scope.cancel()
        await anyio.sleep_forever()

    async def server() -> None:
        tasks = version.BackgroundTasks()
        with anyio.CancelScope() as scope:
            for task in (end, print, end):
                tasks.add_task(task, scope)
            await tasks()

    with logged() as log:
        run(server, backend)
    named = [text.partition("): ")[2] for text in log.warnings if "tasks not run" in text]
    return [label.rpartition(".")[2] for names in named for label in names.split(", ")]


def hops_of_a_row(version: ModuleType, backend: str) -> int:
    """How often three sync tasks in a row go to a thread."""
    tasks = version.BackgroundTasks()
    for number in range(3):
        tasks.add_task(abs, number)
    with patch.object(to_thread, "run_sync", wraps=to_thread.run_sync) as hop:
        run(tasks, backend)
    return hop.call_count


def threads_taken_from_endpoints(version: ModuleType, backend: str) -> int:
    """How many threads of endpoints a background task holds."""
    tasks = version.BackgroundTasks()
    held: list[int] = []

    def count() -> None:
        held.append(current_default_thread_limiter().borrowed_tokens)

    tasks.add_task(from_thread.run_sync, count)
    run(tasks, backend)
    return held[0]


def tasks_that_start_when_cancelled(version: ModuleType, backend: str) -> list[str]:
    """Which tasks start after one that cancels the run: in its row, and behind it."""
    ran: list[str] = []

    async def behind() -> None:
        ran.append("async")

    async def server() -> None:
        tasks = version.BackgroundTasks()
        with anyio.CancelScope() as scope:
            tasks.add_task(from_thread.run_sync, scope.cancel)
            tasks.add_task(ran.append, "sync")
            tasks.add_task(behind)
            await tasks()

    run(server, backend)
    return ran


def cancelled_by_asyncio(
    version: ModuleType, *, fails: bool = False
) -> tuple[bool, list[str], list[str], list[str]]:
    """What becomes of a row of two whose first task is in its thread when asyncio cancels the run.

    Returns:
        Whether the run has ended before the thread, what the log says by then, what ran, and what
        the log says of failures in the end.
    """
    ran: list[str] = []

    async def server() -> tuple[bool, list[str]]:
        blocked, tasks = Blocked(OSError() if fails else None), version.BackgroundTasks()
        tasks.add_task(blocked)
        tasks.add_task(ran.append, "second")
        running = asyncio.ensure_future(tasks())
        await blocked.is_running()
        running.cancel()
        await let_it_be_delivered()
        left, named = running.done(), log.warnings
        tasks.add_task(ran.append, "added meanwhile")
        blocked.leave.set()
        assert await to_thread.run_sync(blocked.ended.wait, LIMIT)
        await asyncio.wait([running])
        assert running.cancelled()
        return left, named

    with logged() as log:
        left, named = run(server, "asyncio")
    errors = [r.getMessage() for r in log.records if r.levelname == "ERROR"]
    return left, named, ran, errors


def who_is_waited_for(version: ModuleType, backend: str) -> bool:
    """Whether a run ends before its thread, where asyncio cancels."""
    return cancelled_by_asyncio(version)[0]


def who_hears_first(version: ModuleType, backend: str) -> tuple[bool, list[str]]:
    """Whether tasks are named before the thread has ended, and which start after it."""
    _, named, ran, _ = cancelled_by_asyncio(version)
    return named != [], ran


def failures_of_a_cancelled_row(version: ModuleType, backend: str) -> int:
    """How many failures are logged of a thread that fails when asyncio has cancelled."""
    return len(cancelled_by_asyncio(version, fails=True)[3])


def what_is_handed_back(version: ModuleType, backend: str) -> list[str]:
    """Whether a coroutine that a sync function hands back is awaited."""
    seen: list[str] = []

    async def welcome() -> None:
        seen.append("ada")

    handed_back = [welcome()]
    tasks = version.BackgroundTasks()
    tasks.add_task(handed_back.pop)
    kept = handed_back[0]
    run(tasks, backend)
    kept.close()
    return seen


def tasks_after_an_exit(version: ModuleType, backend: str) -> list[str]:
    """Which tasks run after one that calls `sys.exit` in its thread."""
    seen: list[str] = []
    tasks = version.BackgroundTasks()
    tasks.add_task(sys.exit)
    tasks.add_task(seen.append, "second")
    with logged(), suppress(SystemExit):
        run(tasks, backend)
    return seen


def names_of_a_list_in_a_list(version: ModuleType, backend: str) -> list[str]:
    """By what names the tasks of a list are named that stands in another."""
    tasks, inner = version.BackgroundTasks(), version.BackgroundTasks()
    inner.add_task(print)
    tasks.add_task(inner)
    with logged() as log:
        tasks.abandon("not wanted")
        inner.tasks.clear()
    return [text.rpartition(": ")[2].rpartition(".")[2] for text in log.warnings]


def refusals(version: ModuleType, backend: str) -> str:
    """How something that cannot be called is refused."""
    try:
        version.BackgroundTasks().add_task(3)
    except Exception as exc:  # noqa: BLE001  # which, is what is looked at
        return type(exc).__name__
    return "not at all"


STEPS: list[tuple[Callable[[ModuleType, str], Any], ModuleType, Any, ModuleType, Any]] = [
    (
        welcomes_of_two_requests,
        *(v0_asgi, ["welcome, whoever you are"] * 2),
        *(v1_list, ["welcome, ada", "welcome, grace"]),
    ),
    (names_of_a_loop, v1_list, ["grace", "grace"], v2_capture, ["ada", "grace"]),
    (
        place_of_a_sync_task,
        *(v2_capture, ("on the loop", "TypeError")),
        *(v3_place, ("in a thread", "in order")),
    ),
    (
        tasks_around_a_failure,
        *(v3_place, ["first", "OSError"]),
        *(v4_isolate, ["first", "third"]),
    ),
    (names_of_what_was_not_run, v4_isolate, [], v5_nothing_lost, ["print", "end"]),
    (hops_of_a_row, v5_nothing_lost, 3, v6_row, 1),
    (threads_taken_from_endpoints, v6_row, 1, v7_room, 0),
    (tasks_that_start_when_cancelled, v7_room, ["sync", "async"], v8_cancel, []),
    (who_is_waited_for, v8_cancel, True, v9_wait, False),
    (who_hears_first, v9_wait, (False, ["second", "added meanwhile"]), v10_first, (True, [])),
    (failures_of_a_cancelled_row, v10_first, 0, v11_outcome, 1),
    (what_is_handed_back, v11_outcome, [], v12_left, ["ada"]),
    (tasks_after_an_exit, v12_left, [], v13_failure, ["second"]),
    (names_of_a_list_in_a_list, v13_failure, ["BackgroundTasks"], v14_seam, ["print"]),
    (refusals, v14_seam, "not at all", background, "TypeError"),
]
"""What is looked at, and what is seen of it in one version and in the next."""


@pytest.mark.parametrize(
    ("observe", "before", "wrong", "after", "right"),
    STEPS,
    ids=[f"{name(before)} to {name(after)}" for _, before, _, after, _ in STEPS],
)
def test_a_version_mends_what_the_one_before_gets_wrong(
    backend: str,
    observe: Callable[[ModuleType, str], Any],
    before: ModuleType,
    wrong: Any,
    after: ModuleType,
    right: Any,
) -> None:
    assert observe(before, backend) == wrong
    assert observe(after, backend) == right


@pytest.mark.parametrize("observe", [step[0] for step in STEPS], ids=lambda step: step.__name__)
def test_what_is_mended_stays_so(backend: str, observe: Callable[[ModuleType, str], Any]) -> None:
    ((after, right),) = [step[3:] for step in STEPS if step[0] is observe]
    versions = list(KEPT)
    for version in versions[versions.index(after) :]:
        if observe is not welcomes_of_two_requests or hasattr(version, "app"):
            assert observe(version, backend) == right, name(version)


@pytest.mark.parametrize("version", [v12_left, v13_failure, v14_seam], ids=name)
def test_a_cancellation_is_kept_where_a_coroutine_is_left(version: ModuleType) -> None:
    """It is raised when the coroutine has ended: the run is not complete, nor the task cut off."""
    blocked, complete = Blocked(), list[str]()

    async def rest() -> None: ...

    def hand_back() -> Awaitable[None]:
        blocked()
        return rest()

    async def server() -> None:
        tasks = version.BackgroundTasks()
        tasks.add_task(hand_back)

        async def request() -> None:
            await tasks()
            complete.append("the run")

        async with in_a_task(request) as cancel:
            await blocked.is_running()
            cancel()
            blocked.leave.set()

    with logged() as log:
        run(server, "asyncio")
    assert complete == log.warnings == []


def test_each_version_but_the_first_has_its_step() -> None:
    versions = list(KEPT)
    steps = [(step[1], step[3]) for step in STEPS]
    assert steps == list(pairwise(versions))


@pytest.mark.parametrize("version", KEPT, ids=name)
def test_a_version_says_which_rules_it_keeps(version: ModuleType) -> None:
    assert version.__doc__ is not None
    said = re.search(r"Rules kept.*?: (.*?)\.", version.__doc__, re.DOTALL)
    assert said is not None
    assert set(KEPT[version]) == set(re.findall(r"\*\*(.*?)\*\*", said[1], re.DOTALL)) <= set(RULES)


@pytest.mark.parametrize(
    "version", [version for version in KEPT if version != background], ids=name
)
def test_a_version_prints_what_its_docstring_shows(version: ModuleType) -> None:
    assert printed(version) == shown(version)
