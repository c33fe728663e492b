"""The presets of the lab, as data: a request, on whom to try it, and what is to be seen."""

from typing import NamedTuple

from minibg.lab.composition import RequestSpec, TaskSpec


class Preset(NamedTuple):
    """A request that shows something, and what that is."""

    id: str
    group: str
    rule: str
    title: str
    see: str
    request: RequestSpec
    contenders: tuple[str, ...] = ("minibg", "fastapi")


def tasks(*specs: str) -> tuple[TaskSpec, ...]:
    """Tasks, each as "sync 100" or "async 50 fails"."""
    made = []
    for spec in specs:
        kind, ms, *does = spec.split(" ", 2)
        made.append(TaskSpec(kind, int(ms), does[0] if does else "ends"))  # type: ignore[arg-type]
    return tuple(made)


R = RequestSpec

PRESETS = [
    Preset(
        "isolate",
        "rules",
        "isolate",
        "The second task when the first fails",
        "Task 1 fails. In minibg task 2 runs and the log has the failure; in FastAPI task 2 "
        "never starts, and the connection is closed.",
        R(tasks("sync 80 fails", "sync 120", "async 80")),
    ),
    Preset(
        "order",
        "rules",
        "order",
        "Tasks run one after another",
        "Sync and async tasks alternate. Each starts when the one before has ended.",
        R(tasks("async 80", "sync 120", "async 60", "sync 80")),
    ),
    Preset(
        "place",
        "rules",
        "place",
        "Where tasks run",
        "Async tasks are in the lane of the event loop, sync ones in a worker's. Version 2 "
        "calls them on the loop.",
        R(tasks("async 80", "sync 120")),
        ("minibg", "v2", "v3"),
    ),
    Preset(
        "capture",
        "rules",
        "capture",
        "A task is a function and its arguments",
        "Both tasks are added before either runs, and each is called with what it was given.",
        R(tasks("sync 60", "async 60")),
        ("minibg", "v2"),
    ),
    Preset(
        "after",
        "rules",
        "after",
        "The answer comes first",
        "The client has its answer after a millisecond or two. The first task starts when the"
        " server has taken the last byte.",
        R(tasks("async 150", "sync 150")),
    ),
    Preset(
        "own-list",
        "rules",
        "own list",
        "Each request has its own list",
        "Two requests are pipelined. Each has two tasks, and they run with their own request.",
        R(tasks("async 60", "sync 60"), client="pipelines"),
    ),
    Preset(
        "nothing-lost",
        "rules",
        "nothing lost",
        "Tasks that do not run are named",
        "The endpoint raises after it has added tasks. minibg names them in the log; FastAPI "
        "drops them without a word.",
        R(tasks("sync 80", "async 80"), endpoint="raises"),
    ),
    Preset(
        "grow",
        "rules",
        "grow",
        "A task adds a task",
        "Task 1 adds another, which runs after those that stand in the list.",
        R(tasks("sync 60 adds", "async 80")),
    ),
    Preset(
        "cancel",
        "rules",
        "cancel",
        "A run that is told to stop",
        "Task 1 cancels the run. No further task starts in minibg, and the log names what is left.",
        R(tasks("async 80 cancels", "async 80", "sync 80")),
        ("minibg", "starlette", "v7"),
    ),
    Preset(
        "room",
        "rules",
        "room",
        "A row shares one thread",
        "Four sync tasks. minibg goes to a thread once, Starlette four times: look at the gaps.",
        R(tasks("sync 20", "sync 20", "sync 20", "sync 20")),
        ("minibg", "starlette"),
    ),
    Preset(
        "release",
        "rules",
        "release",
        "When the session is closed",
        "A yield dependency. minibg closes it before the first task, FastAPI after the last.",
        R(tasks("sync 120", "async 80"), dependency="closes"),
    ),
    Preset(
        "context",
        "rules",
        "context",
        "Tasks belong to their request",
        "An async task runs in the request's own asyncio task; a sync one in a thread, with a"
        " copy of its context.",
        R(tasks("async 60", "sync 60", "async 60")),
    ),
    Preset(
        "trap-connection",
        "traps",
        "isolate",
        "A failure closes the connection",
        "Two requests are pipelined, and a task of the first fails. In FastAPI the second has"
        " no answer.",
        R(tasks("sync 60 fails"), client="pipelines"),
    ),
    Preset(
        "trap-lambda",
        "traps",
        "place",
        "A coroutine that nobody awaits",
        "Task 1 is sync and hands back a coroutine. minibg awaits it, FastAPI throws it away.",
        R(tasks("sync 60 hands back", "async 60")),
    ),
    Preset(
        "trap-raises",
        "traps",
        "nothing lost",
        "The endpoint raises after add_task",
        "The tasks do not run anywhere. Only minibg's log says so.",
        R(tasks("async 60"), endpoint="raises"),
    ),
    Preset(
        "trap-exit",
        "traps",
        "isolate",
        "A task calls sys.exit in its thread",
        "In minibg that is a failure of the task. In FastAPI it ends the server.",
        R(tasks("sync 60 exits", "sync 80")),
    ),
    Preset(
        "trap-close-fails",
        "traps",
        "release",
        "A dependency fails while it closes",
        "The answer has left. minibg logs the error and runs the tasks.",
        R(tasks("async 60", "sync 60"), dependency="fails closing"),
    ),
    Preset(
        "trap-blocks",
        "traps",
        "place",
        "An async task that blocks",
        "Task 1 is async and blocks the loop. The second of two pipelined requests has to "
        "wait for it.",
        R(tasks("async 300 blocks"), client="pipelines"),
    ),
    Preset(
        "trap-hang-up",
        "traps",
        "after",
        "The client hangs up within a stream",
        "The stream ends, no task runs, and minibg names them.",
        R(tasks("async 60", "sync 60"), endpoint="streams", client="hangs up within"),
    ),
    Preset(
        "trap-hang-up-before",
        "traps",
        "after",
        "The client hangs up before the answer",
        "The server takes the answer all the same, so the tasks run.",
        R(tasks("async 60", "sync 60"), client="hangs up before"),
    ),
    Preset(
        "trap-sigterm",
        "traps",
        "cancel",
        "The server is told to end",
        "uvicorn waits for the request, its tasks included.",
        R(tasks("async 200", "sync 200"), server="SIGTERM"),
    ),
    Preset(
        "trap-sigterm-twice",
        "traps",
        "cancel",
        "The server is told to end twice",
        "uvicorn waits no longer. What was cut off and what has not started is named by minibg.",
        R(tasks("async 600", "sync 200"), server="SIGTERM twice"),
    ),
    Preset(
        "misunderstanding-kill",
        "misunderstandings",
        "nothing lost",
        "Tasks suit every job",
        "kill -9 when the client has its answer: the task that runs never ends, the others "
        "never start, and no log says so. The durable list is for that.",
        R(tasks("sync 300", "sync 200", "async 100"), server="SIGKILL"),
    ),
    Preset(
        "misunderstanding-concurrent",
        "misunderstandings",
        "order",
        "Tasks of a request run at the same time",
        "They do not: the third waits for the first two.",
        R(tasks("async 150", "async 150", "async 150")),
    ),
    Preset(
        "misunderstanding-failure",
        "misunderstandings",
        "isolate",
        "A failure does not matter",
        "The client was told 200, and nobody tells it that the task failed.",
        R(tasks("async 100 fails")),
    ),
    Preset(
        "misunderstanding-resources",
        "misunderstandings",
        "release",
        "A task may use the request's session",
        "In minibg it is closed before the first task starts.",
        R(tasks("async 100"), dependency="closes"),
    ),
    Preset(
        "misunderstanding-answer",
        "misunderstandings",
        "after",
        "A task may change the answer",
        "The answer is complete before the first task starts.",
        R(tasks("async 100")),
    ),
    Preset(
        "v0",
        "versions",
        "after",
        "Version 0: an ASGI application",
        "The work goes on after the answer.",
        R(tasks("async 100")),
        ("v0",),
    ),
    Preset(
        "v1",
        "versions",
        "order",
        "Version 1: a list and a loop",
        "The tasks of the list, one after another.",
        R(tasks("async 80", "async 80")),
        ("v1", "minibg"),
    ),
    Preset(
        "v2",
        "versions",
        "place",
        "Version 2 calls a sync task on the loop",
        "The bar of task 1 is in the lane of the loop.",
        R(tasks("sync 100", "async 50")),
        ("v2", "v3"),
    ),
    Preset(
        "v3",
        "versions",
        "isolate",
        "Version 3: the first failure ends the run",
        "Task 2 never starts in version 3.",
        R(tasks("sync 60 fails", "sync 60")),
        ("v3", "v4"),
    ),
    Preset(
        "v4",
        "versions",
        "nothing lost",
        "Version 4 loses tasks without a word",
        "Task 1 cancels the run; version 5 names what is left.",
        R(tasks("async 60 cancels", "async 60")),
        ("v4", "v5"),
    ),
    Preset(
        "v5",
        "versions",
        "row",
        "Version 5: a hop for each task",
        "Look at the gaps between the tasks.",
        R(tasks("sync 20", "sync 20", "sync 20")),
        ("v5", "v6"),
    ),
    Preset(
        "v6",
        "versions",
        "room",
        "Version 6: one hop for a row",
        "No gap between the tasks, but the threads are those of endpoints.",
        R(tasks("sync 40", "sync 40")),
        ("v6", "v7"),
    ),
    Preset(
        "v7",
        "versions",
        "cancel",
        "Version 7 goes on when it is cancelled",
        "Task 1 cancels the run, and task 2 starts all the same.",
        R(tasks("sync 60 cancels", "sync 60", "async 60")),
        ("v7", "v8", "minibg"),
    ),
    Preset(
        "v8",
        "versions",
        "cancel",
        "Version 8 leaves a thread behind",
        "The run is cancelled while its thread works.",
        R(tasks("sync 300 cancels", "sync 60")),
        ("v8", "v9", "minibg"),
    ),
]
"""All of them. `tests/lab` shows of each that it shows what it says."""
