"""What one request is given, and what is held for it until it is let go.

Rules kept here: **own list** (a request has one list of each class that is asked for) and the half
of **release** that is about how: in reverse order, always, and with an exception where there was
one. When, is decided in `routing.py`.

What may live here: the state of a request while it is served. Who asks for what is the business of
`dependencies.py`.
"""

import logging
from collections.abc import AsyncIterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
)
from functools import partial
from typing import Any, Literal

from anyio import CancelScope

from minibg.background import BackgroundTasks
from minibg.concurrency import is_cancelled, run_in_extra_thread, run_in_threadpool
from minibg.formparsers import FormData
from minibg.requests import HTTPConnection, Request
from minibg.responses import Response

NOT_CLOSED = "what the request held could not be closed"

logger = logging.getLogger("minibg.injection")

Scope = Literal["function", "request"]
SCOPES: tuple[Scope, ...] = ("function", "request")
"""How long something is held, by FastAPI's names, in the order in which it is let go."""


class Injection:
    """What one request is given, and what is held for it until it is released."""

    response: Response | None = None
    body = b""
    form: FormData | None = None
    guard: CancelScope | None = None
    """Shields what is closed. It is entered before all that is held, so that it is left last."""

    def __init__(self, connection: HTTPConnection) -> None:
        self.connection = connection
        self.lists: dict[type[BackgroundTasks], BackgroundTasks] = {}
        self.held: dict[Scope, AsyncExitStack] = {}

    def tasks(self, cls: type[BackgroundTasks]) -> BackgroundTasks:
        """The list of that class (**own list**)."""
        if cls not in self.lists:
            self.lists[cls] = cls()
        return self.lists[cls]

    def response_to_be(self) -> Response:
        """The response whose status, headers and cookies the answer will have."""
        if self.response is None:
            self.response = Response(status_code=0)
        return self.response

    async def hold(self, scope: Scope, context: AbstractAsyncContextManager[Any]) -> Any:
        """Enter a context, and hold it until that scope is released."""
        if self.guard is None:
            self.guard = CancelScope().__enter__()
        stack = self.held.setdefault(scope, AsyncExitStack())
        return await stack.enter_async_context(context)

    async def release(self, scope: Scope, exc: BaseException | None = None) -> None:
        """Close what is held in that scope, the last first, also while the request is cancelled.

        Raises:
            BaseException: `exc`, which is thrown into the generators, or what they make of it.
                Nothing, if one of them swallows it.
        """
        try:
            swallowed = scope in self.held and await self._close(scope, exc)
        finally:
            if scope == "request" and isinstance(self.connection, Request):
                with CancelScope(shield=True):
                    await self.connection.close()
        if exc is not None and not swallowed:
            raise exc

    async def _close(self, scope: Scope, exc: BaseException | None) -> bool | None:
        """Close what is held in that scope, and give whether it swallows the exception."""
        details = (type(exc), exc, exc.__traceback__) if exc else (None, None, None)
        assert self.guard is not None
        self.guard.shield = True
        try:
            return await self.held.pop(scope).__aexit__(*details)
        finally:
            self.guard.shield = False
            if not self.held:
                self.guard.__exit__(None, None, None)
                self.guard = None

    async def let_go(self, exc: BaseException | None) -> None:
        """Release all, after the response; what the closing raises is logged, and goes no further.

        Args:
            exc: What sending the response raised, for the generators to see.
        """
        if exc is not None:
            raised = await self.throw(exc)
            if raised is not None and raised is not exc:
                logger.error(NOT_CLOSED, exc_info=raised)
        elif self.held or self.connection.has_form:
            for scope in SCOPES:
                try:
                    await self.release(scope)
                except Exception:
                    logger.exception(NOT_CLOSED)

    async def fail(self, reason: str, exc: BaseException) -> BaseException:
        """`throw`, then give up the tasks for that reason, and give what has to be answered."""
        failure = await self.throw(exc)
        for tasks in self.lists.values():
            tasks.abandon(reason)
        if failure is not None:
            return failure
        if is_cancelled():  # no generator can undo that
            return exc
        return RuntimeError("a dependency swallowed the exception, so nothing answers")

    async def throw(self, exc: BaseException) -> BaseException | None:
        """Throw an exception into all that is held, and give what comes out of it, if anything."""
        if not (self.held or self.connection.has_form):
            return exc
        thrown: BaseException | None = exc
        for scope in SCOPES:
            try:
                await self.release(scope, thrown)
                thrown = None
            except BaseException as raised:  # noqa: BLE001  # the caller raises it
                thrown = raised
        return thrown


@asynccontextmanager
async def in_threads(context: AbstractContextManager[Any]) -> AsyncIterator[Any]:
    """A sync context as an async one: it is entered and left in worker threads."""
    entered: list[Any] = []  # asyncio's cancellation may come in place of what is returned
    try:
        await run_in_threadpool(lambda: entered.append(context.__enter__()))
    except BaseException as exc:
        if entered:
            await run_in_extra_thread(context.__exit__, type(exc), exc, exc.__traceback__)
        raise
    try:
        yield entered[0]
    except BaseException as exc:
        leave = partial(context.__exit__, type(exc), exc, exc.__traceback__)
        if not await run_in_extra_thread(leave):
            raise
    else:
        await run_in_extra_thread(context.__exit__, None, None, None)
