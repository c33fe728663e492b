"""What can be wrong with the text of the walkthrough: each function gives its complaints.

What may live here: functions of a text. Where that comes from is the business of the tests.
"""

import ast
import re
from collections.abc import Iterator
from difflib import unified_diff
from textwrap import dedent
from typing import NamedTuple

import minibg
from tests.walkthrough import source
from tests.walkthrough.source import ROOT
from tests.walkthrough.weave import Weaver

NAME = "walkthrough.md"
WEAVE = "python -m tests.walkthrough.weave"
CLAIMING = range(3, 7)
"""The chapters whose sections each have to name a test function, and not by a block alone."""
UNWOVEN = {"mermaid", "console", "sh"}
"""Languages that are never woven: pictures, and what a person types."""


class Fence(NamedTuple):
    """Code that stands in the text: the number of its first line, its language, the line above."""

    number: int
    language: str
    above: str
    is_woven: bool


class Link(NamedTuple):
    number: int
    text: str
    target: str


class Heading(NamedTuple):
    number: int
    level: int
    text: str


def woven(text: str) -> str:
    """The text, woven anew."""
    anew: str = Weaver().process_string(text, fname=NAME)
    return anew


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


def names_left_out(text: str) -> list[str]:
    """Public names that the text does not mention."""
    return [name for name in minibg.__all__ if not re.search(rf"\b{name}\b", text)]


def broken_links(text: str) -> list[str]:
    """Links that lead to no file, or to no heading. To a line of code none may lead: it moves."""
    complaints = []
    for link in links(text):
        path, _, anchor = link.target.partition("#")
        if re.match(r"https?:", path):
            continue
        if path and not (ROOT / path).exists():
            complaints.append(f"line {link.number}: there is no {path}")
        elif anchor and anchor not in slugs(source.read(path) if path else text):
            complaints.append(f"line {link.number}: there is no heading {link.target}")
    return complaints


def missing_tests(text: str) -> list[str]:
    """Links that are called as tests of which there are none where they lead."""
    return [
        f"line {link.number}: there is no test {name} in {link.target}"
        for name, link in links_to_tests(text)
        if name not in tests_in(link.target)
    ]


def unproven_sections(text: str) -> list[str]:
    """Sections that claim something and name no test."""
    numbers = [link.number for name, link in links_to_tests(text) if not is_module(name, link)]
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
            complaints.append(f"line {heading.number}: {heading.text!r} names no test")
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
    for found in re.finditer(r"\[([^\[\]]+)\]\(([^()\s]+)\)", prose):
        yield Link(prose.count("\n", 0, found.start()) + 1, found[1], found[2])


def links_to_tests(text: str) -> Iterator[tuple[str, Link]]:
    """The links that are called as a test, or as a module of tests, is."""
    for link in links(text):
        if named := re.fullmatch(r"`?(test_\w+)`?", link.text):
            yield named[1], link


def is_module(name: str, link: Link) -> bool:
    """Whether all tests of a file are meant."""
    return link.target.endswith(f"/{name}.py")


def tests_in(path: str) -> set[str]:
    """The test functions of a file, and its own name."""
    file = ROOT / path
    if file.suffix != ".py" or not file.is_file():
        return set()
    nodes = ast.parse(file.read_text(encoding="utf-8")).body
    return {node.name for node in nodes if isinstance(node, source.Function)} | {file.stem}


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
