"""A class of durable lists with a journal of its own, and a program that has done nothing yet."""

from pathlib import Path

import pytest

from minibg.ext.durable import DurableTasks, Journal
from tests.durable import program


@pytest.fixture(autouse=True)
def _nothing_seen() -> None:
    program.seen.clear()
    program.doing.clear()


@pytest.fixture
def tasks_class(tmp_path: Path) -> type[DurableTasks]:
    return durable_in(tmp_path / "tasks.sqlite")


def durable_in(path: Path, **options: object) -> type[DurableTasks]:
    """A class whose lists stand in that file. Two such classes are as two processes."""

    class Tasks(DurableTasks):
        journal = Journal(path, **options)  # type: ignore[arg-type]

    return Tasks
