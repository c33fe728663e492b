"""The example `in_fastapi`: what becomes of two tasks if the first fails."""

import logging

import pytest

from minibg.examples.in_fastapi import app
from tests.examples.conftest import serving


def told(caplog: pytest.LogCaptureFixture, path: str) -> list[str]:
    """What the log says when the endpoint has been asked."""
    caplog.set_level(logging.INFO, "minibg")
    with serving(app) as client:
        response = client.post(path)
        assert (response.status_code, response.json()) == (202, {"number": 7})
    return [r.getMessage() for r in caplog.records if r.name.startswith("minibg")]


FAILED = "background task minibg.examples.in_fastapi.send_mail failed"
BILLED = "the bill of order 7 is written"


def test_with_fastapi_alone_no_bill_is_written(caplog: pytest.LogCaptureFixture) -> None:
    assert told(caplog, "/fastapi/7") == []


def test_by_annotation_the_bill_is_written(caplog: pytest.LogCaptureFixture) -> None:
    assert told(caplog, "/annotation/7") == ["an order came in", FAILED, BILLED]


def test_by_route_class_the_bill_is_written(caplog: pytest.LogCaptureFixture) -> None:
    assert told(caplog, "/route/7") == [FAILED, BILLED]
