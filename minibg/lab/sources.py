"""The source that the lab shows beside a timeline: each line as HTML, with Pygments' classes.

What may live here: reading and highlighting. `stepping.py` says which functions are a mechanism.
"""

from functools import cache
from importlib import import_module
from inspect import getsourcelines
from typing import Any

from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from minibg.lab.stepping import SHOWN, file_of, modules_of


@cache
def sources_of(contender: str) -> list[dict[str, Any]]:
    """The functions of a contender's mechanism, in the order of their files."""
    shown = []
    for module in modules_of(contender):
        file = file_of(module)
        lines = file.read_text(encoding="utf-8").splitlines()
        highlighted = _highlighted("\n".join(lines))
        for first, last in _ranges(module, len(lines)):
            part = slice(first - 1, last)
            where = {"file": file.name, "first": first, "last": last}
            shown.append({**where, "text": lines[part], "html": highlighted[part]})
    return shown


def _ranges(module: str, last: int) -> list[tuple[int, int]]:
    """The ranges of lines of a module that are shown, each from its first to its last line."""
    if module not in SHOWN:
        return [(1, last)]
    found = []
    for name in SHOWN[module]:
        target: Any = import_module(module)
        for part in name.split("."):
            target = getattr(target, part)
        lines, first = getsourcelines(target)
        found.append((first, first + len(lines) - 1))
    return sorted(found)


def _highlighted(source: str) -> list[str]:
    lexer = PythonLexer(stripnl=False, ensurenl=False)
    return str(highlight(source, lexer, HtmlFormatter(nowrap=True))).split("\n")
