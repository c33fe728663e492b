"""The misunderstanding: the tasks of a request run at the same time.

Each starts when the one before has ended, so to ask three warehouses takes the sum of their times.
To ask them at the same time, add one task: a function that asks all of them in a task group. If one
request fails there, the others are cancelled, and the task has failed.

    POST /misunderstood/orders: 202 {"state":"accepted"}
    north is asked
    north has answered
    south is asked
    south has answered
    west is asked
    west has answered
    POST /orders: 202 {"state":"accepted"}
    north is asked
    south is asked
    west is asked
    west has answered
    south has answered
    north has answered
"""

import anyio
from anyio import create_task_group, sleep

from minibg import BackgroundTasks, MiniBG
from minibg.examples.misunderstandings.client import ask

app = MiniBG()
WAREHOUSES = {"north": 0.3, "south": 0.2, "west": 0.1}
"""How many seconds each takes to answer."""


async def reserve(warehouse: str) -> None:
    print(f"{warehouse} is asked")
    await sleep(WAREHOUSES[warehouse])
    print(f"{warehouse} has answered")


@app.post("/misunderstood/orders", status_code=202)
async def order_misunderstood(tasks: BackgroundTasks) -> dict[str, str]:
    for warehouse in WAREHOUSES:
        tasks.add_task(reserve, warehouse)
    return {"state": "accepted"}


@app.post("/orders", status_code=202)
async def order(tasks: BackgroundTasks) -> dict[str, str]:
    tasks.add_task(reserve_everywhere)
    return {"state": "accepted"}


async def reserve_everywhere() -> None:
    async with create_task_group() as group:
        for warehouse in WAREHOUSES:
            group.start_soon(reserve, warehouse)


async def main() -> None:
    await ask(app, "POST", "/misunderstood/orders")
    await ask(app, "POST", "/orders")


if __name__ == "__main__":
    anyio.run(main)
