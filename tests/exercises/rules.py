"""The rules of the README, for lists of a class that solves an exercise.

What may live here: putting that class in the place of `BackgroundTasks`, with or without settings.
`tests/rules/language/model.py` says what must hold.
"""

from typing import Any

import anyio
from hypothesis import settings
from hypothesis import strategies as st

from minibg import BackgroundTask, BackgroundTasks
from tests.rules.language.programs import Player, compare, everything, isolating, programs
from tests.rules.language.words import Program

KEPT = ["capture", "place", "order", "isolate", "grow", "nothing lost", "context", "cancel"]
PLACES = ["a function", "a coroutine function", "a function that hands back a coroutine"]
"""Tasks of these kinds run in a thread, on the loop, and partly here, partly there."""

few = settings(max_examples=settings().max_examples // 5)
"""For programs that show each rule at once; `tests/rules` tries many more on the list itself."""

any_program: st.SearchStrategy[Program] = programs(everything, isolating)


def with_settings(solution: Any, **settings: Any) -> Any:
    """A subclass of the solution with these attributes."""
    return type(solution.__name__, (solution,), settings)


class _PlayerOf(Player):
    def __init__(self, solution: type[BackgroundTasks]) -> None:
        super().__init__()
        self.solution = solution

    def class_of(self, policy: str) -> type[BackgroundTasks]:
        class Noting(self.solution):  # type: ignore[name-defined]  # which, is said by the reader
            def on_error(tasks, task: BackgroundTask, exc: Exception) -> Any:  # noqa: N805  # closure
                # A solution may wrap the function of a task, so that is not asked which one it is.
                label = next(event[1] for event in reversed(self.events) if event[0] == "start")
                self.events.append(("error", label, type(exc).__name__))
                return super().on_error(task, exc)

        return Noting


def check_rules(solution: Any, backend: str, program: Program) -> None:
    """Run a program on lists of that class, and compare what each rule speaks of."""
    __tracebackhide__ = True
    seen = anyio.run(_PlayerOf(solution).play, program, backend=backend)
    compare(KEPT, program, seen)
