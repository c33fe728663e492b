"""The misunderstanding: it does not matter if a task fails, for somebody will be told.

The client got its 202 before the task began, and nothing can take that back. Only the log reports
the failure, so to the client, order 1 is accepted for ever. A task whose failure concerns the
client records it where the client can ask for it, as for order 2; the log has it all the same.

    POST /misunderstood/orders/1?card=expired: 202 {"state":"accepted"}
    the log: background task __main__.charge failed
    ValueError: the card has expired
    GET /orders/1: 200 {"state":"accepted"}
    POST /orders/2?card=expired: 202 {"state":"accepted"}
    the log: background task __main__.charge_and_record failed
    ValueError: the card has expired
    GET /orders/2: 200 {"state":"not paid"}
    POST /orders/3?card=valid: 202 {"state":"accepted"}
    GET /orders/3: 200 {"state":"paid"}
"""

from typing import Literal

import anyio

from minibg import BackgroundTasks, MiniBG
from minibg.examples.misunderstandings.client import ask, show_log

app = MiniBG()
Card = Literal["valid", "expired"]
orders: dict[int, dict[str, str]] = {}


async def charge(card: Card) -> None:
    """Stand in for a request to a bank."""
    if card == "expired":
        raise ValueError("the card has expired")


@app.post("/misunderstood/orders/{number:int}", status_code=202)
async def order_misunderstood(number: int, card: Card, tasks: BackgroundTasks) -> dict[str, str]:
    orders[number] = {"state": "accepted"}
    tasks.add_task(charge, card)
    return orders[number]


@app.post("/orders/{number:int}", status_code=202)
async def order(number: int, card: Card, tasks: BackgroundTasks) -> dict[str, str]:
    orders[number] = {"state": "accepted"}
    tasks.add_task(charge_and_record, number, card)
    return orders[number]


async def charge_and_record(number: int, card: Card) -> None:
    state = "not paid"
    try:
        await charge(card)
        state = "paid"
    finally:  # whatever has failed, and even if the task is cut off
        orders[number]["state"] = state


@app.get("/orders/{number:int}")
async def read_order(number: int) -> dict[str, str]:
    return orders[number]


async def main() -> None:
    show_log()
    await ask(app, "POST", "/misunderstood/orders/1?card=expired")
    await ask(app, "GET", "/orders/1")
    await ask(app, "POST", "/orders/2?card=expired")
    await ask(app, "GET", "/orders/2")
    await ask(app, "POST", "/orders/3?card=valid")
    await ask(app, "GET", "/orders/3")


if __name__ == "__main__":
    anyio.run(main)
