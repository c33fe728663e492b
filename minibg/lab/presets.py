"""The presets of the lab, as data: a request, its contenders, what to look for, and the proof.

What may live here: presets. `tests/lab/test_presets.py` runs each of them, and compares what it
finds with `shows` and `differs`.
"""

from typing import Any, NamedTuple

from minibg.lab.composition import RequestSpec, TaskSpec

RULES, TRAPS = "tests/rules", "tests/servers/test_traps.py"
MISUNDERSTANDING = "tests/examples/test_misunderstandings.py"
MENDS = "tests/examples/test_versions.py::test_a_version_mends_what_the_one_before_gets_wrong"


class Preset(NamedTuple):
    """A request that shows something.

    Args:
        id: Its name in a link.
        group: "questions", "rules", "traps", "misunderstandings" or "versions".
        rule: The rule that it is about.
        title: The question, the claim, or the mistaken belief (in quotes).
        see: What to look for in the picture.
        request: The request.
        shows: For each contender, the outcome in one line.
        differs: The names of the differences that are found.
        test: The test that proves it of the mechanism.
    """

    id: str
    group: str
    rule: str
    title: str
    see: str
    request: RequestSpec
    shows: dict[str, str]
    differs: tuple[str, ...]
    test: str

    @property
    def contenders(self) -> list[str]:
        """The contenders that it runs on."""
        return [*self.shows]

    def told(self) -> dict[str, Any]:
        """The preset as the page gets it."""
        return {**self._asdict(), "contenders": self.contenders}


def ask(*tasks: str, **others: Any) -> RequestSpec:
    """A request with tasks, each written as "sync 100" or "async 50 fails"."""
    return RequestSpec(tuple(map(_task, tasks)), **others)


def _task(text: str) -> TaskSpec:
    kind, ms, *does = text.split(" ", 2)
    return TaskSpec(kind, int(ms), *does)  # type: ignore[arg-type]  # the tests run all


PRESETS = [
    Preset(
        "isolate",
        "questions",
        "isolate",
        "The first task fails. What happens to the second?",
        "Task 1 fails. In minibg, tasks 2 and 3 run, and the log has the failure; in FastAPI, they "
        "never start, and the server closes the connection.",
        ask("sync 80 fails", "sync 120", "async 80"),
        {
            "minibg": "200: failed, ended, ended",
            "fastapi": "200: failed, never started, never started",
        },
        ("isolate", "connection"),
        f"{RULES}/test_isolate.py::test_a_failing_task_does_not_stop_the_next",
    ),
    Preset(
        "place",
        "questions",
        "place",
        "In which thread does a sync task run?",
        "In a worker thread: the bar of task 1, which is sync, is in the lane of a worker. The bar "
        "of task 2, which is async, is in the lane of the event loop. minibg and FastAPI agree; "
        "the preset “Version 2 calls a sync task on the loop” shows why it matters.",
        ask("sync 120", "async 80"),
        {"minibg": "200: ended, ended", "fastapi": "200: ended, ended"},
        (),
        f"{RULES}/test_place.py::test_what_is_sync_runs_in_another_thread",
    ),
    Preset(
        "misunderstanding-every-job",
        "questions",
        "nothing lost",
        "What does kill -9 lose?",
        "All that has not ended. The server is killed while task 1 runs: that task never ends, the "
        "others never start, and no log names them, in minibg as in FastAPI. So background tasks "
        "do not suit every job: what must not be lost is written down first.",
        ask("sync 300", "sync 200", "async 100", server="SIGKILL"),
        {
            "minibg": "200: never ended, never started, never started",
            "fastapi": "200: never ended, never started, never started",
        },
        (),
        f"{MISUNDERSTANDING}::test_a_misunderstanding_prints_what_its_docstring_shows",
    ),
    Preset(
        "order",
        "rules",
        "order",
        "Tasks run one after another",
        "Sync and async tasks alternate, and each starts when the one before has ended.",
        ask("async 80", "sync 120", "async 60", "sync 80"),
        {
            "minibg": "200: ended, ended, ended, ended",
            "fastapi": "200: ended, ended, ended, ended",
        },
        (),
        f"{RULES}/test_order.py::test_each_task_ends_before_the_next_one_starts",
    ),
    Preset(
        "capture",
        "rules",
        "capture",
        "A task is called with the arguments that it was given",
        "Task 1 is given a keyword argument called `func`. minibg passes it on; in FastAPI, "
        "`add_task` raises a TypeError, and the endpoint fails.",
        ask("sync 60 is given func", "async 60"),
        {"minibg": "200: ended, ended", "fastapi": "500: never started, never started"},
        ("capture",),
        f"{RULES}/test_capture.py::test_a_task_is_called_with_the_very_objects_it_was_given",
    ),
    Preset(
        "after",
        "rules",
        "after",
        "The answer comes first",
        "The first task starts when the server has sent the answer; the client may read it a "
        "moment later.",
        ask("async 150", "sync 150"),
        {"minibg": "200: ended, ended", "fastapi": "200: ended, ended"},
        (),
        f"{RULES}/test_after.py::test_tasks_start_when_the_last_byte_has_been_taken",
    ),
    Preset(
        "own-list",
        "rules",
        "own list",
        "Each request has its own list",
        "Two requests are pipelined on one connection. The second is answered while the tasks of "
        "the first run, and each request runs its own two tasks.",
        ask("async 100", "sync 100", client="pipelines"),
        {"minibg": "200: ended, ended", "fastapi": "200: ended, ended"},
        (),
        f"{RULES}/test_own_list.py::test_requests_that_overlap_run_their_own_tasks_only",
    ),
    Preset(
        "nothing-lost",
        "rules",
        "nothing lost",
        "A task that does not run is named",
        "The endpoint raises after it has added its tasks. minibg names them in the log; "
        "FastAPI drops them, and no log names them.",
        ask("sync 80", "async 80", endpoint="raises"),
        {
            "minibg": "500: never started and named, never started and named",
            "fastapi": "500: never started, never started",
        },
        ("nothing lost",),
        f"{RULES}/test_nothing_lost.py::test_tasks_of_an_endpoint_that_raised_are_named",
    ),
    Preset(
        "grow",
        "rules",
        "grow",
        "A task adds a task",
        "Task 1 adds task 3, which runs after task 2, since task 2 was already in the list.",
        ask("sync 60 adds", "async 80"),
        {"minibg": "200: ended, ended, ended", "fastapi": "200: ended, ended, ended"},
        (),
        f"{RULES}/test_grow.py::test_added_tasks_run_after_those_that_stood_in_the_list",
    ),
    Preset(
        "cancel",
        "rules",
        "cancel",
        "A run that is cancelled",
        "The run is cancelled while task 1 works in its thread. minibg waits for the thread, "
        "starts no further task and names the rest; Starlette leaves the thread behind and logs "
        "nothing.",
        ask("sync 800 cancels", "sync 80", "async 80"),
        {
            "minibg": "200: ended, never started and named, never started and named",
            "starlette": "200: ended, never started, never started",
        },
        ("left behind", "nothing lost"),
        f"{RULES}/test_cancel.py::test_nothing_goes_on_after_a_run_that_asyncio_has_cancelled",
    ),
    Preset(
        "room",
        "rules",
        "room",
        "Tasks have threads of their own",
        "40 earlier requests, which are not drawn, have each left a slow sync task behind. These "
        "hold 40 threads. Then the client calls a sync endpoint: minibg answers at once, FastAPI "
        "only when the first task has ended.",
        ask("sync 1500", client="after 40 others"),
        {"minibg": "200: no task", "fastapi": "200: no task"},
        ("room",),
        f"{RULES}/test_room.py::test_blocked_background_threads_leave_all_others_free",
    ),
    Preset(
        "release",
        "rules",
        "release",
        "When the session is closed",
        "A `yield` dependency holds a session. minibg closes it before the first task starts, "
        "FastAPI when the last has ended.",
        ask("sync 120", "async 80", dependency="closes"),
        {"minibg": "200: ended, ended", "fastapi": "200: ended, ended"},
        ("release",),
        f"{RULES}/test_release.py::test_what_any_request_holds_closes_before_its_tasks",
    ),
    Preset(
        "context",
        "rules",
        "context",
        "Tasks belong to their request",
        "Each task finds the recording of its request by a context variable, both in a thread and "
        "on the loop. Two requests overlap, and no task appears under the wrong one.",
        ask("async 60", "sync 60", "async 60", client="pipelines"),
        {"minibg": "200: ended, ended, ended"},
        (),
        f"{RULES}/test_context.py::test_any_task_sees_the_context_as_it_is_when_it_runs",
    ),
    Preset(
        "trap-next",
        "traps",
        "isolate",
        "One task fails, and the following ones never run",
        "In Starlette, task 2 never starts, since task 1 has failed. In minibg, it runs.",
        ask("async 60 fails", "async 80"),
        {"minibg": "200: failed, ended", "starlette": "200: failed, never started"},
        ("isolate", "connection"),
        f"{TRAPS}::test_the_tasks_after_a_failing_one",
    ),
    Preset(
        "trap-connection",
        "traps",
        "isolate",
        "A task fails, and the pipelined request gets no answer",
        "Two requests are sent together, and the task of the first fails at once. FastAPI's server "
        "closes the connection, and the second request gets no answer.",
        ask("async 0 fails", client="pipelines"),
        {"minibg": "200: failed", "fastapi": "200: failed"},
        ("connection",),
        f"{TRAPS}::test_a_failing_task_and_the_request_pipelined_behind_it",
    ),
    Preset(
        "trap-handler",
        "traps",
        "isolate",
        "An exception handler answers for a task, too late",
        "The application has a handler for the exception that the task raises. FastAPI calls it, "
        "and logs that the response has already started; minibg logs the failure itself.",
        ask("sync 60 fails, handled"),
        {"minibg": "200: failed", "fastapi": "200: failed"},
        ("handler", "connection"),
        f"{TRAPS}::test_the_error_of_a_task_whose_exception_has_a_handler",
    ),
    Preset(
        "trap-lambda",
        "traps",
        "place",
        "A lambda returns a coroutine that nobody awaits",
        "Task 1 is sync and hands back a coroutine. minibg awaits it on the loop; FastAPI throws "
        "it away.",
        ask("sync 60 hands back", "async 60"),
        {"minibg": "200: ended, ended", "fastapi": "200: ended, ended"},
        ("handed back",),
        f"{TRAPS}::test_a_lambda_that_calls_a_coroutine_function",
    ),
    Preset(
        "trap-func",
        "traps",
        "capture",
        "A keyword argument is called func",
        "`add_task(f, func=...)` raises a TypeError in Starlette, and the client gets a 500.",
        ask("async 60 is given func"),
        {"minibg": "200: ended", "starlette": "500: never started"},
        ("capture",),
        f"{TRAPS}::test_a_keyword_called_func",
    ),
    Preset(
        "trap-own-background",
        "traps",
        "nothing lost",
        "The response has a background of its own",
        "Task 1 is in the injected list, task 2 is the response's own background. minibg runs "
        "both, FastAPI only task 2.",
        ask("sync 60", "async 60", endpoint="own background"),
        {"minibg": "200: ended, ended", "fastapi": "200: never started, ended"},
        ("dropped",),
        f"{TRAPS}::test_injected_tasks_beside_the_background_of_the_response",
    ),
    Preset(
        "trap-threads",
        "traps",
        "room",
        "40 slow tasks, and every sync endpoint hangs",
        "The sync tasks of 40 earlier requests, which are not drawn, hold 40 threads. In "
        "Starlette, the client waits until one of them ends; in minibg, it waits a millisecond or "
        "two.",
        ask("sync 1500", client="after 40 others"),
        {"minibg": "200: no task", "starlette": "200: no task"},
        ("room",),
        f"{TRAPS}::test_fastapi_has_no_thread_left_beside_40_slow_tasks",
    ),
    Preset(
        "trap-raises",
        "traps",
        "nothing lost",
        "The endpoint raises after add_task",
        "The task runs in neither. Only minibg's log says so.",
        ask("async 60", endpoint="raises"),
        {"minibg": "500: never started and named", "fastapi": "500: never started"},
        ("nothing lost",),
        f"{TRAPS}::test_tasks_added_before_the_endpoint_raises",
    ),
    Preset(
        "trap-adds",
        "traps",
        "grow",
        "A dependency adds a task while it closes",
        "In minibg, task 2 runs. In FastAPI, the list has already run when the dependency closes, "
        "and task 2 never starts.",
        ask("sync 60", dependency="adds"),
        {"minibg": "200: ended, ended", "fastapi": "200: ended"},
        ("dropped", "release"),
        f"{TRAPS}::test_a_task_that_a_dependency_adds_while_it_closes",
    ),
    Preset(
        "trap-close-fails",
        "traps",
        "release",
        "A dependency fails while it closes",
        "The answer has been sent, so neither can answer 500. minibg logs the error and keeps the "
        "connection; FastAPI's server closes it.",
        ask("async 60", "sync 60", dependency="fails closing"),
        {"minibg": "200: ended, ended", "fastapi": "200: ended, ended"},
        ("release", "connection"),
        f"{TRAPS}::test_a_dependency_that_fails_to_close_after_the_answer",
    ),
    Preset(
        "trap-open",
        "traps",
        "release",
        "A session is open while tasks run",
        "FastAPI closes the `yield` dependency after the tasks, so the session in it stays open "
        "while they run. minibg closes it before the first task.",
        ask("async 60", "sync 60", dependency="closes"),
        {"minibg": "200: ended, ended", "fastapi": "200: ended, ended"},
        ("release",),
        f"{TRAPS}::test_what_a_dependency_holds_while_a_task_runs",
    ),
    Preset(
        "trap-stream",
        "traps",
        "after",
        "The client leaves a stream before its end",
        "minibg ends the stream, runs no task, and names the tasks in the log. In FastAPI, they "
        "run as if the client had received everything.",
        ask("async 60", "sync 60", endpoint="streams", client="hangs up within"),
        {
            "minibg": "no answer: never started and named, never started and named",
            "fastapi": "no answer: ended, ended",
        },
        ("after",),
        f"{TRAPS}::test_the_tasks_behind_a_stream_that_the_client_leaves",
    ),
    Preset(
        "misunderstanding-concurrently",
        "misunderstandings",
        "order",
        "“The tasks of a request run at the same time”",
        "They do not: the third starts only when the first two have ended.",
        ask("async 150", "async 150", "async 150"),
        {"minibg": "200: ended, ended, ended"},
        (),
        f"{MISUNDERSTANDING}::test_a_misunderstanding_prints_what_its_docstring_shows",
    ),
    Preset(
        "misunderstanding-failures",
        "misunderstandings",
        "isolate",
        "“If a task fails, somebody will be told”",
        "Nobody is: the server sends 200 before the task begins. Only the log reports the failure.",
        ask("async 100 fails"),
        {"minibg": "200: failed"},
        (),
        f"{MISUNDERSTANDING}::test_a_misunderstanding_prints_what_its_docstring_shows",
    ),
    Preset(
        "misunderstanding-resources",
        "misunderstandings",
        "release",
        "“A task may use what belongs to the request”",
        "It may not: the dependency is closed before the task starts. So give a task data, not the "
        "session.",
        ask("async 100", dependency="closes"),
        {"minibg": "200: ended"},
        (),
        f"{MISUNDERSTANDING}::test_a_misunderstanding_prints_what_its_docstring_shows",
    ),
    Preset(
        "misunderstanding-answer",
        "misunderstandings",
        "after",
        "“A task may still change the answer”",
        "It may not: the server has sent the whole answer before the task starts.",
        ask("async 100"),
        {"minibg": "200: ended"},
        (),
        f"{MISUNDERSTANDING}::test_a_misunderstanding_prints_what_its_docstring_shows",
    ),
    Preset(
        "v0",
        "versions",
        "after",
        "Version 0: an application goes on after its answer",
        "The work comes after `send`, so the server sends the answer before the work begins.",
        ask("async 100"),
        {"v0": "200: ended"},
        (),
        "tests/examples/test_versions.py::test_a_version_prints_what_its_docstring_shows",
    ),
    Preset(
        "v1",
        "versions",
        "capture",
        "Version 1: a list whose tasks take no arguments",
        "Version 1 refuses a task with an argument; version 2 keeps the argument with the task.",
        ask("async 60 is given func"),
        {"v2": "200: ended", "v1": "500: never started"},
        ("capture",),
        MENDS,
    ),
    Preset(
        "v2",
        "versions",
        "place",
        "Version 2 calls a sync task on the loop",
        "The bar of task 1 is in the lane of the loop. What the task returns cannot be awaited, so "
        "the run fails, and task 2 never starts. Version 3 calls task 1 in a thread.",
        ask("sync 100", "async 50"),
        {"v3": "200: ended, ended", "v2": "200: ended, never started"},
        ("place", "dropped", "connection"),
        MENDS,
    ),
    Preset(
        "v3",
        "versions",
        "isolate",
        "Version 3: the first failure ends the run",
        "Task 2 never starts in version 3. In version 4, it runs.",
        ask("sync 60 fails", "sync 60"),
        {"v4": "200: failed, ended", "v3": "200: failed, never started"},
        ("isolate", "connection"),
        MENDS,
    ),
    Preset(
        "v4",
        "versions",
        "nothing lost",
        "Version 4 loses tasks without a word",
        "The endpoint raises. Version 5 names the task that did not run; version 4 does not.",
        ask("async 60", endpoint="raises"),
        {"v5": "500: never started and named", "v4": "500: never started"},
        ("nothing lost",),
        MENDS,
    ),
    Preset(
        "v5",
        "versions",
        "place",
        "Version 5 goes to a thread and back for each task",
        "Look at the time between the tasks. In version 6, a row of sync tasks shares one hop.",
        ask(*["sync 2"] * 8),
        {
            "v6": f"200: {', '.join(['ended'] * 8)}",
            "v5": f"200: {', '.join(['ended'] * 8)}",
        },
        ("row",),
        MENDS,
    ),
    Preset(
        "v6",
        "versions",
        "room",
        "Version 6 takes the threads of endpoints",
        "The tasks of 40 earlier requests, which are not drawn, hold 40 threads. In version 6, a "
        "sync endpoint waits for one of these; in version 7, it does not.",
        ask("sync 1500", client="after 40 others"),
        {"v7": "200: no task", "v6": "200: no task"},
        ("room",),
        MENDS,
    ),
    Preset(
        "v7",
        "versions",
        "cancel",
        "Version 7 starts a task in a cancelled run",
        "Task 1 cancels the run, and awaits nothing. Version 7 starts task 2, which is cut off at "
        "its first await; version 8 checks first, and names task 2 in the log.",
        ask("async 0 cancels", "async 80"),
        {"v8": "200: ended, never started and named", "v7": "200: ended, cut off"},
        ("cancel",),
        MENDS,
    ),
    Preset(
        "v8",
        "versions",
        "cancel",
        "Version 8 leaves a thread behind",
        "The run is cancelled, and ends while the thread is still working. Version 9 waits for it.",
        ask("sync 1000 cancels"),
        {"v9": "200: ended", "v8": "200: ended"},
        ("left behind",),
        MENDS,
    ),
    Preset(
        "v9",
        "versions",
        "cancel",
        "Version 9 does not tell its thread of a cancellation",
        "The run is cancelled while task 1 works, and the thread goes on to task 2. In version 10, "
        "the run takes the list away from the thread at once.",
        ask("sync 600 cancels", "sync 80"),
        {"v10": "200: ended, never started and named", "v9": "200: ended, ended"},
        ("cancel",),
        MENDS,
    ),
    Preset(
        "v10",
        "versions",
        "isolate",
        "Version 10 loses a failure to the cancellation",
        "Task 1 fails while the run is cancelled. Only version 11 has the failure in its log.",
        ask("sync 600 cancels and fails", "sync 80"),
        {
            "v11": "200: failed, never started and named",
            "v10": "200: failed, never started and named",
        },
        ("unheard",),
        MENDS,
    ),
    Preset(
        "v11",
        "versions",
        "place",
        "Version 11 throws away the coroutine that a task returns",
        "Task 1 hands back a coroutine. Version 12 awaits it on the loop.",
        ask("sync 60 hands back", "async 60"),
        {"v12": "200: ended, ended", "v11": "200: ended, ended"},
        ("handed back",),
        MENDS,
    ),
    Preset(
        "v12",
        "versions",
        "isolate",
        "Version 12 ends a run because one task exits",
        "Task 1 calls `sys.exit` in its thread. In version 13, that is a failure of the task, and "
        "the next task runs.",
        ask("sync 60 exits", "sync 60"),
        {"v13": "200: failed, ended", "v12": "200: failed, never started and named"},
        ("isolate", "connection"),
        MENDS,
    ),
    Preset(
        "v13",
        "versions",
        "capture",
        "Version 13 takes a generator function for a task",
        "Calling a generator function runs none of its code. Version 14 refuses it in `add_task`.",
        ask("sync 60 is a generator"),
        {"v14": "500: never started", "v13": "200: never started"},
        ("generator",),
        MENDS,
    ),
    Preset(
        "v14",
        "versions",
        "nothing lost",
        "Version 14 is the mechanism",
        "Version 14 and minibg do the same, whatever you compose.",
        ask("async 60 fails", "sync 60 adds", "sync 60 hands back"),
        {
            "minibg": "200: failed, ended, ended, ended",
            "v14": "200: failed, ended, ended, ended",
        },
        (),
        MENDS,
    ),
]
"""All presets, in the order in which the page lists them."""

NOT_SHOWN: dict[str, str] = {}
"""The rules that no preset can show, each with the reason."""
