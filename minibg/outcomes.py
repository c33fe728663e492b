"""What a call leaves: something for the event loop to await, or a failure.

A call in a worker thread may hand back an awaitable, which only the loop can await. Or it may fail,
and only the loop may decide what that means. Both come back as one thing: an awaitable.

Rule kept here: **isolate**, as far as it says what is a failure and what ends the run. What a
failure means is the business of `background.py`.
"""

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, ExitStack
from inspect import isasyncgen, isawaitable, isgenerator
from typing import Any, TypeVarTuple

from anyio import get_cancelled_exc_class, lowlevel

from minibg.concurrency import is_cancelled

Ts = TypeVarTuple("Ts")


def left_of(call: Callable[[*Ts], Any], /, *args: *Ts) -> Awaitable[Any] | None:
    """Make a call in this worker thread, and return what is left of it for the loop to await.

    That is the awaitable that the call has handed back, or one that raises its failure. A generator
    is a failure, for nothing would run it. So is `SystemExit`: no signal arrives in a thread, so it
    is the call's own, and one call must not end the server.
    """
    try:
        result = call(*args)
    except SystemExit as exc:
        failure = RuntimeError("SystemExit in a worker thread")
        failure.__cause__ = exc
        return _raise(failure)
    except BaseException as exc:  # noqa: BLE001  # it is raised where it is awaited
        return _raise(exc)
    if result is None:
        return None
    if isawaitable(result):
        return _await(result)
    if isgenerator(result) or isasyncgen(result):
        return _raise(TypeError(f"a {type(result).__name__} was handed back; nothing runs it"))
    return None


async def _await(awaitable: Awaitable[Any]) -> None:
    await awaitable
    await lowlevel.checkpoint()  # raises a cancellation that the hop has put off


async def _raise(exc: BaseException) -> None:
    try:
        raise exc
    finally:
        del exc  # its traceback holds this frame: without `del` that would be a reference cycle


async def failure_of(exc: BaseException) -> Exception:
    """Return the failure that an exception is. An exception that ends the current task is raised.

    A cancellation of something else is a failure too: somebody has cancelled what was awaited.
    """
    try:
        if isinstance(exc, get_cancelled_exc_class()):
            await lowlevel.checkpoint()  # raises if a scope has cancelled, or if it was put off
            if not is_cancelled():
                raise RuntimeError("somebody else has cancelled what was awaited") from exc
        raise exc
    except Exception as failure:  # noqa: BLE001  # whatever a task raises
        return failure
    finally:
        del exc  # as in `_raise`


def within(context: AbstractContextManager[Any], call: Callable[[], Any]) -> Any:
    """For `call_task`: make the call in the context, which is left when the task has ended."""
    with ExitStack() as stack:
        stack.enter_context(context)
        left = call()
        return _await_within(stack.pop_all(), left) if isawaitable(left) else left


async def _await_within(context: ExitStack, left: Awaitable[Any]) -> Any:
    with context:
        return await left
