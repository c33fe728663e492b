"""Programs in processes of their own, and ports for those that serve.

What may live here: starting a program, ending it with all its children, and reading what it prints.
The tests say what it is asked, and what must be seen of it. A server in the process of the tests is
started by `servers/live.py`.
"""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any


def printed_by(*arguments: str, timeout: float, **options: Any) -> tuple[int, str]:
    """Run Python: its exit status, and all that it prints, errors among the rest.

    Args:
        timeout: Seconds after which it is taken to hang.
        options: Those of `subprocess.run`.
    """
    done = subprocess.run(
        [sys.executable, *arguments],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        **options,
    )
    return done.returncode, done.stdout


@contextmanager
def spawned(command: list[str], **options: Any) -> Iterator["subprocess.Popen[Any]"]:
    """A program, until the context is left; then it is killed, with all that it has started.

    Args:
        options: Those of `subprocess.Popen`.
    """
    with subprocess.Popen(command, start_new_session=True, **options) as process:
        try:
            yield process
        finally:
            kill_group(process)


def kill_group(process: "subprocess.Popen[Any]") -> None:
    """Kill a program that `spawned` has started, and what it has started, which may outlive it."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def free_port() -> int:
    """A port at which nobody listens, for a program that binds it itself."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
