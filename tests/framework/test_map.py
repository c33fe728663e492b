"""The README's map of the house is that of the source: every file, and imports from below alone."""

import ast
import re
from pathlib import Path

import minibg

SOURCE = Path(minibg.__file__).parent
README = Path(__file__).parents[2] / "README.md"


def floors() -> dict[str, int]:
    """The floor of each file and directory in the map; a directory's name ends in a slash."""
    rows = re.findall(r"^\| (\d) \| (`minibg/.+?`) \|", README.read_text(), re.MULTILINE)
    return {name: int(floor) for floor, names in rows for name in re.findall(r"`(.+?)`", names)}


def place_of(module: str) -> str:
    """Where a module of minibg stands in the map."""
    part = module.split(".")[1]
    return f"minibg/{part}/" if (SOURCE / part).is_dir() else f"minibg/{part}.py"


def imports(path: Path) -> set[str]:
    """The modules of minibg that a file imports; the package itself hands on names of others."""
    nodes = ast.walk(ast.parse(path.read_text()))
    froms = [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    return {module for module in froms if module.startswith("minibg.")}


def test_the_map_names_each_file_once_and_no_other() -> None:
    files = {f"minibg/{path.name}" for path in SOURCE.glob("*.py")} - {"minibg/__init__.py"}
    directories = {f"minibg/{path.parent.name}/" for path in SOURCE.glob("*/__init__.py")}
    assert set(floors()) == files | directories


def test_a_file_imports_only_from_floors_below_its_own() -> None:
    floor = floors()
    upwards = {
        (f"minibg/{path.name}", place)
        for path in SOURCE.glob("*.py")
        if path.name != "__init__.py"
        for place in map(place_of, imports(path))
        if floor[place] >= floor[f"minibg/{path.name}"]
    }
    assert upwards - {("minibg/__main__.py", "minibg/lab/")} == set()
