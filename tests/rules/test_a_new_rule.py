"""A new rule is asked for each of its places, in the order in which they are best written.

`words.RULES` comes first. From then on this module fails, and says which file lacks what, and which
command makes it.
"""

import re
from importlib import import_module
from pathlib import Path

import pytest

from minibg.lab.presets import NOT_SHOWN, PRESETS
from tests.rules.breaks import BREAKS
from tests.rules.language.programs import PROGRAMS, VIEWS
from tests.rules.language.telling import module_of
from tests.rules.language.words import RULES, told_in
from tests.walkthrough import weave

ROOT = Path(__file__).parents[2]

each_rule = pytest.mark.parametrize("rule", RULES)


def text_of(path: str) -> str:
    file = ROOT / path
    return file.read_text(encoding="utf-8") if file.is_file() else ""


@each_rule
def test_a_rule_has_programs_that_it_speaks_of(rule: str) -> None:
    assert rule in PROGRAMS, f"tests/rules/language/programs.py: PROGRAMS has nothing for {rule!r}"
    compares = rule in VIEWS or "hold(" in text_of(module_of(rule))
    assert compares, (
        f"tests/rules/language/programs.py: VIEWS has nothing for {rule!r}, "
        f"and {module_of(rule)} does not call `hold` either"
    )


@each_rule
def test_a_rule_has_a_module_with_a_basic_property(rule: str) -> None:
    path, text = module_of(rule), text_of(module_of(rule))
    assert text.startswith(f'"""**{rule}**: '), f"{path}: has to begin with **{rule}**: ..."
    assert re.search(r"@pytest\.mark\.basic\n@given\(program", text), (
        f"{path}: has no property of PROGRAMS[{rule!r}] that is marked `basic`"
    )


@each_rule
def test_a_rule_has_a_saboteur_with_a_property(rule: str) -> None:
    bite = import_module("tests.rules.test_the_rules_bite")
    path = "tests/rules/test_the_rules_bite.py"
    assert rule in bite.PROPERTIES, f"{path}: PROPERTIES has nothing for {rule!r}"
    sabotaged = [saboteur for saboteur in bite.SABOTEURS if saboteur.rule == rule]
    assert sabotaged, f"{path}: SABOTEURS has nothing for {rule!r}"


@each_rule
def test_a_rule_has_changes_that_a_reader_may_try(rule: str) -> None:
    tried = [change for change in BREAKS if change.rule == rule]
    assert tried, f"tests/rules/breaks.py: BREAKS has nothing for {rule!r}"


@each_rule
def test_a_rule_is_kept_by_code_that_names_it(rule: str) -> None:
    named = [file for file in (ROOT / "minibg").rglob("*.py") if f"**{rule}**" in file.read_text()]
    assert named, f"minibg/: no docstring says that its code keeps **{rule}**"


@each_rule
def test_a_rule_has_a_row_in_the_readme(rule: str) -> None:
    module = Path(module_of(rule)).stem
    row = f"| {rule} | {RULES[rule]} | [{module}]({module_of(rule)}) |"
    assert row in text_of("README.md"), f"README.md, section The rules: lacks the row {row}"


@each_rule
def test_a_rule_is_told_of_in_the_walkthrough(rule: str) -> None:
    """The piece `rule` and the piece `saboteur` stand in its section, and are woven."""
    section = re.search(rf"^### {rule}\n(.*?)^##", text_of("walkthrough.md"), re.M | re.S)
    assert section, f"walkthrough.md: has no section `### {rule}`, which {told_in(rule)} leads to"
    for piece in (f'rule("{rule}")', f'saboteur("{rule}")'):
        mark = f"<!-- [[[cog {piece} ]]] -->\n"
        lacks = f"walkthrough.md, section {rule}: lacks the lines\n{mark}<!-- [[[end]]] -->\n"
        assert mark in section[1], f"{lacks}then: python -m tests.walkthrough.weave"
    row = f" | [{rule}]({told_in(rule).removeprefix(weave.NAME)})"
    assert row in text_of("walkthrough.md"), f"walkthrough.md, table of questions: lacks ...{row}"


@each_rule
def test_a_rule_that_is_broken_has_been_recorded(rule: str) -> None:
    path = f"tests/walkthrough/recorded/failure_{rule.replace(' ', '_')}_0.txt"
    command = f"python -m tests.walkthrough.record '{rule}'"
    assert text_of(path), f"there is no {path}: {command}"


@each_rule
def test_the_oracle_says_what_starlette_does_about_a_rule(rule: str) -> None:
    oracle = import_module("tests.rules.test_starlette_as_oracle")
    path = "tests/rules/test_starlette_as_oracle.py"
    assert rule in oracle.BESIDE_STARLETTE, f"{path}: BESIDE_STARLETTE has nothing for {rule!r}"
    shown = oracle.BESIDE_STARLETTE[rule]
    assert shown is None or callable(getattr(oracle, shown)), f"{path}: has no test {shown}"


@each_rule
def test_a_rule_is_shown_in_the_lab_or_cannot_be(rule: str) -> None:
    shown = [preset.rule for preset in PRESETS if preset.group in ("questions", "rules")]
    assert rule in [*shown, *NOT_SHOWN], f"minibg/lab/presets.py: no PRESETS, no NOT_SHOWN: {rule}"


def test_a_test_has_a_name_of_at_most_sixty_letters() -> None:
    """What takes more words stands in its docstring."""
    texts = "".join(file.read_text() for file in (ROOT / "tests").rglob("test_*.py"))
    names = re.findall(r"^(?:async )?def (test_\w+)", texts, re.MULTILINE)
    assert [name for name in names if len(name) > 60] == []


@pytest.mark.parametrize("path", [weave.NAME, *weave.COUNTED])
def test_the_number_of_rules_is_right(path: str) -> None:
    text = text_of(path)
    assert f"{weave.NUMBER} rules" in text
    assert weave.counted(text) == text, f"{path}: python -m tests.walkthrough.weave"
