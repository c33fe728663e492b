"""The cost of many requests at once: how long the next one waits for a thread, and the memory.

`python -m tests.benchmarks.crowd` prints both, minibg beside Starlette.
"""

import asyncio
import tracemalloc
from collections.abc import Callable, Iterable
from functools import partial
from time import perf_counter, sleep
from typing import Any

from tests.benchmarks import measure
from tests.benchmarks.apps import MINIBG, module_of
from tests.benchmarks.in_process import Client
from tests.benchmarks.work import row_of

PEERS = (MINIBG, "Starlette")
THREADS = 40
"""How many threads each of them has by default."""

TASKS = 10
SLOW = 0.02
"""How many seconds a slow task sleeps."""

IN_FLIGHT = 1000
WAIT = "the 41st request's wait for a thread"
MEMORY = "bytes a request in flight with ten queued tasks"


def wait_row(peers: Iterable[str], rounds: int) -> measure.Row:
    """How long a sync task waits while forty requests with ten slow ones each hold all threads."""
    waits = {peer: partial(seconds_of_waiting, peer) for peer in peers if peer in PEERS}
    return measure.Row(WAIT, "s", measure.in_turns(waits, rounds), {})


def seconds_of_waiting(peer: str) -> float:
    return asyncio.run(_wait(module_of(peer).tasks))


async def _wait(make: Callable[..., Any]) -> float:
    running: list[None] = []
    began: list[float] = []

    def slow(address: str, number: int) -> None:
        running.append(None)
        sleep(SLOW)

    def note(address: str, number: int) -> None:
        began.append(perf_counter())

    crowd = Client(make((slow,) * TASKS), row_of())
    late = Client(make((note,)), row_of())
    async with asyncio.TaskGroup() as requests:
        for _ in range(THREADS):
            requests.create_task(crowd.ask_once())
        while len(running) < THREADS:  # noqa: ASYNC110  # an event would cost
            await asyncio.sleep(SLOW / 20)
        asked = perf_counter()
        requests.create_task(late.ask_once())
    return began[0] - asked


def memory_row(peers: Iterable[str]) -> measure.Row:
    """What a request takes, of a thousand in whose lists a task runs and ten are queued."""
    held = {peer: partial(bytes_in_flight, peer) for peer in peers if peer in PEERS}
    return measure.Row(MEMORY, "bytes", measure.in_turns(held, 1), {})


def bytes_in_flight(peer: str) -> float:
    return asyncio.run(_hold(module_of(peer).tasks))


async def _hold(make: Callable[..., Any]) -> float:
    gate, waiting = asyncio.Event(), []

    async def wait(address: str, number: int) -> None:
        waiting.append(None)
        await gate.wait()

    async def queued(address: str, number: int) -> None: ...

    client = Client(make((wait, *[queued] * TASKS)), row_of())
    gate.set()
    await client.ask_once()  # fills what is filled once
    gate.clear()
    waiting.clear()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        async with asyncio.TaskGroup() as requests:
            for _ in range(IN_FLIGHT):
                requests.create_task(client.ask_once())
            while len(waiting) < IN_FLIGHT:  # noqa: ASYNC110  # an event would cost
                await asyncio.sleep(0)
            after, _ = tracemalloc.get_traced_memory()
            gate.set()
    finally:
        tracemalloc.stop()
    return (after - before) / IN_FLIGHT


def main() -> None:
    for row in (wait_row(PEERS, 5), memory_row(PEERS)):
        figures = ", ".join(f"{peer} {row.median(peer):,.3f}" for peer in row.samples)
        print(f"{row.name}: {figures} {row.unit}")


if __name__ == "__main__":
    main()
