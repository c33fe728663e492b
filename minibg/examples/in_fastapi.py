"""minibg's list in an application of FastAPI's: two ways, and the effect of a failure in each.

Install FastAPI first: `pip install fastapi`. Three endpoints add the same two tasks, and the first
of these fails.

- `/fastapi` is FastAPI alone. The failure reaches the server, and no bill is written.
- `/annotation` asks for minibg's list. The failure is logged, and the bill is written.
- `/route` is written as for FastAPI alone. Its router has a route class of minibg's, so its tasks
  end like those of `/annotation`.
"""

import logging
from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI
from pydantic import BaseModel

from minibg.examples.serve import serve
from minibg.ext.fastapi import BackgroundRoute, Tasks

logger = logging.getLogger(__name__)
app = FastAPI()


class Order(BaseModel):
    """The answer to the client."""

    number: int


def send_mail(number: int) -> None:
    """Fail, because the mail server is down."""
    raise OSError(f"no mail about order {number}: the mail server is down")


def write_bill(number: int) -> None:
    """Stand in for something that takes time."""
    logger.info("the bill of order %d is written", number)


def audit(tasks: Tasks) -> None:
    """Add a task to the request's list, as any dependency may."""
    tasks.add_task(logger.info, "an order came in")


@app.post("/fastapi/{number}", status_code=202)
async def fastapi_alone(number: int, tasks: BackgroundTasks) -> Order:
    tasks.add_task(send_mail, number)
    tasks.add_task(write_bill, number)
    return Order(number=number)


@app.post("/annotation/{number}", status_code=202)
async def by_annotation(number: int, tasks: Tasks, _: Annotated[None, Depends(audit)]) -> Order:
    tasks.add_task(send_mail, number)
    tasks.add_task(write_bill, number)
    return Order(number=number)


router = APIRouter(route_class=BackgroundRoute)


@router.post("/route/{number}", status_code=202)
async def by_route(number: int, tasks: BackgroundTasks) -> Order:
    tasks.add_task(send_mail, number)
    tasks.add_task(write_bill, number)
    return Order(number=number)


app.include_router(router)


if __name__ == "__main__":
    serve(
        app,
        "curl -X POST {url}/fastapi/1",
        "curl -X POST {url}/annotation/2",
        "curl -X POST {url}/route/3",
    )
