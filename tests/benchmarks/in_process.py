"""Requests in process: the application is awaited directly, with a fresh scope each time.

One event loop in one process serves all contenders. `send` accepts every message at once. Garbage
is collected as in production. A slice ends when the tasks of its requests have run.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from time import perf_counter

from minibg.types import ASGIApp, Message
from tests.benchmarks import measure, work
from tests.benchmarks.apps import make_app

LoopFactory = Callable[[], asyncio.AbstractEventLoop]

POLL = 0.0002
"""How often, in seconds, it is looked whether tasks that nobody awaits have run."""


class Client:
    """Asks an application for a row, again and again."""

    def __init__(self, app: ASGIApp, row: work.Row) -> None:
        self.app = app
        self.row = row
        self.message: Message = {"type": "http.request", "body": row.body, "more_body": False}
        self.number = 1

    async def receive(self) -> Message:
        return self.message

    async def ask_once(self) -> list[Message]:
        """What the application sends."""
        messages: list[Message] = []

        async def send(message: Message) -> None:
            messages.append(message)

        await self.app(self.row.scope(), self.receive, send)
        return messages

    async def until_all_ran(self, requests: int) -> None:
        """Wait for the tasks that so many requests left."""
        while len(work.ran) < requests * self.row.runs:  # noqa: ASYNC110  # an event would cost
            await asyncio.sleep(POLL)

    async def slice(self) -> float:
        """Ask `number` times, and return how many seconds one request took with its tasks."""
        app, row, receive = self.app, self.row, self.receive

        async def send(message: Message) -> None: ...

        work.ran.clear()
        began = perf_counter()
        for _ in range(self.number):
            await app(row.scope(), receive, send)
        await self.until_all_ran(self.number)
        return (perf_counter() - began) / self.number

    async def calibrate(self, seconds: float) -> None:
        """Choose `number` so that a slice lasts about so long."""
        while (cost := await self.slice()) * self.number < seconds / 2:
            self.number *= 2
        self.number = max(1, round(seconds / cost))


@asynccontextmanager
async def serving(app: ASGIApp) -> AsyncIterator[None]:
    """The application's lifespan, for those that have one."""
    to_app: asyncio.Queue[Message] = asyncio.Queue()
    from_app: asyncio.Queue[Message] = asyncio.Queue()

    async def live() -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
        with suppress(AssertionError):  # which is how raw ASGI says that it has none
            await app(scope, to_app.get, from_app.put)
        await from_app.put({"type": "ended"})

    living = asyncio.create_task(live())
    await to_app.put({"type": "lifespan.startup"})
    assert (await from_app.get())["type"] in ("lifespan.startup.complete", "ended")
    yield
    await to_app.put({"type": "lifespan.shutdown"})
    await living


def measure_rows(
    rows: Mapping[str, work.Row],
    peers: Iterable[str],
    rounds: int,
    seconds: float,
    loop_factory: LoopFactory,
) -> dict[str, measure.Samples]:
    """Measure all peers that can serve the rows, on all rows within each round.

    Args:
        seconds: How long a slice lasts.
    """
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        stack = AsyncExitStack()
        slices: dict[tuple[str, str], Callable[[], float]] = {}

        def add(peer: str, name: str, client: Client) -> None:
            runner.run(stack.enter_async_context(serving(client.app)))
            runner.run(client.calibrate(seconds))
            slices[name, peer] = lambda: runner.run(client.slice())

        for peer in peers:  # what a peer does on several rows stands side by side in time
            for name, row in rows.items():
                if (app := make_app(peer, row)) is not None:
                    add(peer, name, Client(app, row))
        samples = measure.in_turns(slices, rounds)
        runner.run(stack.aclose())
    found: dict[str, measure.Samples] = {name: {} for name in rows}
    for (name, peer), costs in samples.items():
        found[name][peer] = costs
    return found


def one_more(few: measure.Samples, many: measure.Samples, number: int) -> measure.Samples:
    """The cost of one more task: what `number` more of them cost, in the same rounds."""
    return {
        peer: [(b - a) / number for a, b in zip(few[peer], many[peer], strict=True)] for peer in few
    }


def event_loop(name: str) -> tuple[str, LoopFactory]:
    """What makes a loop of that name, and its name: asyncio's where uvloop is not installed."""
    if name == "uvloop":
        with suppress(ModuleNotFoundError):
            import uvloop  # noqa: PLC0415  # the rest works without it

            return name, uvloop.new_event_loop
    return "asyncio", asyncio.SelectorEventLoop
