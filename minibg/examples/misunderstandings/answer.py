"""The misunderstanding: a task may still change the answer.

The task has the endpoint's own dictionary and the injected response, and changes both. The client
has read the answer by then. So do the work that the answer reports before `return`. If that takes
too long, answer 202, and say where the client can ask for the result.

    POST /misunderstood/orders: 200 {"state":"waiting for the bank"}
    the task has changed it to: 201 {'state': 'paid'}
    POST /orders/at-once: 201 {"state":"paid"}
    POST /orders/later: 202 {"state":"waiting for the bank","ask":"/orders/1"}
    GET /orders/1: 200 {"state":"paid","ask":"/orders/1"}
"""

import anyio

from minibg import BackgroundTasks, MiniBG, Response
from minibg.examples.misunderstandings.client import ask

app = MiniBG()
Order = dict[str, str]
orders: dict[int, Order] = {}


async def charge(order: Order) -> None:
    """Stand in for a request to a bank."""
    order["state"] = "paid"


async def charge_and_change(order: Order, response: Response) -> None:
    await charge(order)
    response.status_code = 201
    print("the task has changed it to:", response.status_code, order)


@app.post("/misunderstood/orders")
async def order_misunderstood(response: Response, tasks: BackgroundTasks) -> Order:
    order = {"state": "waiting for the bank"}
    tasks.add_task(charge_and_change, order, response)
    return order


@app.post("/orders/at-once", status_code=201)
async def order_at_once() -> Order:
    order = {"state": "waiting for the bank"}
    await charge(order)
    return order


@app.post("/orders/later", status_code=202)
async def order_later(tasks: BackgroundTasks) -> Order:
    number = len(orders) + 1
    order = orders[number] = {"state": "waiting for the bank", "ask": f"/orders/{number}"}
    tasks.add_task(charge, order)
    return order


@app.get("/orders/{number:int}")
async def read_order(number: int) -> Order:
    return orders[number]


async def main() -> None:
    await ask(app, "POST", "/misunderstood/orders")
    await ask(app, "POST", "/orders/at-once")
    await ask(app, "POST", "/orders/later")
    await ask(app, "GET", "/orders/1")


if __name__ == "__main__":
    anyio.run(main)
