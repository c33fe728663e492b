"""minibg's lists of tasks in an application of FastAPI's, while its endpoints stay as they are.

Theory of operation. FastAPI makes one `fastapi.BackgroundTasks` for each request, shares it between
the endpoint and its dependencies, and awaits it when the response has been sent. Here a dependency
puts a list of minibg's into it, as its only task. FastAPI caches a dependency for the request, so
all who ask for the list get the same one. The same in Starlette needs no module: a list of minibg's
can be the `background=` of any response.

* `Tasks` in a signature asks for that list; `tasks_of` makes the same of a subclass, a policy.
* `BackgroundRoute` changes no signature: what is added to FastAPI's own list goes to minibg's.

Rules kept here: **own list**, and **nothing lost** where the endpoint raises. FastAPI keeps
**after**; **release** it does not: it closes `yield` dependencies when the tasks have run.
What may live here: how a request of FastAPI's gets its list. How that runs is the mechanism's
business.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from functools import cache
from typing import Annotated, Any, TypeVar

from fastapi import BackgroundTasks as FastAPIBackgroundTasks
from fastapi import Depends
from fastapi.params import Depends as DependsMark
from fastapi.routing import APIRoute

from minibg.background import BackgroundTasks
from minibg.naming import name_of

T = TypeVar("T", bound=BackgroundTasks)


@cache
def tasks_of(cls: type[BackgroundTasks]) -> Any:
    """The mark of an annotation that asks for the request's list of that class.

        async def endpoint(tasks: Annotated[MonitoredTasks, tasks_of(MonitoredTasks)]): ...

    Args:
        cls: `BackgroundTasks`, or a subclass that can be made without arguments.

    Returns:
        What `fastapi.Depends` returns, for a dependency that is cached for the request.

    Raises:
        TypeError: If it is not such a class.
    """
    if not (isinstance(cls, type) and issubclass(cls, BackgroundTasks)):
        got = name_of(cls)
        raise TypeError(f"tasks_of takes minibg's BackgroundTasks or a subclass, not {got}")
    return Depends(_dependency_of(cls))


def _dependency_of(cls: type[T]) -> Callable[..., AsyncIterator[T]]:
    async def tasks_of_the_request(background: FastAPIBackgroundTasks) -> AsyncIterator[T]:
        tasks = cls()
        background.add_task(tasks)  # a list is an async callable
        try:
            yield tasks
        except BaseException as exc:
            tasks.abandon(f"the request raised {type(exc).__name__}")
            raise

    return tasks_of_the_request


Tasks = Annotated[BackgroundTasks, tasks_of(BackgroundTasks)]
"""In the signature of an endpoint or of a dependency: the request's list."""


class BackgroundRoute(APIRoute):
    """A route that has minibg run what is added to `fastapi.BackgroundTasks`.

    `APIRouter(route_class=BackgroundRoute)` has it for the routes of a router; for those of the
    application itself set `app.router.route_class = BackgroundRoute` before they are registered.
    """

    def __init__(
        self,
        path: str,
        endpoint: Callable[..., Any],
        *,
        dependencies: Sequence[DependsMark] | None = None,
        **options: Any,
    ) -> None:
        given = [Depends(_hand_on), *(dependencies or ())]  # the first that is called
        super().__init__(path, endpoint, dependencies=given, **options)


async def _hand_on(background: FastAPIBackgroundTasks, tasks: Tasks) -> None:
    background.add_task = tasks.add_task  # type: ignore[assignment, method-assign]  # also positional
