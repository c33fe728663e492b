"""The rules in the order in which they build on one another, so that the first failure tells most.

A rule that is broken breaks others that rest on it: where sync tasks run on the event loop, hardly
anything holds. `pytest tests/rules -x` stops at the rule itself.
"""

import pytest

from tests.rules.words import RULES

PLACES = {f"test_{rule.replace(' ', '_')}": place for place, rule in enumerate(RULES)}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the tests of the rules among themselves; all others stay where they are."""
    places = [i for i, item in enumerate(items) if item.path.parent.name == "rules"]
    in_order = sorted(
        (items[i] for i in places), key=lambda item: PLACES.get(item.path.stem, len(PLACES))
    )
    for i, item in zip(places, in_order, strict=True):
        items[i] = item
