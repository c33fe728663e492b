"""The blocks of the walkthrough as Markdown, each made from a part of the project.

What may live here: functions that return text. `weave.py` writes it to its place.
"""

import json
import re
from collections.abc import Iterable
from importlib import import_module
from inspect import getdoc, getsource
from textwrap import dedent, fill

from minibg.examples import solutions
from tests.examples import as_shown
from tests.rules.test_the_rules_bite import SABOTEURS, Saboteur
from tests.walkthrough import source
from tests.walkthrough.figures import FILE, figures_of
from tests.walkthrough.source import HEAD, ROOT, MissingError

RECORDED = ROOT / "tests" / "walkthrough" / "recorded"
RECORD = "python -m tests.walkthrough.record"
WIDTH = 120
"""Of a paragraph."""

A_RULE = "tests/walkthrough/a_rule.diff"
"""The patch that adds a rule to the project; `test_a_rule_as_a_diff.py` applies it."""
ASKING = "tests/rules/test_a_new_rule.py"
ASKED_FOR = {
    "tests/rules/language/words.py": "",
    "tests/rules/language/programs.py": f"{ASKING}::test_a_rule_has_programs_that_it_speaks_of",
    "tests/rules/test_deadline.py": f"{ASKING}::test_a_rule_has_a_module_with_a_basic_property",
    "tests/rules/test_the_rules_bite.py": f"{ASKING}::test_a_rule_has_a_saboteur_with_a_property",
    "tests/rules/breaks.py": f"{ASKING}::test_a_rule_has_changes_that_a_reader_may_try",
    "minibg/examples/solutions.py": f"{ASKING}::test_a_rule_is_kept_by_code_that_names_it",
    "README.md": f"{ASKING}::test_a_rule_has_a_row_in_the_readme",
    "walkthrough.md": f"{ASKING}::test_a_rule_is_told_of_in_the_walkthrough",
    "tests/walkthrough/recorded/failure_deadline_0.txt": (
        f"{ASKING}::test_a_rule_that_is_broken_has_been_recorded"
    ),
    "tests/rules/test_starlette_as_oracle.py": (
        f"{ASKING}::test_the_oracle_says_what_starlette_does_about_a_rule"
    ),
    "minibg/lab/presets.py": f"{ASKING}::test_a_rule_is_shown_in_the_lab_or_cannot_be",
}
"""The files of that patch in the order of writing, each with the test that asks for it."""


def fence(language: str, lines: Iterable[str]) -> str:
    text = "\n".join(lines)
    return f"```{language}\n{text}\n```\n"


def linked(path: str, line: int = 0) -> str:
    return f"[{path}]({path}{f'#L{line}' if line else ''})"


def piece(path: str, *symbols: str) -> str:
    """Symbols of a file, or all of it, as they are written."""
    named = ", ".join(map(_spoken, symbols))
    if symbols:
        heading = f"{linked(path, source.line_of(path, symbols[0]))}, {named}:"
    else:
        heading = f"{linked(path)}:"
    return f"{heading}\n\n{fence('python', source.excerpt(path, symbols))}"


def _spoken(symbol: str) -> str:
    owner, _, name = symbol.rpartition(".")
    if name != HEAD:
        return f"`{symbol}`"
    return f"how `{owner}` begins" if owner else "how it begins"


def program(module: str) -> str:
    """The whole source of a module, without its docstring."""
    path = source.path_of(module)
    text = source.read(path)
    lines = text.splitlines()[source.after_docstring(text).start :]
    return f"{linked(path)}:\n\n{fence('python', lines)}"


def shown(module: str) -> str:
    """What a module prints, by its docstring."""
    printed = as_shown.shown(import_module(module))
    if not printed:
        raise MissingError(f"the docstring of {module} shows no output")
    return fence("text", [f"$ python -m {module}", *printed])


def step(before: str, after: str, *symbols: str) -> str:
    """What changes from one module to another: in those symbols, or in all of it."""
    lines = list(source.step(before, after, symbols))
    if not lines:
        raise MissingError(f"nothing changes from {before} to {after} in {', '.join(symbols)}")
    return fence("diff", lines)


def rule(name: str) -> str:
    """The README's row of a rule."""
    row = rf"^\| {re.escape(name)} \| (.+?) \| (\[test_\w+\]\(.+?\)) \|$"
    found = re.search(row, source.read("README.md"), re.MULTILINE)
    if found is None:
        raise MissingError(f"README.md has no rule {name!r}")
    return f"> **{name}**: {found[1]}. Proven by {found[2]}.\n"


def saboteur(rule: str, index: int = 0) -> str:
    """A rule that is broken on purpose, and what its own property says."""
    broken = saboteur_of(rule, index)
    old = dedent(getsource(broken.function))
    new = old.replace(broken.intact, broken.broken)
    name = broken.function.__qualname__
    lines = source.changes(old.splitlines(), new.splitlines(), 1, lambda *_: name)
    return (
        f"Broken on purpose: *{broken.how}*.\n\n{fence('diff', lines)}\n"
        f"{fence('text', recorded(failure_name(rule, index)))}"
    )


def saboteur_of(rule: str, index: int) -> Saboteur:
    of_the_rule = [saboteur for saboteur in SABOTEURS if saboteur.rule == rule]
    if index >= len(of_the_rule):
        raise MissingError(f"the rule {rule!r} has {len(of_the_rule)} saboteurs")
    return of_the_rule[index]


def failure_name(rule: str, index: int) -> str:
    """The name of the recording of what a saboteur causes."""
    return f"failure_{rule.replace(' ', '_')}_{index}"


def recording(name: str) -> str:
    """What was printed, and by which machine."""
    return f"{fence('text', recorded(name))}\nRecorded on {recorded('machine')[0]}.\n"


def recorded(name: str) -> list[str]:
    file = RECORDED / f"{name}.txt"
    if not file.is_file():
        raise MissingError(f"{name} has not been recorded: {RECORD}")
    return file.read_text(encoding="utf-8").splitlines()


def exercise(name: str) -> str:
    """What an exercise asks for, in the words of our solution, and where its tests are."""
    asked = getdoc(getattr(solutions, name))
    tests = f"tests/exercises/test_{re.sub('(?<=.)(?=[A-Z])', '_', name).lower()}.py"
    return f"`{name}`: {asked}\n\nIts tests: {linked(tests)}.\n"


def figures(template: str) -> str:
    """A paragraph with figures of the benchmarks; their names are those of `Figures`."""
    known = figures_of(json.loads(FILE.read_text()))._asdict()
    try:
        text = template.format(**known)
    except KeyError as exc:
        raise MissingError(f"no figure is called {exc}, but {', '.join(known)} are") from None
    return (
        fill(" ".join(text.split()), WIDTH, break_long_words=False, break_on_hyphens=False) + "\n"
    )


def a_rule() -> str:
    """The patch that adds a rule: each file unfolds, below the test that asks for it."""
    hunks = _hunks(source.read(A_RULE))
    if strange := set(hunks) ^ set(ASKED_FOR):
        raise MissingError(f"{A_RULE} and ASKED_FOR differ in {', '.join(sorted(strange))}")
    return "\n".join(_unfolding(path, hunks[path], ASKED_FOR[path]) for path in ASKED_FOR)


def _hunks(patch: str) -> dict[str, list[str]]:
    """For each file of a patch, its hunks."""
    hunks: dict[str, list[str]] = {}
    for change in re.split(r"^diff --git .*\n", patch, flags=re.MULTILINE)[1:]:
        head, *bodies = re.split(r"^@@ ", change, flags=re.MULTILINE)
        hunks[head.splitlines()[-1].removeprefix("+++ b/")] = bodies
    return hunks


def _unfolding(path: str, hunks: list[str], asking: str) -> str:
    """A file of the patch: all of it if it is new, otherwise what changes."""
    asked = "where a rule begins"
    if asking:
        file, _, test = asking.partition("::")
        link = f'<a href="{file}#L{source.line_of(file, test)}">{test}</a>'
        asked = f"asked for by {link}"
    if hunks[0].startswith("-0,0 "):
        language = "python" if path.endswith(".py") else "text"
        code = fence(language, [line[1:] for line in hunks[0].splitlines()[1:]])
    else:
        numbers = r"^-\S+ \+\S+ @@.*"  # they would change with each line that is added above
        code = fence("diff", "".join(re.sub(numbers, "@@ @@", hunk) for hunk in hunks).splitlines())
    return f"<details><summary>{path}, {asked}</summary>\n\n{code}\n</details>\n"
