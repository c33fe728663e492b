"""The README's map of the house is that of the source: every file, and imports from below alone.

The signs at the doors of the folders of tests are checked, too: the modules that they name exist.
"""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import minibg

SOURCE = Path(minibg.__file__).parent
README = Path(__file__).parents[2] / "README.md"
TESTS = Path(__file__).parents[1]
SIGNS = sorted(TESTS.glob("*/__init__.py"))


def floors() -> dict[str, int]:
    """The floor of each file and directory in the map; a directory's name ends in a slash."""
    rows = re.findall(r"^\| (\d+) \| (`minibg/.+?`) \|", README.read_text(), re.MULTILINE)
    return {name: int(floor) for floor, names in rows for name in re.findall(r"`(.+?)`", names)}


def files() -> dict[str, Path]:
    """The files that have a floor of their own, by their names in the map."""
    paths = [*SOURCE.glob("*.py"), *SOURCE.glob("ext/*.py")]
    return {
        f"minibg/{path.relative_to(SOURCE).as_posix()}": path
        for path in paths
        if path.name != "__init__.py"
    }


def place_of(module: str) -> str:
    """Where a module of minibg stands in the map."""
    name = module.replace(".", "/")
    return f"{name}.py" if f"{name}.py" in files() else "/".join(name.split("/")[:2]) + "/"


def imports(path: Path) -> set[str]:
    """The modules of minibg that a file imports; the package itself hands on names of others."""
    nodes = ast.walk(ast.parse(path.read_text()))
    froms = [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    return {module for module in froms if module.startswith("minibg.")}


def test_the_map_names_each_file_once_and_no_other() -> None:
    directories = {f"minibg/{path.parent.name}/" for path in SOURCE.glob("*/__init__.py")}
    assert set(floors()) == set(files()) | (directories - {"minibg/ext/"})


def test_a_file_imports_only_from_floors_below_its_own() -> None:
    floor = floors()
    upwards = {
        (name, place)
        for name, path in files().items()
        for place in map(place_of, imports(path))
        if floor[place] >= floor[name]
    }
    assert upwards - {("minibg/__main__.py", "minibg/lab/")} == set()


def test_importing_minibg_imports_no_extension() -> None:
    command = "import minibg, sys; print(*(name for name in sys.modules if 'minibg.' in name))"
    printed = subprocess.run([sys.executable, "-c", command], capture_output=True, check=True)
    imported = printed.stdout.decode().split()
    assert "minibg.background" in imported
    assert [name for name in imported if name.startswith("minibg.ext")] == []


@pytest.mark.parametrize("sign", SIGNS, ids=lambda sign: sign.parent.name)
def test_the_sign_of_a_folder_of_tests_names_what_is_there(sign: Path) -> None:
    said = ast.get_docstring(ast.parse(sign.read_text())) or ""
    named = re.findall(r"`(?:(test_\w+)|([\w/]+)\.py)`", said)
    missing = {
        module + file
        for module, file in named
        if not (sign.parent / f"{module + file}.py").exists()
    }
    assert said
    assert missing == set()
