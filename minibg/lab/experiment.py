"""One run of the lab: it starts contenders, runs a client on each, stops them, and gathers events.

Each contender is a process of its own, and so is its client. All of them end with the run. If this
process dies, a contender ends too, since its standard input is closed, and its client follows.

What may live here: processes, and the order of their events. `differences.py` finds the differences
between contenders.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import msgspec
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

from minibg.lab.client import OTHERS
from minibg.lab.composition import RunSpec
from minibg.lab.differences import differences
from minibg.lab.outcome import Outcome

SECONDS = 30
"""Seconds that one contender may take."""
HEARING = 5
"""Seconds that the client may take to read what the server has sent."""
PATIENCE = 0.1
"""Seconds that a server may take to log an exception that has reached it, or to end."""
GRACE = 1
"""Seconds that a process may take to end after SIGTERM, before it is killed."""
THREADS = 5
"""Seconds that a thread may take to end when its run has left it behind."""
BETWEEN_SIGNALS = 0.2
"""Seconds between two SIGTERM signals."""
LINES = 5000
"""How many lines of source are reported of one contender at most."""

Event = dict[str, Any]


class Broadcast:
    """Events for any number of followers. They are kept, so a follower may come late."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._dropped = 0
        self._news = anyio.Event()

    @property
    def is_over(self) -> bool:
        """Whether the last event has come."""
        return bool(self.events) and self.events[-1]["event"] == "end"

    async def follow(self) -> AsyncIterator[Event]:
        """All events, from the first that is kept to the last."""
        seen = 0
        while True:
            news = self._news
            while seen < self._dropped + len(self.events):
                event = self.events[max(seen - self._dropped, 0)]
                seen = max(seen, self._dropped) + 1
                yield event
            if self.is_over:
                return
            await news.wait()

    def tell(self, event: Event) -> None:
        """Add an event."""
        self.events.append(event)
        news, self._news = self._news, anyio.Event()
        news.set()

    def drop_first(self, number: int) -> None:
        """Forget the oldest events."""
        del self.events[: max(number, 0)]
        self._dropped += max(number, 0)


class Experiment(Broadcast):
    """A request that runs on some contenders, one after another."""

    def __init__(self, spec: RunSpec) -> None:
        super().__init__()
        self.spec = spec
        self.outcomes: list[Outcome] = []
        self._scope = anyio.CancelScope()

    def stop(self) -> None:
        """End the run, with all processes that it has started."""
        self._scope.cancel()

    async def perform(self) -> None:
        """Run the request on all contenders, and report the differences."""
        try:
            await self._try_all()
        except* OSError as exc:
            message = f"no process could be started: {exc.exceptions[0]}"
            for contender in self.spec.contenders:
                self.tell({"event": "error", "contender": contender, "message": message})
        finally:
            self.tell({"event": "end"})

    async def _try_all(self) -> None:
        trials = [Trial(self, contender) for contender in self.spec.contenders]
        with self._scope:
            async with anyio.create_task_group() as group:
                for trial in trials:
                    group.start_soon(trial.serve)
                for trial in trials:  # so that none is measured while another starts
                    await trial.ready.wait()
                for trial in trials:
                    await trial.ask()
                for difference in differences(self.outcomes):
                    self.tell({"event": "difference", **difference})


class Trial:
    """One contender in a run."""

    def __init__(self, experiment: Experiment, contender: str) -> None:
        self.experiment = experiment
        self.contender = contender
        self.spec = experiment.spec.request
        self.outcome = Outcome(contender, self.spec)
        self.account = Account(self.outcome, experiment.tell)
        self.port = 0
        self.left = {1, 2} if self.spec.client == "pipelines" else {1}
        self.ready, self.answered, self.over = anyio.Event(), anyio.Event(), anyio.Event()
        self.ended, self.done = anyio.Event(), anyio.Event()
        self.client_has_left = False
        self.news = anyio.Event()
        self.server: Process | None = None

    async def serve(self) -> None:
        """Run the contender until `ask` is done with it."""
        command = ["minibg.lab.contender", self.contender, msgspec.json.encode(self.spec).decode()]
        options = ["--step"] if self.experiment.spec.step else []
        async with started(*command, *options) as self.server, anyio.create_task_group() as group:
            group.start_soon(self._read_server, self.server)
            await self.done.wait()
            group.cancel_scope.cancel()

    async def _read_server(self, server: Process) -> None:
        await read_events(server, self._on_server)
        self.ended.set()  # nobody has the other end of the pipe any more
        self.ready.set()

    async def ask(self) -> None:
        """Send the request, and the signals that the visitor wants, and report the outcome."""
        try:
            with anyio.move_on_after(SECONDS) as limit:
                if not self.port:
                    self.account.told({"event": "error", "message": "it could not be started"})
                    return
                command = ["minibg.lab.client", str(self.port), self.spec.client]
                async with started(*command) as client, anyio.create_task_group() as group:
                    group.start_soon(self._read_client, client)
                    await self._attend()
                    group.cancel_scope.cancel()
            if limit.cancelled_caught:
                message = f"it was stopped after {SECONDS} seconds"
                self.account.told({"event": "error", "message": message})
            self.account.close()
            self.experiment.outcomes.append(self.outcome)
        finally:
            self.done.set()

    async def _read_client(self, client: Process) -> None:
        await read_events(client, self._on_client)
        self.client_has_left = True
        self.answered.set()
        self.news.set()

    def _on_server(self, event: Event) -> None:
        if event["event"] == "ready":
            self.port = event["port"]
            self.ready.set()
        elif event["event"] == "over":
            self.left.discard(event["request"] - self.account.others)
            if not self.left:
                self.over.set()
        else:
            self.account.take(event)

    def _on_client(self, event: Event) -> None:
        if event["event"] == "asks":
            self.account.begin(event["t"])
        else:
            self.account.take(event)
        if event["event"] == "mark" and event["what"] in ENDS_WAIT:
            self.answered.set()
        news, self.news = self.news, anyio.Event()
        news.set()

    def _client_has_heard(self) -> bool:
        """Whether the client has seen all that it will see."""
        if self.client_has_left:
            return True
        if self.outcome.reaches_server:  # an exception, on which it closes the connection
            return self.outcome.connection != "kept"
        if self.spec.client == "pipelines":
            return self.outcome.second_status is not None
        return self.outcome.status is not None

    async def _attend(self) -> None:
        """Wait for the end of the request, or send signals when its tasks have begun."""
        if self.spec.server == "goes on":
            await first(self.over.wait, self.ended.wait)
            with anyio.move_on_after(THREADS):
                await first(self.account.wait_for_all, self.ended.wait)
            with anyio.move_on_after(HEARING):
                while not self._client_has_heard():
                    await self.news.wait()
            with anyio.move_on_after(PATIENCE):
                await self.ended.wait()
        else:
            await first(self.answered.wait, self.ended.wait)
            await first(self.account.has_begun.wait, self.over.wait, self.ended.wait)
            self._send(signal.SIGKILL if self.spec.server == "SIGKILL" else signal.SIGTERM)
            if self.spec.server == "SIGTERM twice":
                with anyio.move_on_after(BETWEEN_SIGNALS):
                    await self.ended.wait()
                self._send(signal.SIGTERM)
            await self.ended.wait()
        if self.ended.is_set():
            self._mark("server has ended")
            await anyio.sleep(PATIENCE)

    def _send(self, number: signal.Signals) -> None:
        assert self.server is not None
        if not self.ended.is_set():
            self._mark("killed" if number == signal.SIGKILL else number.name, number.name)
            _send(self.server, number)

    def _mark(self, what: str, detail: str = "") -> None:
        mark = {"event": "mark", "t": time.perf_counter(), "lane": "loop"}
        self.account.take({**mark, "what": what, "detail": detail})


ENDS_WAIT = ("answer complete", "hung up", "connection lost")
"""The client's marks that end its wait."""


class Account:
    """The events of one contender, in milliseconds since its request began.

    A lane is reported before the first event in it.
    """

    def __init__(self, outcome: Outcome, tell: Callable[[Event], None]) -> None:
        self.outcome = outcome
        self.tell = tell
        self.began: float | None = None
        self.early: deque[Event] = deque()
        self.lanes: set[str] = set()
        self.open: dict[str, Event] = {}
        self.has_begun, self.finished = anyio.Event(), anyio.Event()
        self.lines = 0
        self.started: list[str] = []
        self.standing: list[str] = []
        self.others = OTHERS if outcome.spec.client == "after 40 others" else 0

    def begin(self, at: float) -> None:
        """Count the time from here on: the client sends its request."""
        self.began = at
        while self.early:
            self.take(self.early.popleft())

    def take(self, event: Event) -> None:
        """Report an event; keep it back until the time of the request's beginning is known."""
        if self.began is None:
            self.early.append(event)
            return
        if event.get("lane") != "client":
            event["request"] = event.get("request", self.others + 1) - self.others
        if event["request"] < 1:
            return  # the requests of the 40 others are not shown
        event["t"] = round((event["t"] - self.began) * 1000, 3)
        if "id" in event:
            event["id"] = f"{self.outcome.contender} {event['id']}"
        lane = event.get("lane")
        if lane is not None and lane not in self.lanes:
            self.lanes.add(lane)
            self.told({"event": "lane", "lane": lane})
        if event["event"] == "line" and not self._number(event):
            return
        if event["event"] == "begin":
            self.open[event["id"]] = event
            if event["kind"] == "task":
                self.started.append(f"task {event['task'] + 1}")
                self.has_begun.set()
        elif event["event"] == "finish":
            self.open.pop(event["id"], None)
            finished, self.finished = self.finished, anyio.Event()
            finished.set()
        self.outcome.take(event)
        self.told(event)

    def _number(self, line: Event) -> bool:
        """Number a line, and add the state of the list before it runs. False if it is too many."""
        if line["list"] is not None:
            self.standing = line["list"]
        waiting = [task for task in self.standing if task not in self.started]
        line["list"] = {"started": [*dict.fromkeys(self.started)], "waiting": waiting}
        line["n"], self.lines = self.lines, self.lines + 1
        return self.lines <= LINES

    async def wait_for_all(self) -> None:
        """Wait until everything that has begun has finished."""
        while self.open:
            await self.finished.wait()

    def close(self) -> None:
        """Report each open event as one that never ended, and then the outcome."""
        for id_, begun in self.open.items():
            end = {"event": "finish", "id": id_, "t": None, "how": "never ended", "detail": ""}
            end["request"] = begun["request"]
            self.outcome.take(end)
            self.told(end)
        self.open.clear()
        self.told({"event": "outcome", **self.outcome.told()})

    def told(self, event: Event) -> None:
        """Report an event as this contender's."""
        self.tell({"contender": self.outcome.contender, **event})


async def first(*waits: Callable[[], Awaitable[Any]]) -> None:
    """Wait until the first of these waits is over."""
    async with anyio.create_task_group() as group:

        async def one(wait: Callable[[], Awaitable[Any]]) -> None:
            await wait()
            group.cancel_scope.cancel()

        for wait in waits:
            group.start_soon(one, wait)


@asynccontextmanager
async def started(*command: str, **options: Any) -> AsyncIterator[Process]:
    """Run a module in a process, and a process group, of its own; end both with the context."""
    process = await anyio.open_process(
        [sys.executable, "-m", *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        **{"stderr": subprocess.DEVNULL, **options},
    )
    try:
        yield process
    finally:
        with anyio.CancelScope(shield=True):
            _send(process, signal.SIGTERM)
            with anyio.move_on_after(GRACE):
                await process.wait()
            _send(process, signal.SIGKILL)
            await process.aclose()


def _send(process: Process, number: signal.Signals) -> None:
    """Send a signal to a process and to all processes that it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


async def read_events(process: Process, on_event: Callable[[Event], None]) -> None:
    """Read the events of a process until it has ended."""
    assert process.stdout is not None
    lines = BufferedByteReceiveStream(process.stdout)
    with suppress(anyio.EndOfStream, anyio.IncompleteRead):
        while True:
            on_event(json.loads(await lines.receive_until(b"\n", 1 << 20)))
