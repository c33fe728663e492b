"""The walkthrough shows the project as it is now, and names the tests of what it claims."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from minibg.lab.presets import PRESETS
from tests.rules.language import programs
from tests.rules.language.words import RULES
from tests.rules.test_the_rules_bite import at_work
from tests.walkthrough import blocks, checks, pictures, record, weave
from tests.walkthrough.blocks import failure_name, recorded, saboteur_of
from tests.walkthrough.source import ROOT, MissingError


@pytest.fixture(scope="module")
def text() -> str:
    return (ROOT / weave.NAME).read_text(encoding="utf-8")


def test_weaving_it_again_changes_nothing(text: str) -> None:
    assert "\n".join(checks.stale(text)) == ""


def test_each_fence_is_woven_or_says_why_it_is_not(text: str) -> None:
    assert checks.unwoven_fences(text) == []


@pytest.mark.parametrize(
    "path", ["minibg/background.py", "minibg/concurrency.py", "minibg/outcomes.py"]
)
def test_each_line_of_the_mechanism_is_shown(text: str, path: str) -> None:
    assert checks.lines_left_out(text, path) == []


def test_each_link_leads_somewhere(text: str) -> None:
    assert checks.broken_links(text) == []


@pytest.mark.parametrize("name", pictures.PICTURES)
def test_a_picture_is_shown_as_it_is_drawn(name: str) -> None:
    file = pictures.DIRECTORY / f"{name}.svg"
    assert file.read_text(encoding="utf-8") == pictures.drawn(name), (
        "python -m tests.walkthrough.pictures"
    )


def test_each_picture_stands_in_the_text_and_is_described(text: str) -> None:
    described = dict(re.findall(r"!\[([^\]]*)\]\(tests/walkthrough/pictures/(\w+)\.svg\)", text))
    assert sorted(described.values()) == sorted(pictures.PICTURES)
    assert all(len(description) > 40 for description in described)


def test_no_step_is_a_cliff(text: str) -> None:
    assert checks.cliffs(text) == []


def test_each_section_that_claims_something_links_a_test(text: str) -> None:
    assert checks.unproven_sections(text) == []


@pytest.mark.parametrize("name", sorted(set(record.PRINTING) - {"alternatives", "outgrown"}))
def test_what_was_recorded_is_printed_today(name: str) -> None:  # those two: in their own tests
    then = checks.without_figures("\n".join(recorded(name)))
    # What waits for nothing may still come late on a busy machine, but not each time.
    today = (checks.without_figures(record.printed(record.PRINTING[name])) for _ in range(3))
    assert any(now == then for now in today), blocks.RECORD


def test_the_recording_shows_who_waits_long() -> None:
    before, after = re.findall(r"the client waited (\d+) ms", "\n".join(recorded("waiting")))
    assert int(before) > 10 * int(after)


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_broken_on_purpose_fails_as_recorded(rule: str) -> None:
    """A rule that is broken on purpose fails today as recorded."""
    message = "\n".join(recorded(failure_name(rule, 0)))
    with at_work(saboteur_of(rule, 0)), pytest.raises(AssertionError) as raised:
        record.check(rule, program_of(message))
    assert str(raised.value) == message, blocks.RECORD


def program_of(message: str) -> Any:
    """The program that a message shows; of **room**, it tells how many tasks are blocked."""
    found = re.search(r"^program:  (.+?)^  expected:", message, re.MULTILINE | re.DOTALL)
    assert found is not None
    if "blocked" in found[1]:
        return int(found[1].split()[0])
    return eval(found[1], vars(programs))


SOUND = """\
# Walkthrough
<!-- [[[cog from tests.walkthrough.weave import * ]]] -->
<!-- [[[end]]] -->

## 3. Steps

[What is mended stays so](tests/examples/test_versions.py "test_what_is_mended_stays_so").

<!-- [[[cog
step("minibg.examples.versions.v1_list", "minibg.examples.versions.v2_capture", "BackgroundTask")
]]] -->
<!-- [[[end]]] -->

## 4. A list, and `what` it is for: [order](#4-a-list-and-what-it-is-for-order)

[Tasks run in order](tests/rules/test_order.py "test_tasks_run_one_after_another_in_any_program").

<!-- [[[cog piece("minibg/examples/versions/v1_list.py", "BackgroundTasks.__init__") ]]] -->
<!-- [[[end]]] -->

## 5. Next

### Rules

<!-- [[[cog rule("order") ]]] -->
<!-- [[[end]]] -->

[Elsewhere](tests/rules/test_place.py
"test_what_is_sync_runs_in_another_thread")

## 6. [Both](README.md#the-rules)

[The next one runs](tests/rules/test_isolate.py "test_a_failing_task_does_not_stop_the_next")

```console
python -m minibg
```

<!-- sketch: the idea alone -->
```python
[tasks](nowhere)
```

## 7. More

[The next one runs](tests/rules/test_isolate.py "test_a_failing_task_does_not_stop_the_next")

## 8. And more

[The next one runs](tests/rules/test_isolate.py "test_a_failing_task_does_not_stop_the_next").
"""


@pytest.fixture(scope="module")
def sound() -> str:
    return weave.woven(SOUND)


CHECKS = [
    checks.stale,
    checks.unwoven_fences,
    checks.broken_links,
    checks.cliffs,
    checks.unproven_sections,
]


@pytest.mark.parametrize(
    ("block", "shown"),
    [
        (("minibg/background.py", "BackgroundTask.name"), "```python\n@property\ndef name(self)"),
        (("minibg/background.py", "head"), 'P = ParamSpec("P")\nCall = '),
        (
            ("minibg/background.py", "BackgroundTask.head"),
            '"kwargs")  # policies may add attributes\n```',
        ),
        (("minibg/concurrency.py", "_NO_LIMIT", "_hop"), "= _NoLimit()\n\n\nasync def _hop("),
        (("minibg/concurrency.py", "P", "T"), 'ParamSpec("P")\nT = TypeVar'),
        (("tests/rules/language/words.py", "RULES"), '}\n"""Each rule in a sentence'),
    ],
)
def test_a_piece_is_written_as_in_its_file(block: tuple[str, ...], shown: str) -> None:
    assert shown in blocks.piece(*block)


@pytest.mark.parametrize(
    ("symbols", "shown"),
    [
        ((), "@@ module v3_place @@\n import threading\n"),
        (("BackgroundTask",), "@@ class BackgroundTask @@\n"),
        (("BackgroundTask.call",), "@@ class BackgroundTask @@\n+    def call(self) -> Any:\n"),
        (("BackgroundTask.__call__",), "@@ BackgroundTask.__call__ @@\n     async def __call__"),
    ],
)
def test_a_step_names_what_encloses_each_change(symbols: tuple[str, ...], shown: str) -> None:
    versions = "minibg.examples.versions"
    assert shown in blocks.step(f"{versions}.v2_capture", f"{versions}.v3_place", *symbols)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_sound_text_has_no_complaints(sound: str, check: Callable[[str], list[str]]) -> None:
    assert check(sound) == []


@pytest.mark.parametrize(
    ("check", "intact", "broken", "complaint"),
    [
        (
            checks.stale,
            "self.tasks: list[",
            "self.tasks: deque[",
            "python -m tests.walkthrough.weave",
        ),
        (checks.stale, "**order**: tasks", "**order**: calls", "python -m tests.walkthrough.weave"),
        (checks.unwoven_fences, "```console", "```python", "has to be woven"),
        (checks.unwoven_fences, "sketch: the idea alone", "sketch: ", "has to be woven"),
        (checks.broken_links, "(#4-a", "(#4-the", "no heading #4-the"),
        (checks.broken_links, "README.md#", "READ.md#", "there is no READ.md"),
        (checks.broken_links, "#the-rules", "#the-rulers", "no heading README.md#the-rulers"),
        (checks.broken_links, "(README.md#the-rules", "(minibg/background.py#L9", "no heading"),
        (checks.stale, "test_order.py#L", "test_order.py#L9", "python -m tests.walkthrough.weave"),
        (checks.cliffs, "+class BackgroundTask:\n", "+class BackgroundTask:\n" * 25, "adds"),
        (checks.unproven_sections, ' "test_tasks_run_one', ' "tasks_run_one', "what"),
        (checks.unproven_sections, "Rules", "Rules\n\n### None", "'Rules' links no test"),
        (checks.unproven_sections, "## 5.", "## 9.", "no chapter 5"),
    ],
)
def test_what_is_wrong_with_a_text_is_named(
    sound: str, check: Callable[[str], list[str]], intact: str, broken: str, complaint: str
) -> None:
    assert sound.count(intact) == 1
    assert complaint in "\n".join(check(sound.replace(intact, broken)))


def test_a_line_that_is_left_out_is_named(sound: str) -> None:
    left_out = checks.lines_left_out(sound, "minibg/examples/versions/v1_list.py")
    assert not any("self.tasks: list[" in line for line in left_out)
    assert any("self.tasks.append(func)" in line for line in left_out)


def test_what_is_printed_is_compared_but_for_its_figures() -> None:
    printed = "it took\n17 ms\n1.5  worker 1: ended ━━\n0.5  loop: began\nat 127.0.0.1:8000"
    later = "it took 3\nms\n 0.1  loop: began\n-0.2  worker 1: ended ━\nat 127.0.0.1:9000"
    assert checks.without_figures(printed) == checks.without_figures(later)
    for changed in (later.replace("worker 1", "worker 2"), later.replace("it took", "took it")):
        assert checks.without_figures(printed) != checks.without_figures(changed)


@pytest.mark.parametrize(
    ("block", "arguments", "complaint"),
    [
        (blocks.piece, ("minibg/background.py", "BackgroundTask.cancel"), "no symbol"),
        (blocks.piece, ("minibg/foreground.py",), "no file"),
        (weave.woven, ('[so](tests/rules/test_order.py "test_hurry")',), "no symbol 'test_hurry'"),
        (blocks.step, ("minibg.background", "minibg.background"), "nothing changes"),
        (blocks.step, ("minibg.background", "minibg.routing", "cancel"), "neither"),
        (blocks.shown, ("minibg.background",), "shows no output"),
        (blocks.rule, ("hurry",), "no rule 'hurry'"),
        (blocks.saboteur, ("order", 3), "has 3 saboteurs"),
        (blocks.saboteur, ("order", 2), "python -m tests.walkthrough.record"),
        (blocks.figures, ("{trot}",), "no figure is called 'trot'"),
    ],
)
def test_what_cannot_be_woven_is_named(
    block: Callable[..., str], arguments: tuple[Any, ...], complaint: str
) -> None:
    with pytest.raises(MissingError, match=complaint):
        block(*arguments)


@pytest.mark.parametrize("file", ["walkthrough.md", "README.md"])
def test_each_preset_that_is_named_is_one_of_the_labs(file: str) -> None:
    named = re.findall(r"#preset=([\w-]+)", (ROOT / file).read_text(encoding="utf-8"))
    assert set(named) <= {preset.id for preset in PRESETS}
