"""The report of a broken rule: its name, then the program, then expected and seen side by side.

What may live here: text. `programs.py` compares, and `conftest.py` reports.
"""

from collections.abc import Iterable, Iterator
from difflib import SequenceMatcher
from itertools import zip_longest
from pathlib import PurePath
from pprint import pformat
from textwrap import dedent, wrap
from typing import Any

from tests.rules.language.words import RULES, told_in

LINES = 40
"""The most that is told of a failure before its traceback."""
WIDTH = 98
COLUMN = 46
EXAMPLE = ("Falsifying example:", "Failing test case:")
"""How Hypothesis begins to show the inputs, in its releases."""


def headline(rule: str) -> str:
    """The first line of what is told."""
    return f"the rule **{rule}** is broken: {RULES[rule]}."


def rule_of(module: str) -> str | None:
    """The rule that a module of tests is about; some are about all of them."""
    rule = module.removeprefix("test_").replace("_", " ")
    return rule if rule in RULES else None


def module_of(rule: str) -> str:
    """The file of the tests of a rule."""
    return f"tests/rules/test_{rule.replace(' ', '_')}.py"


def report_of(
    nodeid: str,
    doc: str,
    exc: BaseException,
    compared: Iterable[str] = (),
    line: str = "",
    program: Any = None,
) -> str:
    """What is told of a test that has failed, before its traceback.

    Args:
        nodeid, doc: Which test, and what it says that it shows.
        exc: How it failed.
        compared: What it compared last, in columns.
        line: The line of the test at which it failed.
        program: What ran then, if that is known.
    """
    told = told_by(exc)
    if told is not None:
        return told
    path, _, name = nodeid.partition("::")
    rule = rule_of(PurePath(path).stem)
    lines = [f"a test of all rules has failed: {name}"]
    if rule is not None:
        lines = [headline(rule), f"told in:  {told_in(rule)}", f"test:     {path}::{name}"]
    lines += _titled("shows:   ", _cut(doc.split("\n"), 4)) if doc else []
    example = next((note for note in _notes(exc) if note.startswith(EXAMPLE)), None)
    if program is not None:
        lines += _titled("program: ", _cut(as_code(program), 14))
    elif example is not None:
        inputs = dedent("\n".join(example.splitlines()[1:-1]))
        lines += _titled("program: ", _cut(inputs.rstrip(",").splitlines(), 12))
    elif line:
        lines += _titled("failed:  ", _cut(line.splitlines(), 4))
    while isinstance(exc, BaseExceptionGroup) and len(exc.exceptions) == 1:
        exc = exc.exceptions[0]
    said = f"{type(exc).__name__}: {exc}".rstrip(": ").splitlines()
    if compared and isinstance(exc, AssertionError):
        message = said[0].removeprefix("AssertionError: ")
        lines += [] if message.startswith("assert ") else _titled("said:    ", [message])
        lines += compared
    else:
        lines += _titled("seen:    ", _cut(said, 8))
    return "\n".join(_cut(lines, LINES))


def told_by(exc: BaseException) -> str | None:
    """What an exception tells itself of a broken rule, or one that it holds."""
    if str(exc).startswith("the rule **"):
        return str(exc)
    inside = exc.exceptions if isinstance(exc, BaseExceptionGroup) else ()
    return next((told for each in inside if (told := told_by(each))), None)


def _notes(exc: BaseException) -> list[str]:
    inside = exc.exceptions if isinstance(exc, BaseExceptionGroup) else ()
    return [*getattr(exc, "__notes__", ()), *(note for each in inside for note in _notes(each))]


def broken(rule: str, program: Any, wanted: Any, seen: Any) -> str:
    """What is told of a rule that does not hold for a program."""
    code = as_code(program) if not isinstance(program, str) else [program]
    head = [headline(rule), f"told in:  {told_in(rule)}", *_titled("program: ", _cut(code, 14))]
    return "\n".join([*head, *side_by_side(wanted, seen, LINES - len(head))])


def _titled(title: str, lines: list[str]) -> list[str]:
    return [f"{title if number == 0 else '':9} {line}" for number, line in enumerate(lines)]


def _cut(lines: list[str], most: int) -> list[str]:
    return lines if len(lines) <= most else [*lines[: most - 1], "..."]


def as_code(value: Any) -> list[str]:
    """A program as the Python that makes it, in lines."""
    return list(_broken_up(repr(value), ""))


def _broken_up(code: str, indent: str) -> Iterator[str]:
    """Break a line that is too long behind its outermost brackets, and so on inside."""
    if len(indent) + len(code) <= WIDTH - 10 or not (parts := _parts(code)):
        yield indent + code
        return
    before, inside, after = parts
    yield indent + before
    for part in inside:
        yield from _broken_up(part, indent + "    ")
    yield indent + after


def _parts(code: str) -> tuple[str, list[str], str] | None:
    """What stands before, between and behind the outermost brackets, split at its commas."""
    depth, start, quote, parts, begin = 0, -1, "", [], 0
    for place, char in enumerate(code):
        if quote:
            quote = "" if char == quote and code[place - 1] != "\\" else quote
        elif char in "\"'":
            quote = char
        elif char in "([{":
            depth += 1
            if depth == 1:
                start, begin = place, place + 1
        elif char in ")]}":
            depth -= 1
            if depth == 0:
                if rest := code[begin:place].strip():
                    parts.append(rest + ",")
                return code[: start + 1], parts, code[place:]
        elif char == "," and depth == 1:
            parts.append(code[begin : place + 1].strip())
            begin = place + 1
    return None


def side_by_side(wanted: Any, seen: Any, most: int = LINES) -> list[str]:
    """Two values in two columns; what differs is marked."""
    rows: list[str] = []
    differs = -1
    for left, right in _aligned(_items(wanted), _items(seen)):
        mark = " " if left == right else ">"
        if left != right and differs < 0:
            differs = len(rows)
        cells = zip_longest(_cell(left), _cell(right), fillvalue="")
        rows += [f"{mark} {one:{COLUMN}}  {other}".rstrip() for one, other in cells]
    shown = most - 1
    if len(rows) > shown:
        start = max(0, min(differs - 3, len(rows) - shown + 2))
        around = rows[start : start + shown - 2]
        rows = [
            *(["  ..."] if start else []),
            *around,
            *(["  ..."] if start + shown - 2 < len(rows) else []),
        ]
    return [f"  {'expected:':{COLUMN}}  seen:", *rows]


def _aligned(wanted: list[str], seen: list[str]) -> Iterator[tuple[str, str]]:
    """What stands beside what: one by one, or what is alike where one side lacks something."""
    if len(wanted) == len(seen):
        yield from zip(wanted, seen, strict=True)
        return
    matcher = SequenceMatcher(None, wanted, seen, autojunk=False)
    for _, start, stop, begin, end in matcher.get_opcodes():
        yield from zip_longest(wanted[start:stop], seen[begin:end], fillvalue="")


NOTHING = ["(nothing)"]
"""How an empty list is shown, as a list is shown without its brackets."""


def _items(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [f"{key!r}: {item!r}" for key, item in value.items()] or NOTHING
    if isinstance(value, list):
        return [item if isinstance(item, str) else repr(item) for item in value] or NOTHING
    return pformat(value, width=COLUMN).splitlines()


def _cell(item: str) -> list[str]:
    return wrap(item, COLUMN, subsequent_indent="    ") or [""]
