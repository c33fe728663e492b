"""What becomes of tasks when the server is told to end, and is not given the time."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers.live import LIMIT

APP = """
import logging
import threading

from minibg import BackgroundTasks, MiniBG

logging.basicConfig()
app = MiniBG()


def hang() -> None:
    print("hanging", flush=True)
    threading.Event().wait(60)


def never() -> None: ...


@app.get("/")
async def endpoint(tasks: BackgroundTasks) -> None:
    tasks.add_task(hang)
    tasks.add_task(never)
"""

CLIENT = "import sys, urllib.request; urllib.request.urlopen(sys.argv[1]).read()"


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_what_a_server_has_no_time_for_is_named_in_the_log(tmp_path: Path, loop: str) -> None:
    """uvicorn is gone when its time is over, though a thread is still at work."""
    (tmp_path / "app.py").write_text(APP)
    command = [sys.executable, "-m", "uvicorn", "app:app", "--port", "0", "--loop", loop]
    with subprocess.Popen(
        [*command, "--timeout-graceful-shutdown", "0"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as server:
        assert server.stdout is not None
        try:
            url = next(filter(None, (re.search(r"http://\S+", line) for line in server.stdout)))[0]
            subprocess.run([sys.executable, "-c", CLIENT, url], check=True, timeout=LIMIT)
            next(line for line in server.stdout if line == "hanging\n")
            server.terminate()
            output, _ = server.communicate(timeout=LIMIT)
        finally:
            server.kill()
    assert "background tasks not run (cancelled): app.never" in output
