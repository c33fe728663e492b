"""Each rule is broken on purpose, and its own property reports that by the rule's name.

A saboteur is one change to one function, as a reader would make it by hand. What may live here: the
saboteurs, and nothing that depends on what a rule's property looks like.
"""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import getsource
from textwrap import dedent
from traceback import format_exception
from typing import Any, NamedTuple

import pytest
from hypothesis import Phase, given, settings
from hypothesis.errors import FlakyFailure

from minibg import BackgroundTask, BackgroundTasks
from minibg.concurrency import run_in_background_thread
from minibg.dependencies import Dependant
from minibg.injection import RequestResources
from minibg.outcomes import failure_of, left_of
from minibg.responses import respond
from tests.rules import (
    test_after,
    test_cancel,
    test_capture,
    test_context,
    test_grow,
    test_isolate,
    test_nothing_lost,
    test_order,
    test_own_list,
    test_place,
    test_release,
    test_room,
)
from tests.rules.language.programs import PROGRAMS
from tests.rules.language.words import RULES

PROPERTIES: dict[str, Callable[..., None]] = {
    "capture": test_capture.test_a_task_is_called_with_what_it_was_given_in_any_program,
    "place": test_place.test_each_task_runs_in_its_place_in_any_program,
    "order": test_order.test_tasks_run_one_after_another_in_any_program,
    "isolate": test_isolate.test_failures_go_to_on_error_and_no_further_in_any_program,
    "grow": test_grow.test_what_is_added_runs_in_the_same_run_in_any_program,
    "own list": test_own_list.test_requests_that_overlap_run_their_own_tasks_only,
    "after": test_after.test_tasks_start_after_the_response_of_any_request,
    "release": test_release.test_what_any_request_holds_closes_before_its_tasks,
    "nothing lost": test_nothing_lost.test_each_task_ends_or_is_named_in_any_program_and_request,
    "context": test_context.test_any_task_sees_the_context_as_it_is_when_it_runs,
    "cancel": test_cancel.test_no_task_starts_once_the_run_is_cancelled_in_any_program,
    "room": test_room.test_blocked_background_threads_leave_all_others_free,
}


class Saboteur(NamedTuple):
    """Which rule it breaks, how, and in which function it puts what in place of what."""

    rule: str
    how: str
    function: Callable[..., Any]
    intact: str
    broken: str


SABOTEURS = [
    Saboteur(
        "capture",
        "arguments are copied when they are captured",
        BackgroundTask.__init__,
        "self.args = args",
        "from copy import deepcopy\n    self.args = deepcopy(args)",
    ),
    Saboteur(
        "capture",
        "keyword arguments are dropped",
        BackgroundTasks.call_task,
        ", **task.kwargs",
        "",
    ),
    Saboteur(
        "capture",
        "a keyword may not be called func",
        BackgroundTasks.add_task,
        "func: Callable[P, Any], /,",
        "func: Callable[P, Any],",
    ),
    Saboteur(
        "place",
        "sync tasks are called on the event loop",
        BackgroundTasks.__call__,
        "if self.tasks[0].is_async:",
        "if True:",
    ),
    Saboteur(
        "place",
        "an awaitable that is handed back is not awaited",
        left_of,
        "            return result",
        "            return result.close()",
    ),
    Saboteur(
        "order",
        "tasks are added at the head",
        BackgroundTasks.add_task,
        "self.tasks.append(",
        "self.tasks.appendleft(",
    ),
    Saboteur(
        "order",
        "async tasks are taken from the end",
        BackgroundTasks.__call__,
        "self.tasks.popleft()",
        "self.tasks.pop()",
    ),
    Saboteur(
        "order",
        "a row is run from its end",
        BackgroundTasks._run_row,
        "self.tasks.popleft()",
        "self.tasks.pop()",
    ),
    Saboteur(
        "isolate",
        "the first failure stops the rest",
        BackgroundTasks.on_error,
        "return None",
        "raise exc",
    ),
    Saboteur(
        "isolate",
        "what is no Exception is isolated too",
        failure_of,
        "        raise exc\n",
        "        return exc\n",
    ),
    Saboteur(
        "isolate",
        "on_error is not told",
        BackgroundTasks._react,
        "if isawaitable(reaction := self.on_error(task, await failure_of(exc))):\n"
        "            await reaction",
        "await failure_of(exc)",
    ),
    Saboteur(
        "grow",
        "the run takes no more turns than it had tasks at first",
        BackgroundTasks.__call__,
        "while self.tasks:",
        "turns = len(self.tasks)\n        while self.tasks and turns:\n            turns -= 1",
    ),
    Saboteur(
        "own list",
        "requests share a list",
        RequestResources.__init__,
        "connection: HTTPConnection) -> None:\n"
        "    self.connection = connection\n"
        "    self.lists: dict[type[BackgroundTasks], BackgroundTasks] = {}",
        "connection: HTTPConnection, lists: dict[Any, Any] = {}) -> None:\n"
        "    self.connection = connection\n"
        "    self.lists = lists",
    ),
    Saboteur(
        "after",
        "tasks run before the body is sent",
        respond,
        "    try:\n        if resources is None:",
        "    await run_in_turn(lists)\n    try:\n        if resources is None:",
    ),
    Saboteur(
        "after",
        "tasks run though the response was not sent",
        respond,
        'tasks.abandon(f"{reason}, {type(exc).__name__}")',
        "await tasks()",
    ),
    Saboteur(
        "release",
        "what is held is closed after the tasks",
        respond,
        'reason = "cancelled"',
        "await run_in_turn(lists)",
    ),
    Saboteur(
        "release",
        "scope='function' closes after the response",
        Dependant.solve_and_call,
        "if resources.stacks:",
        "if False:",
    ),
    Saboteur(
        "nothing lost",
        "a run that ends early says nothing",
        BackgroundTasks.__call__,
        "self.abandon(reason_of(exc))",
        "self.tasks.clear()",
    ),
    Saboteur(
        "nothing lost",
        "lists within a list are forgotten",
        BackgroundTasks.abandon,
        "task.func.abandon(reason)",
        "task.func.tasks.clear()",
    ),
    Saboteur(
        "nothing lost",
        "an endpoint that raises takes its tasks with it",
        RequestResources.abort,
        'tasks.abandon(f"the endpoint raised {type(exc).__name__}")',
        "tasks.tasks.clear()",
    ),
    Saboteur(
        "nothing lost",
        "injected tasks displace the response's own",
        respond,
        "if own is not None:",
        "if own is not None and not lists:",
    ),
    Saboteur(
        "context",
        "sync tasks of a row share one context",
        BackgroundTasks._run_row,
        "left_of(copy_context().run, call, task)",
        "left_of(call, task)",
    ),
    Saboteur(
        "cancel",
        "a row goes on when the run is cancelled",
        BackgroundTasks._run_row,
        "self.tasks[0].is_async or is_cancelled()",
        "self.tasks[0].is_async",
    ),
    Saboteur(
        "cancel",
        "the next task starts when the run is cancelled",
        BackgroundTasks.__call__,
        "run.has_pending_cancellation()",
        "False",
    ),
    Saboteur(
        "room",
        "background tasks take the threads of endpoints",
        run_in_background_thread,
        "background_limiter()",
        "current_default_thread_limiter()",
    ),
]


@contextmanager
def at_work(saboteur: Saboteur) -> Iterator[None]:
    """Have the function's code changed, wherever the function is known already."""
    function, source = saboteur.function, dedent(getsource(saboteur.function))
    assert source.count(saboteur.intact) == 1, f"{saboteur.how}: its line is there no more"
    namespace = dict(function.__globals__)
    exec(source.replace(saboteur.intact, saboteur.broken), namespace)
    broken = namespace[function.__name__]
    intact = function.__code__, function.__defaults__
    function.__code__, function.__defaults__ = broken.__code__, broken.__defaults__
    try:
        yield
    finally:
        function.__code__, function.__defaults__ = intact
        gc.collect()  # what it has lost speaks up now, and not in another test


def unshrunk(rule: str) -> Callable[..., None]:
    """The property of a rule, over more programs than usual, with the first failure as it is."""
    check = PROPERTIES[rule].hypothesis.inner_test  # type: ignore[attr-defined]  # Hypothesis adds it
    generate = settings(phases=[Phase.generate], max_examples=500)
    return generate(given(program=PROGRAMS[rule])(check))


@pytest.mark.parametrize("saboteur", SABOTEURS, ids=lambda saboteur: saboteur.how)
def test_a_rule_that_is_broken_is_named_by_its_own_property(
    backend: str, saboteur: Saboteur
) -> None:
    with at_work(saboteur), pytest.raises((AssertionError, FlakyFailure)) as raised:
        unshrunk(saboteur.rule)(backend=backend)  # flaky, where threads decide what is seen
    failure = "".join(format_exception(raised.value))
    assert f"AssertionError: the rule **{saboteur.rule}** is broken: " in failure


def test_every_rule_has_a_property_and_a_saboteur() -> None:
    assert set(PROPERTIES) == set(RULES) == {saboteur.rule for saboteur in SABOTEURS}


@pytest.mark.parametrize("saboteur", SABOTEURS, ids=lambda saboteur: saboteur.how)
def test_a_saboteur_leaves_the_function_as_it_was(saboteur: Saboteur) -> None:
    code, defaults = saboteur.function.__code__, saboteur.function.__defaults__
    with at_work(saboteur):
        assert saboteur.function.__code__ is not code
    assert saboteur.function.__code__ is code
    assert saboteur.function.__defaults__ is defaults
