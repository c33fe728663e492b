"""Shared by the tests of the lab: how a command refuses its arguments."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minibg.lab import run
from tests.lab.trying import assert_refused


@pytest.fixture
def assert_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., None]:
    """The `main` of a command exits as `assert_refused` says, in the directory of the test.

    It does so in this process. That a process then ends with this status is shown where a port is
    in use.
    """

    def refuses(main: Callable[[], int], arguments: list[str], line: str) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["minibg", *arguments])
        monkeypatch.setattr(run, "listen", lambda port: pytest.fail("it was not refused"))
        with pytest.raises(SystemExit) as exited:
            main()
        status: Any = exited.value.code
        done = subprocess.CompletedProcess(arguments, status, *capsys.readouterr())
        assert_refused(done, line)

    return refuses
