"""The names that `walkthrough.md` weaves with: each writes one of the `blocks` into the text.

`python -m tests.walkthrough.weave` weaves all of them anew, and makes each claim that a test checks
a link to the line of that test: `[what is claimed](tests/rules/test_order.py "test_name")`. It also
writes the number of rules wherever the project states it.
"""

import re
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

from cogapp import Cog

from tests.rules.language.words import RULES
from tests.walkthrough import blocks, source

__all__ = [
    "a_rule",
    "exercise",
    "figures",
    "piece",
    "program",
    "recording",
    "rule",
    "saboteur",
    "shown",
    "step",
]

P = ParamSpec("P")
NAME = "walkthrough.md"
COUNTED = ["README.md", ".github/CONTRIBUTING.md", "tests/rules/__init__.py"]
"""Other files that say how many rules there are."""
NUMBERS = {11: "eleven", 12: "twelve", 13: "thirteen", 14: "fourteen", 15: "fifteen", 16: "sixteen"}
NUMBER = NUMBERS.get(len(RULES), str(len(RULES)))
"""How many rules there are, as a word if we have one."""
CLAIM = re.compile(r'(\]\()([\w/.]+\.py)(?:#L\d+)?(\s+"(test_\w+)"\))')
"""The part of a claim's link that follows what is claimed: file, line, and the test's name."""


def woven(text: str) -> str:
    """The text, woven anew."""
    blocks_anew: str = _Weaver().process_string(text, fname=NAME)
    return counted(CLAIM.sub(_led_to_its_line, blocks_anew))


def counted(text: str) -> str:
    """The text, with the number of rules that there are."""
    return re.sub(rf"\b(\d+|{'|'.join(NUMBERS.values())}) rules\b", f"{NUMBER} rules", text)


def _led_to_its_line(claim: re.Match[str]) -> str:
    opening, path, rest, test = claim.groups()
    return f"{opening}{path}#L{source.line_of(path, test)}{rest}"


class _Weaver(Cog):
    """Takes "]]] -->" for the end of a call, and at the end of a line alone: Python has "]]]".

    A mark is part of a comment that begins its line. In a diff, which the text may show, the
    comment stands behind a sign.
    """

    def is_begin_spec_line(self, line: str) -> bool:
        return super().is_begin_spec_line(line) and line.startswith("<!--")

    def is_end_output_line(self, line: str) -> bool:
        return super().is_end_output_line(line) and line.startswith("<!--")

    def is_end_spec_line(self, line: str) -> bool:
        is_end = line.rstrip().endswith("]]] -->") and "[[[end]]]" not in line
        return is_end and "<!--" not in line[1:]


def written(block: Callable[P, str]) -> Callable[P, None]:
    @wraps(block)
    def write(*args: P.args, **kwargs: P.kwargs) -> None:
        import cog  # noqa: PLC0415  # it is there while cog weaves

        cog.out(block(*args, **kwargs))

    return write


piece = written(blocks.piece)
program = written(blocks.program)
shown = written(blocks.shown)
step = written(blocks.step)
rule = written(blocks.rule)
saboteur = written(blocks.saboteur)
recording = written(blocks.recording)
figures = written(blocks.figures)
exercise = written(blocks.exercise)
a_rule = written(blocks.a_rule)


if __name__ == "__main__":
    for name in [NAME, *COUNTED]:
        file = source.ROOT / name
        text = file.read_text(encoding="utf-8")
        file.write_text(woven(text) if name == NAME else counted(text), encoding="utf-8")
