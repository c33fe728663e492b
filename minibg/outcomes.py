"""The outcome of a call in a thread: an awaitable for the event loop, or a failure.

A call in a worker thread may return an awaitable, which only the loop can await. Or it may fail,
and only the loop may decide what the failure means. Both come back in one form: an awaitable.

Rule kept here: **isolate**, as far as it has to tell failures from exceptions that end the run.
What a failure means is decided in `background.py`.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import AbstractContextManager, ExitStack
from inspect import isawaitable
from typing import Any, TypeVarTuple

from anyio import get_current_task, lowlevel

from minibg.concurrency import cancellation_types, is_cancelled

Ts = TypeVarTuple("Ts")


def left_of(call: Callable[[*Ts], Any], /, *args: *Ts) -> Awaitable[Any] | None:
    """Make a call in this worker thread, and return an awaitable if the loop has to complete it.

    That awaitable is the call's result, or raises the call's failure. If the call returns a
    generator, that counts as a failure, as nothing would run it. So does a `SystemExit`: signals do
    not arrive in a thread, so the call itself has raised it, and one call must not end the server.
    """
    try:
        result = call(*args)
        if result is None:
            return None
        if isawaitable(result):
            return result
        if isinstance(result, Generator | AsyncGenerator):
            raise TypeError(f"a {type(result).__name__} was handed back, and nothing runs it")
    except SystemExit as exc:
        return _raise(_caused_by(exc, "SystemExit in a worker thread"))
    except BaseException as exc:  # noqa: BLE001  # it is raised where it is awaited
        return _raise(exc)
    return None


async def _raise(exc: BaseException) -> None:
    context = exc.__context__
    try:
        raise exc
    finally:
        exc.__context__ = context  # `raise` replaces it if the run is awaited inside an `except`
        del exc, context  # the traceback holds this frame: without `del` there is a reference cycle


def _caused_by(exc: BaseException, text: str) -> RuntimeError:
    failure = RuntimeError(text)
    failure.__cause__ = exc
    return failure


async def failure_of(exc: BaseException) -> Exception:
    """Return the failure that `exc` stands for, or raise `exc` if it ends the current task.

    If something that the task awaited was cancelled by somebody else, that is a failure too. If
    `exc` is a group of a cancellation and failures, such as trio's task groups raise, only the
    failures are returned.
    """
    if isinstance(exc, Exception):
        return exc
    try:
        cancelled, rest = _split(exc)
        if isinstance(rest, Exception):
            return rest
        if cancelled is not None and rest is None:
            if get_current_task().has_pending_cancellation():
                await lowlevel.checkpoint()  # raises it, and the one that the hop put off too
            if not is_cancelled():
                return _caused_by(exc, "somebody else has cancelled what was awaited")
        raise exc
    finally:
        del exc, cancelled, rest  # as in `_raise`


def _split(exc: BaseException) -> tuple[BaseException | None, BaseException | None]:
    """Split an exception into the cancellation and the rest."""
    if isinstance(exc, GeneratorExit):  # there may be no loop left to ask
        return None, exc
    if isinstance(exc, BaseExceptionGroup):
        return exc.split(cancellation_types())
    return (exc, None) if isinstance(exc, cancellation_types()) else (None, exc)


def within(context: AbstractContextManager[Any], call: Callable[[], Any]) -> Any:
    """For `call_task`: make the call in a context that is left when the task has ended.

    If a sync task returns an awaitable, it ends on the loop. So the context is then left in a
    different thread from the one in which it was entered, and with other context variables.
    """
    with ExitStack() as stack:
        stack.enter_context(context)
        left = call()
        return _await_within(stack.pop_all(), left) if isawaitable(left) else left


async def _await_within(context: ExitStack, left: Awaitable[Any]) -> Any:
    with context:
        return await left
