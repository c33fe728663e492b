"""What a visitor of the lab composes: a request, its tasks, its client and its server.

What may live here: what can be composed, and within which bounds. What is done with it is the
business of `contender.py` and `experiment.py`.
"""

from typing import Annotated, Literal

import msgspec

Kind = Literal["sync", "async"]
Does = Literal["ends", "fails", "adds", "hands back", "blocks", "exits", "cancels"]
Milliseconds = Annotated[int, msgspec.Meta(ge=0, le=2000)]


class TaskSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One task: of which kind, for how long, and what it does then."""

    kind: Kind = "sync"
    ms: Milliseconds = 100
    does: Does = "ends"

    @property
    def said(self) -> str:
        """The task in words."""
        return f"{self.kind}, {self.ms} ms" + ("" if self.does == "ends" else f", {self.does}")


class RequestSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One request, as it stands in the fragment of the lab's URL."""

    tasks: Annotated[tuple[TaskSpec, ...], msgspec.Meta(max_length=10)] = ()
    endpoint: Literal["returns", "raises", "streams"] = "returns"
    dependency: Literal["none", "closes", "fails closing"] = "none"
    client: Literal[
        "stays", "hangs up before", "hangs up within", "hangs up after", "pipelines"
    ] = "stays"
    server: Literal["goes on", "SIGTERM", "SIGTERM twice", "SIGKILL"] = "goes on"
    fail_fast: bool = False


class RunSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A request, and on whom it is tried."""

    request: RequestSpec
    contenders: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=3)]
    step: bool = False
