"""**grow**: a task that is added during the run runs in the same run, after those in the list."""

import anyio
from hypothesis import given
from hypothesis import strategies as st

from minibg import BackgroundTask, BackgroundTasks
from tests.rules.tasks import kinds, make

Tree = list[tuple[str, "Tree"]]  # type: ignore[misc]
trees = st.recursive(
    st.just([]), lambda deeper: st.lists(st.tuples(kinds(), deeper), max_size=3), max_leaves=12
)


@given(tree=trees)
def test_added_tasks_run_after_those_that_stood_in_the_list(backend: str, tree: Tree) -> None:
    """A task and what it adds are a tree: what runs is the tree level by level."""
    tasks, ran = BackgroundTasks(), list[str]()

    def add(name: str, kind: str, added: Tree) -> None:
        def body() -> None:
            ran.append(name)
            for number, node in enumerate(added):
                add(f"{name}.{number}", *node)

        tasks.add_task(make(kind, body))

    expected, level = list[str](), [(str(n), *node) for n, node in enumerate(tree)]
    while level:
        expected += [name for name, _, _ in level]
        level = [
            (f"{name}.{number}", *node)
            for name, _, added in level
            for number, node in enumerate(added)
        ]
    for number, (kind, added) in enumerate(tree):
        add(str(number), kind, added)
    anyio.run(tasks, backend=backend)
    assert ran == expected


@given(programme=st.lists(st.tuples(kinds(), st.booleans()), min_size=1, max_size=6))
def test_on_error_may_add_the_failed_call_again(
    backend: str, programme: list[tuple[str, bool]]
) -> None:
    ran: list[int] = []

    class Retrying(BackgroundTasks):
        def on_error(self, task: BackgroundTask, exc: Exception) -> None:
            self.add_task(task.func, *task.args, **task.kwargs)

    def body(number: int, fails_once: bool) -> None:
        ran.append(number)
        if fails_once and ran.count(number) == 1:
            raise ValueError

    tasks = Retrying()
    for number, (kind, fails_once) in enumerate(programme):
        tasks.add_task(make(kind, body), number, fails_once=fails_once)
    anyio.run(tasks, backend=backend)
    again = [number for number, (_, fails_once) in enumerate(programme) if fails_once]
    assert ran == [*range(len(programme)), *again]
