"""Plausible but wrong solutions, and for each the test that notices it.

What may live here: wrong solutions. `test_wrong_solutions.py` shows that they are noticed.
"""

import time
from collections import deque
from collections.abc import Awaitable, Callable
from functools import wraps
from inspect import isawaitable, iscoroutinefunction
from typing import Any, ClassVar, NamedTuple

import anyio

from minibg import BackgroundTask, BackgroundTasks
from minibg.concurrency import run_in_background_thread
from minibg.examples.solutions import Progress, Results, TimeLimited
from tests.exercises import (
    test_concurrent,
    test_dead_letters,
    test_delayed,
    test_prioritised,
    test_progress,
    test_results,
    test_retrying,
    test_time_limited,
)


class Wrong(NamedTuple):
    """A wrong solution, and how a test is called that notices it."""

    solution: type[BackgroundTasks]
    test: Callable[..., None]
    arguments: dict[str, Any]

    def __str__(self) -> str:
        return self.solution.__name__


WRONG: list[Wrong] = []


def noticed_by(
    test: Callable[..., None], **arguments: Any
) -> Callable[[type[BackgroundTasks]], type[BackgroundTasks]]:
    """List a wrong solution."""

    def note(solution: type[BackgroundTasks]) -> type[BackgroundTasks]:
        WRONG.append(Wrong(solution, test, arguments))
        return solution

    return note


async def call_again(
    tasks: Any, task: BackgroundTask, wait: Callable[[float], Any], factor: int, calls: int
) -> bool:
    """The loop of a retry; whether a call succeeded."""
    for number in range(calls):
        if isawaitable(waiting := wait(tasks.first_delay * factor**number)):
            await waiting
        try:
            await task()
        except Exception:  # noqa: BLE001  # what it is does not matter here
            pass
        else:
            return True
    return False


@noticed_by(test_retrying.test_each_wait_is_twice_as_long_as_the_last, kind="a function")
class RetryingBlocksTheLoop(BackgroundTasks):
    attempts, first_delay = 3, 0.1

    async def on_error(self, task: BackgroundTask, exc: Exception) -> None:
        if not await call_again(self, task, time.sleep, 2, self.attempts - 1):
            super().on_error(task, exc)


@noticed_by(test_retrying.test_each_wait_is_twice_as_long_as_the_last, kind="a function")
class RetryingWaitsEquallyLong(BackgroundTasks):
    attempts, first_delay = 3, 0.1

    async def on_error(self, task: BackgroundTask, exc: Exception) -> None:
        if not await call_again(self, task, anyio.sleep, 1, self.attempts - 1):
            super().on_error(task, exc)


@noticed_by(test_retrying.test_each_task_is_called_until_it_succeeds_or_gives_up)
class RetryingOnceTooOften(BackgroundTasks):
    attempts, first_delay = 3, 0.1

    async def on_error(self, task: BackgroundTask, exc: Exception) -> None:
        if not await call_again(self, task, anyio.sleep, 2, self.attempts):
            super().on_error(task, exc)


@noticed_by(test_retrying.test_each_task_is_called_until_it_succeeds_or_gives_up)
class RetryingBehindTheOthers(BackgroundTasks):
    attempts, first_delay = 3, 0.1

    def __init__(self) -> None:
        super().__init__()
        self.calls: dict[BackgroundTask, int] = {}

    async def on_error(self, task: BackgroundTask, exc: Exception) -> None:
        self.calls[task] = self.calls.get(task, 0) + 1
        if self.calls[task] < self.attempts:
            await anyio.sleep(self.first_delay * 2 ** (self.calls[task] - 1))
            self.tasks.append(task)
        else:
            super().on_error(task, exc)


@noticed_by(test_retrying.test_the_last_failure_is_logged_and_no_other, kind="a function")
class RetryingTellsTheFirstFailure(BackgroundTasks):
    attempts, first_delay = 3, 0.1

    async def on_error(self, task: BackgroundTask, exc: Exception) -> None:
        super().on_error(task, exc)
        await call_again(self, task, anyio.sleep, 2, self.attempts - 1)


@noticed_by(test_retrying.test_no_thread_is_held_meanwhile)
class RetryingHoldsTheThread(BackgroundTasks):
    attempts, first_delay = 3, 0.1

    def add_task(self, func: Callable[..., Any], /, *args: Any, **kwargs: Any) -> None:
        @wraps(func)
        def retry() -> Any:
            for number in range(self.attempts - 1):
                try:
                    return func(*args, **kwargs)
                except Exception:  # noqa: BLE001  # as above
                    time.sleep(self.first_delay * 2**number)
            return func(*args, **kwargs)

        super().add_task(retry)


@noticed_by(test_time_limited.test_each_async_task_has_so_many_seconds)
class TimeLimitedAsAWhole(BackgroundTasks):
    seconds = 30.0

    async def __call__(self) -> None:
        with anyio.move_on_after(self.seconds):
            await super().__call__()


@noticed_by(test_time_limited.test_each_async_task_has_so_many_seconds)
class TimeLimitedWithoutAWord(BackgroundTasks):
    seconds = 30.0

    def add_task(self, func: Callable[..., Any], /, *args: Any, **kwargs: Any) -> None:
        async def limited() -> None:
            with anyio.move_on_after(self.seconds):
                await BackgroundTask(func, *args, **kwargs)()

        super().add_task(limited)


@noticed_by(test_time_limited.test_each_async_task_has_so_many_seconds)
class TimeLimitedWhereItIsSeen(BackgroundTasks):
    """What a sync callable hands back has no limit."""

    seconds = 30.0

    def add_task(self, func: Callable[..., Any], /, *args: Any, **kwargs: Any) -> None:
        @wraps(func)
        async def limited(*args: Any, **kwargs: Any) -> None:
            with anyio.fail_after(self.seconds):
                await func(*args, **kwargs)

        super().add_task(limited if iscoroutinefunction(func) else func, *args, **kwargs)


@noticed_by(test_time_limited.test_a_sync_task_runs_to_its_end_and_the_next_waits_for_it)
class TimeLimitedLeavesTheThread(TimeLimited):
    def add_task(self, func: Callable[..., Any], /, *args: Any, **kwargs: Any) -> None:
        async def left_alone() -> None:
            with anyio.fail_after(self.seconds):
                await anyio.to_thread.run_sync(func, *args, abandon_on_cancel=True)

        super().add_task(left_alone)


@noticed_by(test_concurrent.test_a_group_takes_as_long_as_its_slowest_task)
class ConcurrentOneAfterAnother(BackgroundTasks):
    pass


@noticed_by(
    test_concurrent.test_a_group_is_one_task_in_which_a_failure_stops_no_other,
)
class ConcurrentStopsAtTheFirstFailure(BackgroundTasks):
    async def __call__(self) -> None:
        async with anyio.create_task_group() as group:
            while self.tasks:
                group.start_soon(self.tasks.popleft())


async def run_alone(tasks: BackgroundTasks, task: BackgroundTask, *, tells: bool = True) -> None:
    """Run one task of a group."""
    try:
        await task()
    except Exception as exc:  # noqa: BLE001  # it is told, or wrongly not
        if tells:
            tasks.on_error(task, exc)


@noticed_by(test_concurrent.test_a_group_is_one_task_in_which_a_failure_stops_no_other)
class ConcurrentSwallowsFailures(BackgroundTasks):
    async def __call__(self) -> None:
        async with anyio.create_task_group() as group:
            while self.tasks:
                task = self.tasks.popleft()
                group.start_soon(lambda task=task: run_alone(self, task, tells=False))


@noticed_by(test_concurrent.test_tasks_that_a_cancelled_run_did_not_start_are_named)
class ConcurrentLosesWhatWaitsForAThread(BackgroundTasks):
    async def __call__(self) -> None:
        while self.tasks:
            async with anyio.create_task_group() as group:
                while self.tasks:
                    group.start_soon(run_in_background_thread, self.call_task, self.tasks.popleft())


@noticed_by(test_concurrent.test_what_a_task_adds_to_the_group_runs_with_it, adding="a function")
class ConcurrentWithoutGrowth(BackgroundTasks):
    async def __call__(self) -> None:
        async with anyio.create_task_group() as group:
            while self.tasks:
                group.start_soon(run_alone, self, self.tasks.popleft())


class _Prioritised(BackgroundTasks):
    def __init__(self) -> None:
        super().__init__()
        self.priorities: dict[BackgroundTask, int] = {}

    def add_task_with_priority(
        self, priority: int, func: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> None:
        super().add_task(func, *args, **kwargs)
        self.priorities[self.tasks[-1]] = priority

    def sort(self, *, newest_first: bool = False) -> None:
        tasks = reversed(self.tasks) if newest_first else self.tasks
        self.tasks = deque(sorted(tasks, key=lambda task: -self.priorities.get(task, 0)))


@noticed_by(test_prioritised.test_the_first_waiting_task_of_the_highest_priority_is_next)
class PrioritisedNewestFirst(_Prioritised):
    async def __call__(self) -> None:
        self.sort(newest_first=True)
        await super().__call__()


@noticed_by(test_prioritised.test_the_first_waiting_task_of_the_highest_priority_is_next)
class PrioritisedAtTheStartOnly(_Prioritised):
    async def __call__(self) -> None:
        self.sort()
        await super().__call__()


@noticed_by(test_prioritised.test_a_keyword_called_priority_is_the_tasks, kind="a function")
class PrioritisedByAKeyword(_Prioritised):
    def add_task(  # type: ignore[override]  # the mistake
        self, func: Callable[..., Any], /, *args: Any, priority: int = 0, **kwargs: Any
    ) -> None:
        self.add_task_with_priority(priority, func, *args, **kwargs)


class _DeadLetters(BackgroundTasks):
    letters: ClassVar[deque[tuple[BackgroundTask, Exception]]] = deque()

    def on_error(self, task: BackgroundTask, exc: Exception) -> Awaitable[None] | None:
        self.letters.append((task, exc))
        return super().on_error(task, exc)

    @classmethod
    async def redeliver(cls) -> None:
        again = cls()
        again.tasks.extend(task for task, _ in cls.letters)
        cls.letters.clear()
        await again()


@noticed_by(test_dead_letters.test_what_a_cancelled_redelivery_did_not_reach_is_kept)
class DeadLettersLostOnTheWay(_DeadLetters):
    pass


@noticed_by(test_dead_letters.test_all_lists_of_a_class_share_its_letters)
class DeadLettersOfOneList(_DeadLetters):
    def __init__(self) -> None:
        super().__init__()
        self.letters = deque()  # type: ignore[misc]  # the mistake


@noticed_by(test_dead_letters.test_what_has_failed_is_a_letter_until_a_redelivery_succeeds)
class DeadLettersUntilAllSucceed(_DeadLetters):
    @classmethod
    async def redeliver(cls) -> None:
        while cls.letters:
            await super().redeliver()


@noticed_by(test_dead_letters.test_a_failure_is_logged_as_well, kind="a function")
class DeadLettersWithoutAWord(_DeadLetters):
    def on_error(self, task: BackgroundTask, exc: Exception) -> None:
        self.letters.append((task, exc))


@noticed_by(test_delayed.test_a_task_starts_after_its_delay_and_those_behind_it_wait)
class DelayedInAThread(BackgroundTasks):
    def add_task_after(
        self, seconds: float, func: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> None:
        self.add_task(time.sleep, seconds)
        self.add_task(func, *args, **kwargs)


@noticed_by(test_delayed.test_a_delay_holds_no_thread_and_a_cancelled_run_names_it)
class DelayedAsPartOfTheTask(BackgroundTasks):
    def add_task_after(
        self, seconds: float, func: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> None:
        async def delayed() -> None:
            await anyio.sleep(seconds)
            await BackgroundTask(func, *args, **kwargs)()

        self.add_task(delayed)


@noticed_by(test_delayed.test_a_delay_holds_no_thread_and_a_cancelled_run_names_it)
class DelayedOnABlockedLoop(BackgroundTasks):
    def add_task_after(
        self, seconds: float, func: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> None:
        async def block() -> None:
            time.sleep(seconds)  # noqa: ASYNC251  # the mistake

        self.add_task(block)
        self.add_task(func, *args, **kwargs)


@noticed_by(test_delayed.test_a_task_starts_after_its_delay_and_those_behind_it_wait)
class DelayedAndOvertaken(BackgroundTasks):
    def add_task_after(
        self, seconds: float, func: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> None:
        self.later = [*getattr(self, "later", []), (seconds, BackgroundTask(func, *args, **kwargs))]

    async def __call__(self) -> None:
        await super().__call__()
        for seconds, task in getattr(self, "later", []):
            await anyio.sleep(seconds)
            await task()


class _Result:
    returned: Any = None

    @property
    def value(self) -> Any:
        if self.returned is None:
            raise LookupError
        return self.returned


@noticed_by(
    test_results.test_there_is_no_value_before_the_task_has_returned, kind="a coroutine function"
)
class ResultsNotAwaited(BackgroundTasks):
    def add_task_for_result(
        self, func: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> _Result:
        result = _Result()

        @wraps(func)
        def keep() -> Any:
            result.returned = func(*args, **kwargs)
            return result.returned

        self.add_task(keep)
        return result


@noticed_by(test_results.test_a_later_task_is_given_what_each_earlier_one_returned)
class ResultsWithoutNone(BackgroundTasks):
    def add_task_for_result(
        self, func: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> _Result:
        result = _Result()

        async def keep() -> None:
            value = func(*args, **kwargs)
            result.returned = await value if isawaitable(value) else value

        self.add_task(keep)
        return result


@noticed_by(test_results.test_a_later_task_is_given_what_each_earlier_one_returned)
class ResultsOfTheLast(Results):
    def add_task_for_result(self, func: Any, /, *args: Any, **kwargs: Any) -> Any:
        last = super().add_task_for_result(func, *args, **kwargs)
        self.result = getattr(self, "result", last)
        self.tasks[-1].result = self.result  # type: ignore[attr-defined]  # the mistake
        return self.result


@noticed_by(test_progress.test_each_iteration_tells_all_in_order_whenever_it_begins)
class ProgressOfTheLast(Progress):
    def report(self, item: Any) -> None:
        self.items.clear()
        super().report(item)


@noticed_by(test_progress.test_an_item_is_told_while_the_task_runs, kind="a function")
class ProgressWakesFromTheThread(Progress):
    def report(self, item: Any) -> None:
        self.items.append(item)
        self._wake()


@noticed_by(test_progress.test_the_iteration_ends_however_the_run_does, how="it is abandoned")
class ProgressWaitsForARun(Progress):
    def abandon(self, reason: str) -> None:
        BackgroundTasks.abandon(self, reason)


@noticed_by(test_progress.test_the_iteration_ends_however_the_run_does, how="it is cancelled")
class ProgressWaitsForASuccess(Progress):
    async def __call__(self) -> None:
        await BackgroundTasks.__call__(self)
        self._end()

    def abandon(self, reason: str) -> None:
        BackgroundTasks.abandon(self, reason)


@noticed_by(test_progress.test_an_item_is_told_while_the_task_runs, kind="a coroutine function")
class ProgressAtTheEnd(Progress):
    async def __aiter__(self) -> Any:
        while not self.is_over:
            await self.changed.wait()
        for item in self.items:
            yield item
