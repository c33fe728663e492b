"""Our exercises, and exercises that live elsewhere, check a reader's module."""

from pathlib import Path

import pytest

from tests.processes import printed_by

ROOT = Path(__file__).parents[2]

EXERCISE = """
import anyio

EXERCISE = "Counting"


def test_it_counts(solution, backend):
    tasks = solution()
    tasks.add_task(print)
    anyio.run(tasks, backend=backend)
    assert tasks.ran == 1
"""

RIGHT = """
from minibg import BackgroundTasks


class Counting(BackgroundTasks):
    ran = 0

    def call_task(self, task):
        self.ran += 1
        return super().call_task(task)
"""


def check(directory: Path, solved: str, *files: str, solutions: str = "mine") -> tuple[int, str]:
    """Check a reader's module by those files of tests: the exit status, and what is printed."""
    (directory / "mine.py").write_text(solved)
    (directory / "test_counting.py").write_text(EXERCISE)
    plugins = ["tests.exercises.solving", "pytest_timeout", "no:cacheprovider"]
    options = [*(f"-p{plugin}" for plugin in plugins), "-q", "--no-header"]
    command = ["-m", "pytest", *options, *files, "--solutions", solutions]
    alone = {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PATH": ""}
    return printed_by(*command, cwd=directory, env=alone, timeout=60)


@pytest.mark.parametrize(
    ("solved", "status", "says"),
    [
        (RIGHT, 0, "2 passed"),
        (RIGHT.replace("+= 1", "+= 2"), 1, "2 failed"),
        (RIGHT.replace("class Counting", "class Other"), 1, "mine has no class Counting"),
        (RIGHT.replace("(BackgroundTasks)", ""), 1, "mine.Counting is no class of lists"),
        ("import nowhere", 4, "the module cannot be imported: ModuleNotFoundError"),
        ("import sys; sys.exit(3)", 4, "the module cannot be imported: SystemExit: 3"),
    ],
    ids=["right", "wrong", "missing", "no list", "not importable", "exits"],
)
def test_an_exercise_may_live_elsewhere(
    tmp_path: Path, solved: str, status: int, says: str
) -> None:
    returned, printed = check(tmp_path, solved, "test_counting.py")
    assert returned == status, printed
    assert says in printed


def test_a_class_that_is_missing_is_an_error(tmp_path: Path) -> None:
    file = ROOT / "tests" / "exercises" / "test_dead_letters.py"
    returned, printed = check(tmp_path, RIGHT, str(file), "-x")
    assert returned == 1, printed
    assert "mine has no class DeadLetters" in printed


def test_a_file_in_place_of_a_module_is_refused(tmp_path: Path) -> None:
    returned, printed = check(tmp_path, RIGHT, "test_counting.py", solutions="mine.py")
    assert returned == 4
    assert "--solutions mine.py: a module is meant, mine" in printed


LIMITED = """
import pytest

EXERCISE = "Counting"


@pytest.fixture
def limit(request):
    return request.node.get_closest_marker("timeout").args[0]


@pytest.mark.timeout(5)
def test_has_its_own(limit):
    assert limit == 5


def test_has_ours(limit):
    assert limit == 60
"""


def test_a_test_that_lives_elsewhere_has_a_limit_of_time(tmp_path: Path) -> None:
    """Our settings, which have one, do not hold there."""
    (tmp_path / "test_limits.py").write_text(LIMITED)
    returned, printed = check(tmp_path, RIGHT, "test_limits.py")
    assert returned == 0, printed
