"""minibg's lists in an application of FastAPI's: by annotation, or without touching an endpoint.

Theory of operation. FastAPI has one `fastapi.BackgroundTasks` for each request, and runs it when
the response has been sent. A dependency adds a list of minibg's to it as a task, and gives the list
to the endpoint and to other dependencies. It is closed after these dependencies, and only when
FastAPI has run its tasks or the request has failed. Tasks that are still in the list then are run,
or named in the log.

Rules kept here: **own list** and **nothing lost**. The list itself keeps all others, as far as the
host allows: FastAPI closes `yield` dependencies after the tasks, not before (**release**).

What may live here: the ways to a list, and nothing that a list does. FastAPI is not a dependency of
minibg: an application that imports this module has it. Starlette needs no module, since any of its
responses takes a list of minibg's as its `background`.
"""

import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from inspect import signature
from typing import Annotated, Any, ClassVar, Generic, TypeVar, cast

from anyio import CancelScope

from minibg.background import BackgroundTasks
from minibg.naming import name_of, reason_of
from minibg.types import Background

try:
    import fastapi
    from fastapi.params import Depends
    from fastapi.requests import HTTPConnection
    from fastapi.routing import APIRoute
    from starlette.background import BackgroundTask as StarletteTask
    from starlette.background import BackgroundTasks as StarletteTasks
except ModuleNotFoundError as exc:
    raise ModuleNotFoundError(
        "minibg.ext.fastapi needs FastAPI 0.118 or newer: pip install fastapi", name=exc.name
    ) from exc

T = TypeVar("T", bound=BackgroundTasks)

KEY = "minibg.ext.fastapi"
"""The key of the scope under which a route finds its request's lists, FastAPI's and minibg's."""


def tasks_of(cls: type[T]) -> T:
    """The dependency that gives the list of a class: within a request, always the same one.

        tasks: Annotated[MonitoredTasks, tasks_of(MonitoredTasks)]
        tasks: MonitoredTasks = tasks_of(MonitoredTasks)

    Returns:
        What `fastapi.Depends` returns. Its type is that of the list, so that it can be the default
        of a parameter.

    Raises:
        TypeError: If the class is not minibg's `BackgroundTasks` or a subclass.
        RuntimeError: If such a list is handed over before the answer leaves (`handover.py`), and
            FastAPI is older than 0.121.
    """
    if not (isinstance(cls, type) and issubclass(cls, BackgroundTasks)):
        name = name_of(cls)
        raise TypeError(f"tasks_of takes minibg's BackgroundTasks or a subclass, not {name}")
    if not hasattr(cls, "__aexit__"):
        return cast(T, fastapi.Depends(_Giving(cls)))
    if "scope" not in signature(fastapi.Depends).parameters:
        needs = f"{cls.__name__} needs FastAPI 0.121 or newer"
        raise RuntimeError(f"{needs}, this is {fastapi.__version__}: pip install -U fastapi")
    return cast(T, fastapi.Depends(_Entering(cls)))


@dataclass(frozen=True)  # FastAPI calls equal dependencies only once
class _Giving(Generic[T]):
    cls: type[T]

    async def __call__(self, background: fastapi.BackgroundTasks) -> AsyncIterator[T]:
        tasks = _given_before(self.cls, background)
        if tasks is None:  # below `Security`, FastAPI before 0.123 calls equal dependencies twice
            tasks = self.cls()
            fastapi.BackgroundTasks.add_task(background, tasks)  # a route may replace `add_task`
        outside = sys.exception()
        try:
            yield tasks
        finally:
            _abandon_after_failure(tasks, outside)
        await tasks()  # if FastAPI has not run it, or dependencies added tasks while they closed


def _given_before(cls: type[Any], background: fastapi.BackgroundTasks) -> Any:
    """The request's list of that class, if there is one by now."""
    funcs = [task.func for task in background.tasks]
    return next((func for func in funcs if type(func) is cls), None)


def _abandon_after_failure(tasks: BackgroundTasks, outside: BaseException | None) -> None:
    """Name the tasks of a failed request, even if a dependency has swallowed the failure.

    Args:
        outside: An exception that is handled around the request, and is not its failure.
    """
    exc = sys.exception()
    if exc is None or exc is outside:
        return
    is_failure = isinstance(exc, Exception)
    tasks.abandon(f"the request raised {type(exc).__name__}" if is_failure else reason_of(exc))


@dataclass(frozen=True)
class _Entering(Generic[T]):
    """Gives a list that is a context, which ends when the endpoint has returned.

    It ends after all dependencies with `scope="function"`, in whatever order they were asked for: a
    session has to commit before its tasks are handed over.
    """

    cls: type[Any]

    async def __call__(self, connection: HTTPConnection, background: fastapi.BackgroundTasks) -> T:
        if (given := _given_before(self.cls, background)) is not None:  # as in `_Giving`
            return cast(T, given)
        context = self.cls()
        tasks = await context.__aenter__()

        async def hand_over(*details: Any) -> None:
            with CancelScope(shield=True):  # the sessions have committed
                await context.__aexit__(*details)

        async def run_what_was_added(cls: Any, exc: BaseException | None, traceback: Any) -> None:
            if exc is None:
                await tasks()

        connection.scope["fastapi_inner_astack"].push_async_exit(run_what_was_added)
        stack: AsyncExitStack = connection.scope["fastapi_function_astack"]
        entered_before = stack.pop_all()
        stack.push_async_exit(hand_over)
        stack.push_async_exit(entered_before)
        fastapi.BackgroundTasks.add_task(background, tasks)
        return cast(T, tasks)


Tasks = Annotated[BackgroundTasks, tasks_of(BackgroundTasks)]
"""The annotation with which an endpoint or a dependency asks for the request's list."""


class BackgroundRoute(APIRoute):
    """A route on which FastAPI's `add_task`, wherever it is called, adds to a list of minibg's.

        app = FastAPI()
        app.router.route_class = BackgroundRoute  # before the first route
        router = APIRouter(route_class=BackgroundRoute)

    That list, which `Tasks` gives as well, also runs the background of a returned response, after
    its own tasks. A subclass may have a list of another class:

        class MonitoredRoute(BackgroundRoute):
            tasks_class = MonitoredTasks
    """

    tasks_class: ClassVar[type[BackgroundTasks]] = BackgroundTasks

    def __init__(
        self,
        path: str,
        endpoint: Callable[..., Any],
        *,
        dependencies: Sequence[Depends] | None = None,
        **options: Any,
    ) -> None:
        adopts = fastapi.Depends(_adopting(self.tasks_class))
        super().__init__(path, endpoint, dependencies=[adopts, *(dependencies or ())], **options)

    def get_route_handler(self) -> Callable[..., Coroutine[Any, Any, fastapi.Response]]:
        """The function that makes the response, with the request's lists as its background."""
        handle = super().get_route_handler()

        async def handle_with_tasks(request: fastapi.Request) -> fastapi.Response:
            response = await handle(request)
            background, tasks = request.scope[KEY]
            if response.background not in (background, tasks):
                _move(response.background, tasks)
            response.background = background
            return response

        return handle_with_tasks


def _adopting(cls: type[BackgroundTasks]) -> Callable[..., Coroutine[Any, Any, None]]:
    """The dependency that moves every task that is added to FastAPI's list into minibg's."""
    given = tasks_of(cls)

    async def adopt(
        connection: HTTPConnection,
        background: fastapi.BackgroundTasks,
        tasks: BackgroundTasks = given,
    ) -> None:
        def add_task(*args: Any, **kwargs: Any) -> None:
            if not args and "func" in kwargs:  # FastAPI allows it by name
                args = (kwargs.pop("func"),)
            tasks.add_task(*args, **kwargs)

        added, background.tasks = background.tasks, []
        for task in added:  # by the dependencies of a router, which come first
            if isinstance(task.func, BackgroundTasks):
                background.tasks.append(task)
            else:
                _move(task, tasks)
        vars(background)["add_task"] = add_task
        connection.scope[KEY] = background, tasks

    return adopt


def _move(background: Background | None, tasks: BackgroundTasks) -> None:
    """Add each task of a background of Starlette's or FastAPI's to minibg's list."""
    if type(background) in (StarletteTasks, fastapi.BackgroundTasks):
        for task in cast(StarletteTasks, background).tasks:
            _move(task, tasks)
    elif type(background) is StarletteTask:
        tasks.add_task(background.func, *background.args, **background.kwargs)
    elif background is not None:
        tasks.add_task(background)
