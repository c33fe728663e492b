"""What all tests share: the two event loops, and how many inputs Hypothesis generates."""

import os

import pytest
from hypothesis import HealthCheck, settings

# A fixture of this file is the same for every example, so that it is not made anew is no mistake.
settings.register_profile(
    "ci",
    derandomize=True,
    report_multiple_bugs=False,
    deadline=None,
    max_examples=50,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
settings.register_profile("dev", settings.get_profile("ci"), derandomize=False, max_examples=10)
settings.register_profile("deep", settings.get_profile("ci"), derandomize=False, max_examples=500)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int | None:
    """Two for each core, as many a test waits for a server's process."""
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None
    return 2 * (os.cpu_count() or 1)


@pytest.fixture(params=["asyncio", "trio"])
def backend(request: pytest.FixtureRequest) -> str:
    """The event loop that a test runs on: pass it to `anyio.run(..., backend=backend)`."""
    return str(request.param)
