"""The command line `python -m tests.walkthrough.record`: records anew what the walkthrough shows.

That is what programs print, and how rules fail that are broken on purpose. A machine that does
nothing else tells most. Then the text is to be woven anew.
"""

import gc
import logging
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import Phase, given, settings

from tests.benchmarks import machine
from tests.lab.test_command_line import python
from tests.rules.programs import PROGRAMS
from tests.rules.test_the_rules_bite import PROPERTIES, at_work
from tests.rules.words import RULES
from tests.walkthrough.blocks import RECORDED, failure_name, saboteur_of
from tests.walkthrough.figures import sentence_of

PRINTING = {
    "timeline": "minibg",
    "alternatives": "minibg.examples.alternatives",
    "waiting": "minibg.examples.waiting",
}
"""For each recording, the module that prints it."""

BACKEND = "asyncio"


def printed(module: str) -> str:
    """The command line that runs the module, and what it prints, but not where it kept files."""
    with TemporaryDirectory() as directory:
        done = python("-m", module, directory=Path(directory))
    assert (done.returncode, done.stderr) == (0, "")
    told = done.stdout.partition("\nKept in ")[0]
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


def main() -> None:
    logging.getLogger().addHandler(logging.NullHandler())  # rules that are broken fill the log
    texts = {"machine": sentence_of(machine.describe())}
    texts |= {failure_name(rule, 0): smallest_failure(rule, 0) for rule in RULES}
    texts |= {name: printed(module) for name, module in PRINTING.items()}
    for name, text in texts.items():
        (RECORDED / f"{name}.txt").write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
