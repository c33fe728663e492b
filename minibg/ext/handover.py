"""Lists that are handed over after the endpoint has returned, and before the answer leaves.

A list of `BackgroundTasks` starts after the answer, so the answer promises nothing. If a 202 is to
promise something, such as "this is written down" or "the broker has it", there is one moment to
hand the list over. It is after the endpoint has returned, so an endpoint that raises hands over
nothing. And it is before the response is sent, so a failure to hand over can still be a 500.

Such a list is an async context, and the end of its block is that moment. minibg leaves the context
of a list by itself, so an endpoint needs no more than the class as an annotation. In FastAPI, the
dependency `tasks_of` of `fastapi.py` leaves it.

Rule changed here: **capture** is by value, since another process runs the task.

What may live here: when a list is handed over. The subclasses know to whom.
"""

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from minibg.background import BackgroundTasks


class HandedOverTasks(BackgroundTasks):
    """`BackgroundTasks` that are handed over before the answer leaves.

    A subclass defines `hand_over`, and checks each task in `prepare`: an exception from there comes
    out of `add_task`, in the endpoint.
    """

    async def hand_over(self) -> None:
        """Hand over the tasks in the list that have not been handed over yet.

        Tasks that it leaves in the list run in this process, after the answer. It takes a task out
        of the list only when that task has been handed over. It is called once more when the list
        runs, for tasks that have been added since.

        Raises:
            Exception: If it fails. Then the answer is a 500, unless the application has a handler
                for that exception, and the log names the tasks that are left in the list.
        """
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        cls: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc is None:
            await self._hand_over()
        else:
            self.abandon(f"the endpoint raised {type(exc).__name__}")

    async def __call__(self) -> None:
        await self._hand_over()
        await super().__call__()

    async def _hand_over(self) -> None:
        try:
            if self.tasks:
                await self.hand_over()
        except BaseException as exc:
            self.abandon(f"not handed over, {type(exc).__name__}")
            raise


def refuse_what_is_not_written(
    name: str, given: Mapping[Any, Any], write: Callable[[Any], object]
) -> None:
    """Write arguments one by one, to name the first that cannot be written.

    Args:
        name: The task's name, for the error.
        given: The arguments, by name or by position.
        write: The function that writes one of them.

    Raises:
        TypeError: If one of them cannot be written.
    """
    for where, value in given.items():
        try:
            write(value)
        except Exception as exc:
            kind = type(value).__name__
            raise TypeError(
                f"argument {where!r} of {name} is a {kind} and cannot be written down ({exc}): "
                "pass plain data, such as the text of a path, the key of a row, or a model's "
                "`model_dump(mode='json')`"
            ) from exc


def refuse_what_changes(name: str, given: Mapping[Any, Any], back: Mapping[Any, Any]) -> None:
    """Compare arguments with the copies that a task would be given in their place.

    Args:
        name: The task's name, for the error.
        given: The arguments, by name or by position.
        back: The copies, by the same keys.

    Raises:
        TypeError: If a copy differs. The error names the types, and never a value.
    """
    for where, value in given.items():
        if not _is_same(value, back[where]):
            kind, other = type(value).__name__, type(back[where]).__name__
            becomes = "with another value" if kind == other else f"as a {other}"
            raise TypeError(
                f"argument {where!r} of {name} is a {kind} and would come back {becomes}: annotate "
                "the parameter with its type, or pass plain data"
            )


def _is_same(one: Any, other: Any) -> bool:
    """Whether both are equal, and of the same types throughout: 1 is neither True nor an IntEnum.

    An int may come back as a float (typing specification, "Special cases for float").
    """
    if type(one) is int and type(other) is float:
        return one == other
    if type(one) is not type(other) or one != other:
        return False
    if isinstance(one, Mapping):
        return all(map(_is_same, one.items(), other.items()))
    return not isinstance(one, list | tuple) or all(map(_is_same, one, other))
