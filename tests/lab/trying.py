"""Shared by the tests of the lab: running an experiment, and a lab that is served."""

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

TIMEOUT = 30
"""Seconds after which a lab, or a run, is taken to hang."""


def environment(directory: Path) -> dict[str, str]:
    """In which the runs keep their files in that directory, and colours are up to them."""
    unset = {"COLUMNS", "FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"}
    inherited = {name: value for name, value in os.environ.items() if name not in unset}
    return inherited | {"TMPDIR": str(directory), "TERM": "xterm-256color"}


def python(*arguments: str, directory: Path) -> "subprocess.CompletedProcess[str]":
    """Run Python in that directory, with no terminal."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=directory,
        env=environment(directory),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )


def minibg(*arguments: str, directory: Path) -> "subprocess.CompletedProcess[str]":
    """Run `python -m minibg`."""
    return python("-m", "minibg", *arguments, directory=directory)


def assert_refused(done: "subprocess.CompletedProcess[str]", line: str) -> None:
    """It ended with status 2 and this one line on standard error."""
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"minibg: {line}\n")


WITHOUT_A_PACKAGE = """
import runpy, sys

class NotInstalled:
    def find_spec(name, path, target=None):
        if name == missing:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

missing = sys.argv.pop()
sys.meta_path.insert(0, NotInstalled)
runpy.run_module("minibg", run_name="__main__")
"""
"""A program that runs `minibg` as if the package that is its last argument were missing."""


@contextmanager
def started(*command: str, directory: Path, **options: Any) -> Iterator["subprocess.Popen[str]"]:
    """A module of Python's that runs in that directory; it is killed in the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=directory,
        env=environment(directory),
        stdout=subprocess.PIPE,
        text=True,
        # Where the tests run in a shell's background, Ctrl-C is ignored by all that they start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509  # brief
        **options,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


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

    @property
    def address(self) -> str:
        """The page's."""
        return f"http://127.0.0.1:{self.port}/"

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
def served(directory: Path, *arguments: str, **options: Any) -> Iterator[Lab]:
    """A lab on a free port, started in that directory, which is also where temporary files go."""
    command = ["minibg.lab", "--no-browser", *arguments]
    with started(*command, directory=directory, **options) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        try:
            yield Lab(process, int(line.split("127.0.0.1:")[1].split("/")[0]))
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(TIMEOUT)


def is_alive(pid: int) -> bool:
    """Whether there is such a process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
