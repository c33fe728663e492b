"""pytest's report of a failure, with a text of ours in front."""

from typing import Any

from _pytest._code.code import ReprEntryNative  # pytest has no public name for it

told: list[str] = []
"""What was told of each program that has broken a rule since the test began."""

tried: list[Any] = []
"""The program that runs, or the last one that ran."""


def in_front(text: str, longrepr: Any) -> Any:
    """The report with that text before its traceback, also where it comes from another process."""
    entries = getattr(getattr(longrepr, "reprtraceback", None), "reprentries", None)
    if chain := getattr(longrepr, "chain", None):
        entries = chain[0][0].reprentries
    if not isinstance(entries, list):
        return f"{text}\n\n{longrepr}"
    entries.insert(0, ReprEntryNative([f"{text}\n\n"]))
    if longrepr.reprcrash is not None:  # the line of the summary
        longrepr.reprcrash.message = text.splitlines()[0]
    return longrepr
