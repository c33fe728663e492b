"""Calls of `add_task`, and endpoints, for the type checkers, right and wrong ones; they never run.

On the lines marked with `# refused`, a type checker has to report an error.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated

import fastapi

from minibg import BackgroundTask, BackgroundTasks, FailFastTasks, MiniBG
from minibg.ext.fastapi import BackgroundRoute, Tasks, tasks_of


def mail(to: str, subject: str = "", *, urgent: bool = False) -> None: ...


async def send(to: str, count: int) -> int:
    return count


def by_position(to: str, /) -> None: ...


def any_number(*to: str, **headers: int) -> None: ...


def named_as_ours(func: str, self: int, args: str) -> None: ...


class Mailer:
    def __init__(self, host: str) -> None: ...

    def mail(self, to: str) -> None: ...

    async def __call__(self, to: str) -> None: ...


class OwnPolicy(BackgroundTasks):
    def on_error(self, task: BackgroundTask, exc: Exception) -> Awaitable[None] | None:
        self.add_task(send, task.name, 1)
        return super().on_error(task, exc)


def right(tasks: BackgroundTasks, mailer: Mailer, callback: Callable[[str], object]) -> None:
    tasks.add_task(mail, "a")
    tasks.add_task(mail, "a", "b", urgent=True)
    tasks.add_task(mail, to="a", subject="b")
    tasks.add_task(send, "a", 1)
    tasks.add_task(send, "a", count=1)
    tasks.add_task(by_position, "a")
    tasks.add_task(any_number)
    tasks.add_task(any_number, "a", "b", x=1)
    tasks.add_task(named_as_ours, func="a", self=1, args="b")
    tasks.add_task(mailer.mail, "a")
    tasks.add_task(mailer, "a")
    tasks.add_task(Mailer, "a")
    tasks.add_task(callback, "a")
    tasks.add_task(partial(mail, "a"), urgent=True)
    tasks.add_task(lambda: send("a", 1))
    tasks.add_task(tasks)
    FailFastTasks().add_task(mail, "a")
    OwnPolicy([BackgroundTask(mail, "a"), tasks]).add_task(send, "a", 1)


def wrong(tasks: BackgroundTasks, mailer: Mailer, callback: Callable[[str], object]) -> None:
    tasks.add_task(mail)  # refused
    tasks.add_task(mail, "a", "b", True)  # refused
    tasks.add_task(mail, 1)  # refused
    tasks.add_task(mail, "a", urgnet=True)  # refused
    tasks.add_task(mail, "a", urgent="yes")  # refused
    tasks.add_task(mail, "a", to="a")  # refused
    tasks.add_task(send, "a")  # refused
    tasks.add_task(send, "a", "1")  # refused
    tasks.add_task(send, "a", 1, 2)  # refused
    tasks.add_task(send, "a", number=1)  # refused
    tasks.add_task(by_position, to="a")  # refused
    tasks.add_task(any_number, 1)  # refused
    tasks.add_task(any_number, x="1")  # refused
    tasks.add_task(named_as_ours, func=1, self=1, args="b")  # refused
    tasks.add_task(mailer.mail)  # refused
    tasks.add_task(mailer, 1)  # refused
    tasks.add_task(Mailer)  # refused
    tasks.add_task(callback, 1)  # refused
    tasks.add_task(lambda: mail("a"), "a")  # refused
    tasks.add_task(tasks, "a")  # refused
    tasks.add_task(mail("a"))  # refused
    tasks.add_task(send("a", 1))  # refused
    tasks.add_task("mail", "a")  # refused
    tasks.add_task()  # refused
    tasks.add_task(func=mail)  # refused
    FailFastTasks().add_task(mail, 1)  # refused
    BackgroundTask(mail)  # refused
    BackgroundTask(send, "a", "1")  # refused
    BackgroundTasks([mail])  # refused


def endpoints(app: MiniBG) -> None:
    @app.get("/right")
    async def right(tasks: BackgroundTasks, own: OwnPolicy) -> None:
        tasks.add_task(mail, "a")
        own.add_task(send, "a", 1)

    @app.get("/one-task")
    async def one_task(tasks: BackgroundTask) -> None:
        tasks.add_task(mail, "a")  # refused

    @app.get("/not-the-list")
    async def not_the_list(tasks: list[BackgroundTask]) -> None:
        tasks.add_task(mail, "a")  # refused

    @app.get("/may-be-none")
    async def may_be_none(tasks: BackgroundTasks | None) -> None:
        tasks.add_task(mail, "a")  # refused

    app.get("/no-endpoint")("endpoint")  # refused


class OwnRoute(BackgroundRoute):
    tasks_class = OwnPolicy


def of_fastapi(tasks: Tasks) -> None:
    tasks.add_task(mail, "a")


def in_fastapi(app: fastapi.FastAPI) -> None:
    app.router.route_class = BackgroundRoute
    fastapi.APIRouter(route_class=OwnRoute)
    given = tasks_of(OwnPolicy)

    @app.get("/right")
    async def right(
        tasks: Tasks,
        own: Annotated[OwnPolicy, tasks_of(OwnPolicy)],
        same: OwnPolicy = given,
        depends: None = fastapi.Depends(of_fastapi),
    ) -> dict[str, int]:
        tasks.add_task(mail, "a")
        own.add_task(send, "a", 1)
        return {"list": len(same.tasks)}

    @app.get("/wrong")
    async def wrong(tasks: Tasks, own: Annotated[OwnPolicy, tasks_of(OwnPolicy)]) -> None:
        tasks.add_task(mail)  # refused
        own.add_task(send, "a", "1")  # refused
        tasks.run()  # refused

    another_class: OwnPolicy = tasks_of(BackgroundTasks)  # refused
    another_class.add_task(send, "a", 1)
    tasks_of(fastapi.BackgroundTasks)  # refused
    tasks_of(OwnPolicy())  # refused
