"""What the generators promise: contracts that can be, and records their writers accept."""

from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.check import Checker
from contracts.examine import examine
from contracts.formats import FORMATS
from contracts.model import Contract
from tests.contracts.generated import contracts, formatted, mutations, values

SLOW = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]


@given(data=st.data(), contract=contracts())
@settings(max_examples=100, deadline=None, suppress_health_check=SLOW)
def test_what_a_writer_accepts_its_own_reader_reads_the_same(data: Any, contract: Contract) -> None:
    examine(contract)
    checker = Checker(contract)
    written = checker.accept(msgspec.json.encode(data.draw(values(contract)))).value
    assert msgspec.json.encode(checker.decode(written)) == written


@given(data=st.data(), contract=contracts())
@settings(max_examples=50, deadline=None, suppress_health_check=SLOW)
def test_a_neighbouring_revision_is_a_contract_too(data: Any, contract: Contract) -> None:
    following = data.draw(mutations(contract))
    examine(following)
    raw = msgspec.json.encode(following)
    assert msgspec.json.decode(raw, type=Contract) == following


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_each_format_has_texts(name: str) -> None:
    @given(text=formatted(name))
    @settings(max_examples=20)
    def keeps(text: str) -> None:
        assert FORMATS[name].fault(text) is None

    keeps()
