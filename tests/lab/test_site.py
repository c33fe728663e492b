"""The lab answers to its own page alone, and lets each visitor have one run at a time."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import anyio
import psutil
import pytest

from minibg.lab.__main__ import main
from minibg.lab.applications import IDEAS, VERSIONS, why_not
from minibg.lab.composition import RequestSpec, RunSpec
from minibg.lab.site import KEPT, Runs
from tests.lab.trying import (
    TIMEOUT,
    WITHOUT_A_PACKAGE,
    Lab,
    assert_refused,
    is_alive,
    python,
    served,
)

SHORT = {"tasks": [{"kind": "sync", "ms": 20, "does": "fails"}, {"kind": "async", "ms": 20}]}
LONG = {"tasks": [{"kind": "async", "ms": 2000}, {"kind": "sync", "ms": 2000}]}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with served(tmp_path_factory.mktemp("lab")) as lab:
        yield lab


def test_the_page_comes_at_once_and_knows_its_visitor(lab: Lab) -> None:
    def seconds() -> float:
        began = time.perf_counter()
        lab.ask("GET", "/")
        return time.perf_counter() - began

    assert min(seconds() for _ in range(5)) < 0.1  # others may slow each single one
    answer = lab.ask("GET", "/")
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert "HttpOnly" in answer.headers["set-cookie"]
    assert "SameSite=strict" in answer.headers["set-cookie"]
    assert "set-cookie" not in lab.ask("GET", "/", cookie="visitor=ada").headers


@pytest.mark.parametrize("path", ["/static/lab.py", "/static/..%2Fsite.py", "/static/none.css"])
def test_only_files_of_the_page_are_served(lab: Lab, path: str) -> None:
    assert lab.ask("GET", path).status == 404


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "127.0.0.1:1"},
        {"origin": "http://evil.example"},
        {"origin": "null"},
    ],
    ids=str,
)
def test_another_address_is_refused(lab: Lab, headers: dict[str, str]) -> None:
    for method, path in (("GET", "/"), ("GET", "/presets"), ("POST", "/runs")):
        answer = lab.ask(method, path, **headers)
        assert answer.status == 403
        assert b"answers to 127.0.0.1:" in answer.body


def test_its_own_address_is_taken_by_both_names(lab: Lab) -> None:
    for name in ("127.0.0.1", "localhost"):
        address = f"{name}:{lab.port}"
        own = {"host": address, "origin": f"http://{address}"}
        assert lab.ask("GET", "/presets", **own).status == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded"])
def test_json_is_read_as_json_only(lab: Lab, kind: str) -> None:
    answer = lab.ask(
        "POST", "/runs", {"request": SHORT, "contenders": ["minibg"]}, **{"content-type": kind}
    )
    assert answer.status == 415


@pytest.mark.parametrize(
    ("request_", "contenders", "text"),
    [
        ({}, ["django"], "there is no contender 'django'; there are minibg, "),
        ({}, ["minibg", "minibg"], "each contender can be named only once"),
        ({}, [], "length >= 1"),
        ({}, ["v1", "v2", "v3", "v4"], "length <= 3"),
        ({"tasks": [{"ms": 2001}]}, ["minibg"], "<= 2000"),
        ({"tasks": [{"ms": 2000}] * 6}, ["minibg"], "may take 10000 ms, not 12000"),
        ({"tasks": [{}] * 11}, ["minibg"], "length <= 10"),
        ({"tasks": [{"does": "import os"}]}, ["minibg"], "Invalid enum value"),
        ({"code": "import os"}, ["minibg"], "unknown field"),
        ({"dependency": "closes"}, ["starlette"], "Starlette has no yield dependencies"),
        ({"fail_fast": True}, ["fastapi"], "a policy of minibg"),
    ],
    ids=str,
)
def test_what_cannot_be_run_is_named(
    lab: Lab, request_: dict[str, Any], contenders: list[str], text: str
) -> None:
    answer = lab.start(request_, *contenders)
    assert answer.status == 422
    assert text in answer.body.decode()


def test_a_run_is_told_from_its_start_to_whoever_comes(lab: Lab) -> None:
    name = lab.start(SHORT, "minibg", "fastapi").json["id"]
    told = [*lab.follow(f"/runs/{name}/events")]
    assert told[-1] == ("end", {})
    assert [*lab.follow(f"/runs/{name}/events")] == told
    by_kind: dict[str, list[Any]] = {}
    for kind, data in told:
        by_kind.setdefault(kind, []).append(data)
    assert [data["said"] for data in by_kind["outcome"]] == [
        "200: failed, ended",
        "200: failed, never started",
    ]
    difference = by_kind["difference"][0]
    assert (difference["name"], difference["tasks"]) == ("isolate", [1])
    assert difference["contenders"] == ["minibg", "fastapi"]


def test_a_visitor_has_one_run_at_a_time_and_can_stop_it(lab: Lab) -> None:
    ada, grace = {"cookie": "visitor=ada"}, {"cookie": "visitor=grace"}
    first = lab.start(LONG, "minibg", **ada)
    second = lab.start(LONG, "minibg", **ada)
    assert (first.status, second.status) == (202, 409)
    assert "your last run is still going" in second.json["detail"]
    other = lab.start(SHORT, "minibg", **grace)
    assert other.status == 202
    name = first.json["id"]
    lab.ask("DELETE", f"/runs/{name}")
    assert [*lab.follow(f"/runs/{name}/events")][-1] == ("end", {})
    again = lab.start(SHORT, "v1", **ada)
    assert again.status == 202
    for answer in (other, again):
        assert [*lab.follow(f"/runs/{answer.json['id']}/events")][-1] == ("end", {})


def test_too_many_visitors_are_told_to_wait(lab: Lab) -> None:
    answers = [lab.start(LONG, "v3", cookie=f"visitor={number}") for number in range(5)]
    assert [answer.status for answer in answers] == [202, 202, 202, 202, 409]
    assert "4 runs are already going" in answers[-1].json["detail"]
    for answer in answers[:-1]:
        lab.ask("DELETE", f"/runs/{answer.json['id']}")
        assert [*lab.follow(f"/runs/{answer.json['id']}/events")][-1] == ("end", {})


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_run_that_there_is_not_is_said_so(lab: Lab, method: str) -> None:
    path = "/runs/none/events" if method == "GET" else "/runs/none"
    answer = lab.ask(method, path)
    assert answer.status == 404
    assert "there is no such run" in answer.json["detail"]


def test_the_page_is_told_what_there_is(lab: Lab) -> None:
    contenders = lab.ask("GET", "/contenders").json
    assert [one["title"] for one in contenders[:4]] == [
        "minibg",
        "Starlette",
        "FastAPI",
        "Version 0",
    ]
    assert all(one["available"] for one in contenders)
    ideas = {one["id"]: one["idea"] for one in contenders if one["idea"]}
    assert ideas == dict(zip(VERSIONS, IDEAS, strict=True))
    presets = lab.ask("GET", "/presets").json
    composition = lab.ask("GET", "/composition").json
    for preset in presets:
        assert preset["request"]["endpoint"] in composition["endpoint"]
    assert composition["limits"]["tasks"] == 10
    source = lab.ask("GET", "/sources/fastapi").json
    assert all(part["file"].endswith("/background.py") for part in source)
    for part in source:
        assert len(part["html"]) == len(part["text"]) == part["last"] - part["first"] + 1
    assert lab.ask("GET", "/sources/django").status == 404
    assert lab.ask("GET", "/app/events").status == 404


def test_only_the_last_runs_are_kept() -> None:
    async def main() -> None:
        runs = Runs()
        names = []
        for _ in range(KEPT + 2):
            names.append(runs.add(RunSpec(RequestSpec(), ("minibg",)), "ada"))
            runs.get(names[-1]).tell({"event": "end"})
        assert [*runs.runs] == names[1:]

    anyio.run(main)


@pytest.mark.parametrize("contender", ["starlette", "fastapi"])
def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, contender: str) -> None:
    monkeypatch.setattr("minibg.lab.applications.find_spec", lambda name: None)
    assert why_not(contender) == f"{contender} is not installed: pip install {contender}"
    assert why_not("v3") == ""


def wait_until_gone(pids: list[int]) -> None:
    """Wait until no such process is there.

    Raises:
        AssertionError: If one is there in the end.
    """
    _, alive = psutil.wait_procs([psutil.Process(pid) for pid in pids if is_alive(pid)], TIMEOUT)
    assert alive == []


@pytest.mark.parametrize(
    "how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda s: s.name
)
def test_all_that_a_lab_started_ends_with_it(tmp_path: Path, how: signal.Signals) -> None:
    """While a contender blocks its loop, so that it cannot be asked to end."""
    blocking = {"tasks": [{"kind": "async", "ms": 2000, "does": "blocks"}] * 5}
    with served(tmp_path) as lab:
        name = lab.start(blocking, "minibg", "starlette").json["id"]
        for kind, data in lab.follow(f"/runs/{name}/events"):
            if kind == "begin" and data["kind"] == "task":
                break
        children = [child.pid for child in psutil.Process(lab.process.pid).children(True)]
        os.kill(lab.process.pid, how)
        lab.process.wait(TIMEOUT)
        assert len(children) == 3
        wait_until_gone(children)
    assert [*tmp_path.iterdir()] == []


def test_an_interrupt_ends_the_streams_too_and_says_nothing(tmp_path: Path) -> None:
    """A page that listens to a run does not keep the server, which would complain of that."""
    with served(tmp_path, stderr=subprocess.STDOUT) as lab:
        name = lab.start(LONG, "minibg").json["id"]
        page = HTTPConnection("127.0.0.1", lab.port, timeout=TIMEOUT)
        page.request("GET", f"/runs/{name}/events")
        assert page.getresponse().status == 200
        lab.process.send_signal(signal.SIGINT)
        assert lab.process.wait(TIMEOUT) == 0
        assert lab.process.stdout is not None
        assert lab.process.stdout.read() == ""
        page.close()


def test_the_browser_is_opened_unless_it_is_declined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    served: list[Any] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setattr("threading.Timer.start", lambda timer: timer.function(*timer.args))
    monkeypatch.setattr("uvicorn.Server.run", lambda server, sockets: served.extend(sockets))
    monkeypatch.setattr("uvicorn.Config.configure_logging", lambda config: None)
    for options in ([], ["--no-browser"]):
        monkeypatch.setattr("sys.argv", ["minibg.lab", *options])
        assert main() == 0
    ports = [sock.getsockname()[1] for sock in served]
    for sock in served:
        sock.close()
    assert opened == [f"http://127.0.0.1:{ports[0]}/"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--port", "65536"], "argument --port: '65536' is not a port"),
        (["--loud"], "unrecognized arguments: --loud"),
    ],
    ids=str,
)
def test_a_mistake_is_named_in_one_line(
    assert_refuses: Callable[..., None], arguments: list[str], line: str
) -> None:
    assert_refuses(main, arguments, line)


@pytest.mark.parametrize("package", ["rich", "uvicorn", "pygments"])
def test_a_missing_package_is_named_with_what_installs_it(tmp_path: Path, package: str) -> None:
    program = WITHOUT_A_PACKAGE.replace('"minibg"', '"minibg.lab"')
    done = python("-c", program, package, directory=tmp_path)
    assert_refused(done, f"{package} is not installed: pip install 'minibg[standard]'")


def test_a_port_in_use_is_refused(tmp_path: Path, lab: Lab) -> None:
    done = python("-m", "minibg.lab", "--port", str(lab.port), directory=tmp_path)
    assert_refused(done, f"port {lab.port} on 127.0.0.1 is in use")
