"""**capture**: a task keeps references to exactly what it was given when it was added."""

import copy
import pickle
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from functools import partial
from types import coroutine
from typing import Any

import anyio
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from minibg import BackgroundTask, BackgroundTasks
from tests.rules.language.programs import PROGRAMS, AnyProgram, check
from tests.rules.language.tasks import KINDS, any_kind, make
from tests.rules.language.words import Program, Task

values = st.none() | st.integers() | st.text() | st.lists(st.integers()) | st.builds(object)
names = (
    st.sampled_from(["func", "self", "args", "kwargs", "task", "limiter", "context"]) | st.text()
)
arguments = st.tuples(st.lists(values), st.dictionaries(names, values))


def run_and_collect(
    backend: str, kind: str, args: list[Any], kwargs: dict[str, Any], then: Callable[[], None]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Add a task, do `then`, run the task, and give the arguments that it was called with."""
    called: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
    tasks = BackgroundTasks()
    tasks.add_task(make(kind, lambda *a, **k: called.append((a, k))), *args, **kwargs)
    then()
    anyio.run(tasks, backend=backend)
    (call,) = called
    return call


@pytest.mark.parametrize("kind", KINDS)
def test_a_variable_bound_anew_changes_nothing(backend: str, kind: str) -> None:
    """A task is given the object that the name stands for when it is added."""
    called: list[str] = []
    tasks = BackgroundTasks()
    name = "ada"
    tasks.add_task(make(kind, called.append), name)
    name = "grace"
    anyio.run(tasks, backend=backend)
    assert (called, name) == (["ada"], "grace")


@given(kind=any_kind(), given_arguments=arguments)
def test_a_task_is_called_with_the_very_objects_it_was_given(
    backend: str, kind: str, given_arguments: tuple[list[Any], dict[str, Any]]
) -> None:
    args, kwargs = given_arguments
    called_args, called_kwargs = run_and_collect(backend, kind, args, kwargs, lambda: None)
    assert [id(value) for value in called_args] == [id(value) for value in args]
    assert {name: id(value) for name, value in called_kwargs.items()} == {
        name: id(value) for name, value in kwargs.items()
    }


@given(kind=any_kind(), before=st.lists(st.integers()), added=st.integers())
def test_mutating_an_object_that_was_passed_is_seen_by_the_task(
    backend: str, kind: str, before: list[int], added: int
) -> None:
    shared = list(before)
    call = run_and_collect(
        backend, kind, [shared], {"shared": shared}, lambda: shared.append(added)
    )
    assert call == (([*before, added],), {"shared": [*before, added]})


@given(kind=any_kind(), kwargs=st.dictionaries(names, values))
def test_a_single_task_takes_any_keyword_as_a_list_does(
    backend: str, kind: str, kwargs: dict[str, Any]
) -> None:
    called: list[dict[str, Any]] = []
    task = BackgroundTask(make(kind, lambda **given: called.append(given)), **kwargs)
    anyio.run(task, backend=backend)
    assert called == [kwargs]


def test_tasks_without_keywords_share_nothing() -> None:
    first, second = BackgroundTask(print), BackgroundTask(print)
    first.kwargs["end"] = ""
    assert second.kwargs == {}


def generating() -> Iterator[int]:
    yield 1


async def generating_async() -> AsyncIterator[int]:
    yield 1


class Generating:
    def __call__(self) -> Iterator[int]:
        yield 1

    async def method(self) -> AsyncIterator[int]:
        yield 1


@pytest.mark.parametrize(
    "generator_function",
    [generating, generating_async, partial(generating_async), Generating(), Generating().method],
    ids=["sync", "async", "partial", "object", "method"],
)
def test_a_generator_function_is_refused_where_it_is_added(
    generator_function: Callable[..., Any],
) -> None:
    """A call of it would run nothing."""
    tasks = BackgroundTasks()
    with pytest.raises(TypeError, match=r"enerating\S* is a generator function"):
        tasks.add_task(generator_function)
    with pytest.raises(TypeError, match=r"enerating\S* is a generator function"):
        BackgroundTask(generator_function)
    assert not tasks.tasks


def test_a_generator_that_can_be_awaited_is_a_task(backend: str) -> None:
    ran: list[str] = []

    @coroutine
    def task() -> Generator[Any, Any, None]:
        yield from anyio.lowlevel.checkpoint().__await__()
        ran.append("to its end")

    anyio.run(BackgroundTasks([BackgroundTask(task)]), backend=backend)
    assert ran == ["to its end"]


def test_a_task_of_a_subclass_is_awaited_as_it_says_itself(backend: str) -> None:
    class Twice(BackgroundTask):
        async def __call__(self) -> None:
            await super().__call__()
            await super().__call__()

    called: list[int] = []
    anyio.run(BackgroundTasks([Twice(called.append, 1)]), backend=backend)
    assert called == [1, 1]


COPIES: dict[str, Callable[[Any], Any]] = {
    "pickled": lambda given: pickle.loads(pickle.dumps(given)),
    "copied": copy.copy,
    "copied deeply": copy.deepcopy,
}


@pytest.mark.parametrize("how", COPIES)
def test_a_copy_of_a_task_makes_the_same_call(backend: str, how: str) -> None:
    task = COPIES[how](BackgroundTask(ran.append, 1))
    assert (task.args, task.kwargs, task.is_async) == ((1,), {}, False)
    anyio.run(COPIES[how](BackgroundTask(note_run, number=2)), backend=backend)
    assert ran == [2]
    ran.clear()


@pytest.mark.parametrize("how", COPIES)
def test_a_copy_of_a_list_has_tasks_of_its_own(backend: str, how: str) -> None:
    tasks = BackgroundTasks([BackgroundTask(note_run, 1)])
    copied = COPIES[how](tasks)
    copied.add_task(note_run, 2)
    anyio.run(tasks, backend=backend)
    assert ran == [1]
    anyio.run(copied, backend=backend)
    assert ran == [1, 1, 2]
    ran.clear()


def test_a_copy_of_a_policy_keeps_what_was_set() -> None:
    class Named(BackgroundTasks):
        name = "of the class"

    tasks = Named()
    tasks.name = "of the list"
    assert copy.copy(tasks).name == "of the list"


ran: list[int] = []


def note_run(number: int) -> None:
    ran.append(number)


def test_a_list_begins_with_the_very_tasks_that_it_was_given() -> None:
    task = BackgroundTask(print, end="")
    tasks = BackgroundTasks([task])
    assert tasks.tasks[0] is task
    anyio.run(tasks)


async def send() -> None:
    raise AssertionError("nothing awaits this")


@given(not_callable=values)
def test_what_is_not_callable_is_refused_where_it_is_added(not_callable: Any) -> None:
    tasks = BackgroundTasks()
    with pytest.raises(TypeError, match=f"not a {type(not_callable).__name__}"):
        tasks.add_task(not_callable)
    assert not tasks.tasks


def test_a_coroutine_in_place_of_its_function_is_refused_by_name() -> None:
    coroutine = send()
    with pytest.raises(TypeError, match="a task is a callable and its arguments, not a coroutine"):
        BackgroundTasks().add_task(coroutine)  # type: ignore[arg-type]  # on purpose
    coroutine.close()


@pytest.mark.basic
@given(program=PROGRAMS["capture"])
@example(program=Program((Task(),)))
def test_a_task_is_called_with_what_it_was_given_in_any_program(
    backend: str, program: AnyProgram
) -> None:
    check("capture", backend, program)
