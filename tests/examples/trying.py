"""The option `--try-version FILE`: it runs the tests of a version on a student's copy of it.

With `python -m pytest tests/examples/test_versions.py --try-version my_v3.py`, the copy replaces
the version whose number its name has. The option is not `--version`, which pytest has itself.

What may live here: finding the copy, and the rule that a test of versions is about.
"""

import re
import sys
from collections.abc import Generator
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from inspect import isclass
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import Any

import pytest

from minibg.examples import versions

FILE = "test_versions.py"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    parser.addoption(
        "--try-version",
        metavar="FILE",
        help="a copy of a version, my_v3.py of v3_place.py, that the version's tests are run on",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Have the copy stand in for its version wherever that is imported."""
    if file := config.getoption("--try-version"):
        try:
            stand_in(config.invocation_params.dir / file)
        except (Exception, SystemExit) as exc:
            raise pytest.UsageError(f"--try-version {file}: {type(exc).__name__}: {exc}") from exc


def stand_in(file: Path) -> ModuleType:
    """Import the copy under its version's name."""
    known = {name.partition("_")[0]: name for _, name, _ in iter_modules(versions.__path__)}
    number = re.search(r"v\d+", file.stem)
    if number is None or number[0] not in known:
        raise ValueError(f"its name holds none of {', '.join(known)}")
    name = f"{versions.__name__}.{known[number[0]]}"
    spec = spec_from_file_location(name, file)
    if spec is None or spec.loader is None or not file.is_file():
        raise ValueError("there is no such Python file")
    module = module_from_spec(spec)
    original = import_module(name)
    sys.modules[name] = module
    setattr(versions, known[number[0]], module)
    spec.loader.exec_module(module)
    classes = [each for each, value in vars(original).items() if isclass(value)]
    if missing := [each for each in classes if not hasattr(module, each)]:
        raise ValueError(f"it lacks {', '.join(missing)}, which the version has")
    return module


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the tests of the version that is tried, the most basic rule first."""
    file = config.getoption("--try-version")
    if not file:
        return
    number = re.search(r"v\d+", Path(file).stem)
    kept = [item for item in items if number and _is_about(item, number[0])]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    rules = [*import_module("tests.rules.language.words").RULES, None]
    items[:] = sorted(kept, key=lambda item: rules.index(rule_of(item)))


def _is_about(item: pytest.Item, number: str) -> bool:
    if item.path.name != FILE or "prints_what" in item.name:  # that runs the file of ours
        return False
    modules = [each for each in _params(item).values() if isinstance(each, ModuleType)]
    return any(each.__name__.rpartition(".")[2].startswith(f"{number}_") for each in modules)


def _params(item: pytest.Item) -> dict[str, Any]:
    params: dict[str, Any] = getattr(getattr(item, "callspec", None), "params", {})
    return params


def rule_of(item: pytest.Item) -> str | None:
    """The rule that a test of versions is about."""
    params = _params(item)
    observed = getattr(params.get("observe"), "__name__", "")
    return params.get("rule") or SEEN_IN.get(observed)


SEEN_IN = {
    "names_of_a_loop": "capture",
    "place_of_a_sync_task": "place",
    "tasks_around_a_failure": "isolate",
    "names_of_what_was_not_run": "nothing lost",
    "hops_of_a_row": "place",
    "threads_taken_from_endpoints": "room",
    "tasks_that_start_when_cancelled": "cancel",
}
"""For what is observed of a version, the rule that it is about."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Put the rule in front of a failure of a version."""
    report = yield
    if report.failed and call.excinfo is not None and item.path.name == FILE:
        # Not at the top: pytest has to rewrite its assertions first.
        telling = import_module("tests.rules.language.telling")
        told, rule = telling.told_by(call.excinfo.value), rule_of(item)
        if told or rule:
            in_front = import_module("tests.rules.language.reporting").in_front
            report.longrepr = in_front(told or telling.headline(rule), report.longrepr)
    return report
