"""What a visitor of the lab composes: a request, its tasks, its client and its server.

What may live here: what can be composed, and within which bounds. What is done with it is the
business of `contender.py` and `experiment.py`.
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
"""How many tasks a request has at most, how long each takes, and all; and who is compared."""

CHOICES = {
    "kind": Kind,
    "does": Does,
    "endpoint": Endpoint,
    "dependency": Dependency,
    "client": Client,
    "server": Server,
}
"""What there is to choose from."""


def choices() -> dict[str, Any]:
    """All that can be composed, for the page."""
    return {name: get_args(choice) for name, choice in CHOICES.items()} | {"limits": LIMITS}


class TaskSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One task: of which kind, for how long, and what it does then."""

    kind: Kind = "sync"
    ms: Annotated[int, msgspec.Meta(ge=0, le=LIMITS["ms"])] = 100
    does: Does = "ends"

    @property
    def said(self) -> str:
        """The task in words."""
        return f"{self.kind}, {self.ms} ms" + ("" if self.does == "ends" else f", {self.does}")


class RequestSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One request, as it stands in the fragment of the lab's URL."""

    tasks: Annotated[tuple[TaskSpec, ...], msgspec.Meta(max_length=LIMITS["tasks"])] = ()
    endpoint: Endpoint = "returns"
    dependency: Dependency = "none"
    client: Client = "stays"
    server: Server = "goes on"
    fail_fast: bool = False


class RunSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A request, and on whom it is tried."""

    request: RequestSpec
    contenders: Annotated[
        tuple[str, ...], msgspec.Meta(min_length=1, max_length=LIMITS["contenders"])
    ]
    step: bool = False
