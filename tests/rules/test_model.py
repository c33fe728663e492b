"""All rules at once: a program shows what the model expects of it."""

import doctest
from itertools import product
from pathlib import Path

import anyio
import pytest
from hypothesis import given

import tests.rules.language.programs
from tests.rules.language.programs import (
    VIEWS,
    AnyProgram,
    Player,
    compare,
    everything,
    programs,
    requests,
)
from tests.rules.language.words import RULES, Program, Task

SMALL = [
    Task(kind=kind, raises=raises, adds=adds)
    for kind in ("a function", "a coroutine function")
    for raises, adds in [(None, ()), (ValueError, ()), (None, (Task(),))]
]


def test_the_example_of_check_is_as_the_model_says() -> None:
    assert doctest.testmod(tests.rules.language.programs) == (0, 3)


def test_the_readme_states_the_rules_in_the_same_words() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    for rule, sentence in RULES.items():
        assert f"| {rule} | {sentence} |" in readme


@pytest.mark.timeout(180)
def test_every_rule_holds_for_every_small_program(backend: str) -> None:
    """All lists of up to five tasks, sync or async, that return, fail or add a task: 9,331."""
    small_programs = [
        Program(tasks) for length in range(6) for tasks in product(SMALL, repeat=length)
    ]
    assert len(small_programs) == sum(6**length for length in range(6))

    async def play_all() -> None:
        for program in small_programs:
            compare(VIEWS, program, await Player().play(program))

    anyio.run(play_all, backend=backend)


@given(program=programs(everything) | requests(everything))
def test_every_rule_holds_for_any_program(backend: str, program: AnyProgram) -> None:
    compare(VIEWS, program, anyio.run(Player().play, program, backend=backend))
