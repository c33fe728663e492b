"""The names that `walkthrough.md` weaves with: each writes one of the `blocks` into the text.

`python -m tests.walkthrough.weave`, in the project's root, writes all of them anew.
"""

import sys
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

from cogapp import Cog

from tests.walkthrough import blocks

__all__ = [
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


class Weaver(Cog):
    """Takes "]]] -->" for the end of a call, and at the end of a line alone: Python has "]]]"."""

    def is_end_spec_line(self, line: str) -> bool:
        return line.rstrip().endswith("]]] -->") and not self.is_end_output_line(line)


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


if __name__ == "__main__":
    sys.exit(Weaver().main(["cog", "-r", "walkthrough.md"]))
