"""The processor's instructions for one request, as callgrind counts them.

Unlike a time, a count does not depend on the load of the machine, so contenders may be counted one
after the other. The count leaves out waiting: a thread that wakes costs more time than
instructions. The whole process is counted, in process and on asyncio, for `FEW` requests and for
`MANY`; the slope between the two is one request, without start, imports and warm-up.

`python -m tests.benchmarks.instructions` prints the table, minibg beside Starlette.
"""

import asyncio
import gc
import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator
from subprocess import run

from minibg.types import Message
from tests.benchmarks import measure
from tests.benchmarks.apps import MINIBG, make_app
from tests.benchmarks.in_process import Client
from tests.benchmarks.work import ROWS

FEW, MANY = 60, 160
PEERS = (MINIBG, "Starlette")
COUNTED = (
    "no task",
    "an empty list",
    "1 async task",
    "5 async tasks",
    "1 sync task",
    "3 sync tasks",
    "10 tasks, async and sync in turn",
)
MISSING = "valgrind is not installed"


def is_possible() -> bool:
    """Whether the machine has what counts."""
    return shutil.which("valgrind") is not None


def name_of(row: str) -> str:
    return f"instructions, {row}"


def rows(peers: Iterable[str], only: str = "") -> Iterator[measure.Row]:
    """A row of the table for each piece of work."""
    counted = [peer for peer in peers if peer in PEERS]
    for row in COUNTED:
        if only in name_of(row):
            samples = {peer: [a_request(peer, row)] for peer in counted}
            yield measure.Row(name_of(row), "instructions", samples, {})


def a_request(peer: str, row: str) -> float:
    """How many instructions one request takes."""
    return (count(peer, row, MANY) - count(peer, row, FEW)) / (MANY - FEW)


def count(peer: str, row: str, requests: int) -> int:
    """How many instructions a process takes that serves so many requests."""
    return counted(serving(peer, row, requests))


def serving(peer: str, row: str, requests: int) -> list[str]:
    """The command that serves so many requests."""
    return [sys.executable, "-m", "tests.benchmarks.instructions", peer, row, str(requests)]


def counted(program: list[str]) -> int:
    """How many instructions the process of a command takes."""
    command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={os.devnull}", *program]
    environment = {**os.environ, "PYTHONHASHSEED": "0"}  # else dicts differ from run to run
    done = run(command, env=environment, check=True, capture_output=True, text=True)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if found is None:
        raise RuntimeError(f"callgrind told no count:\n{done.stderr}")
    return int(found[1])


async def serve(peer: str, row: str, requests: int) -> None:
    """What is counted. Garbage is not collected, as it comes in steps."""
    client = Client(make_app(peer, ROWS[row]), ROWS[row])
    scopes = [ROWS[row].scope() for _ in range(MANY)]  # as many for few requests: they cancel out

    async def send(message: Message) -> None: ...

    gc.disable()
    for scope in scopes[:requests]:
        await client.app(scope, client.receive, send)


def main() -> None:
    if len(sys.argv) == 4:
        _, peer, row, requests = sys.argv
        asyncio.run(serve(peer, row, int(requests)))
    elif is_possible():
        print(f"{'instructions of a request that leaves':40} {PEERS[1]:>11} {PEERS[0]:>11}  ratio")
        for found in rows(PEERS):
            ours, theirs = (found.best(peer) for peer in PEERS)
            name = found.name.removeprefix(name_of(""))
            print(f"{name:40} {theirs:11,.0f} {ours:11,.0f}  {ours / theirs:.2f}", flush=True)
    else:
        print(f"not counted: {MISSING}")


if __name__ == "__main__":
    main()
