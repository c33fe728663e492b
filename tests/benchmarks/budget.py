"""The instructions that minibg executes for one request, counted, and compared with a budget.

Every bytecode instruction in minibg's own functions counts, on the loop and in threads. The count
is exactly the same each time, on each machine and under each load, and differs only by Python's
minor version. Of these instructions, `functions` enter a function, or resume a coroutine that has
waited; `calls` call anything at all. What a call takes outside of minibg, in anyio, msgspec and C,
is not seen, nor what `BackgroundTasks.__del__` does. How often minibg waits in anyio is seen.

`python -m tests.benchmarks.budget` prints the counts; with `--write` they become the budget for the
Python version that runs it.
"""

import argparse
import asyncio
import gc
import json
import sys
import threading
from collections.abc import Callable
from dis import opname
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Self
from unittest.mock import patch

import minibg
from minibg import BackgroundTasks
from tests.benchmarks.apps import MINIBG, make_app
from tests.benchmarks.in_process import Client
from tests.benchmarks.work import ROWS, Row, in_a_thread, on_the_loop, ran, row_of

FILE = Path(__file__).with_name("budget.json")
COMMAND = "python -m tests.benchmarks.budget --write"
SLACK = 0.05
PYTHON = "{}.{}".format(*sys.version_info)

Counts = dict[str, dict[str, int]]
"""For each path through minibg, what one request takes."""

OURS = str(Path(minibg.__file__).parent)
CALLS = {"CALL", "CALL_KW", "CALL_FUNCTION_EX"}
WARM_UP = 20


class Tally:
    """Notes what minibg executes while the context is entered, in all threads that begin then."""

    def __init__(self) -> None:
        self.entered: list[CodeType] = []
        self.executed: list[tuple[CodeType, int]] = []  # to append is safe from all threads

    def forget(self) -> None:
        """Forget what was noted so far."""
        self.entered.clear()
        self.executed.clear()

    def counts(self) -> dict[str, int]:
        """How often each was noted."""
        names = [opname[bytecode(code)[offset]] for code, offset in self.executed]
        calls = sum(name in CALLS for name in names)
        return {"instructions": len(names), "functions": len(self.entered), "calls": calls}

    if sys.version_info < (3, 12):

        def __enter__(self) -> Self:
            threading.settrace(self._trace)
            sys.settrace(self._trace)
            return self

        def __exit__(self, *exc_info: object) -> None:
            sys.settrace(None)
            threading.settrace(None)

        def _trace(self, frame: FrameType, event: str, arg: Any) -> Callable[..., Any] | None:
            if not is_ours(frame.f_code):
                return None
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
            if event == "call":
                self.entered.append(frame.f_code)
            elif event == "opcode":
                self.executed.append((frame.f_code, frame.f_lasti))
            return self._trace

    else:

        def __enter__(self) -> Self:
            tool, events = sys.monitoring.PROFILER_ID, sys.monitoring.events
            sys.monitoring.use_tool_id(tool, "minibg's budget")
            for event in (events.PY_START, events.PY_RESUME):
                sys.monitoring.register_callback(tool, event, self._enter)
            sys.monitoring.register_callback(tool, events.INSTRUCTION, self._execute)
            sys.monitoring.set_events(tool, events.PY_START | events.PY_RESUME | events.INSTRUCTION)
            return self

        def __exit__(self, *exc_info: object) -> None:
            sys.monitoring.set_events(sys.monitoring.PROFILER_ID, 0)
            sys.monitoring.free_tool_id(sys.monitoring.PROFILER_ID)

        def _enter(self, code: CodeType, offset: int) -> Any:
            return self.entered.append(code) if is_ours(code) else sys.monitoring.DISABLE

        def _execute(self, code: CodeType, offset: int) -> Any:
            if not is_ours(code):
                return sys.monitoring.DISABLE
            return self.executed.append((code, offset))


@cache
def is_ours(code: CodeType) -> bool:
    return code.co_filename.startswith(OURS)


@cache
def bytecode(code: CodeType) -> bytes:
    return code.co_code


def count(row: Row) -> dict[str, int]:
    """What one request takes, when the requests before it have filled all caches."""
    client = Client(make_app(MINIBG, row), row)
    tally = Tally()

    async def ask() -> dict[str, int]:
        for _ in range(WARM_UP):
            await client.ask_once()
        tally.forget()
        await client.ask_once()
        return tally.counts()

    # A thread that is done lets go of the list when it comes to it: in the next request, perhaps.
    at_leisure = patch.object(BackgroundTasks, "__del__", lambda tasks: None, create=True)
    gc.disable()  # likewise
    try:
        with at_leisure, tally:  # before there is a thread, as it is traced from its beginning
            return asyncio.run(ask())
    finally:
        gc.enable()
        ran.clear()


def count_all() -> Counts:
    """The counts of minibg's main paths."""
    found = {name: count(ROWS[name]) for name in PATHS}
    found |= {
        f"one more {name}": minus(count(row_of(*[call] * 3)), count(row_of(*[call] * 2)))
        for name, call in (("async task", on_the_loop), ("sync task in a row", in_a_thread))
    }
    return found


PATHS = (
    "no task",
    "an empty list",
    "1 async task",
    "1 sync task",
    "path, query and tasks",
    "nested dependency with yield",
    "10 KiB of JSON in and out",
)


def minus(more: dict[str, int], less: dict[str, int]) -> dict[str, int]:
    return {what: more[what] - less[what] for what in more}


def complaints(counts: Counts, budget: Counts) -> list[str]:
    """What is off its budget by 5 % or more. Less counts too: it would hide what is added later."""
    return [
        f"{path}: {number} {what}, and its budget is {budget[path][what]}. "
        f"If that is as it should be: {COMMAND}"
        for path in counts
        for what, number in counts[path].items()
        if abs(number - budget[path][what]) >= SLACK * budget[path][what]
    ]


def read() -> dict[str, Counts]:
    """The budgets, for each minor version of Python."""
    budgets: dict[str, Counts] = json.loads(FILE.read_text()) if FILE.exists() else {}
    return budgets


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.budget", description=__doc__)
    parser.add_argument("--write", action="store_true", help="make them the budget of this Python")
    options = parser.parse_args()
    counts = count_all()
    print(json.dumps(counts, indent=1))
    if options.write:
        budgets = read() | {PYTHON: counts}
        FILE.write_text(json.dumps(dict(sorted(budgets.items())), indent=1) + "\n")


if __name__ == "__main__":
    main()
