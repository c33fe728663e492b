"""The names that `walkthrough.md` weaves with: each writes one of the `blocks` into the text.

`python -m cogapp -r walkthrough.md`, in the project's root, writes all of them anew.
"""

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


def ends_a_call(weaver: Cog, line: str) -> bool:
    return line.rstrip().endswith("]]] -->") and not weaver.is_end_output_line(line)


Cog.is_end_spec_line = ends_a_call  # its own takes each "]]]" for one, and Python has such lines


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
