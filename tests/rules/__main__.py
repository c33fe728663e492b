"""The command line `python -m tests.rules [RULE ...]`: for each rule, a line says whether it holds.

If a rule is broken, its line shows the smallest program, or the test, for which it does not hold.
Look first at the first broken rule: those below rest on it.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.rules.language.telling import headline, module_of
from tests.rules.language.words import RULES

ROOT = Path(__file__).parents[2]
SECONDS = 60
"""How long the tests of one rule may take before they are said to hang."""
OPTIONS = [
    "-x",
    "-q",
    "--tb=short",
    "--show-capture=no",
    "-p",
    "no:cacheprovider",
    "-p",
    "no:xdist",
    "--timeout=20",
]


def verdict(rule: str, seconds: float = SECONDS) -> str:
    """What is said of a rule, after its tests have run in a process of their own."""
    command = [sys.executable, "-m", "pytest", module_of(rule), *OPTIONS]
    try:
        done = subprocess.run(
            command,
            check=False,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        return f"broken: {module_of(rule)} hangs, for more than {seconds:g} seconds"
    if done.returncode == 0:
        return HOLDS
    return "broken: " + smallest(rule, done.stdout)


HOLDS = "holds"


def smallest(rule: str, printed: str) -> str:
    """The program, or else what failed, in what the tests of a rule have printed."""
    told = printed.partition(headline(rule))[2]
    shown = re.search(r"^(?:program|failed|seen): +(.+(?:\n {10}.+)*)", told, re.MULTILINE)
    if shown is None:
        return (printed.strip().splitlines() or ["nothing was printed"])[-1]
    return re.sub(r"(?<=[(\[{]) | (?=[)\]}])|,(?= [)\]}])", "", " ".join(shown[1].split()))


def main(asked: Iterable[str] = ()) -> int:
    """Print the table of all rules, or of those that are asked for; return the exit status."""
    rules = list(asked) or list(RULES)
    if unknown := [rule for rule in rules if rule not in RULES]:
        print(f"no rule {', '.join(unknown)}; there are {', '.join(RULES)}", file=sys.stderr)
        return 2
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        holds = True
        for rule, said in zip(rules, pool.map(verdict, rules), strict=True):
            holds = holds and said == HOLDS
            print(f"{rule:14}{said}", flush=True)
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
