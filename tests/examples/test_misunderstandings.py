"""The programs about misunderstandings: each prints what its docstring shows."""

from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType

import pytest

from minibg.examples import misunderstandings
from minibg.examples.misunderstandings import every_job
from tests.examples.as_shown import printed, shown
from tests.examples.conftest import serving

PROGRAMS = [
    import_module(f"{misunderstandings.__name__}.{module.name}")
    for module in iter_modules(misunderstandings.__path__)
    if module.name != "client"  # what they share
]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__.split(".")[-1])
def test_a_misunderstanding_prints_what_its_docstring_shows(program: ModuleType) -> None:
    assert shown(program)
    assert printed(program) == shown(program)


def test_what_nothing_interrupts_is_sent_once(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What nothing interrupts is sent once, whether or not it is written down."""
    sent: list[tuple[int, str]] = []
    monkeypatch.setattr(every_job, "send_mail", lambda *mail: sent.append(mail))
    monkeypatch.setenv("DATABASE", str(directory / "registrations.sqlite"))
    monkeypatch.setenv("MAIL_PORT", "25")
    with serving(every_job.app) as client:
        client.post("/misunderstood/registrations/ada")
        client.post("/registrations/grace")
    with serving(every_job.app) as client:
        assert client.get("/registrations").json() == {"grace": "welcomed"}
    assert sent == [(25, "welcome ada"), (25, "welcome grace")]
