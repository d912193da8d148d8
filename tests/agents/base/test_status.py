"""Figures are what they say."""

import pytest

from agents.base.status import percentile


def test_percentiles() -> None:
    with pytest.raises(IndexError):
        percentile([], 0.5)
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile([float(value) for value in range(100)], 0.99) == 99.0
