"""One run of the lab: contenders are started, asked and stopped, and what they tell is gathered.

Each contender is a process of its own, and so is its client. All of them end with the run, and with
this process: the end of their stdin is a sign to end.

What may live here: processes, and the order of what comes in. What differs between contenders is
said by `differences.py`.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import anyio
import msgspec
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

from minibg.lab.composition import RunSpec
from minibg.lab.differences import differences
from minibg.lab.outcome import Outcome

SECONDS = 20
"""How long a run may take."""
PATIENCE = 0.3
"""Seconds that a contender is given after its request is over, so that the client hears of it."""

Event = dict[str, Any]


class Experiment:
    """A run: `events` is all that has happened so far, `follow` gives it as it comes."""

    def __init__(self, spec: RunSpec) -> None:
        self.spec = spec
        self.events: list[Event] = []
        self.outcomes: dict[str, Outcome] = {}
        self._news = anyio.Event()
        self._scope = anyio.CancelScope()

    @property
    def is_over(self) -> bool:
        """Whether the last event has come."""
        return bool(self.events) and self.events[-1]["event"] == "end"

    def stop(self) -> None:
        """End what was started."""
        self._scope.cancel()

    async def follow(self) -> AsyncIterator[Event]:
        """All events, from the first on."""
        seen = 0
        while True:
            news = self._news
            while seen < len(self.events):
                yield self.events[seen]
                seen += 1
            if self.is_over:
                return
            await news.wait()

    def tell(self, event: Event) -> None:
        """Add an event."""
        self.events.append(event)
        news, self._news = self._news, anyio.Event()
        news.set()

    async def perform(self) -> None:
        """Try the request on all contenders, one after another, and tell what differs."""
        try:
            with self._scope:
                for contender in self.spec.contenders:
                    self.outcomes[contender] = Outcome(contender, self.spec.request)
                    await Trial(self, contender).perform()
                for difference in differences(list(self.outcomes.values())):
                    self.tell({"event": "difference", **difference})
        finally:
            self.tell({"event": "end"})


class Trial:
    """One contender in a run."""

    def __init__(self, experiment: Experiment, contender: str) -> None:
        self.experiment = experiment
        self.contender = contender
        self.spec = experiment.spec.request
        self.outcome = experiment.outcomes[contender]
        self.began: float | None = None
        self.early: deque[Event] = deque()
        self.requests_over = 0
        self.lanes: set[str] = set()
        self.open: dict[str, Event] = {}
        self.waiting: list[str] = []
        self.answered, self.over = anyio.Event(), anyio.Event()

    async def perform(self) -> None:
        """Start it, ask it, and stop it."""
        command = ["minibg.lab.contender", self.contender, msgspec.json.encode(self.spec).decode()]
        options = ["--step"] if self.experiment.spec.step else []
        ready = anyio.Event()
        port = 0

        def on_contender(event: Event) -> None:
            nonlocal port
            if event["event"] == "ready":
                port = event["port"]
                ready.set()
            elif event["event"] == "quiet":
                self.requests_over += 1
                if self.requests_over == (2 if self.spec.client == "pipelines" else 1):
                    self.over.set()
            else:
                self.take(event)

        def on_client(event: Event) -> None:
            if event["event"] == "begin":
                self.begin(event["t"])
            self.take(event)
            if event["event"] == "mark" and event["what"] in ("answer complete", "hung up"):
                self.answered.set()

        with anyio.move_on_after(SECONDS) as limit:
            async with anyio.create_task_group() as group:
                server = await start([*command, *options])
                try:
                    group.start_soon(self._read, server, on_contender, ready)
                    await ready.wait()
                    if not port:
                        self._tell({"event": "error", "message": "it could not be started"})
                        return
                    client = await start(["minibg.lab.client", str(port), self.spec.client])
                    try:
                        group.start_soon(self._read, client, on_client, self.answered)
                        await self._signal(server)
                    finally:
                        kill(client)
                finally:
                    kill(server)
                    group.cancel_scope.cancel()
        for id_, event in self.open.items():
            lane = event["lane"]
            self._tell(
                {
                    "event": "finish",
                    "id": id_,
                    "t": None,
                    "lane": lane,
                    "how": "never ended",
                    "detail": "",
                }
            )
            self.outcome.take({**event, "event": "finish", "how": "never ended"})
        if limit.cancelled_caught:
            self._tell({"event": "error", "message": f"stopped after {SECONDS} seconds"})
        self._tell({"event": "outcome", **self.outcome.told()})

    async def _signal(self, server: Process) -> None:
        """Do to the server what the visitor wants, when the client has its answer."""
        if self.spec.server != "goes on":
            await self._until(self.answered, server)
            sent = signal.SIGKILL if self.spec.server == "SIGKILL" else signal.SIGTERM
            self._send(server, sent)
            if self.spec.server == "SIGTERM twice":
                with anyio.move_on_after(0.2):
                    await server.wait()
                self._send(server, signal.SIGTERM)
            await server.wait()
            self._mark("server has ended", "")
            await anyio.sleep(0.05)  # what it has told last is still being read
            return
        await self._until(self.over, server)
        with anyio.move_on_after(PATIENCE):
            await server.wait()

    async def _until(self, event: anyio.Event, server: Process) -> None:
        """Wait for it, or for the end of the server."""
        async with anyio.create_task_group() as group:

            async def first(wait: Callable[[], Any]) -> None:
                await wait()
                group.cancel_scope.cancel()

            group.start_soon(first, event.wait)
            group.start_soon(first, server.wait)

    def _send(self, server: Process, number: signal.Signals) -> None:
        if server.returncode is None:
            self._mark(number.name, "killed" if number == signal.SIGKILL else "told to end")
            os.killpg(server.pid, number)

    def _mark(self, what: str, detail: str) -> None:
        self.take(
            {
                "event": "mark",
                "t": time.perf_counter(),
                "lane": "loop",
                "what": what,
                "detail": detail,
            }
        )

    async def _read(
        self, process: Process, on_event: Callable[[Event], None], at_end: anyio.Event
    ) -> None:
        """Take all that a process tells."""
        assert process.stdout is not None
        lines = BufferedByteReceiveStream(process.stdout)
        try:
            while True:
                on_event(json.loads(await lines.receive_until(b"\n", 1 << 20)))
        except (anyio.EndOfStream, anyio.IncompleteRead):
            at_end.set()

    def begin(self, at: float) -> None:
        """The client's request begins: the time is counted from there."""
        self.began = at
        for event in self.early:
            self._take(event)
        self.early.clear()

    def take(self, event: Event) -> None:
        """Tell an event, when it is known when the request has begun."""
        if self.began is None:
            self.early.append(event)
        else:
            self._take(event)

    def _take(self, event: Event) -> None:
        assert self.began is not None
        event["t"] = round((event["t"] - self.began) * 1000, 3)
        if event["event"] == "line":
            event["list"] = self._list(event["list"])
        if "id" in event:
            event["id"] = f"{self.contender} {event['id']}"
        lane = event.get("lane")
        if lane is not None and lane not in self.lanes:
            self.lanes.add(lane)
            self._tell({"event": "lane", "lane": lane})
        if event["event"] == "begin":
            self.open[event["id"]] = event
        elif event["event"] == "finish" and self.open.pop(event["id"], None) is None:
            return
        self.outcome.take(event)
        self._tell(event)

    def _list(self, found: dict[str, list[str]] | None) -> dict[str, list[str]]:
        """How the list stands: what has started, by what was told of tasks, and what waits."""
        self.waiting = found["waiting"] if found else self.waiting
        started = [f"task {task}" for task in self.outcome.started]
        return {"started": started, "waiting": self.waiting}

    def _tell(self, event: Event) -> None:
        self.experiment.tell({"contender": self.contender, **event})


async def start(command: list[str]) -> Process:
    """Start a module in a process, and a group, of its own."""
    return await anyio.open_process(
        [sys.executable, "-m", *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


def kill(process: Process) -> None:
    """End a process and all that it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
