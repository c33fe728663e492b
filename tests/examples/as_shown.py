"""Programs whose docstring shows what they print: what is shown, and what is printed.

What may live here: running such a program as a person does. The tests compare.
"""

import re
from pathlib import Path
from types import ModuleType

from tests.processes import printed_by
from tests.servers.live import LIMIT

ROOT = Path(__file__).parents[2]


def shown(program: ModuleType) -> list[str]:
    """The lines of output that stand in the program's docstring, indented by four."""
    assert program.__doc__ is not None
    return re.findall(r"^ {4}(\S.*)$", program.__doc__, re.MULTILINE)


def printed(program: ModuleType) -> list[str]:
    """The lines that the program prints, its log among them."""
    status, output = printed_by("-u", "-m", program.__name__, cwd=ROOT, timeout=2 * LIMIT)
    assert status == 0, output
    return output.splitlines()
