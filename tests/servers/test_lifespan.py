"""A lifespan that fails, on servers as their users start them (ASGI specification, "Lifespan").

What may live here: processes that must not serve, or must say why they end. The framework's tests
show the messages to a server, one by one.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.processes import spawned
from tests.servers.live import LIMIT, Connection, reserved_port, wait_until_listening

APP = """
import asyncio
import os
import sys
from contextlib import asynccontextmanager

import anyio

from minibg import MiniBG

WHAT = os.environ["WHAT"]


async def lose_the_connection():
    await app.state.was_asked.wait()
    raise LookupError("the connection is lost")


@asynccontextmanager
async def lifespan(app):
    app.state.was_asked = anyio.Event()
    exec(WHAT)
    async with anyio.create_task_group() as group:
        group.start_soon(lose_the_connection)
        yield


class Failing:
    def __init__(self, app):
        exec(WHAT)


app = MiniBG(lifespan=lifespan)
by_middleware = MiniBG()
by_middleware.add_middleware(Failing)


@app.get("/")
async def endpoint():
    app.state.was_asked.set()
"""

COMMANDS = {
    "uvicorn": "uvicorn {app} --port {port}",
    "hypercorn, asyncio": "hypercorn {app} --bind 127.0.0.1:{port} --worker-class asyncio",
    "hypercorn, trio": "hypercorn {app} --bind 127.0.0.1:{port} --worker-class trio",
    "granian": "granian {app} --interface asgi --port {port}",
}


@contextmanager
def start(
    command: str, directory: Path, what: str, app: str = "app"
) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """Start a server whose application does that at startup: its port and its process."""
    (directory / "app.py").write_text(APP)
    with reserved_port() as port:
        words = command.format(port=port, app=f"app:{app}").split()
        with spawned(
            [sys.executable, "-m", *words],
            cwd=directory,
            env={**os.environ, "WHAT": what},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            yield port, process


@pytest.mark.parametrize(
    ("app", "what"),
    [
        ("app", "raise ValueError('no database')"),
        ("app", "sys.exit('no database')"),
        ("app", "raise KeyboardInterrupt('no database')"),
        ("app", "raise asyncio.CancelledError('no database')"),
        ("by_middleware", "raise ValueError('no database')"),
        ("by_middleware", "sys.exit('no database')"),
    ],
)
@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_a_startup_that_fails_ends_the_server_with_the_reason(
    command: str, what: str, app: str, tmp_path: Path
) -> None:
    """Whatever ends the startup ends the server with the reason."""
    with start(command, tmp_path, what, app) as (_, process):
        output, _ = process.communicate(timeout=2 * LIMIT)
    assert "no database" in output


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_a_lifespan_that_fails_while_it_serves_says_so(command: str, tmp_path: Path) -> None:
    with start(command, tmp_path, "pass") as (port, process):
        wait_until_listening(port)
        with Connection(port) as connection:
            connection.ask("/")
            assert connection.read().status == 200
        process.terminate()
        output, _ = process.communicate(timeout=2 * LIMIT)
    assert "LookupError: the connection is lost" in output
