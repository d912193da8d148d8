"""Three real levels for the tests of a module."""

import contextlib
import os
from collections.abc import AsyncIterator

import pytest

from agents.demo.levels import Levels
from agents.demo.people import COUNTY
from agents.demo.servers import NotInstalled


@contextlib.asynccontextmanager
async def started(residents: int, licences: int) -> AsyncIterator[Levels]:
    """Skips the test where what they need is not installed."""
    levels = Levels(print, residents=residents, licences=licences)
    try:
        await levels.__aenter__()
    except NotInstalled as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    try:
        yield levels
    finally:
        await levels.__aexit__()


def resident(levels: Levels, at: int) -> str:
    """The ``at``-th resident of the county."""
    return [key for key, street in levels.clerks.residents.items() if street.startswith(COUNTY)][at]
