"""The objects that one request is given, and the contexts that stay open for it.

Rules kept here: **own list** (a request has one list of each class that is asked for) and the half
of **release** that says how: always, the last first, and with the exception if there was one. The
callers say when: `Dependant.solve_and_call` closes the contexts of the endpoint's lifetime,
`respond` those of the request's.

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
from types import TracebackType
from typing import Any, Literal

from anyio import CancelScope

from minibg.background import BackgroundTasks
from minibg.concurrency import (
    asyncios_cancellation,
    is_cancelled,
    run_in_extra_thread,
    run_in_threadpool,
)
from minibg.naming import name_of
from minibg.requests import HTTPConnection, Request
from minibg.responses import Response, close_pieces

logger = logging.getLogger("minibg.injection")

Lifetime = Literal["function", "request"]
LIFETIMES: tuple[Lifetime, ...] = ("function", "request")
"""How long a context stays open, by FastAPI's names, in the order of closing."""


class RequestResources:
    """The objects that one request is given, and the contexts that stay open for it.

    `open` keeps a context open for a lifetime, which `close` ends. When the response has been sent,
    `close_all` ends both lifetimes, and so does leaving this object as a context. When the endpoint
    has raised, `abort` ends them.

    Args:
        connection: The request, or the WebSocket.
    """

    response: Response | None = None
    result: Any = None
    """The endpoint's result, kept while contexts are closed before the answer."""
    swallowed_by: str | None = None
    """The name of the dependency that has swallowed an exception."""
    body: Any = None
    """The body, as bytes or as a form, if a parameter asks for it."""

    def __init__(self, connection: HTTPConnection) -> None:
        self.connection = connection
        self.lists: dict[type[BackgroundTasks], BackgroundTasks] = {}
        self.stacks: dict[Lifetime, AsyncExitStack] = {}

    def tasks(self, cls: type[BackgroundTasks]) -> BackgroundTasks:
        """The list of that class (**own list**)."""
        if cls not in self.lists:
            self.lists[cls] = cls()
        return self.lists[cls]

    def open_tasks(self, cls: type[BackgroundTasks]) -> BackgroundTasks:
        """Like `tasks`, for an async context, which is left when the endpoint has returned.

        It is left after all else with the endpoint's lifetime, since nothing is opened earlier.
        """
        if cls not in self.lists:
            if not self.stacks:
                self._prepare()
            tasks: Any = self.tasks(cls)
            self.stacks["function"].push_async_exit(tasks)
        return self.lists[cls]

    def injected_response(self) -> Response:
        """The response whose status, headers, cookies and background the answer will have."""
        if self.response is None:
            self.response = Response(status_code=0)
        return self.response

    async def open(
        self, lifetime: Lifetime, context: AbstractAsyncContextManager[Any], call: Any
    ) -> Any:
        """Enter the context, and keep it open for the lifetime."""
        if not self.stacks:
            self._prepare()
        return await self.stacks[lifetime].enter_async_context(_Opened(self, context, call))

    def _prepare(self) -> None:
        """Make the stacks: the form is closed after all they hold, and the shield left last."""
        self.stacks = {lifetime: AsyncExitStack() for lifetime in LIFETIMES}
        self.is_cancelled = asyncios_cancellation()
        self.runs = self.connection.scope["router"].runs
        self.runs.add(self._is_left_alone)
        self.shield = self.stacks["request"].enter_context(CancelScope())
        if isinstance(self.connection, Request):
            self.stacks["request"].push_async_callback(self.connection.close)

    def _is_left_alone(self) -> bool:
        """Whether the lifespan may end before all is closed: nothing is closing, or about to."""
        return not (self.shield.shield or self.is_cancelled())

    async def close(self, lifetime: Lifetime, exc: BaseException | None = None) -> None:
        """Close all that is open for the lifetime, the newest first, even if a cancellation waits.

        Args:
            exc: The exception to throw into the generators.

        Raises:
            BaseException: `exc`, or what a generator raised instead; none if one swallowed `exc`.
        """
        details = (type(exc), exc, exc.__traceback__) if exc else (None, None, None)
        self.shield.shield = True
        try:
            swallowed = await self.stacks.pop(lifetime).__aexit__(*details)
        finally:
            self.shield.shield = False
        if exc is not None and not swallowed:
            raise exc

    async def close_all(self, exc: BaseException | None = None) -> None:
        """Close all. A failure to close is logged; a cancellation meanwhile is raised.

        Args:
            exc: The exception that sending the response raised, for the generators to see.
        """
        raised = await self._throw(exc)
        if raised is not exc and raised is not None:
            _log_failure(raised, exc)
            if not isinstance(raised, Exception):
                raise raised

    async def abort(self, exc: BaseException) -> BaseException:
        """Close all and abandon the tasks, as the endpoint has raised.

        Returns:
            The exception to answer: the endpoint's, or the generators' own in its place.
        """
        await close_pieces(self.result)  # nobody will read them
        failure = await self._throw(exc)
        for tasks in self.lists.values():
            tasks.abandon(f"the endpoint raised {type(exc).__name__}")
        if is_cancelled():  # no generator can undo that, and nobody is answered
            _log_failure(failure, exc)
            return exc if failure is None or isinstance(failure, Exception) else failure
        if failure is not None:
            return failure
        return RuntimeError(f"{self.swallowed_by} swallowed the exception, so nothing answers")

    async def _throw(self, exc: BaseException | None) -> BaseException | None:
        """Close all, and return the exception that results: `exc`, or the generators' own."""
        if not self.stacks and self.connection.has_form:
            self._prepare()
        for lifetime in tuple(self.stacks):
            try:
                await self.close(lifetime, exc)
                exc = None
            except BaseException as raised:  # noqa: BLE001  # the caller raises it
                exc = raised
            if not self.stacks:
                self.runs.remove(self._is_left_alone)
        return exc

    async def __aenter__(self) -> None: ...

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close_all(exc)


def _log_failure(raised: BaseException | None, exc: BaseException | None) -> None:
    """Log why a context could not be closed, even if a cancellation came on top of it.

    Args:
        raised: The exception that closing raised.
        exc: The exception that was thrown in.
    """
    while raised is not None and raised is not exc:
        if isinstance(raised, Exception):
            logger.error("what the request held could not be closed", exc_info=raised)
            return
        raised = raised.__context__


class _Opened(AbstractAsyncContextManager[Any]):
    """A context whose errors about a wrong `yield` name the dependency."""

    def __init__(
        self, resources: RequestResources, context: AbstractAsyncContextManager[Any], call: Any
    ) -> None:
        self.resources, self.context, self.call = resources, context, call

    async def __aenter__(self) -> Any:
        try:
            return await self.context.__aenter__()
        except RuntimeError as exc:
            self._blame(exc)
            raise

    async def __aexit__(self, *details: Any) -> bool | None:
        try:
            swallowed = await self.context.__aexit__(*details)
        except RuntimeError as exc:
            self._blame(exc)
            raise
        if swallowed:
            self.resources.swallowed_by = name_of(self.call)
        return swallowed

    def _blame(self, exc: RuntimeError) -> None:
        if str(exc).startswith("generator didn't"):  # yield, or stop, says contextlib
            raise RuntimeError(f"{name_of(self.call)}: {exc}") from None


@asynccontextmanager
async def in_threads(context: AbstractContextManager[Any]) -> AsyncIterator[Any]:
    """A sync context as an async one: it is entered and left in worker threads."""
    entered: list[Any] = []  # asyncio's cancellation may replace the result
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
