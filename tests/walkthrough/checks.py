"""The mistakes that the text of the walkthrough may not have: each function gives its complaints.

What may live here: functions of a text. The tests know where the text comes from.
"""

import ast
import re
from collections.abc import Iterator
from difflib import unified_diff
from textwrap import dedent
from typing import NamedTuple

from tests.walkthrough import source
from tests.walkthrough.source import ROOT
from tests.walkthrough.weave import woven

WEAVE = "python -m tests.walkthrough.weave"
CLAIMING = range(3, 9)
"""The chapters each of whose sections has to link a test to what it claims."""
LONGEST_STEP = 25
"""How many lines a version may add to the one before."""
UNWOVEN = {"console", "sh"}
"""Languages that are never woven: what a person types."""


class Fence(NamedTuple):
    """Code that stands in the text: the number of its first line, its language, the line above."""

    number: int
    language: str
    above: str
    is_woven: bool


class Link(NamedTuple):
    """A link: its line and text, where it leads, the test that it names."""

    number: int
    text: str
    target: str
    test: str | None
    leads_to_a_line: bool
    """To one that weaving keeps up to date."""


class Heading(NamedTuple):
    number: int
    level: int
    text: str


def stale(text: str) -> list[str]:
    """What weaving changes."""
    anew = woven(text)
    if anew == text:
        return []
    differences = unified_diff(text.splitlines(), anew.splitlines(), "as it is", "woven", "", "", 1)
    return [f"it is stale: {WEAVE}", *differences]


def unwoven_fences(text: str) -> list[str]:
    """Fences that are neither woven nor drawn nor typed, and do not say why they are sketches."""
    return [
        f"line {fence.number}: a fence has to be woven, or to stand below <!-- sketch: why -->"
        for fence in split(text)[0]
        if not (
            fence.is_woven
            or fence.language in UNWOVEN
            or re.fullmatch(r"<!-- sketch: \S.* -->", fence.above)
        )
    ]


def lines_left_out(text: str, path: str) -> list[str]:
    """Lines of a file that no piece of the text shows."""
    shown = {
        place
        for name, *symbols in pieces(text)
        if name == path
        for span in source.spans(path, symbols)
        for place in span
    }
    return [
        f"{path}, line {place + 1} is not shown: {line}"
        for place, line in enumerate(source.read(path).splitlines())
        if line.strip() and place not in shown
    ]


def cliffs(text: str) -> list[str]:
    """Steps that add more lines than a reader takes at once."""
    complaints = []
    for number, lines in steps(text):
        added = sum(line.startswith("+") and line.strip() != "+" for line in lines)
        if added > LONGEST_STEP:
            complaints.append(f"line {number}: this step adds {added} lines, not {LONGEST_STEP}")
    return complaints


def steps(text: str) -> Iterator[tuple[int, list[str]]]:
    """The line and the content of each diff."""
    for found in re.finditer(r"^```diff\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        yield text.count("\n", 0, found.start()) + 1, found[1].splitlines()


def broken_links(text: str) -> list[str]:
    """Links that lead to no file, or to no heading. To a line of code only woven ones may lead."""
    complaints = []
    for link in links(text):
        path, _, anchor = link.target.partition("#")
        if re.match(r"https?:", path) or link.leads_to_a_line:
            continue
        if path and not (ROOT / path).exists():
            complaints.append(f"line {link.number}: there is no {path}")
        elif anchor and anchor not in slugs(source.read(path) if path else text):
            complaints.append(f"line {link.number}: there is no heading {link.target}")
    return complaints


def unproven_sections(text: str) -> list[str]:
    """Sections that claim something of which no test is linked."""
    numbers = [link.number for link in links(text) if link.test]
    found = headings(text)
    complaints, chapters = [], set[int]()
    is_claiming = False
    for place, heading in enumerate(found):
        if heading.level == 2:
            chapter = re.match(r"\d+", heading.text)
            is_claiming = chapter is not None and int(chapter[0]) in CLAIMING
            if chapter is not None:
                chapters.add(int(chapter[0]))
        ends = (after.number for after in found[place + 1 :] if after.level <= heading.level)
        end = next(ends, len(text))
        if (
            is_claiming
            and heading.level in (2, 3)
            and not any(heading.number < number < end for number in numbers)
        ):
            complaints.append(f"line {heading.number}: {heading.text!r} links no test")
    return complaints + [f"there is no chapter {n}" for n in CLAIMING if n not in chapters]


def split(text: str) -> tuple[list[Fence], list[str]]:
    """The fences, and the lines of the text in which those are blank."""
    fences, prose = [], []
    closing, is_woven, above = "", False, ""
    for number, line in enumerate(text.splitlines(), 1):
        opening = re.match(r"\s*(```+|~~~+)\s*([\w-]*)", line)
        if closing:
            prose.append("")
            if line.strip() == closing:
                closing = ""
        elif opening:
            prose.append("")
            fences.append(Fence(number, opening[2], above, is_woven))
            closing = opening[1]
        else:
            prose.append(line)
            if "[[[cog" in line:
                is_woven = True
            elif "[[[end]]]" in line:
                is_woven = False
        above = line.strip() or above
    return fences, prose


def pieces(text: str) -> Iterator[list[str]]:
    """The arguments of each `piece` that is woven."""
    for code in re.findall(r"\[\[\[cog\s(.*?)\]\]\] -->", text, re.DOTALL):
        for node in ast.walk(ast.parse(dedent(code).strip())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "piece":
                yield [ast.literal_eval(argument) for argument in node.args]


def links(text: str) -> Iterator[Link]:
    """The links outside of code, pictures included."""
    prose = "\n".join(split(text)[1])
    prose = re.sub(r"`[^`\n]*\]\([^`\n]*`", "", prose)
    woven_lines = set(_woven_lines(text))
    for found in re.finditer(r'\[([^\[\]]+)\]\(([^()\s]+)(?:\s+"(test_\w+)")?\)', prose):
        number = prose.count("\n", 0, found.start()) + 1
        leads = bool(re.search(r"\.py#L\d+$", found[2]))
        yield Link(
            number, found[1], found[2], found[3], leads and bool(found[3] or number in woven_lines)
        )


def _woven_lines(text: str) -> Iterator[int]:
    is_woven = False
    for number, line in enumerate(text.splitlines(), 1):
        is_woven = (is_woven or "[[[cog" in line) and "[[[end]]]" not in line
        if is_woven:
            yield number


def headings(text: str) -> list[Heading]:
    found = []
    for number, line in enumerate(split(text)[1], 1):
        if heading := re.match(r"(#{1,6}) +(.+?)[ #]*$", line):
            found.append(Heading(number, len(heading[1]), heading[2]))
    return found


def slugs(text: str) -> set[str]:
    """The anchors of the headings, as GitHub makes them."""
    known: dict[str, int] = {}
    for heading in headings(text):
        spoken = re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", heading.text).lower()
        slug = re.sub(r"[^\w\- ]", "", spoken).replace(" ", "-")
        known[slug] = known.get(slug, -1) + 1
    return {
        slug if number == 0 else f"{slug}-{number}"
        for slug, most in known.items()
        for number in range(most + 1)
    }


def without_figures(printed: str) -> tuple[list[str], list[str]]:
    """What was printed, whatever was measured: the rows that begin with a figure, and the words.

    Rows change places with their figures, and lines break elsewhere; bars grow.
    """
    without_lines = re.sub(r"[\u2500-\u257f]", " ", printed)
    masked = re.sub(r"-?\d+\.\d+|\d+(?=\sms)|(?<=127\.0\.0\.1:)\d+", "0.0", without_lines)
    rows: list[str] = []
    words: list[str] = []
    for line in masked.splitlines():
        if re.match(r" *0\.0 {2,}", line):
            rows.append(" ".join(line.split()))
        else:
            words += line.split()
    return sorted(rows), words
