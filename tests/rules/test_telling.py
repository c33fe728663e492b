"""A failure under `tests/rules` begins with its rule, however and wherever it happens."""

import re
import sys
from pathlib import Path

import anyio
import pytest

from minibg import BackgroundTask, BackgroundTasks
from tests.processes import printed_by
from tests.rules import __main__ as glance
from tests.rules.breaks import BREAKS, Break
from tests.rules.conftest import TookTooLong, root_of, where_in_minibg
from tests.rules.language.telling import LINES, broken, headline, told_by
from tests.rules.language.words import RULES, Program, Task
from tests.rules.test_breaks import copy_with

FAILING = """
import os
import signal
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minibg import BackgroundTasks
from tests.rules.language.programs import check, hold
from tests.rules.language.words import Program, Task


@pytest.mark.basic
def test_compares():
    '''What it shows.'''
    assert [1, 3] == [1, 2]


def test_looks_for():
    assert "one" in "two"


def test_compares_inside():
    def look(seen):
        assert seen == [], "at the second await"

    assert look([1]) is None


def test_raises_in_a_group():
    try:
        assert [1, 3] == [1, 2]
    except AssertionError as exc:
        raise ExceptionGroup("several", [exc])


@pytest.fixture
def slow_to_end():
    yield
    time.sleep(30)


def test_ends_slowly(slow_to_end): ...


@given(kinds=st.lists(st.integers()))
def test_generates(kinds):
    assert len(kinds) < 3


def test_exits():
    raise SystemExit(3)


def test_is_interrupted():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(30)


def test_hangs():
    time.sleep(30)


def test_plays_a_program_that_hangs(monkeypatch):
    async def hang(tasks):
        time.sleep(30)

    monkeypatch.setattr(BackgroundTasks, "__call__", hang)
    check("order", "asyncio", Program((Task(),)))


@given(number=st.integers())
def test_stops_for_each_input(number):
    time.sleep(30)


@given(numbers=st.lists(st.integers(), min_size=1))
def test_takes_long_to_make_smaller(numbers):
    if len(numbers) > 2:
        time.sleep(0.4)
        hold("order", numbers, "at most two numbers", "more")


@pytest.fixture
def resource():
    raise OSError("there is none")


def test_has_no_resource(resource): ...
"""
TOGETHER = [  # each of these lets the next one run
    "compares",
    "generates",
    "exits",
    "looks_for",
    "compares_inside",
    "raises_in_a_group",
    "has_no_resource",
    "ends_slowly",
    "hangs",
    "plays_a_program_that_hangs",
    "stops_for_each_input",
]
WAYS = {"alone": [], "with workers": ["-n", "1"]}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project, in which the tests of **order** fail in all ways."""
    directory = tmp_path_factory.mktemp("copy")
    copy_with(Break("order", "nothing", "minibg/background.py", "", ""), directory)
    (directory / "tests" / "rules" / "test_order.py").write_text(FAILING)
    return directory


def printed(directory: Path, tests: str, *options: str) -> str:
    """What pytest prints about those tests."""
    always = ["-q", "-p", "no:cacheprovider", "--timeout=2", *options]
    command = ["-m", "pytest", "tests/rules/test_order.py", "-k", tests, *always]
    return printed_by(*command, cwd=directory, timeout=50)[1]


@pytest.fixture(scope="module", params=WAYS)
def reports(directory: Path, request: pytest.FixtureRequest) -> dict[str, str]:
    """What is said of each test in `TOGETHER`, by its name."""
    text = printed(directory, " or ".join(TOGETHER), *WAYS[request.param])
    pieces = re.split(r"^___.* test_(\w+) _+\n", text, flags=re.MULTILINE)
    found = dict(zip(pieces[1::2], pieces[2::2], strict=True))
    assert found.keys() == {*TOGETHER}, text
    return found


@pytest.mark.parametrize("test", TOGETHER)
def test_a_failure_begins_with_the_rule_of_its_module(reports: dict[str, str], test: str) -> None:
    lines = [line for line in reports[test].splitlines() if not line.startswith("[gw")]
    assert lines[:2] == [headline("order"), "told in:  walkthrough.md#order"]


def test_a_comparison_is_shown_side_by_side(reports: dict[str, str]) -> None:
    assert re.search(r"^shows:    What it shows\.$", reports["compares"], re.MULTILINE)
    assert re.search(r"^  expected: +seen:\n  1 +1\n> 2 +3$", reports["compares"], re.MULTILINE)


def test_what_is_looked_for_is_shown_beside_where(reports: dict[str, str]) -> None:
    assert re.search(r"^  expected: +seen:\n> 'one' +'two'$", reports["looks_for"], re.MULTILINE)


def test_the_assertion_itself_is_shown_with_what_it_says(reports: dict[str, str]) -> None:
    """Also where a function of the test makes it; and what is empty is said to be."""
    assert re.search(
        r'^failed: +assert seen == \[\], "at the second await"\nsaid: +at the second await\n'
        r" +expected: +seen:\n> \(nothing\) +1$",
        reports["compares_inside"],
        re.MULTILINE,
    )


def test_a_group_of_one_is_told_as_what_it_holds(reports: dict[str, str]) -> None:
    assert "\n> 2                                               3\n" in reports["raises_in_a_group"]


def test_a_program_that_hangs_is_shown(reports: dict[str, str]) -> None:
    told = reports["plays_a_program_that_hangs"]
    assert "\nprogram:  Program(tasks=(Task(),))\nseen:     TookTooLong: after 2 seconds" in told


def test_generated_inputs_are_shown_as_code(reports: dict[str, str]) -> None:
    assert re.search(r"^program: +kinds=\[0, 0, 0\]$", reports["generates"], re.MULTILINE)


@pytest.mark.parametrize("options", WAYS)
def test_the_rule_is_named_where_the_process_is_ended(directory: Path, options: str) -> None:
    """As pytest-timeout's method `thread` does it, which no test can outlive."""
    text = printed(directory, "hangs", "--timeout-method=thread", *WAYS[options])
    assert headline("order") in text


def test_the_rule_is_named_where_all_tests_are_interrupted(directory: Path) -> None:
    assert headline("order") in printed(directory, "is_interrupted")


def test_the_smallest_so_far_is_told_where_time_is_over(directory: Path) -> None:
    text = printed(directory, "takes_long_to_make_smaller")
    assert re.search(r"^program: +\[.+\]\n  expected: +seen:$", text, re.MULTILINE)
    assert "TookTooLong" in text


def glance_after(how: str, directory: Path, *rules: str) -> tuple[int, list[str]]:
    """The table of those rules after one of the changes in `breaks.py`."""
    change = next(each for each in BREAKS if each.how == how)
    file = directory / change.file
    intact = file.read_text()
    file.write_text(intact.replace(change.intact, change.broken))
    try:
        status, table = printed_by("-m", "tests.rules", *rules, cwd=directory, timeout=50)
    finally:
        file.write_text(intact)
    return status, table.splitlines()


def test_the_rules_at_a_glance_show_the_smallest_program(directory: Path) -> None:
    status, table = glance_after("deep-copy the arguments", directory, "capture", "order", "room")
    assert status == 1
    assert table == [
        "capture       broken: Program(tasks=(Task(),))",
        "order         broken: assert [1, 3] == [1, 2]",
        "room          holds",
    ]


def test_the_rules_at_a_glance_show_the_rule_that_is_broken(directory: Path) -> None:
    """Other rules' tests fail too: those that are not basic, which rest on all rules."""
    rules = ("isolate", "nothing_lost")
    status, (isolate, nothing_lost) = glance_after("end a run without abandon", directory, *rules)
    assert status == 1
    assert isolate == "isolate       holds"
    assert nothing_lost.startswith("nothing lost  broken: Program(")


def test_time_that_is_over_while_data_is_drawn_is_no_flaky_data() -> None:
    """Hypothesis draws in the time of the test, and has an error of its own if that ends there."""
    own = ValueError("the data has changed")
    own.__context__ = KeyError()
    own.__context__.__context__ = TookTooLong()
    assert isinstance(root_of(own), TookTooLong)
    assert isinstance(root_of(KeyError()), KeyError)


def test_what_hangs_is_told_with_its_line_in_minibg() -> None:
    async def hang() -> None:
        found.append(where_in_minibg(sys._getframe()))

    found = [where_in_minibg(sys._getframe())]
    anyio.run(BackgroundTasks([BackgroundTask(hang)]))
    outside, inside = found
    assert outside == ""
    assert re.fullmatch(r", in minibg/background\.py, line \d+: BackgroundTasks?\.\w+", inside)


def test_a_rule_that_hangs_does_not_hang_the_table() -> None:
    assert glance.verdict("capture", glance.BASIC, 0.1).startswith(
        "broken: tests/rules/test_capture.py hangs"
    )


@pytest.mark.parametrize(
    ("status", "printed", "said"),
    [
        (0, "8 passed", "holds"),
        (1, headline("order"), "broken: the rule **order** is broken"),
        (1, "a test of another rule\nFAILED", "broken: FAILED"),
        (-9, "", "broken: nothing was printed"),
        (2, headline("order"), "broken: the rule **order** is broken"),
        (2, "E   SyntaxError: invalid syntax", "not asked: SyntaxError: invalid syntax"),
        (4, "E   NameError: name 'x' is not defined", "not asked: NameError: name 'x'"),
        (5, "8 deselected", "not asked: tests/rules/test_order.py has no basic test"),
    ],
)
def test_only_tests_that_could_not_start_are_not_asked(
    status: int, printed: str, said: str
) -> None:
    assert glance.said_of("order", glance.BASIC, status, printed).startswith(said)


def test_a_rule_needs_no_tests_but_basic_ones() -> None:
    assert glance.said_of("order", f"not {glance.BASIC}", 5, "2 deselected") == glance.HOLDS


def test_a_rule_that_does_not_exist_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert glance.main(["hurry"]) == 2
    assert "no rule hurry; there are place, " in capsys.readouterr().err


@pytest.mark.parametrize("rule", RULES)
def test_what_is_told_has_at_most_forty_lines(rule: str) -> None:
    program = Program(tuple(Task(args=(number,) * 9) for number in range(50)))
    events = [("start", str(number)) for number in range(100)]
    text = broken(rule, program, events, [*events[:60], ("end", "60"), *events[60:]])
    assert len(text.splitlines()) <= LINES
    assert "('end', '60')" in text, "the first difference is shown"
    assert told_by(ExceptionGroup("several", [ValueError(), AssertionError(text)])) == text
