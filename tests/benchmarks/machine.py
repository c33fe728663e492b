"""The machine of a measurement: what a reader has to know to judge the figures."""

import os
import platform
from pathlib import Path


def describe() -> dict[str, str | int | None]:
    return {
        "cpu": cpu(),
        "cores": os.cpu_count(),
        "os": f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
    }


def cpu() -> str:
    """The model of the processor, as the system calls it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
