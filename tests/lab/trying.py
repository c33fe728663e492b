"""What the tests of the lab share: running an experiment, and a lab that is served."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple

import anyio

from minibg.lab.composition import RequestSpec, RunSpec
from minibg.lab.experiment import Event, Experiment
from tests.lab.test_command_line import environment

TIMEOUT = 30
"""Seconds after which a lab is taken to hang."""


def tried(request: RequestSpec, *contenders: str, step: bool = False) -> Experiment:
    """A request that has been tried on contenders."""

    async def main() -> Experiment:
        experiment = Experiment(RunSpec(request, contenders, step))
        await experiment.perform()
        return experiment

    return anyio.run(main)


def said(experiment: Experiment) -> dict[str, str]:
    """What became of it on each contender, in one line."""
    return {outcome.contender: outcome.said for outcome in experiment.outcomes}


def events_of(experiment: Experiment, kind: str) -> list[Event]:
    """Its events of a kind."""
    return [event for event in experiment.events if event["event"] == kind]


class Answer(NamedTuple):
    """What a lab has answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)


class Lab(NamedTuple):
    """A lab that is served by a process of its own."""

    process: subprocess.Popen[str]
    port: int

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """Send it a request."""
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT)) as connection:
            if body is not None:
                headers = {"content-type": "application/json"} | headers
                body = json.dumps(body)
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())

    def start(self, request: dict[str, Any], *contenders: str, **headers: str) -> Answer:
        """Ask it for a run."""
        return self.ask("POST", "/runs", {"request": request, "contenders": contenders}, **headers)

    def follow(self, path: str) -> Iterator[tuple[str, Any]]:
        """The events of a stream, while it lasts."""
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT)) as connection:
            connection.request("GET", path)
            name = ""
            for line in connection.getresponse():
                field, _, value = line.decode().rstrip("\n").partition(": ")
                if field == "event":
                    name = value
                elif field == "data":
                    yield name, json.loads(value)


@contextmanager
def served(directory: Path, *arguments: str) -> Iterator[Lab]:
    """A lab on a free port, started in that directory, which is also where temporary files go."""
    process = subprocess.Popen(
        [sys.executable, "-m", "minibg.lab", "--no-browser", *arguments],
        cwd=directory,
        env=environment(directory),
        stdout=subprocess.PIPE,
        text=True,
        # Where the tests run in a shell's background, Ctrl-C is ignored by all that they start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509  # brief
    )
    with process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            yield Lab(process, int(line.split("127.0.0.1:")[1].split("/")[0]))
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(TIMEOUT)
            finally:
                process.kill()


def is_alive(pid: int) -> bool:
    """Whether there is such a process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
