"""The command line `python -m tests.walkthrough.record [NAME ...]`: output for the walkthrough.

It records what programs print, and how rules fail that are broken on purpose; for the latter, the
name of a rule will do. Without a name, everything is recorded anew. Each recording is named when it
begins, made in a process of its own, and written when it ends. A machine that does nothing else
gives the best recordings. Weave the text anew after that.
"""

import gc
import logging
import os
import re
import signal
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from multiprocessing.context import SpawnProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import Phase, given, settings

from tests.benchmarks import machine
from tests.lab.test_command_line import python
from tests.rules.language.programs import PROGRAMS
from tests.rules.language.words import RULES
from tests.rules.test_the_rules_bite import PROPERTIES, at_work
from tests.walkthrough.blocks import RECORDED, failure_name, saboteur_of
from tests.walkthrough.figures import sentence_of

PRINTING = {
    "timeline": "minibg",
    "alternatives": "minibg.examples.alternatives",
    "outgrown": "minibg.examples.outgrown",
    "waiting": "minibg.examples.waiting",
}
"""For each recording, the module that prints it."""

BACKEND = "asyncio"
SECONDS = 120
"""How long a recording may take."""


def printed(module: str) -> str:
    """The command line that runs the module, and what it prints; where it kept files is `...`."""
    with TemporaryDirectory() as directory:
        done = python("-m", module, directory=Path(directory))
    assert (done.returncode, done.stderr) == (0, "")
    told = re.sub(r"^Kept in .*", "...", done.stdout, flags=re.MULTILINE | re.DOTALL)
    return "\n".join([f"$ python -m {module}", *(line.rstrip() for line in told.splitlines())])


def check(rule: str, program: Any) -> None:
    """Try the rule's own property on that program.

    Raises:
        AssertionError: If the rule does not hold for it; its text says so.
    """
    PROPERTIES[rule].hypothesis.inner_test(  # type: ignore[attr-defined]  # Hypothesis adds it
        backend=BACKEND, program=program
    )


def smallest_failure(rule: str, index: int) -> str:
    """What it says of the smallest program for which the rule does not hold then."""

    @settings(
        phases=[Phase.generate, Phase.shrink],
        max_examples=500,
        derandomize=True,
        report_multiple_bugs=False,
        database=None,
        deadline=None,
    )
    @given(program=PROGRAMS[rule])
    def search(program: Any) -> None:
        gc.collect()  # what earlier programs have lost speaks up now
        check(rule, program)

    with at_work(saboteur_of(rule, index)):
        try:
            search()
        except AssertionError as exc:
            return str(exc)
    raise RuntimeError(f"the rule {rule!r} is not seen to break")


def recordings() -> dict[str, Callable[[], str]]:
    """Each recording by its name, and what makes its text."""
    made: dict[str, Callable[[], str]] = {"machine": lambda: sentence_of(machine.describe())}
    made |= {failure_name(rule, 0): partial(smallest_failure, rule, 0) for rule in RULES}
    return made | {name: partial(printed, module) for name, module in PRINTING.items()}


def write(name: str) -> None:
    """Make a recording in this process, and write it to its file."""
    logging.getLogger().addHandler(logging.NullHandler())  # rules that are broken fill the log
    file = RECORDED / f"{name}.txt"
    file.write_text(f"{recordings()[name]()}\n", encoding="utf-8")


def record(name: str, seconds: float = SECONDS, make: Callable[[str], None] = write) -> str | None:
    """Make a recording in a process of its own, and give what is wrong with it."""
    process = started(name, make)
    process.join(seconds)
    if process.is_alive():
        end(process)
        return f"{name} hangs: {because(name)} does not end within {seconds:g} seconds"
    return f"{name} has not been recorded, see above" if process.exitcode else None


def started(name: str, make: Callable[[str], None]) -> SpawnProcess:
    """The process that makes a recording."""
    process = SpawnProcess(target=_make_in_a_group, args=(make, name))
    process.start()
    return process


def _make_in_a_group(make: Callable[[str], None], name: str) -> None:
    os.setpgrp()
    make(name)


def end(process: SpawnProcess) -> None:
    """Kill the process, and what it has started."""
    assert process.pid is not None
    with suppress(ProcessLookupError):  # it has no group yet
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.join()


def because(name: str) -> str:
    """What runs for a recording: a saboteur, or a program."""
    for rule in RULES:
        if name == failure_name(rule, 0):
            return f"the saboteur {saboteur_of(rule, 0).how!r} of the rule {rule!r}"
    return f"the module {PRINTING[name]}" if name in PRINTING else "it"


def main(asked: Iterable[str] = ()) -> int:
    """Make the recordings that are asked for, or all, and return the exit status."""
    known = recordings()
    names = [
        failure_name(rule, 0) if (rule := name.replace("_", " ")) in RULES else name
        for name in asked
    ] or [*known]
    if unknown := [name for name in names if name not in known]:
        print(f"no recording {', '.join(unknown)}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    wrong = False
    for name in names:
        print(name, flush=True)
        if complaint := record(name):
            print(complaint, file=sys.stderr, flush=True)
            wrong = True
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
