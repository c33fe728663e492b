"""Each preset of the lab shows what it says on each contender, and names a test that proves it."""

import ast
from pathlib import Path

import pytest

from minibg.examples.misunderstandings import __path__ as misunderstandings
from minibg.lab.applications import VERSIONS
from minibg.lab.composition import RunSpec
from minibg.lab.presets import NOT_SHOWN, PRESETS, Preset
from minibg.lab.site import check
from tests.lab.trying import events_of, said, tried
from tests.rules.language.words import RULES

ROOT = Path(__file__).parents[2]
TIMED = {"row"}
"""Differences that are told by times alone, which a machine with much to do may hide."""


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.id)
def test_a_preset_shows_what_it_says(preset: Preset) -> None:
    experiment = tried(preset.request, *preset.contenders)
    assert events_of(experiment, "error") == []
    assert said(experiment) == preset.shows
    assert {event["rule"] for event in events_of(experiment, "difference")} <= set(RULES)
    found = [event["name"] for event in events_of(experiment, "difference")]
    assert [name for name in found if name not in TIMED] == [
        name for name in preset.differs if name not in TIMED
    ]


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.id)
def test_a_preset_names_a_test_that_there_is(preset: Preset) -> None:
    path, _, name = preset.test.partition("::")
    functions = {
        node.name
        for node in ast.walk(ast.parse((ROOT / path).read_text()))
        if isinstance(node, ast.FunctionDef)
    }
    assert name in functions
    assert preset.rule in RULES


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.id)
def test_a_preset_can_be_asked_for(preset: Preset) -> None:
    check(RunSpec(preset.request, tuple(preset.contenders)))


def test_there_is_a_preset_for_everything() -> None:
    """The rules, the traps of the README, the misunderstandings, and the versions."""
    groups: dict[str, list[Preset]] = {}
    for preset in PRESETS:
        groups.setdefault(preset.group, []).append(preset)
    readme = (ROOT / "README.md").read_text()
    table = readme.partition("| trap | ")[2].partition("\n\n")[0].splitlines()[2:]
    programs = [
        path.stem
        for path in Path(misunderstandings[0]).glob("*.py")
        if path.stem not in ("__init__", "client")
    ]
    shown = [preset.rule for preset in groups["questions"] + groups["rules"]]
    assert {*shown, *NOT_SHOWN} == set(RULES)
    assert len(groups["traps"]) == len(table)
    believed = [preset for preset in PRESETS if preset.id.startswith("misunderstanding-")]
    assert len(believed) == len(programs)
    assert all(preset.title.startswith("“") for preset in groups["misunderstandings"])
    assert [preset.id for preset in groups["versions"]] == [*VERSIONS]
    assert len({preset.id for preset in PRESETS}) == len(PRESETS)
