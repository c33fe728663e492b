"""The definitions of costs and ratios, and that the measured contenders take turns."""

import asyncio
import gc
import sys
from typing import Literal

import pytest

from minibg.types import Receive, Scope, Send
from tests.benchmarks import crowd, instructions, work
from tests.benchmarks.in_process import Client, one_more
from tests.benchmarks.measure import Row, in_turns, ratio
from tests.benchmarks.targets import TARGETS, Target
from tests.benchmarks.under_uvicorn import find


def test_each_contender_is_measured_once_a_round() -> None:
    """Each contender is measured once a round, and each round begins with another one."""
    order: list[str] = []

    def cost(name: str) -> float:
        order.append(name)
        return float(len(order))

    samples = in_turns({"a": lambda: cost("a"), "b": lambda: cost("b")}, rounds=3)
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert samples == {"a": [1, 4, 5], "b": [2, 3, 6]}


def test_a_ratio_compares_within_rounds_and_not_across() -> None:
    samples = {"a": [1.0, 10.0, 100.0], "b": [2.0, 30.0, 200.0]}
    assert ratio(samples, "b", "a") == (2, 2, 2.5)


@pytest.mark.parametrize(
    ("bound", "limit", "is_reached"),
    [
        ("at most", 0.5, True),
        ("at most", 0.4, False),
        ("at least", 2, True),
        ("at least", 3, False),
    ],
)
def test_a_target_bounds_minibg_from_its_own_side(
    bound: Literal["at most", "at least"], limit: float, is_reached: bool
) -> None:
    row = Row("row", "s", {"minibg": [1.0, 1.0], "FastAPI": [2.0, 2.0]}, {})
    target = Target("row", "FastAPI", bound, limit)
    assert target.is_reached(target.measured(row)) == is_reached


def test_each_framework_of_the_comparison_has_targets() -> None:
    """There are targets for each framework that minibg is compared with."""
    assert {target.peer for target in TARGETS} == {
        "raw ASGI",
        "Starlette",
        "FastAPI",
        "Litestar",
    }


def test_a_slice_lasts_until_its_tasks_have_run() -> None:
    """A slice lasts until all its tasks have run, also those that no application awaits."""

    async def measured() -> float:
        may_run = asyncio.Event()

        async def task() -> None:
            await may_run.wait()
            work.ran.append(None)

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            tasks.append(asyncio.create_task(task()))

        tasks: list[asyncio.Task[None]] = []
        client = Client(app, work.row_of(work.on_the_loop))
        client.number = 3
        slice_ = asyncio.create_task(client.slice())
        while len(tasks) < client.number:  # noqa: ASYNC110  # nothing but turns of the loop
            await asyncio.sleep(0)
        assert not slice_.done()
        may_run.set()
        async with asyncio.timeout(10):
            return await slice_

    assert asyncio.run(measured()) > 0
    assert len(work.ran) == 3


def test_one_more_task_costs_what_many_more_cost_within_a_round() -> None:
    assert one_more({"a": [1.0, 2.0]}, {"a": [11.0, 22.0]}, 10) == {"a": [1.0, 2.0]}


def test_what_wrk_tells_is_read_in_seconds() -> None:
    told = "     50%  871.00us\n     99%    1.20ms\n  30210 requests in 2.00s, 4.09MB read\n"
    assert find(r"50%\s+([\d.]+)(\w+)", told) == pytest.approx([0.000871])
    assert find(r"99%\s+([\d.]+)(\w+)", told) == pytest.approx([0.0012])
    assert find(r"(\d+) requests in ([\d.]+)(\w+)", told) == [30210, 2.0]


def test_a_request_takes_the_slope_between_few_and_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instructions, "count", lambda peer, row, number: 10**9 + 50 * number)
    (row,) = instructions.rows(["minibg", "FastAPI"], "instructions, no task")
    assert row.samples == {"minibg": [50]}


@pytest.mark.skipif(not instructions.is_possible(), reason=instructions.MISSING)
def test_callgrind_counts_a_process() -> None:
    program = [sys.executable, "-S", "-c", "pass"]  # one that serves would take fifty times as long
    assert instructions.counted(program) > 1_000_000


def test_what_is_counted_serves_as_many_requests_as_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    programs: list[list[str]] = []
    monkeypatch.setattr(instructions, "counted", lambda program: programs.append(program) or 7)
    assert instructions.count("minibg", "1 async task", 3) == 7
    ((*python, module, peer, row, requests),) = programs
    assert (python, module) == ([sys.executable, "-m"], instructions.__name__)
    monkeypatch.setattr(sys, "argv", [module, peer, row, requests])
    work.ran.clear()
    try:
        instructions.main()
    finally:
        gc.enable()
    assert len(work.ran) == 3


def test_a_crowd_is_measured_of_minibg_and_of_starlette() -> None:
    peers = ["minibg", "Starlette", "FastAPI"]
    for row in (crowd.wait_row(peers, 1), crowd.memory_row(peers)):
        assert [*row.samples] == ["minibg", "Starlette"]
        assert all(cost > 0 for costs in row.samples.values() for cost in costs)
