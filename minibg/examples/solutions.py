"""Our solutions to the walkthrough's exercises. `pytest tests/exercises` checks them, or yours.

Each docstring states the exercise. A list that is injected is made without arguments, so its
settings are attributes of the class: `class Patient(Retrying): attempts = 10`.

What may live here: subclasses that follow from the rules. No exercise needs a change to
`background.py`.
"""

from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from inspect import isawaitable
from typing import Any, ClassVar, Generic, ParamSpec, TypeVar

from anyio import Event, create_task_group, fail_after, from_thread, sleep

from minibg import BackgroundTask, BackgroundTasks
from minibg.types import Background

P = ParamSpec("P")
T = TypeVar("T")


class Retrying(BackgroundTasks):
    """A task that fails is called again, at most `attempts` times in all.

    The second call is made after `first_delay` seconds, and each wait after that is twice as long
    as the one before. During a wait, neither the loop nor a thread is held, but the next task has
    to wait, since it may depend on this one (**order**). Only the last failure goes to
    `super().on_error`. If that call returns an awaitable, `Retrying` awaits it, so that it can be
    combined with another subclass whose `on_error` is async.
    """

    attempts: ClassVar[int] = 3
    first_delay: ClassVar[float] = 0.1

    def __init__(self, tasks: Iterable[Background] | None = None) -> None:
        super().__init__(tasks)
        self.calls: Counter[BackgroundTask] = Counter()

    async def on_error(self, task: BackgroundTask, exc: Exception) -> None:
        self.calls[task] += 1
        if self.calls[task] < self.attempts:
            await sleep(self.first_delay * 2 ** (self.calls[task] - 1))
            self.tasks.appendleft(task)  # so that it is called next
        elif isawaitable(reaction := super().on_error(task, exc)):
            await reaction


class TimeLimited(BackgroundTasks):
    """An async task that takes longer than `seconds` is cancelled, and fails with a `TimeoutError`.

    That is a failure like any other: it goes to `on_error`, and the next task runs. An awaitable
    that a sync callable returns is limited too. A thread cannot be interrupted, so a sync task
    runs to its end, and the next one waits for it (**order**).
    """

    seconds: ClassVar[float] = 30

    def call_task(self, task: BackgroundTask) -> Any:
        left = super().call_task(task)
        return self._in_time(left) if isawaitable(left) else left

    async def _in_time(self, left: Awaitable[Any]) -> Any:
        with fail_after(self.seconds):
            return await left


class Concurrent(BackgroundTasks):
    """A group of tasks that run at the same time; the group ends when all its tasks have ended.

    Each task runs in its **place**. The group is a list, so it can be one task of another list. A
    failure goes to the group's `on_error` and stops no other task. A task that is added to the
    group runs in the same run (**grow**). If the run is cancelled, so are all its tasks, and those
    that have not started are named in the log (**nothing lost**).
    """

    async def __call__(self) -> None:
        while self.tasks:
            async with create_task_group() as group:
                while self.tasks:
                    group.start_soon(_Member(self, self.tasks.popleft()))
        await super().__call__()  # nothing is left, but a policy may have something to do


class _Member(BackgroundTasks):
    """One task of a group, as a list: so the rules hold for it."""

    def __init__(self, group: Concurrent, task: BackgroundTask) -> None:
        super().__init__([task])
        self.group = group

    def call_task(self, task: BackgroundTask) -> Any:
        return self.group.call_task(task)

    def on_error(self, task: BackgroundTask, exc: Exception) -> Awaitable[None] | None:
        return self.group.on_error(task, exc)


class Prioritised(BackgroundTasks):
    """Of the tasks that have not started, the one with the highest priority is the next.

    `add_task_with_priority(priority, func, /, *args, **kwargs)` adds a task;
    `add_task` gives its task the priority 0. Tasks of the same priority run in the order in which
    they were added. A running task is not interrupted; a task that another one adds takes its place
    among those that wait (**grow**).
    """

    def add_task(self, func: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> None:
        self.add_task_with_priority(0, func, *args, **kwargs)

    def add_task_with_priority(
        self, priority: int, func: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs
    ) -> None:
        task: Any = self.prepare(BackgroundTask(func, *args, **kwargs))
        task.priority = priority
        before = sum(getattr(other, "priority", 0) >= priority for other in self.tasks)
        self.tasks.insert(before, task)


class DeadLetters(BackgroundTasks):
    """A failed task is kept in `letters`, as `(task, exc)`, and its failure is logged as usual.

    A list ends with its request, so the letters belong to the class: all lists of the class share
    them, and a subclass may have its own. `await DeadLetters.redeliver()` calls each of these tasks
    once more, in order. A task that fails again becomes a letter again; one that was not reached,
    because the redelivery was cancelled, remains one.
    """

    letters: ClassVar[deque[tuple[BackgroundTask, Exception]]] = deque()

    def on_error(self, task: BackgroundTask, exc: Exception) -> Awaitable[None] | None:
        self.letters.append((task, exc))
        return super().on_error(task, exc)

    @classmethod
    async def redeliver(cls) -> None:
        for _ in range(len(cls.letters)):
            task, _ = cls.letters.popleft()
            again = cls()
            again.tasks.append(task)
            await again()


class Delayed(BackgroundTasks):
    """`add_task_after(seconds, func, /, *args, **kwargs)` adds a task that waits `seconds` first.

    The wait begins when the task before it has ended, and the tasks behind it wait as well
    (**order**). During the wait, neither the loop nor a thread is held. The task has not started
    yet, so if the run is cancelled during the wait, the log names the task (**nothing lost**).
    """

    def add_task_after(
        self, seconds: float, func: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs
    ) -> None:
        self.add_task(sleep, seconds)  # a task of its own: the other one waits in the list
        self.add_task(func, *args, **kwargs)


class Results(BackgroundTasks):
    """A later task can use what an earlier one has returned.

    `result = tasks.add_task_for_result(func, /, *args, **kwargs)` adds a task. When the
    task has returned, `result.value` is what it returned, and a later task can use it:
    `tasks.add_task(lambda: store(result.value))`. Before that, and if the task has failed, reading
    the value raises `LookupError`. So a task that needs a missing result fails as well.
    """

    def add_task_for_result(
        self, func: Callable[P, Awaitable[T] | T], /, *args: P.args, **kwargs: P.kwargs
    ) -> "Result[T]":
        task: Any = self.prepare(BackgroundTask(func, *args, **kwargs))
        task.result = result = Result[T]()
        self.tasks.append(task)
        return result

    def call_task(self, task: BackgroundTask) -> Any:
        returned = super().call_task(task)
        if isawaitable(returned):
            return self._awaited(task, returned)
        self._keep(task, returned)
        return returned

    async def _awaited(self, task: BackgroundTask, left: Awaitable[Any]) -> None:
        self._keep(task, await left)

    @staticmethod
    def _keep(task: Any, returned: Any) -> None:
        if hasattr(task, "result"):
            task.result.returned = (returned,)


class Result(Generic[T]):
    """The result of a task, once the task has returned."""

    returned: tuple[T] | None = None

    @property
    def value(self) -> T:
        if self.returned is None:
            raise LookupError("the task has not returned")
        return self.returned[0]


class Progress(BackgroundTasks):
    """A task calls `report(item)`, on the loop or in a thread; all who iterate get the item.

    `async for item in tasks` gives the items that were reported so far, and then each new one. The
    iteration ends when the run has ended, for whatever reason, or at once if the list will never be
    run. So `EventSourceResponse(tasks)` can stream the items, but only to *another* request, since
    the tasks of this one start only after its own response has been sent (**after**).
    """

    def __init__(self, tasks: Iterable[Background] | None = None) -> None:
        super().__init__(tasks)
        self.items: list[Any] = []
        self.is_over = False
        self.changed = Event()

    def report(self, item: Any) -> None:
        self.items.append(item)
        try:
            from_thread.run_sync(self._wake)
        except RuntimeError:  # it is called on the loop
            self._wake()

    def _wake(self) -> None:
        self.changed.set()
        self.changed = Event()

    def abandon(self, reason: str) -> None:
        super().abandon(reason)
        self._end()

    def _end(self) -> None:
        self.is_over = True
        self._wake()

    async def __call__(self) -> None:
        try:
            await super().__call__()
        finally:
            self._end()

    async def __aiter__(self) -> AsyncIterator[Any]:
        told = 0
        while True:
            is_over, changed = self.is_over, self.changed  # before the items: none is missed
            while told < len(self.items):
                yield self.items[told]
                told += 1
            if is_over:
                return
            await changed.wait()
