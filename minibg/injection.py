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
from minibg.concurrency import run_in_extra_thread, run_in_threadpool
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
        stack = self.held.setdefault(scope, AsyncExitStack())
        return await stack.enter_async_context(context)

    async def release(self, scope: Scope, exc: BaseException | None = None) -> None:
        """Close what is held in that scope, the last first, also while the request is cancelled.

        Raises:
            BaseException: `exc`, which is thrown into the generators, or what they make of it.
        """
        with CancelScope(shield=True):
            try:
                stack = self.held.pop(scope, None)
                details = (type(exc), exc, exc.__traceback__) if exc else (None, None, None)
                if stack is not None and await stack.__aexit__(*details):
                    raise RuntimeError("a dependency swallowed the exception, so nothing answers")
            finally:
                if scope == "request" and isinstance(self.connection, Request):
                    await self.connection.close()
        if exc is not None:
            raise exc

    async def let_go(self, exc: BaseException | None) -> None:
        """Release all, after the response; what the closing raises is logged, and goes no further.

        Args:
            exc: What sending the response raised, for the generators to see.
        """
        if exc is not None:
            raised = await self.throw(exc)
            if raised is not exc:
                logger.error(NOT_CLOSED, exc_info=raised)
        elif self.held or self.connection.has_form:
            for scope in SCOPES:
                try:
                    await self.release(scope)
                except Exception:
                    logger.exception(NOT_CLOSED)

    async def fail(self, reason: str, exc: BaseException) -> BaseException:
        """`throw`, then give up the tasks for that reason."""
        exc = await self.throw(exc)
        for tasks in self.lists.values():
            tasks.abandon(reason)
        return exc

    async def throw(self, exc: BaseException) -> BaseException:
        """Throw an exception into all that is held, and give what comes out of it."""
        if not (self.held or self.connection.has_form):
            return exc
        for scope in SCOPES:
            try:
                await self.release(scope, exc)
            except BaseException as raised:  # noqa: BLE001  # the caller raises it
                exc = raised
        return exc


@asynccontextmanager
async def in_threads(context: AbstractContextManager[Any]) -> AsyncIterator[Any]:
    """A sync context as an async one: it is entered and left in worker threads."""
    value = await run_in_threadpool(context.__enter__)
    try:
        yield value
    except BaseException as exc:
        leave = partial(context.__exit__, type(exc), exc, exc.__traceback__)
        if not await run_in_extra_thread(leave):
            raise
    else:
        await run_in_extra_thread(context.__exit__, None, None, None)
