"""The request that a visitor of the lab composes, with its tasks, its client and its server.

What may live here: the choices and their limits. `contender.py` serves the composed request, and
`experiment.py` runs it.
"""

from typing import Annotated, Any, Literal, get_args

import msgspec

Kind = Literal["sync", "async"]
Does = Literal[
    "ends",
    "fails",
    "fails, handled",
    "adds",
    "hands back",
    "blocks",
    "exits",
    "cancels",
    "cancels and fails",
    "is given func",
    "is a generator",
]
Endpoint = Literal["returns", "raises", "streams", "own background"]
Dependency = Literal["none", "closes", "fails closing", "adds"]
Client = Literal[
    "stays",
    "hangs up before",
    "hangs up within",
    "hangs up after",
    "pipelines",
    "after 40 others",
]
Server = Literal["goes on", "SIGTERM", "SIGTERM twice", "SIGKILL"]

LIMITS = {"tasks": 10, "ms": 2000, "ms_together": 10_000, "contenders": 3}
"""At most so many tasks, milliseconds for one of them and for all together, and contenders."""

CHOICES = {
    "kind": Kind,
    "does": Does,
    "endpoint": Endpoint,
    "dependency": Dependency,
    "client": Client,
    "server": Server,
}
"""The fields with a choice, and their options."""


def choices() -> dict[str, Any]:
    """The options and the limits, for the page."""
    return {name: get_args(choice) for name, choice in CHOICES.items()} | {"limits": LIMITS}


class TaskSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One task: its kind, how many milliseconds it takes, and what it does."""

    kind: Kind = "sync"
    ms: Annotated[int, msgspec.Meta(ge=0, le=LIMITS["ms"])] = 100
    does: Does = "ends"

    @property
    def said(self) -> str:
        """The task in words."""
        return f"{self.kind}, {self.ms} ms" + ("" if self.does == "ends" else f", {self.does}")


class RequestSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One request. The fragment of the lab's URL holds it as JSON."""

    tasks: Annotated[tuple[TaskSpec, ...], msgspec.Meta(max_length=LIMITS["tasks"])] = ()
    endpoint: Endpoint = "returns"
    dependency: Dependency = "none"
    client: Client = "stays"
    server: Server = "goes on"
    fail_fast: bool = False


class RunSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A request, and the contenders that it runs on; with `step`, line by line."""

    request: RequestSpec
    contenders: Annotated[
        tuple[str, ...], msgspec.Meta(min_length=1, max_length=LIMITS["contenders"])
    ]
    step: bool = False
