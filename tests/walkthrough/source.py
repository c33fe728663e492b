"""The project's source by symbols: where each is defined, and what changes between two files.

What may live here: lines of Python, and nothing about Markdown.
"""

import ast
from collections.abc import Callable, Iterable, Iterator
from difflib import SequenceMatcher
from itertools import zip_longest
from pathlib import Path
from textwrap import dedent

ROOT = Path(__file__).parents[2]
HEAD = "head"
"""The name of what a file, or a class, begins with: all before its first function or method."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


class MissingError(LookupError):
    """What the text asks for is not there."""


def read(path: str) -> str:
    """The text of a file of the project."""
    file = ROOT / path
    if not file.is_file():
        raise MissingError(f"there is no file {path}")
    return file.read_text(encoding="utf-8")


def path_of(module: str) -> str:
    """Where the source of a module stands."""
    return module.replace(".", "/") + ".py"


def after_docstring(text: str) -> range:
    """The lines below the module's docstring, counted from 0."""
    lines, first = text.splitlines(), ast.parse(text).body[0]
    start = first.end_lineno or 0 if _is_docstring(first) else 0
    while start < len(lines) and not lines[start]:
        start += 1
    return range(start, len(lines))


def symbols(text: str) -> dict[str, range]:
    """The lines of each symbol, counted from 0: functions, classes, methods, constants, heads.

    Decorators and the comment lines directly above belong to a symbol, and so does the string that
    documents a constant.
    """
    lines, body = text.splitlines(), ast.parse(text).body
    return {HEAD: _head(lines, body, 0, len(lines))} | dict(_symbols_in(lines, body, ""))


def _symbols_in(lines: list[str], body: list[ast.stmt], prefix: str) -> Iterator[tuple[str, range]]:
    for node, following in zip_longest(body, body[1:]):
        is_explained = isinstance(node, ast.Assign | ast.AnnAssign) and _is_docstring(following)
        where = range(_first_line(lines, node), (following if is_explained else node).end_lineno)
        for name in _names(node):
            yield prefix + name, where
        if isinstance(node, ast.ClassDef):
            inner = f"{prefix}{node.name}."
            yield inner + HEAD, _head(lines, node.body, where.start, where.stop)
            yield from _symbols_in(lines, node.body, inner)


def _head(lines: list[str], body: list[ast.stmt], start: int, end: int) -> range:
    definitions = (node for node in body if isinstance(node, Function | ast.ClassDef))
    stop = next((_first_line(lines, node) for node in definitions), end)
    while not lines[stop - 1].strip():
        stop -= 1
    return range(start, stop)


def _first_line(lines: list[str], node: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    first = min(part.lineno for part in (node, *decorators)) - 1
    while first and lines[first - 1].lstrip().startswith("#"):
        first -= 1
    return first


def _names(node: ast.stmt) -> list[str]:
    if isinstance(node, Function | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _is_docstring(node: ast.stmt | None) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def spans(path: str, names: Iterable[str]) -> list[range]:
    """The lines of those symbols of a file; of the whole file, if none is named."""
    text = read(path)
    known = symbols(text)
    for name in names:
        if name not in known:
            raise MissingError(f"{path} has no symbol {name!r}")
    return [known[name] for name in names] or [range(len(text.splitlines()))]


def line_of(path: str, name: str) -> int:
    """In which line of a file a symbol stands, counted from 1."""
    return spans(path, [name])[0].start + 1


def excerpt(path: str, names: Iterable[str]) -> list[str]:
    """Those symbols as they are written, with as many blank lines between them."""
    lines = read(path).splitlines()
    parts: list[str] = []
    stop = 0
    for where in spans(path, names):
        if parts:
            between = _blank_lines(reversed(lines[: where.start])), _blank_lines(lines[stop:])
            parts += [""] * max(between)
        parts += lines[where.start : where.stop]
        stop = where.stop
    return dedent("\n".join(parts)).split("\n")


def _blank_lines(lines: Iterable[str]) -> int:
    return next((number for number, line in enumerate(lines) if line.strip()), 0)


Naming = Callable[[list[int], list[int]], str]
"""What encloses a change, given the places of the lines that go and of those that come."""


def changes(old: list[str], new: list[str], context: int, naming: Naming) -> Iterator[str]:
    """A unified diff whose `@@` lines name what encloses a change."""
    for group in SequenceMatcher(None, old, new, autojunk=False).get_grouped_opcodes(context):
        hunk: list[str] = []
        going: list[int] = []
        coming: list[int] = []
        for tag, i, stop, j, end in group:
            if tag == "equal":
                hunk += [f" {line}".rstrip() for line in new[j:end]]
                continue
            hunk += [f"-{line}" for line in old[i:stop]] + [f"+{line}" for line in new[j:end]]
            going += range(i, stop)
            coming += range(j, end)
        yield f"@@ {naming(going, coming)} @@"
        yield from hunk


def step(before: str, after: str, names: Iterable[str], context: int = 3) -> Iterator[str]:
    """What changes from one module to another in those symbols; below the docstring, if in none."""
    old_text, new_text = read(path_of(before)), read(path_of(after))
    old_lines, new_lines = old_text.splitlines(), new_text.splitlines()
    module = f"module {after.rpartition('.')[2]}"
    for was, now in _pairs(before, after, old_text, new_text, list(names)):

        def naming(going: list[int], coming: list[int], was: range = was, now: range = now) -> str:
            if coming:
                return enclosing(new_text, [now.start + place for place in coming]) or module
            return enclosing(old_text, [was.start + place for place in going]) or module

        yield from changes(
            old_lines[was.start : was.stop], new_lines[now.start : now.stop], context, naming
        )


def _pairs(
    before: str, after: str, old_text: str, new_text: str, names: list[str]
) -> Iterator[tuple[range, range]]:
    if not names:
        yield after_docstring(old_text), after_docstring(new_text)
    old, new = symbols(old_text), symbols(new_text)
    for name in names:
        if name not in old and name not in new:
            raise MissingError(f"neither {before} nor {after} has a symbol {name!r}")
        yield old.get(name, range(0)), new.get(name, range(0))


def enclosing(text: str, places: list[int]) -> str | None:
    """The innermost function or class around those lines, which are counted from 0."""

    def around(body: list[ast.stmt], prefix: str) -> str | None:
        for node in body:
            if not isinstance(node, Function | ast.ClassDef) or node.end_lineno is None:
                continue
            if node.lineno <= min(places) and max(places) < node.end_lineno:
                name = prefix + node.name
                word = "class " if isinstance(node, ast.ClassDef) else ""
                return around(node.body, f"{name}.") or word + name
        return None

    return around(ast.parse(text).body, "")
