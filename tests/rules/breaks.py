"""Changes of a line or two that a reader may try, each with the rule that must be named first.

What may live here: data. `test_breaks.py` makes each change in a copy of the project, runs
`pytest tests/rules -x` there, and reads which rule it names.
"""

from typing import NamedTuple


class Break(NamedTuple):
    """In which file what is written in place of what, and which rule that breaks."""

    rule: str
    how: str
    file: str
    intact: str
    broken: str


BACKGROUND = "minibg/background.py"
CONCURRENCY = "minibg/concurrency.py"
DEPENDENCIES = "minibg/dependencies.py"
FORMPARSERS = "minibg/formparsers.py"
INJECTION = "minibg/injection.py"
LIFESPAN = "minibg/lifespan.py"
OUTCOMES = "minibg/outcomes.py"
RESPONSES = "minibg/responses.py"
ROUTING = "minibg/routing.py"

BREAKS = [
    # --- place ---
    Break(
        "place", "call sync tasks on the loop", BACKGROUND, "if self.tasks[0].is_async:", "if True:"
    ),
    Break("place", "run async tasks in a thread", BACKGROUND, '= given == "coroutine"', "= False"),
    Break(
        "place",
        "do not await what is async",
        BACKGROUND,
        "await (call(task) if left is None else left)",
        "(call(task) if left is None else left)",
    ),
    Break(
        "place",
        "await a task in an asyncio task of its own",
        BACKGROUND,
        "await (call(task) if left is None else left)",
        "import asyncio\n                    "
        "await (asyncio.ensure_future(call(task)) if left is None else left)",
    ),
    Break(
        "place",
        "throw away what is handed back",
        OUTCOMES,
        "            return result",
        "            return None",
    ),
    Break(
        "place",
        "take a generator for a result",
        OUTCOMES,
        "if isinstance(result, Generator | AsyncGenerator):",
        "if False:",
    ),
    Break(
        "place",
        "do not look through partials",
        CONCURRENCY,
        "while isinstance(obj, partial):",
        "while False:",
    ),
    # --- capture ---
    Break(
        "capture",
        "deep-copy the arguments",
        BACKGROUND,
        "self.args = args",
        "from copy import deepcopy\n        self.args = deepcopy(args)",
    ),
    Break("capture", "forget the keywords", BACKGROUND, "self.kwargs = kwargs", "self.kwargs = {}"),
    Break(
        "capture",
        "call without keywords",
        BACKGROUND,
        "(*task.args, **task.kwargs)",
        "(*task.args)",
    ),
    Break(
        "capture",
        "call without positional arguments",
        BACKGROUND,
        "(*task.args, **task.kwargs)",
        "(**task.kwargs)",
    ),
    Break(
        "capture",
        "turn the arguments round",
        BACKGROUND,
        "(*task.args, **task.kwargs)",
        "(*task.args[::-1], **task.kwargs)",
    ),
    Break(
        "capture",
        "drop the slash of add_task",
        BACKGROUND,
        "def add_task(self, func: Callable[P, Any], /, *args",
        "def add_task(self, func: Callable[P, Any], *args",
    ),
    Break(
        "capture", "take what is not callable", BACKGROUND, "if not callable(func):", "if False:"
    ),
    Break(
        "capture", "take a generator function", BACKGROUND, 'if given == "generator":', "if False:"
    ),
    # --- order ---
    Break(
        "order",
        "add at the head",
        BACKGROUND,
        "self.tasks.append(self.prepare(BackgroundTask(",
        "self.tasks.appendleft(self.prepare(BackgroundTask(",
    ),
    Break(
        "order",
        "take async tasks from the end",
        BACKGROUND,
        "task = self.tasks.popleft()\n                    left = None",
        "task = self.tasks.pop()\n                    left = None",
    ),
    Break(
        "order",
        "take a row's tasks from the end",
        BACKGROUND,
        "task = self.tasks.popleft()\n                left = left_of",
        "task = self.tasks.pop()\n                left = left_of",
    ),
    Break(
        "order",
        "begin a list from its end",
        BACKGROUND,
        "self.tasks.append(self.prepare(plain))",
        "self.tasks.appendleft(self.prepare(plain))",
    ),
    # --- isolate ---
    Break(
        "isolate",
        "raise in on_error",
        BACKGROUND,
        "        return None\n\n    def abandon",
        "        raise exc\n\n    def abandon",
    ),
    Break(
        "isolate",
        "log the arguments",
        BACKGROUND,
        '"background task %s failed", task.name',
        '"background task %s failed", task.args',
    ),
    Break(
        "isolate",
        "log no traceback",
        BACKGROUND,
        "exc_info=(type(exc), exc, exc.__traceback__)",
        "exc_info=None",
    ),
    Break("isolate", "log a failure as a warning", BACKGROUND, "logger.error(", "logger.warning("),
    Break(
        "isolate",
        "do not await on_error",
        BACKGROUND,
        "                await reaction",
        "                reaction.close()",
    ),
    Break(
        "isolate",
        "isolate only ValueErrors",
        OUTCOMES,
        "if isinstance(exc, Exception):\n        return exc",
        "if isinstance(exc, ValueError):\n        return exc",
    ),
    Break(
        "isolate",
        "isolate a BaseException too",
        OUTCOMES,
        "        raise exc\n    finally:\n        del exc, cancelled",
        "        return exc\n    finally:\n        del exc, cancelled",
    ),
    Break(
        "isolate",
        "let SystemExit out of a thread",
        OUTCOMES,
        'return _raise(_caused_by(exc, "SystemExit in a worker thread"))',
        "return _raise(exc)",
    ),
    Break(
        "isolate",
        "let FailFastTasks go on",
        BACKGROUND,
        "        try:\n            raise exc\n",
        "        try:\n            pass\n",
    ),
    # --- grow ---
    Break(
        "grow",
        "count the tasks before the run",
        BACKGROUND,
        "            while self.tasks:\n                if self.tasks[0]",
        "            turns = len(self.tasks)\n"
        "            while self.tasks and turns:\n"
        "                turns -= 1\n"
        "                if self.tasks[0]",
    ),
    Break(
        "grow",
        "run each list once",
        RESPONSES,
        "while any(map(tasks_of, lists)):",
        "if any(map(tasks_of, lists)):",
    ),
    # --- own list ---
    Break(
        "own list",
        "share the lists by a mutable default",
        INJECTION,
        "connection: HTTPConnection) -> None:\n"
        "        self.connection = connection\n"
        "        self.lists: dict[type[BackgroundTasks], BackgroundTasks] = {}\n",
        "connection: HTTPConnection, lists: dict[Any, Any] = {}) -> None:\n"
        "        self.connection = connection\n"
        "        self.lists = lists\n",
    ),
    Break(
        "own list",
        "share the tasks by a mutable default",
        BACKGROUND,
        "tasks: Iterable[Background] | None = None) -> None:\n"
        '        """Begin with `tasks`.\n\n        An async callable that is not a plain '
        '`BackgroundTask`, such as a list, becomes one task.\n        """\n'
        "        self.tasks: deque[BackgroundTask] = deque()\n",
        "tasks: Iterable[Background] | None = None, own: Any = deque()) -> None:\n"
        "        self.tasks: deque[BackgroundTask] = own\n",
    ),
    Break(
        "own list",
        "give each who asks another list",
        INJECTION,
        "if cls not in self.lists:\n            self.lists",
        "if True:\n            self.lists",
    ),
    Break(
        "own list",
        "ignore which class is asked for",
        INJECTION,
        "self.lists[cls] = cls()",
        "self.lists[cls] = BackgroundTasks()",
    ),
    # --- after ---
    Break(
        "after",
        "run the tasks, then send",
        RESPONSES,
        "    try:\n        if resources is None:",
        "    await run_in_turn(lists)\n    try:\n        if resources is None:",
    ),
    Break(
        "after",
        "take an answer that was given up for a whole one",
        RESPONSES,
        'is_complete = not message.get("more_body", False)',
        "is_complete = True",
    ),
    Break(
        "after",
        "never pause between pieces",
        RESPONSES,
        "                await checkpoint()  # a server whose client",
        "                pass  # a server whose client",
    ),
    Break(
        "after",
        "run the tasks though nothing was sent",
        RESPONSES,
        'tasks.abandon(f"{reason}, {type(exc).__name__}")',
        "await tasks()",
    ),
    Break(
        "after",
        "send no last byte",
        RESPONSES,
        '        await send({"type": "http.response.body", "body": body})\n',
        "",
    ),
    Break(
        "after",
        "take a client that is gone for served",
        RESPONSES,
        'raise ClientDisconnect("the client went away before the response was complete")',
        "return",
    ),
    Break(
        "after",
        "run the tasks where the endpoint raised",
        INJECTION,
        'tasks.abandon(f"the endpoint raised {type(exc).__name__}")',
        "await tasks()",
    ),
    # --- release ---
    Break(
        "release",
        "run the tasks before closing",
        RESPONSES,
        'reason = "cancelled"  #',
        "await run_in_turn(lists)  #",
    ),
    Break("release", 'ignore scope="function"', DEPENDENCIES, "if resources.stacks:", "if False:"),
    Break(
        "release",
        "close without a shield",
        INJECTION,
        "self.shield.shield = True",
        "self.shield.shield = False",
    ),
    Break(
        "release",
        "forget to close the form",
        INJECTION,
        '            self.stacks["request"].push_async_callback(self.connection.close)\n',
        "            pass\n",
    ),
    Break(
        "release",
        "forget to close a stream",
        RESPONSES,
        "            await close()\n",
        "            pass\n",
    ),
    Break(
        "release",
        "raise what closing raised",
        INJECTION,
        'logger.error("what the request held could not be closed", exc_info=raised)',
        "raise raised",
    ),
    Break(
        "release",
        "close in the threads of endpoints",
        INJECTION,
        "await run_in_extra_thread(context.__exit__, None, None, None)",
        "await run_in_threadpool(context.__exit__, None, None, None)",
    ),
    Break(
        "release",
        "leave files of a form open",
        FORMPARSERS,
        "                    stack.push_async_callback(value.close)\n",
        "                    pass\n",
    ),
    Break(
        "release",
        "hold nothing",
        ROUTING,
        "resources if is_open else None",
        "None",
    ),
    # --- nothing lost ---
    Break(
        "nothing lost",
        "return after the first task",
        BACKGROUND,
        "                    await self._react(task, exc)\n",
        "                    await self._react(task, exc)\n                return\n",
    ),
    Break(
        "nothing lost",
        "end a run without abandon",
        BACKGROUND,
        "            self.abandon(reason_of(exc))\n            raise",
        "            raise",
    ),
    Break(
        "nothing lost",
        "say nothing in abandon",
        BACKGROUND,
        'logger.warning("background tasks not run (%s): %s", reason, ", ".join(names))',
        "pass",
    ),
    Break(
        "nothing lost",
        "say nothing of what was cut off",
        BACKGROUND,
        'logger.warning("background task cut off (%s): %s", reason_of(end), task.name)',
        "pass",
    ),
    Break(
        "nothing lost",
        "say nothing when a list goes",
        BACKGROUND,
        'self.abandon("no run took them")',
        "pass",
    ),
    Break(
        "nothing lost",
        "forget lists in the list",
        BACKGROUND,
        "task.func.abandon(reason)",
        "task.func.tasks.clear()",
    ),
    Break(
        "nothing lost",
        "end before the response's own tasks have",
        ROUTING,
        "if lists or response.background or reads:",
        "if lists:",
    ),
    Break(
        "nothing lost",
        "let the response's own list go",
        RESPONSES,
        "if own is not None:",
        "if own is not None and not lists:",
    ),
    Break(
        "nothing lost",
        "abandon nothing where nothing was sent",
        RESPONSES,
        'tasks.abandon(f"{reason}, {type(exc).__name__}")',
        "pass",
    ),
    Break(
        "nothing lost",
        "abandon nothing where the endpoint raised",
        INJECTION,
        'tasks.abandon(f"the endpoint raised {type(exc).__name__}")',
        "tasks.tasks.clear()",
    ),
    Break(
        "nothing lost",
        "do not wait for runs at shutdown",
        LIFESPAN,
        "await runs.wait_for_all()",
        "pass",
    ),
    Break(
        "nothing lost",
        "leave out lists that are still empty",
        RESPONSES,
        "    lists = [*injected]\n",
        "    lists = [tasks for tasks in injected if tasks.tasks]\n",
    ),
    # --- context ---
    Break(
        "context",
        "call a row in one context",
        BACKGROUND,
        "left_of(copy_context().run, call, task)",
        "left_of(call, task)",
    ),
    Break(
        "context",
        "call sync tasks in an empty context",
        BACKGROUND,
        "left = left_of(copy_context().run, call, task)",
        "from contextvars import Context\n                "
        "left = left_of(Context().run, call, task)",
    ),
    # --- cancel ---
    Break(
        "cancel",
        "do not ask again after what a thread has left",
        BACKGROUND,
        "await lowlevel.checkpoint()  # raises",
        "pass  # raises",
    ),
    Break(
        "cancel",
        "do not ask before a task",
        BACKGROUND,
        "while run.has_pending_cancellation():",
        "while False:",
    ),
    Break(
        "cancel",
        "do not ask trio in a row",
        CONCURRENCY,
        "        return run.has_pending_cancellation()\n",
        "        return False\n",
    ),
    Break(
        "cancel",
        "do not ask asyncio in a row",
        CONCURRENCY,
        "        return from_thread.check_cancelled\n",
        "        return bool\n",
    ),
    Break(
        "cancel",
        "wait for the thread without a shield",
        CONCURRENCY,
        "with CancelScope(shield=True), suppress(anyio.get_cancelled_exc_class()):",
        "with suppress(anyio.get_cancelled_exc_class()):",
    ),
    Break(
        "cancel",
        "leave the thread behind",
        CONCURRENCY,
        "while call.running.locked():",
        "while False:",
    ),
    Break(
        "cancel",
        "do not tell the thread",
        CONCURRENCY,
        "            scope.cancel()  #",
        "            pass  #",
    ),
    Break(
        "cancel",
        "forget a cancellation that was put off",
        CONCURRENCY,
        "                raise cancelled\n            _cancel_again(cancelled)\n",
        "                raise cancelled\n",
    ),
    # --- room ---
    Break(
        "room",
        "take the threads of endpoints",
        CONCURRENCY,
        "background_limiter(), on_cancel)",
        "current_default_thread_limiter(), on_cancel)",
    ),
    Break(
        "room",
        "keep the thread for the whole row",
        BACKGROUND,
        "                if monotonic() >= end:\n                    break\n",
        "",
    ),
    Break("room", "have room for 4", CONCURRENCY, "CapacityLimiter(40)", "CapacityLimiter(4)"),
    Break(
        "room",
        "make a limiter for each call",
        CONCURRENCY,
        "        _background_limiter.set(limiter)\n",
        "",
    ),
    Break(
        "room",
        "take a thread of endpoints as well",
        CONCURRENCY,
        "await to_thread.run_sync(call.make, limiter=_NO_LIMIT)",
        "await to_thread.run_sync(call.make)",
    ),
    Break(
        "room",
        "never give a thread back",
        CONCURRENCY,
        "        limiter.release_on_behalf_of(call)\n",
        "",
    ),
]
