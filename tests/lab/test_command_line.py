"""The command `python -m minibg`: what it prints, and how it ends."""

import os
import pty
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import NamedTuple

import pytest

from minibg.__main__ import main
from minibg.lab.receiver import MAX_PAYLOAD
from tests.lab.trying import (
    TIMEOUT,
    WITHOUT_A_PACKAGE,
    assert_refused,
    environment,
    minibg,
    python,
    started,
)
from tests.servers.live import reserved_port


class Delivered(NamedTuple):
    """How a delivery ended, and the directory in which it has left its files."""

    done: subprocess.CompletedProcess[str]
    directory: Path


@pytest.fixture(scope="module")
def delivered(tmp_path_factory: pytest.TempPathFactory) -> Delivered:
    """One delivery, with no option."""
    directory = tmp_path_factory.mktemp("delivered")
    return Delivered(minibg(directory=directory), directory)


def on_a_terminal(*arguments: str, directory: Path) -> str:
    """Run `python -m minibg` on a terminal, and return what that gets."""
    leader, follower = pty.openpty()
    with open(leader, "rb", buffering=0) as terminal:
        with subprocess.Popen(
            [sys.executable, "-m", "minibg", *arguments],
            env=environment(directory),
            stdin=follower,
            stdout=follower,
            stderr=follower,
        ) as process:
            os.close(follower)
            output = b""
            try:
                while chunk := terminal.read(65536):
                    output += chunk
            except OSError:  # how Linux says that the other side is closed
                pass
        assert process.returncode == 0
    return output.decode()


def stored_payloads(directory: Path) -> list[str]:
    """The payloads in the database of the one run that was made there."""
    (database,) = directory.glob("minibg-*/deliveries.sqlite")
    with closing(sqlite3.connect(database)) as connection:
        return [payload for (payload,) in connection.execute("SELECT payload FROM deliveries")]


def test_one_delivery_is_shown_as_a_timeline(delivered: Delivered) -> None:
    done = delivered.done
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"^202 Accepted, \d+\.\d\d ms after", done.stdout, re.MULTILINE)
    in_their_order = [
        "event loop  request received",
        "event loop  endpoint entered",
        "event loop  response start: 202",
        "event loop  last byte taken",
        "event loop  verify_signature: ended",
        "worker 1    call_downstream: failed",
        "worker 1    store_delivery: ended",
        "worker 1    write_log: ended",
        "Had the endpoint done the tasks itself",
        "ERROR background task minibg.lab.receiver.call_downstream failed",
    ]
    places = [done.stdout.find(text) for text in in_their_order]
    assert -1 not in places
    assert places == sorted(places)
    assert "client      has the answer" in done.stdout
    assert "Traceback" not in done.stdout
    assert "\x1b" not in done.stdout


def test_the_traceback_of_the_failing_task_is_kept(delivered: Delivered) -> None:
    (log,) = delivered.directory.glob("minibg-*/server.log")
    assert "Traceback (most recent call last)" in log.read_text()


def test_with_fail_fast_the_later_tasks_are_shown_as_not_run(tmp_path: Path) -> None:
    done = minibg("--fail-fast", directory=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "nowhere     store_delivery: not run" in done.stdout
    assert "nowhere     write_log: not run" in done.stdout
    assert "WARNING background tasks not run (an earlier failure, URLError)" in done.stdout
    assert stored_payloads(tmp_path) == []


def test_many_deliveries_are_summed_up(tmp_path: Path) -> None:
    done = minibg("--requests", "5", "--save", "run.txt", directory=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    for line in (
        r"answered   .+ 5/5",
        r"tasks done .+ 5/5",
        r"deliveries   5",
        r"answers      5 x 202 Accepted",
        r"answer time  median \d+\.\d\d ms, slowest \d+\.\d\d ms",
        r"tasks        20 run, 5 of them failed; 0 not run",
        r"rate         [\d,]+ a second, one after another",
    ):
        assert re.search(rf"^{line} *$", done.stdout, re.MULTILINE), line
    assert len(stored_payloads(tmp_path)) == 5
    assert "deliveries   5" in (tmp_path / "run.txt").read_text()


def test_without_a_payload_a_push_event_is_delivered(delivered: Delivered) -> None:
    (payload,) = stored_payloads(delivered.directory)
    assert payload.startswith('{"ref": "refs/heads/main"')


def test_the_payload_and_the_port_are_the_users_own(tmp_path: Path) -> None:
    """The payload is delivered as it is, to that port."""
    (tmp_path / "own.json").write_text('{ "name" : "Zoë" }\n', encoding="utf-8")
    with reserved_port() as port:
        done = minibg("--payload", "own.json", "--port", str(port), directory=tmp_path)
    assert done.returncode == 0
    assert stored_payloads(tmp_path) == ['{ "name" : "Zoë" }\n']
    assert done.stdout.startswith(f"POST http://127.0.0.1:{port}/webhook, ")


def test_a_terminal_gets_colours_unless_they_are_declined(tmp_path: Path) -> None:
    assert "\x1b[32m" in on_a_terminal(directory=tmp_path)
    assert "\x1b" not in on_a_terminal("--plain", directory=tmp_path)
    assert "\x1b" not in on_a_terminal("--plain", "--requests", "2", directory=tmp_path)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--requests", "0"], "argument --requests: '0' is not a positive integer"),
        (["--requests", "many"], "argument --requests: 'many' is not a positive integer"),
        (["--port", "65536"], "argument --port: '65536' is not a port"),
        (["--payload"], "argument --payload: expected one argument"),
        (["--payload", "missing.json"], "missing.json: No such file or directory"),
        (["--payload", "."], ".: Is a directory"),
        (["--loud"], "unrecognized arguments: --loud"),
    ],
    ids=" ".join,
)
def test_a_mistake_is_named_in_one_line(
    assert_refuses: Callable[..., None], arguments: list[str], line: str
) -> None:
    assert_refuses(main, arguments, line)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "Input data was truncated"),
        (b"ref=main", "JSON is malformed: invalid character (byte 0)"),
        (b'"\xff"', "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
        (b"[" * 100_000, "maximum recursion depth exceeded while deserializing an object"),
    ],
    ids=["empty", "a form", "not UTF-8", "too deep"],
)
def test_a_payload_that_is_not_json_is_refused(
    tmp_path: Path, assert_refuses: Callable[..., None], content: bytes, reason: str
) -> None:
    (tmp_path / "payload.json").write_bytes(content)
    line = f"payload.json: not JSON: {reason}"
    assert_refuses(main, ["--payload", "payload.json"], line)


def test_a_payload_larger_than_github_sends_is_refused(
    tmp_path: Path, assert_refuses: Callable[..., None]
) -> None:
    (tmp_path / "payload.json").write_bytes(b'"%b"' % (b"x" * MAX_PAYLOAD))
    line = f"payload.json: {MAX_PAYLOAD + 2} bytes, and GitHub sends {MAX_PAYLOAD} at most"
    assert_refuses(main, ["--payload", "payload.json"], line)


def test_a_port_in_use_is_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = minibg("--port", str(port), directory=tmp_path)
    assert_refused(done, f"port {port} on 127.0.0.1 is in use")


@pytest.mark.parametrize("package", ["rich", "uvicorn"])
def test_a_missing_package_is_named_with_what_installs_it(tmp_path: Path, package: str) -> None:
    done = python("-c", WITHOUT_A_PACKAGE, package, directory=tmp_path)
    assert_refused(done, f"{package} is not installed: pip install 'minibg[standard]'")


def test_help_gives_an_example_however_it_is_asked_for(tmp_path: Path) -> None:
    """The command that is installed is the same as `python -m minibg`."""
    command = Path(sysconfig.get_path("scripts")) / "minibg"
    done = python(str(command), "--help", directory=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "example: python -m minibg --requests 100" in done.stdout
    same = minibg("--help", directory=tmp_path)
    assert (same.returncode, same.stdout, same.stderr) == (0, done.stdout, "")


@contextmanager
def delivering(*arguments: str, directory: Path) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """`python -m minibg` as a process that runs, and its first line."""
    command = ["minibg", *arguments]
    with started(*command, directory=directory, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield process, process.stdout.readline()


def test_a_reader_who_leaves_early_sees_no_traceback(tmp_path: Path) -> None:
    with delivering(directory=tmp_path) as (process, _):
        assert process.stdout is not None
        process.stdout.close()
        process.stdout = None
        assert process.communicate(timeout=TIMEOUT) == (None, "")


def ask(first_line: str) -> None:
    """Ask the process for what it does not have, and wait for the answer: now it serves."""
    netloc = first_line.removeprefix("POST http://").partition("/")[0]
    with closing(HTTPConnection(netloc, timeout=TIMEOUT)) as connection:
        connection.request("GET", "/")
        connection.getresponse().read()


def test_a_request_without_tasks_is_shown_and_nothing_compared(tmp_path: Path) -> None:
    with delivering(directory=tmp_path) as (process, first_line):
        ask(first_line)  # before the delivery, whose sender is a process that has yet to start
        output, errors = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, errors) == (0, "")
    assert "event loop  response start: 404" in output
    assert "Had the endpoint done the tasks itself" not in output


def test_ctrl_c_ends_it_without_a_traceback(tmp_path: Path) -> None:
    with delivering("--requests", "1000000", directory=tmp_path) as (process, first_line):
        ask(first_line)  # so that Ctrl-C finds it delivering
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=TIMEOUT)[1] == ""
        assert process.returncode == 130


def test_the_core_needs_neither_rich_nor_uvicorn(tmp_path: Path) -> None:
    code = "import minibg, sys; print(sorted({'rich', 'uvicorn'} & set(sys.modules)))"
    done = python("-c", code, directory=tmp_path)
    assert (done.stdout, done.stderr) == ("[]\n", "")
