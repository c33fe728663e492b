"""The program `outgrown` with a broker: it kills a worker, which has safe settings."""

import importlib
from pathlib import Path
from typing import Any

import pytest

from minibg.examples import outgrown
from minibg.ext.celery import safe_settings
from tests.celery.conftest import Broker
from tests.processes import free_port


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch, broker: Broker) -> Any:
    monkeypatch.setenv("CELERY_BROKER_URL", broker.url)
    from minibg.examples import outgrown_celery  # noqa: PLC0415  # it reads the variable

    return importlib.reload(outgrown_celery)


@pytest.mark.parametrize("broker", ["redis"], indirect=True)
def test_safe_settings_lose_hardly_a_task_of_a_killed_worker(
    ways: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A killed worker loses hardly a task with the safe settings.

    With Redis at most the one that it was about to begin, as `safe_settings` says.
    """
    monkeypatch.setattr(outgrown, "LIMIT", 20.0)  # seconds: for one that is lost it waits in vain
    by_default, safe = outgrown.ways()[-2:]
    accepted, found = outgrown.try_out(safe, tmp_path, free_port())
    assert accepted == 200
    assert len(found.ended) >= 199
    assert sum(found.started.values()) <= 200 + 2  # as many processes does a worker have
    assert by_default.worker == ways.worker("by_default")


@pytest.mark.parametrize("broker", ["redis"], indirect=True)
def test_the_settings_are_those_that_each_way_says(ways: Any) -> None:
    settings = safe_settings(ways.BROKER)
    assert ways.safe.conf.task_acks_late is settings["task_acks_late"] is True
    assert ways.by_default.conf.task_acks_late is False


def test_a_broker_of_another_kind_keeps_its_messages_as_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CELERY_BROKER_URL", "amqp://localhost")
    from minibg.examples import outgrown_celery  # noqa: PLC0415  # it reads the variable

    importlib.reload(outgrown_celery)
    assert "visibility_timeout" not in outgrown_celery.safe.conf.broker_transport_options
