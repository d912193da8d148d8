"""This version's contracts and the record of what was published are in line."""

import pytest

from contracts.evolution import harmless, judge
from contracts.examine import examine
from contracts.publication import PUBLISHED, check_published, published
from contracts.subjects import CONTRACTS


def test_our_contracts_are_as_published() -> None:
    """Where this fails, `levelsync contract check` says what to do."""
    assert check_published(CONTRACTS.values(), PUBLISHED) == []


@pytest.mark.parametrize("name", CONTRACTS)
def test_every_revision_can_be_and_follows_those_before_it(name: str) -> None:
    revisions = published()[name]
    for number, contract in enumerate(revisions):
        examine(contract)
        assert harmless(judge(revisions[:number], contract))
