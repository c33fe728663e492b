"""Every example, run as its reader runs it: each line that it prints works as it stands."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pkgutil import iter_modules
from threading import Timer

import pytest

from minibg import examples
from tests.servers.live import LIMIT, reserved_port

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(
    {module.name for module in iter_modules(examples.__path__) if not module.ispkg}
    # These do not serve, or serve the others.
    - {
        "alternatives",
        "handed_over",
        "outgrown",
        "outgrown_celery",
        "serve",
        "solutions",
        "waiting",
    }
)
CURL = shutil.which("curl")

WRAPPER = f"""\
#!/bin/sh
exec {CURL} --fail --silent --show-error --noproxy '*' --max-time {3 * LIMIT} "$@"
"""
"""Stands before curl on the path, so that the lines stay as they are. An error is a failure."""


@pytest.fixture
def environment(directory: Path) -> dict[str, str]:
    """What the example and the lines to try run in."""
    wrapper = directory / "bin" / "curl"
    wrapper.parent.mkdir()
    wrapper.write_text(WRAPPER)
    wrapper.chmod(0o755)
    path = f"{wrapper.parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "no_proxy": "127.0.0.1"}


@contextmanager
def run(name: str, environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """The example in a process of its own, which is killed if it takes far too long."""
    with (
        reserved_port() as port,
        subprocess.Popen(
            [sys.executable, "-m", f"minibg.examples.{name}", str(port)],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process,
    ):
        watchdog = Timer(5 * LIMIT, process.kill)
        watchdog.start()
        try:
            yield process
        finally:
            watchdog.cancel()
            process.kill()


def read_until_it_serves(process: subprocess.Popen[str]) -> str:
    """What the example prints until it says that it can be asked."""
    assert process.stdout is not None
    printed = ""
    for line in process.stdout:
        printed += line
        if "Application startup complete" in line:
            return printed
    raise AssertionError(f"it did not come to serve:\n{printed}")


@pytest.mark.skipif(CURL is None, reason="curl is not installed")
@pytest.mark.parametrize("name", EXAMPLES)
def test_each_line_to_try_works_and_the_example_ends_when_told(
    name: str, environment: dict[str, str]
) -> None:
    with run(name, environment) as process:
        lines = re.findall(r"^ {4}(\S.*)$", read_until_it_serves(process), re.MULTILINE)
        assert lines, "nothing to try"
        for line in lines:
            if not line.endswith("in a browser"):
                tried = subprocess.run(
                    ["bash", "-o", "pipefail", "-c", line],
                    check=False,
                    cwd=ROOT,
                    env=environment,
                    capture_output=True,
                    text=True,
                    timeout=3 * LIMIT,
                )
                assert tried.returncode == 0, f"{line}\n{tried.stdout}{tried.stderr}"
        process.terminate()
        assert process.stdout is not None
        rest = process.stdout.read()
        # uvicorn ends in order, and then by the signal that told it to.
        assert f"Finished server process [{process.pid}]" in rest
        assert process.wait(LIMIT) == -signal.SIGTERM


def test_where_the_port_is_taken_nothing_is_offered(environment: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        command = [sys.executable, "-m", "minibg.examples.order", str(listener.getsockname()[1])]
        done = subprocess.run(
            command,
            check=False,
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=LIMIT,
        )
    assert done.returncode != 0
    assert "curl" not in done.stdout
    assert "in use" in done.stderr
