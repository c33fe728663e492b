"""What becomes of tasks when their process is told to end, or is killed.

What may live here: servers as their users start them. A running task holds a connection to the
test, its line: so the test knows that the task is running and when it ends, and can tell it to end.
"""

import inspect
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path

import granian
import gunicorn.config
import hypercorn
import pytest
import uvicorn

from tests.processes import spawned
from tests.servers.live import LIMIT, Connection, on_each, reserved_port, wait_until_listening

APP = """
import logging
import os
import socket

import anyio

from minibg import BackgroundTasks, MiniBG

logging.basicConfig()
app = MiniBG()
TEST = ("127.0.0.1", int(os.environ["TEST_PORT"]))


def sync_task() -> None:
    with socket.create_connection(TEST) as line:
        line.recv(1)


async def async_task() -> None:
    async with await anyio.connect_tcp(*TEST) as line:
        await line.receive(1)


def after_sync() -> None:
    say("after_sync ran")


def after_async() -> None:
    say("after_async ran")


def say(what: str) -> None:
    print(what + "\\n", end="", flush=True)  # in one piece: two threads may print at once


@app.get("/{kind}")
async def endpoint(kind: str, tasks: BackgroundTasks) -> None:
    tasks.add_task({"sync": sync_task, "async": async_task}[kind])
    tasks.add_task({"sync": after_sync, "async": after_async}[kind])
"""

GRACE = {
    "uvicorn": "--timeout-graceful-shutdown",
    "hypercorn": "--graceful-timeout",
    "granian": "--workers-kill-timeout",
    "gunicorn": "--graceful-timeout",
}
"""How each server is told for how many seconds it may wait."""

COMMANDS = {
    "uvicorn, asyncio": "uvicorn app:app --port 0 --loop asyncio",
    "uvicorn, uvloop": "uvicorn app:app --port 0 --loop uvloop",
    "hypercorn, asyncio": "hypercorn app:app --bind 127.0.0.1:0 --worker-class asyncio",
    "hypercorn, trio": "hypercorn app:app --bind 127.0.0.1:0 --worker-class trio",
    # uvloop now and then calls a signal's handler twice. At Ctrl-C that is three calls at once in
    # granian's worker, which gets SIGINT and its parent's SIGTERM: at the third it hangs (2.8.9).
    "granian": "granian app:app --interface asgi --loop asyncio --port {port}",
    "gunicorn": "gunicorn app:app --worker-class uvicorn_worker.UvicornWorker"
    " --bind 127.0.0.1:{port} --no-control-socket",
}

BOTH = ["after_async", "after_sync"]


class Running:
    """A server's process, and the lines of the tasks that run in it, each before another one."""

    def __init__(self, process: subprocess.Popen[str], lines: dict[str, socket.socket]) -> None:
        self.process = process
        self.lines = lines

    def lives_on(self) -> None:
        """See that the process does not end."""
        with pytest.raises(subprocess.TimeoutExpired):
            self.process.wait(0.5)

    def release(self, *kinds: str) -> None:
        """Tell the running tasks of that kind to end."""
        for kind in kinds:
            self.lines[kind].sendall(b".")

    def wait_until_cut_off(self, *kinds: str) -> None:
        """Wait until the running tasks of that kind are no more."""
        for kind in kinds:
            assert self.lines[kind].recv(1) == b""

    def end(self) -> tuple[int, list[str], list[str]]:
        """Wait for the end: its status, the tasks that ran, and those that are named as not run."""
        status = self.process.wait(LIMIT)
        assert self.process.stdout is not None
        output = self.process.stdout.read()
        ran = re.findall(r"^(\w+) ran$", output, re.MULTILINE)
        named = re.findall(r"background tasks not run \(.+\): app\.(\w+)$", output, re.MULTILINE)
        return status, sorted(ran), sorted(named)


Start = Callable[..., AbstractContextManager[Running]]


@contextmanager
def start(
    command: str, directory: Path, *, grace: int = 20, kinds: Iterable[str] = ("sync", "async")
) -> Iterator[Running]:
    """Start a server as its user would, and leave tasks in it that wait to be told to end."""
    (directory / "app.py").write_text(APP)
    with ExitStack() as stack:
        test = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        test.settimeout(LIMIT)
        words = command.format(port=stack.enter_context(reserved_port())).split()
        process = stack.enter_context(
            spawned(
                [sys.executable, "-m", *words, GRACE[words[0]], str(grace)],
                cwd=directory,
                env={**os.environ, "TEST_PORT": str(test.getsockname()[1])},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
        assert process.stdout is not None
        urls = (re.search(r"http://127.0.0.1:(\d+)", line) for line in process.stdout)
        port = int(next(filter(None, urls))[1])
        wait_until_listening(port)
        lines = {}
        for kind in kinds:
            with Connection(port) as connection:
                connection.ask(f"/{kind}")
                assert connection.read().status == 200
            lines[kind] = stack.enter_context(test.accept()[0])
            lines[kind].settimeout(LIMIT)
        yield Running(process, lines)


@pytest.fixture(params=COMMANDS)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Start:
    """A server of a process of its own: `with server() as running` starts it."""
    return partial(start, COMMANDS[request.param], tmp_path)


@on_each(
    COMMANDS,
    "status, ran",
    uvicorn=(-signal.SIGTERM, BOTH),
    hypercorn=(0, BOTH),
    granian=(0, BOTH),
    gunicorn=(0, BOTH),
)
def test_a_server_that_is_told_to_end_waits_for_the_tasks(
    server: Start, status: int, ran: list[str]
) -> None:
    """A server that is told to end waits for the tasks, however often it is told."""
    with server() as running:
        for _ in range(2):
            running.process.terminate()
            running.lives_on()
        running.release("sync", "async")
        assert running.end() == (status, ran, [])


@on_each(
    COMMANDS,
    "status, named, waits_for_the_thread",
    uvicorn=(-signal.SIGTERM, BOTH, False),
    hypercorn=(0, BOTH, True),
    granian=(0, [], False),  # it kills its worker
    gunicorn=(0, [], False),  # likewise
)
def test_what_a_server_has_no_time_for_is_named_in_the_log(
    server: Start, status: int, named: list[str], waits_for_the_thread: bool
) -> None:
    with server(grace=1) as running:
        running.process.terminate()
        running.wait_until_cut_off("async")
        if waits_for_the_thread:
            running.lives_on()
            running.release("sync")
        assert running.end() == (status, [], named)


@on_each(
    (name for name in COMMANDS if name != "gunicorn"),
    "ran, named",
    uvicorn=([], BOTH),
    hypercorn=(BOTH, []),
    granian=(BOTH, []),
)
def test_a_second_ctrl_c_cuts_the_tasks_off_on_uvicorn_alone(
    server: Start, ran: list[str], named: list[str]
) -> None:
    with server() as running:
        for _ in range(2):
            os.killpg(running.process.pid, signal.SIGINT)  # a terminal sends it to the workers too
            running.lives_on()
        if named:
            running.wait_until_cut_off("async")
        running.release("sync", "async")
        assert running.end() == (0, ran, named)


def test_a_second_ctrl_c_loses_the_tasks_silently_on_gunicorn(tmp_path: Path) -> None:
    """A second Ctrl-C on gunicorn loses the tasks without a word.

    The first one waits for them.
    """
    with start(COMMANDS["gunicorn"], tmp_path) as running:
        os.killpg(running.process.pid, signal.SIGINT)
        running.lives_on()
        os.killpg(running.process.pid, signal.SIGINT)
        running.wait_until_cut_off("sync", "async")
        assert running.end() == (0, [], [])


def test_only_hypercorn_and_gunicorn_have_a_default_grace_time() -> None:
    """A grace time is set by default on hypercorn and gunicorn alone."""
    granian_options = inspect.signature(granian.Granian).parameters
    assert gunicorn.config.GracefulTimeout.default == 30
    assert uvicorn.Config("app:app", log_config=None).timeout_graceful_shutdown is None
    assert hypercorn.Config().graceful_timeout == 3
    assert granian_options["workers_kill_timeout"].default is None


def test_what_is_killed_loses_its_tasks_without_a_word(server: Start) -> None:
    with server() as running:
        os.killpg(running.process.pid, signal.SIGKILL)
        running.wait_until_cut_off("sync", "async")
        assert running.end() == (-signal.SIGKILL, [], [])


@on_each(COMMANDS, "has_a_worker", uvicorn=False, hypercorn=True, granian=True, gunicorn=True)
def test_a_worker_and_its_tasks_outlive_the_servers_parent(
    server: Start, has_a_worker: bool
) -> None:
    """A worker and its tasks outlive the process that was started."""
    with server() as running:
        running.process.kill()
        running.process.wait(LIMIT)
        if has_a_worker:
            running.lines["async"].settimeout(0.5)
            with pytest.raises(TimeoutError):
                running.lines["async"].recv(1)
        else:
            running.wait_until_cut_off("sync", "async")
