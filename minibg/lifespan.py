"""The beginning and the end of an application (ASGI specification, "Lifespan").

Rule kept here: **nothing lost**, on a server that would end before the last task has: what the
application holds is let go, and the server told so, when the background runs are over.

What may live here: the protocol, and waiting for the end. What is held meanwhile is the user's.
"""

import traceback
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

from anyio import CancelScope, Event

from minibg.concurrency import asyncios_cancellation
from minibg.types import ASGIApp, Message, Receive, Scope, Send


class Runs:
    """The requests in progress that still have background tasks to run, or something to close.

    A run that asyncio has cancelled is not waited for, even if its thread is still working: a
    server that cancels has no more time. Whatever is being closed is waited for all the same.
    """

    def __init__(self) -> None:
        self._going_on: set[Callable[[], bool]] = set()  # True: do not wait for this one
        self._one_is_over: Event | None = None

    def add(self, is_left_alone: Callable[[], bool]) -> None:
        """Have `wait_for_all` wait until `is_left_alone` is removed, or returns True."""
        self._going_on.add(is_left_alone)

    def remove(self, is_left_alone: Callable[[], bool]) -> None:
        """Stop waiting for it."""
        self._going_on.remove(is_left_alone)
        if self._one_is_over is not None:
            self._one_is_over.set()

    def begin(self) -> Callable[[], bool]:
        """Have `wait_for_all` wait for the current task, until what this returns is removed."""
        is_cancelled = asyncios_cancellation()
        self._going_on.add(is_cancelled)
        return is_cancelled

    async def wait_for_all(self) -> None:
        """Wait until each run that was added is over, or need not be waited for."""
        while not all(is_left_alone() for is_left_alone in self._going_on):
            self._one_is_over = Event()
            await self._one_is_over.wait()


async def live(
    enter: Callable[[], AbstractAsyncContextManager[Mapping[str, Any] | None]],
    runs: Runs,
    scope: Scope,
    receive: Receive,
    send: Send,
) -> None:
    """Enter the context at startup, and leave it at shutdown when all runs are over.

    Args:
        enter: Makes the context that holds what the application holds; what the context gives is
            the beginning of each request's state.
        runs: The runs to wait for.
        scope, receive, send: Those of the lifespan.

    Raises:
        RuntimeError: If the context gives a state, and the server does not keep one.
        BaseException: The exception that the context raises.
    """
    await receive()
    async with enter() as state:
        if state and "state" not in scope:
            raise RuntimeError("the lifespan yields state, which this server does not keep")
        if state:
            scope["state"].update(state)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await runs.wait_for_all()
    await send({"type": "lifespan.shutdown.complete"})


async def tell_of_failure(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Serve a lifespan, and tell the server of whatever ends it: `app` raises it, and that is all.

    A failure is one of the startup until `app` has sent that the startup is complete, and one of
    the shutdown from then on, while the application serves as well. Without that, a server takes
    an exception for "no lifespan here", and serves an application that has not started.

    Args:
        app: Middleware and the application in it.
        scope, receive, send: Those of the lifespan.

    Raises:
        BaseException: The application's, or the server's when it is told.
    """
    received, sent = False, ""

    def receive_and_note() -> Awaitable[Message]:
        nonlocal received
        received = True
        return receive()

    def send_and_note(message: Message) -> Awaitable[None]:
        nonlocal sent
        sent = message["type"]
        return send(message)

    try:
        await app(scope, receive_and_note, send_and_note)
    except BaseException as exc:
        if sent in ("", "lifespan.startup.complete"):  # else the server knows
            phase = "shutdown" if sent else "startup"
            await _tell(phase, exc, None if received else receive, send)
        raise


async def _tell(phase: str, exc: BaseException, receive: Receive | None, send: Send) -> None:
    """Tell the server, once it has asked, that this phase has failed."""
    try:
        with CancelScope(shield=True):
            if receive is not None:
                await receive()
            details = "".join(traceback.format_exception(exc))
            await send({"type": f"lifespan.{phase}.failed", "message": details})
    finally:
        if isinstance(exc, KeyboardInterrupt):  # whatever the server makes of a failure
            raise exc
