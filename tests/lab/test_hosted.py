"""A visitor's own application in the lab, and the picture of a request to it."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import urlopen
from xml.etree import ElementTree

import pytest
from fastapi import BackgroundTasks as FastAPITasks
from fastapi import FastAPI

from minibg import BackgroundTasks, MiniBG
from minibg.__main__ import main
from minibg.lab.picture import record
from minibg.lab.recorder import Recording, RecordingMiddleware
from tests.lab.trying import TIMEOUT, minibg, served

APP = """
import time
from fastapi import BackgroundTasks, FastAPI
from minibg.ext.fastapi import Tasks

app = FastAPI()

def fail():
    raise ValueError

@app.get("/ours")
async def ours(tasks: Tasks):
    print("what an application prints is its own business")
    tasks.add_task(time.sleep, 0.01)
    tasks.add_task(fail)

@app.get("/theirs")
async def theirs(tasks: BackgroundTasks):
    tasks.add_task(time.sleep, 0.01)
"""


def test_requests_to_an_application_of_ones_own_are_shown(tmp_path: Path) -> None:
    (tmp_path / "my_app.py").write_text(APP)
    with served(tmp_path, "--app", "my_app:app") as lab:
        assert lab.process.stdout is not None
        url = re.search(r"my_app:app is at (\S+/):", lab.process.stdout.readline())
        assert url is not None
        for path in ("ours", "theirs"):
            with urlopen(url[1] + path, timeout=TIMEOUT) as answer:
                answer.read()
        told: dict[int, list[Any]] = {1: [], 2: []}
        for kind, data in lab.follow("/app/events"):
            assert data["contender"] == "app"
            told[data["run"]].append((kind, data))
            if all(any(kind == "outcome" for kind, _ in events) for events in told.values()):
                break
    (ours,) = (data for kind, data in told[1] if kind == "outcome")
    assert ours["said"] == "200: ended, failed"
    assert "fail failed" in next(data["message"] for kind, data in told[1] if kind == "log")
    kinds = [data["kind"] for kind, data in told[2] if kind == "begin"]
    assert kinds == ["not recorded"]


@pytest.mark.parametrize("app", ["missing:app", "my_app:missing"])
def test_an_application_that_is_not_there_is_said_so(tmp_path: Path, app: str) -> None:
    (tmp_path / "my_app.py").write_text("")
    with served(tmp_path, "--app", app) as lab:
        events = lab.follow("/app/events")
        assert next(events)[1]["message"] == f"{app} could not be started"


@pytest.mark.parametrize("framework", [MiniBG, FastAPI])
def test_a_request_to_any_application_is_recorded(
    framework: Callable[[], Any], tmp_path: Path
) -> None:
    tasks_class = BackgroundTasks if framework is MiniBG else FastAPITasks
    app = framework()

    def work() -> None:
        for _ in range(200_000):
            pass

    async def endpoint(tasks: Any) -> dict[str, bool]:
        tasks.add_task(work)
        return {}

    endpoint.__annotations__["tasks"] = tasks_class
    app.post("/orders")(endpoint)
    recorded = record(app, "/orders", "POST", b"{}", {"content-type": "application/json"})
    assert recorded.answer.status == 200
    recorded.save(tmp_path / "order.txt")
    text = (tmp_path / "order.txt").read_text()
    assert ("work: ended" in text) == (framework is MiniBG)
    if framework is FastAPI:
        assert "not recorded: a list that is not minibg's" in text
    recorded.save(tmp_path / "order.svg")
    ElementTree.fromstring((tmp_path / "order.svg").read_text())


def test_a_picture_has_nothing_from_another_host(tmp_path: Path) -> None:
    record(MiniBG()).save(tmp_path / "none.svg")
    svg = (tmp_path / "none.svg").read_text()
    assert "url(http" not in svg
    assert "@font-face" not in svg


def test_a_picture_is_an_svg_or_a_text(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\.svg or \.txt, and run\.png does not"):
        record(MiniBG()).save(tmp_path / "run.png")


def test_an_application_that_does_not_start_is_said_so() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    with pytest.raises(RuntimeError, match="did not start"):
        record(app)


def test_recorders_of_all_lists_stand_in_each_other() -> None:
    inner: list[Recording] = []
    app = MiniBG()

    @app.get("/")
    async def endpoint(tasks: BackgroundTasks) -> None:
        tasks.add_task([].clear)

    recorded = record(RecordingMiddleware(app, inner.append, records_lists=True))
    for recording in (recorded.recording, *inner):
        assert [task.what for task in recording.tasks] == ["clear"]
    assert len(inner) == 1


def test_the_command_line_saves_its_picture(tmp_path: Path) -> None:
    done = minibg("--save", "run.svg", directory=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1].endswith("python -m minibg.lab")
    assert "call_downstream" in (tmp_path / "run.svg").read_text()


def test_a_picture_of_another_format_is_refused(assert_refuses: Callable[..., None]) -> None:
    line = "argument --save: 'run.png' ends neither in .svg nor in .txt"
    assert_refuses(main, ["--save", "run.png"], line)
