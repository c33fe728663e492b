"""Under load each task runs exactly once, in order, after its own response, or is named in the log.

What may live here: clients by the thousand, polite and rude. `counted.py` counts, in the server's
process, what becomes of their requests.
"""

import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from hypothesis import settings

from tests.servers.counted import ADDED, DONE, PIECE, THREADS
from tests.servers.live import LIMIT, Connection, Live, listening

REQUESTS = max(5_000, settings().max_examples * 100)
"""In the profile `deep` 50,000."""

BURSTS = 4
CONNECTIONS = 64

MAY_STAY = 50
"""Bytes of memory that a request may leave behind; a leak of 100 must be noticed."""

pytestmark = pytest.mark.timeout(REQUESTS // 100)


@contextmanager
def counting(*options: str) -> Iterator[Live]:
    """The application that counts, served by uvicorn, with those options, in its own process.

    Its memory comes from malloc, piece by piece, and goes back at once. Python's own allocator
    keeps what it once had, and so does glibc's in its cache for each thread.
    Coverage is not measured there: what it collects would count as growth.
    """
    environment = {
        **os.environ,
        "PYTHONMALLOC": "malloc",
        "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0",
    }
    environment.pop("COVERAGE_PROCESS_CONFIG", None)
    with listening() as listener:  # who connects early waits in its queue
        command = [sys.executable, "-m", "uvicorn", "tests.servers.counted:app", "--no-access-log"]
        with subprocess.Popen(
            [*command, "--fd", str(listener.fileno()), *options],
            pass_fds=[listener.fileno()],
            env=environment,
        ) as process:
            try:
                yield Live(listener.getsockname()[1], process.terminate)
            finally:
                process.terminate()


def report(live: Live) -> dict[str, Any]:
    """What the application has counted when all tasks have run, and what its process holds."""
    with live.connect() as connection:
        connection.socket.settimeout(4 * LIMIT)
        connection.ask("/")
        counted: dict[str, Any] = json.loads(connection.read().body)
    return counted


def from_all_connections(numbers: range, ask: Callable[[range], None]) -> None:
    """Share the numbers among as many clients as there are connections, all at once."""
    with ThreadPoolExecutor(CONNECTIONS) as clients:
        list(clients.map(ask, (numbers[place::CONNECTIONS] for place in range(CONNECTIONS))))


def load(ask: Callable[[Live, range], None], *options: str) -> dict[str, Any]:
    """Have all requests asked for, in bursts; what was counted, if no burst left anything.

    The first burst fills what is kept for good, such as free lists. What grows after it is a leak.
    """
    with counting(*options) as live:
        reports = [report(live)]
        for burst in range(BURSTS):
            numbers = range(burst, REQUESTS, BURSTS)
            from_all_connections(numbers, partial(ask, live))
            reports.append(report(live))
    before, first, *_, last = reports
    assert last["memory"] - first["memory"] <= MAY_STAY * (REQUESTS - REQUESTS // BURSTS)
    assert last["threads"] <= before["threads"] + THREADS
    assert last["files"] <= before["files"]
    return last


def test_each_task_runs_exactly_once_after_its_own_response() -> None:
    """Each task runs exactly once, in order, after its own response."""

    def ask(live: Live, numbers: range) -> None:
        with live.connect() as connection:
            for number in numbers:
                connection.ask(f"/whole/{number}")
                assert connection.read().body == PIECE

    counted = load(ask)
    assert counted["out_of_turn"] == {}
    assert counted["requests"] == {str(DONE): REQUESTS}
    assert counted["logged"] == {"ERROR": REQUESTS}, "one task of each is meant to fail"


def in_the_middle_of_the_request(connection: Connection, number: int) -> None:
    connection.socket.sendall(b"GET /whole/%d HTTP/1.1\r\nhost: loc" % number)


def before_the_answer(connection: Connection, number: int) -> None:
    connection.ask(f"/streamed/{number}")


def within_an_answer_that_is_whole(connection: Connection, number: int) -> None:
    connection.ask(f"/whole/{number}")
    connection.read_head()


def within_an_answer_that_never_ends(connection: Connection, number: int) -> None:
    connection.ask(f"/endless/{number}")
    connection.read_head()
    assert connection.file.read(1)


def after_the_answer(connection: Connection, number: int) -> None:
    connection.ask(f"/streamed/{number}")
    assert connection.read().body == 2 * PIECE


CLIENTS_HANG_UP = [
    in_the_middle_of_the_request,
    before_the_answer,
    within_an_answer_that_is_whole,
    within_an_answer_that_never_ends,
    after_the_answer,
]


def test_each_task_runs_once_or_is_named_where_clients_hang_up() -> None:
    """Each task runs exactly once or is named where clients hang up."""
    chance = random.Random(0)
    ways = [chance.choice(CLIENTS_HANG_UP) for _ in range(REQUESTS)]

    def ask(live: Live, numbers: range) -> None:
        for number in numbers:
            with live.connect() as connection:
                ways[number](connection, number)

    counted = load(ask, "--timeout-keep-alive", "1")
    requests, hung_up = Counter(counted["requests"]), Counter(ways)
    done, abandoned = requests.pop(str(DONE)), requests.pop(str(ADDED))
    assert counted["out_of_turn"] == {}
    assert requests == {}, "nothing is half done"
    assert counted["logged"] == {"ERROR": done, "WARNING": abandoned}
    assert counted["named"] == 3 * abandoned
    assert done >= hung_up[within_an_answer_that_is_whole] + hung_up[after_the_answer]
    assert abandoned >= hung_up[within_an_answer_that_never_ends]
    assert done + abandoned <= len(ways) - hung_up[in_the_middle_of_the_request]
