"""The source that the lab shows beside a timeline: each line as HTML, with Pygments' classes.

What may live here: reading and highlighting. `stepping.py` says which functions are a mechanism.
"""

from functools import cache
from inspect import getsourcelines
from pathlib import Path
from typing import Any

from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from minibg.lab.stepping import FUNCTIONS, codes_of, file_of, shown_as


@cache
def sources_of(contender: str) -> list[dict[str, Any]]:
    """The functions of a contender's mechanism, in the order of their files."""
    shown = []
    for file, ranges in _ranges(contender).items():
        lines = file.read_text(encoding="utf-8").splitlines()
        highlighted = _highlighted("\n".join(lines))
        for first, last in ranges or [(1, len(lines))]:
            part = slice(first - 1, last)
            where = {"file": shown_as(file), "first": first, "last": last}
            shown.append({**where, "text": lines[part], "html": highlighted[part]})
    return shown


def _ranges(contender: str) -> dict[Path, list[tuple[int, int]]]:
    """The ranges of lines that are shown, by file; no range where the whole file is shown."""
    if contender not in FUNCTIONS:
        return {file_of(contender): []}
    found: dict[Path, list[tuple[int, int]]] = {}
    for code in codes_of(contender):
        lines, first = getsourcelines(code)
        found.setdefault(Path(code.co_filename), []).append((first, first + len(lines) - 1))
    return {file: sorted(ranges) for file, ranges in found.items()}


def _highlighted(source: str) -> list[str]:
    lexer = PythonLexer(stripnl=False, ensurenl=False)
    return str(highlight(source, lexer, HtmlFormatter(nowrap=True))).split("\n")
