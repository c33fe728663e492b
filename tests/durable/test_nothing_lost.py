"""**nothing lost**: accepted tasks run, even if real servers are killed with -9."""

import json
import os
import random
import resource
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import settings

from tests.durable.killing import Killable, Marks
from tests.servers.live import LIMIT, reserved_port

CLIENTS = 10
"""How many requests are served at a time: at most so many tasks run."""
ROUNDS = settings.default.max_examples // 25 if settings.default else 2
"""How many runs, each with three kills: 2, and more with the profile `deep`."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Killable]:
    with reserved_port() as port:
        yield Killable(tmp_path, port)


def accept(server: Killable, keys: range) -> set[str]:
    """Ask for a task by each key, by several clients at once; those that were answered with 202."""

    def ask(some: range) -> list[int]:
        return server.post(*(f"/job/{key}" for key in some))

    parts = [keys[client::CLIENTS] for client in range(CLIENTS)]
    with ThreadPoolExecutor(CLIENTS) as clients:
        answers = [*clients.map(ask, parts)]
    return {
        str(key)
        for part, statuses in zip(parts, answers, strict=True)
        for key, status in zip(part, statuses, strict=True)
        if status == 202
    }


def have_ended(keys: set[str]) -> Callable[[Marks], bool]:
    return lambda marks: keys <= marks.ended.keys()


def read(server: Killable, query: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(server.directory / "tasks.sqlite")
    found = connection.execute(query).fetchall()
    connection.close()
    return found


def rows(server: Killable) -> int:
    [(count,)] = read(server, "SELECT count(*) FROM tasks")
    return int(count)


def running(server: Killable) -> set[str]:
    """The keys of the tasks that have started and, as the file says, not ended."""
    found = read(server, "SELECT arguments FROM tasks")
    keys = {json.loads(arguments)["key"] for (arguments,) in found}
    return keys & server.marks().started.keys()


class Killed(NamedTuple):
    """200 tasks that were accepted, those that ran at a death, and the marks in the end."""

    accepted: set[str]
    in_flight: set[str]
    marks: Marks


def kill_three_times(server: Killable, moment: random.Random) -> Killed:
    """Have a server killed at random moments."""
    server.attempts = 4  # a task may be running each time; after three it would be set aside
    accepted: set[str] = set()
    in_flight: set[str] = set()
    app = moment.choice(["served:app", "served:fastapi_app"])
    for third in (range(67), range(67, 134), range(134, 200)):
        with server.serving(app) as process, ThreadPoolExecutor(1) as other:
            before = sum(server.marks().ended.values())
            answers = other.submit(accept, server, third)
            ends = before + moment.randrange(len(third))
            server.until(lambda marks: sum(marks.ended.values()) >= ends)  # noqa: B023
            process.kill()
            process.wait(LIMIT)
            accepted |= answers.result()
            in_flight |= running(server)
    with server.serving(app):
        accepted |= accept(server, range(200, 400 - len(accepted)))
        server.until(lambda _: rows(server) == 0)
        return Killed(accepted, in_flight, server.marks())


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_three_kills_lose_none_of_200_tasks(server: Killable, seed: int) -> None:
    """At random moments. At most those start twice whose end the file did not hold by then."""
    accepted, in_flight, marks = kill_three_times(server, random.Random(seed))
    assert len(accepted) == 200
    assert accepted <= marks.ended.keys()
    assert {key for key, n in marks.started.items() if n > 1} <= in_flight


def test_a_plain_list_loses_tasks_there(server: Killable) -> None:
    """The measurement measures something."""
    with server.serving("served:plain_app") as process, ThreadPoolExecutor(1) as other:
        answers = other.submit(accept, server, range(100))
        server.until(lambda marks: sum(marks.ended.values()) >= 20)
        process.kill()
        process.wait(LIMIT)
        accepted = answers.result()
    with server.serving("served:plain_app"):
        assert accepted - server.marks().ended.keys()


def test_one_of_two_workers_is_killed(server: Killable) -> None:
    """The other's tasks are left alone; what the dead one has left runs in the next."""
    with server.serving("served:app", "--workers=2"):
        keys = {str(key) for key in range(40)}
        with ThreadPoolExecutor(CLIENTS) as clients:
            paths = [f"/job/{key}?seconds=0.05" for key in sorted(keys)]
            answers = clients.map(server.post, paths)
            marks = server.until(lambda marks: sum(marks.ended.values()) >= 8)
            killed = [*marks.first.values()][-1]  # the worker that began the last task
            os.kill(killed, signal.SIGKILL)
            accepted = {
                key for key, [status] in zip(sorted(keys), answers, strict=True) if status == 202
            }
        marks = server.until(have_ended(accepted))
        assert {marks.first[key] for key, n in marks.started.items() if n > 1} <= {killed}


def test_a_living_process_takes_up_what_another_has_left(server: Killable, tmp_path: Path) -> None:
    with reserved_port() as port, server.serving():
        other = Killable(tmp_path, port)
        with other.serving() as process:
            assert other.post("/job/0?seconds=60") == [202]
            server.until(lambda marks: marks.started["0"] == 1)
            process.kill()
            process.wait(LIMIT)
        server.until(
            lambda marks: server.post("/job/1?seconds=0") == [202] and marks.started["0"] == 2
        )


def test_a_poison_is_set_aside_and_condemns_no_neighbour(server: Killable) -> None:
    with server.serving() as process:
        assert server.post("/job/1?seconds=1", "/poison/2") == [202, 202]
        process.wait(LIMIT)
    for _ in range(2):
        with server.serving(dies=True) as process:
            process.wait(LIMIT)
    with server.serving():
        marks = server.until(have_ended({"20"}))
        assert (marks.started["1"], marks.ended["1"]) == (2, 1)
        assert marks.started["2"] == 3
        assert "served:poison, is set aside" in server.log
        assert "3 processes died while it ran" in server.log


@pytest.mark.parametrize("times", [1, 2])
def test_an_end_in_order_gives_tasks_back(server: Killable, times: int) -> None:
    """Ctrl-C twice cuts off what runs; nothing has died of it."""
    with server.serving("served:app", "--timeout-graceful-shutdown=1") as process:
        keys = {str(key) for key in range(20)}
        with ThreadPoolExecutor(20) as clients:
            [*clients.map(server.post, (f"/job/{key}?seconds=0.5" for key in keys))]
        server.until(lambda marks: sum(marks.started.values()) >= 10)
        for _ in range(times):
            process.send_signal(signal.SIGINT)
        process.wait(2 * LIMIT)
    with server.serving():
        server.until(have_ended(keys))
    assert "is set aside" not in server.log


def test_a_full_disk_is_a_500(server: Killable) -> None:
    """The file may grow to 64 KB here, by the limit that the system sets for a process."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    long = "1" * 4000
    with server.serving() as process:
        assert server.post("/job/2?seconds=60") == [202]
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (2**16, limit[1]))
        statuses = server.post(*(f"/job/{long}?seconds=60" for _ in range(1)))
        while statuses[-1] == 202:
            statuses += server.post(f"/job/{long}?seconds=60")
            assert len(statuses) < 50
        assert statuses[-1] == 500
        assert "not run (not handed over, OperationalError): served." in server.log
        assert process.poll() is None
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, limit)
        assert server.post("/job/3?seconds=0") == [202]
        server.until(have_ended({"3"}))


def test_a_function_that_a_new_version_lacks_is_named_and_left(server: Killable) -> None:
    """A function that the next version of a program lacks is named, and its task is left."""
    with server.serving() as process:
        assert server.post("/job/2?seconds=60") == [202]
        server.until(lambda marks: marks.started["2"] == 1)
        process.kill()
        process.wait(LIMIT)
    code = server.directory / "served.py"
    whole = code.read_text()
    code.write_text(whole.replace("def work", "def renamed").replace("work if", "renamed if", 0))
    code.write_text(code.read_text().replace("else work", "else renamed"))
    with server.serving():
        assert server.post("/job/3") == [202]
        server.until(have_ended({"3"}))
        server.until(lambda _: "served:work, is set aside" in server.log)
    code.write_text(whole)
    listed = look(server)
    assert "set aside" in listed
    assert "served:work" in listed
    assert look(server, "--retry", listed.split()[0]) == ""
    with server.serving():
        server.until(lambda marks: marks.started["2"] == 2)
        server.until(lambda _: "runs" in look(server))


def look(server: Killable, *options: str) -> str:
    command = [sys.executable, "-m", "minibg.ext.durable", "tasks.sqlite", *options]
    return subprocess.check_output(command, cwd=server.directory, text=True, env=os.environ)


def test_an_endpoint_that_raises_leaves_nothing(server: Killable) -> None:
    with server.serving("served:fastapi_app"):
        assert server.post("/raise/1") == [500]
        assert server.post("/job/2?seconds=0") == [202]
        marks = server.until(have_ended({"2"}))
        assert marks.started["1"] == 0
    assert rows(server) <= 1
