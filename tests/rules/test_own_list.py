"""**own list**: every request has its own list, of each class that its endpoint asks for."""

from collections.abc import Iterator
from typing import Annotated

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minibg import BackgroundTask, BackgroundTasks, Depends, FailFastTasks, MiniBG
from tests.rules.language.exchange import Exchange
from tests.rules.language.programs import PROGRAMS, hold
from tests.rules.language.tasks import any_kind, make


@pytest.mark.basic(before="place")
def test_two_lists_share_no_task() -> None:
    one, other = BackgroundTasks(), BackgroundTasks()
    one.add_task(print)
    assert [len(one.tasks), len(other.tasks)] == [1, 0]
    one.tasks.clear()


@pytest.mark.basic
def test_a_dependency_and_the_endpoint_share_a_list(backend: str) -> None:
    given_lists: list[BackgroundTasks] = []
    app = MiniBG()

    async def dependency(tasks: BackgroundTasks) -> BackgroundTasks:
        return tasks

    @app.get("/")
    async def endpoint(
        tasks: BackgroundTasks, handed_on: Annotated[BackgroundTasks, Depends(dependency)]
    ) -> None:
        given_lists.extend([tasks, handed_on])

    anyio.run(Exchange(), app, backend=backend)
    one, other = given_lists
    assert one is other


@pytest.mark.basic
def test_the_annotation_chooses_the_policy(backend: str) -> None:
    class Counting(BackgroundTasks):
        failures = 0

        def on_error(self, task: BackgroundTask, exc: Exception) -> None:
            type(self).failures += 1

    def fail() -> None:
        raise ValueError

    app = MiniBG()

    @app.get("/")
    async def endpoint(tasks: Counting) -> None:
        tasks.add_task(fail)
        tasks.add_task(fail)

    anyio.run(Exchange(), app, backend=backend)
    assert Counting.failures == 2


def test_a_request_has_one_list_of_each_class(backend: str) -> None:
    """The endpoint and all its dependencies share one list of each class."""
    given_lists: list[tuple[BackgroundTasks, FailFastTasks]] = []
    app = MiniBG()

    def leaf(tasks: BackgroundTasks, strict: FailFastTasks) -> Iterator[None]:
        given_lists.append((tasks, strict))
        yield

    async def branch(
        strict: FailFastTasks,
        tasks: BackgroundTasks,
        below: Annotated[None, Depends(leaf)],
        again: Annotated[None, Depends(leaf, use_cache=False)],
    ) -> BackgroundTasks:
        given_lists.append((tasks, strict))
        return tasks

    @app.get("/")
    def endpoint(
        handed_on: Annotated[BackgroundTasks, Depends(branch)],
        tasks: BackgroundTasks,
        strict: FailFastTasks,
    ) -> None:
        given_lists.extend([(tasks, strict), (handed_on, strict)])

    for _ in range(2):
        anyio.run(Exchange(), app, backend=backend)
    first, second = given_lists[:5], given_lists[5:]
    for (tasks, strict), *others in (first, second):
        assert (type(tasks), type(strict)) == (BackgroundTasks, FailFastTasks)
        assert all(other[0] is tasks and other[1] is strict for other in others)
    assert first[0][0] is not second[0][0]
    assert first[0][1] is not second[0][1]


@given(added=st.lists(st.tuples(any_kind(), st.sampled_from(["dependency", "endpoint"]))))
def test_a_dependency_and_the_endpoint_add_in_turn(
    backend: str, added: list[tuple[str, str]]
) -> None:
    """Tasks of a dependency and of the endpoint run in the order in which they were added.

    A dependency hands its list on, so that both add to it in turn.
    """
    ran: list[int] = []
    app = MiniBG()

    def dependency(tasks: BackgroundTasks) -> BackgroundTasks:
        return tasks

    @app.get("/")
    async def endpoint(
        tasks: BackgroundTasks, handed_on: Annotated[BackgroundTasks, Depends(dependency)]
    ) -> None:
        for number, (kind, by) in enumerate(added):
            adding = tasks if by == "endpoint" else handed_on
            adding.add_task(make(kind, ran.append), number)

    anyio.run(Exchange(), app, backend=backend)
    assert ran == list(range(len(added)))


@pytest.mark.parametrize("base", [BackgroundTasks, FailFastTasks])
def test_two_classes_of_one_name_are_two_lists(backend: str, base: type[BackgroundTasks]) -> None:
    """As a function makes them that is called twice."""

    def made() -> type[BackgroundTasks]:
        return type("Tasks", (base,), {})

    one, two = made(), made()
    given_classes: list[type] = []
    app = MiniBG()

    def dependency(tasks: one) -> None:  # type: ignore[valid-type]  # made above
        given_classes.append(type(tasks))

    @app.get("/")
    def endpoint(tasks: two, _: None = Depends(dependency)) -> None:  # type: ignore[valid-type]  # ^
        given_classes.append(type(tasks))

    anyio.run(Exchange(), app, backend=backend)
    assert given_classes == [one, two]


@given(added=st.lists(st.tuples(any_kind(), st.booleans()), max_size=6))
def test_lists_run_in_the_order_they_were_asked_for(
    backend: str, added: list[tuple[str, bool]]
) -> None:
    """Lists of several classes run in the order in which the endpoint asks for them."""
    ran: list[int] = []
    app = MiniBG()

    @app.get("/")
    async def endpoint(first: FailFastTasks, second: BackgroundTasks) -> None:
        for number, (kind, into_first) in enumerate(added):
            (first if into_first else second).add_task(make(kind, ran.append), number)

    anyio.run(Exchange(), app, backend=backend)
    into = [into_first for _, into_first in added]
    assert ran == sorted(range(len(added)), key=lambda number: not into[number])


@pytest.mark.basic
@given(program=PROGRAMS["own list"])
def test_requests_that_overlap_run_their_own_tasks_only(
    backend: str, program: tuple[list[str], int]
) -> None:
    kinds, how_many = program
    ran: dict[int, list[int]] = {number: [] for number in range(how_many)}
    given_to: dict[int, BackgroundTasks] = {}
    app = MiniBG()

    @app.get("/{number:int}")
    async def endpoint(number: int, tasks: BackgroundTasks) -> None:
        given_to[number] = tasks
        for place, kind in enumerate(kinds):
            tasks.add_task(make(kind, ran[number].append), place)
            await anyio.lowlevel.checkpoint()

    async def server() -> None:
        async with anyio.create_task_group() as group:
            for number in range(how_many):
                group.start_soon(Exchange(f"/{number}"), app)

    anyio.run(server, backend=backend)
    sharing = {n: sum(other is own for other in given_to.values()) for n, own in given_to.items()}
    alone = "a list of its own"
    wanted = {f"request {n}": f"{alone}; tasks {[*range(len(kinds))]} ran" for n in ran}
    seen = {
        f"request {n}": f"{alone if sharing[n] == 1 else 'a shared list'}; tasks {ran[n]} ran"
        for n in ran
    }
    hold("own list", program, wanted, seen)
