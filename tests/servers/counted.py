"""An application that counts what becomes of its tasks, to be served in a process of its own.

Each request has a number, and leaves a sync task, an async one and a failing one. Only `Counts` is
kept, so that the process does not grow with its requests.

What may live here: counting. The tests decide how many requests come, and how rude they are.
"""

import gc
import logging
import threading
from array import array
from asyncio import Protocol
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import psutil
from anyio import (
    CapacityLimiter,
    Event,
    create_task_group,
    fail_after,
    sleep,
    sleep_forever,
    to_thread,
)
from anyio.lowlevel import checkpoint

from minibg import BackgroundTasks, Middleware, MiniBG, Response, StreamingResponse
from minibg.types import ASGIApp, Message, Receive, Scope, Send
from tests.rules.language.logs import Log

REQUESTS = 100_000
"""How many requests can be told apart."""

NOT_BEGUN, ADDED, ANSWERED, DONE = 0, 1, 2, 5

PIECE = b"x" * 1024

THREADS = 40
"""As many as the limiter allows."""


class Counts:
    """How far each request is, how many are how far, what happened out of turn, what is logged.

    Tasks run in several threads, so that a stage is advanced under a lock.
    """

    def __init__(self) -> None:
        self.stages = array("b", bytes(REQUESTS))
        self.requests = Counter[int]()
        self.changes = threading.Lock()
        self.out_of_turn = Counter[str]()
        self.logged = Counter[str]()
        self.named = 0

    def advance(self, number: int, stage: int, to: int) -> None:
        """Note a request's way from one stage to another."""
        with self.changes:
            if self.stages[number] != stage:
                self.out_of_turn[f"{to} after {self.stages[number]}"] += 1
            self.stages[number] = to
            self.requests[stage] -= 1
            self.requests[to] += 1

    def hear(self, record: logging.LogRecord) -> None:
        """Count the line; a WARNING that names tasks, by how many it names."""
        self.logged[record.levelname] += 1
        if record.levelno == logging.WARNING:
            self.named += record.getMessage().count("counted.")


counts = Counts()


class Served:
    """Middleware that notes when the server has the last byte, and how many requests go on."""

    going_on = 0
    others_are_over = Event()

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return

        async def send_and_note(message: Message) -> None:
            await send(message)
            if message["type"] == "http.response.body" and not message.get("more_body"):
                number = scope.get("path_params", {}).get("number")
                if number is not None:
                    counts.advance(number, ADDED, ANSWERED)

        Served.going_on += 1
        try:
            await self.app(scope, receive, send_and_note)
        finally:
            Served.going_on -= 1
            if Served.going_on == 1:
                Served.others_are_over.set()


@asynccontextmanager
async def lifespan(app: MiniBG) -> AsyncIterator[None]:
    """Have the log counted, by the process that serves."""
    logging.getLogger().handlers = [Log(counts.hear)]
    yield


app = MiniBG(middleware=[Middleware(Served)], lifespan=lifespan)


def first(number: int) -> None:
    counts.advance(number, ANSWERED, ANSWERED + 1)


async def second(number: int) -> None:
    await checkpoint()
    counts.advance(number, ANSWERED + 1, ANSWERED + 2)


def third(number: int) -> None:
    counts.advance(number, ANSWERED + 2, DONE)
    raise ValueError


def leave(number: int, tasks: BackgroundTasks) -> None:
    counts.advance(number, NOT_BEGUN, ADDED)
    tasks.add_task(first, number)
    tasks.add_task(second, number)
    tasks.add_task(third, number)


@app.get("/whole/{number:int}")
async def whole(number: int, tasks: BackgroundTasks) -> Response:
    """An answer in one piece."""
    leave(number, tasks)
    return Response(PIECE)


@app.get("/streamed/{number:int}")
async def streamed(number: int, tasks: BackgroundTasks) -> Response:
    """An answer in two pieces."""

    async def pieces() -> AsyncIterator[bytes]:
        yield PIECE
        yield PIECE

    leave(number, tasks)
    return StreamingResponse(pieces())


@app.get("/endless/{number:int}")
async def endless(number: int, tasks: BackgroundTasks) -> Response:
    """An answer whose second piece never comes: it ends when the client goes."""

    async def pieces() -> AsyncIterator[bytes]:
        yield PIECE
        await sleep_forever()

    leave(number, tasks)
    return StreamingResponse(pieces())


async def all_threads() -> None:
    """Have each thread be there: what they hold is no growth, in whichever burst they start."""
    meet = threading.Barrier(THREADS, timeout=10).wait
    limiter = CapacityLimiter(THREADS)
    async with create_task_group() as group:
        for _ in range(THREADS):
            group.start_soon(partial(to_thread.run_sync, meet, limiter=limiter))


async def other_connections_are_forgotten() -> None:
    """If a client resets its connection, uvicorn keeps its `Protocol` until the keep-alive ends."""
    with fail_after(30):
        while sum(issubclass(type(kept), Protocol) for kept in gc.get_objects()) > 1:
            await sleep(0.02)  # nobody tells
            gc.collect()


@app.get("/")
async def report() -> dict[str, object]:
    """What was counted and what the process holds, once all other requests are over.

    Memory is the bytes that malloc has given out and not got back. The resident size says less: it
    stays at what the busiest moment needed.
    """
    if Served.going_on > 1:
        Served.others_are_over = Event()
        await Served.others_are_over.wait()
    await other_connections_are_forgotten()
    process = psutil.Process()
    threads = process.num_threads()
    await all_threads()
    gc.collect()
    heap = psutil.heap_info()
    return {
        "requests": +counts.requests,
        "out_of_turn": counts.out_of_turn,
        "logged": counts.logged,
        "named": counts.named,
        "memory": heap.heap_used + heap.mmap_used,
        "threads": threads,
        "files": process.num_fds(),
    }
