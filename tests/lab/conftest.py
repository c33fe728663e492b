"""Shared by the tests of the lab: how a command refuses its arguments."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def assert_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., None]:
    """The `main` of a command exits as `assert_refused` says, in the directory of the test.

    It does so in this process: that such an exit is the process's is shown where a port is in use.
    """

    def refuses(main: Callable[[], int], arguments: list[str], line: str) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["minibg", *arguments])
        with pytest.raises(SystemExit) as exited:
            main()
        assert (exited.value.code, *capsys.readouterr()) == (2, "", f"minibg: {line}\n")

    return refuses
