"""The command line `python -m tests.rules [RULE ...]`: for each rule, a line says whether it holds.

First each rule is asked by itself: its tests that are marked `basic` look at nothing else. If
one is broken, its line shows the smallest program for which it does not hold, and that is all, as
the other tests rest on it. If all hold, the other tests of each rule are run. What is about several
rules at once, only `pytest tests/rules` asks.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from tests.rules.language.telling import headline, module_of
from tests.rules.language.words import RULES

ROOT = Path(__file__).parents[2]
SECONDS = 60
"""How long the tests of one rule may take before they are said to hang."""
OPTIONS = [
    "-x",
    "-p",
    "pytest_timeout",
    "-q",
    "--tb=short",
    "--show-capture=no",
    "-p",
    "no:cacheprovider",
    "-p",
    "no:xdist",
    "--timeout=20",
]


NO_OTHER_PLUGINS = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
"""They take half of the time in which pytest starts."""


def verdict(rule: str, marked: str, seconds: float = SECONDS) -> str:
    """What is said of a rule, after its tests so marked have run in a process of their own."""
    command = [sys.executable, "-m", "pytest", module_of(rule), "-m", marked, *OPTIONS]
    try:
        done = subprocess.run(
            command,
            check=False,
            cwd=ROOT,
            env=os.environ | NO_OTHER_PLUGINS,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        return f"broken: {module_of(rule)} hangs, for more than {seconds:g} seconds"
    return said_of(rule, marked, done.returncode, done.stdout)


def said_of(rule: str, marked: str, status: int, printed: str) -> str:
    """What is said of a rule whose tests have ended so."""
    if status == 0:
        return HOLDS
    if status == pytest.ExitCode.NO_TESTS_COLLECTED:
        return f"not asked: {module_of(rule)} has no basic test" if marked == BASIC else HOLDS
    could_not_start = status in (pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.INTERRUPTED)
    if could_not_start and headline(rule) not in printed:
        return f"not asked: {last_line(printed)}"
    return f"broken: {smallest(rule, printed)}"


HOLDS = "holds"
BASIC = "basic"


def smallest(rule: str, printed: str) -> str:
    """The program, or else what failed, in what the tests of a rule have printed."""
    told = printed.partition(headline(rule))[2]
    shown = re.search(r"^(?:program|failed|seen): +(.+(?:\n {10}.+)*)", told, re.MULTILINE)
    if shown is None:
        return last_line(printed)
    program = re.sub(r"(?<=[(\[{]) | (?=[)\]}])|,(?= [)\]}])", "", " ".join(shown[1].split()))
    hangs = re.search(r"^seen: +TookTooLong: (.+)", told[shown.end() :], re.MULTILINE)
    return f"{program} hangs: {hangs[1]}" if hangs else program


def last_line(printed: str) -> str:
    """The last line of a report, without pytest's mark of an error."""
    last = (printed.strip().splitlines() or ["nothing was printed"])[-1]
    return last.removeprefix("E ").strip()


def main(asked: Iterable[str] = ()) -> int:
    """Print the table of all rules, or of those that are asked for; return the exit status."""
    rules = [rule.replace("_", " ") for rule in asked] or list(RULES)
    if unknown := [rule for rule in rules if rule not in RULES]:
        print(f"no rule {', '.join(unknown)}; there are {', '.join(RULES)}", file=sys.stderr)
        return 2
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        basic = list(pool.map(partial(verdict, marked=BASIC), rules))
        hold = all(said == HOLDS for said in basic)
        last = pool.map(partial(verdict, marked=f"not {BASIC}"), rules) if hold else basic
        for rule, said in zip(rules, last, strict=True):
            hold = hold and said == HOLDS
            print(f"{rule:14}{said}", flush=True)
    return 0 if hold else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
