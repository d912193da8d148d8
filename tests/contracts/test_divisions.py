"""The country's divisions as package data."""

from collections import Counter

import pytest

from contracts.divisions import divisions, full_name, parent_of


def test_all_divisions_are_there_and_parents_come_first() -> None:
    seen: set[str] = set()
    for found in divisions():
        assert found.parent is None or found.parent in seen
        seen.add(found.code)
    levels = Counter(found.level for found in divisions())
    assert levels == {"province": 31, "city": 342, "county": 2_978, "township": 41_352}


def test_a_scope_holds_its_own() -> None:
    assert len(list(divisions("370102"))) == 14
    assert full_name("370102001") == "山东省济南市历下区解放路街道"
    assert parent_of("370102001001") == "370102001"
    with pytest.raises(KeyError):
        full_name("99")
