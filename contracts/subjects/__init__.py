"""One file a subject, and the table of all contracts this version knows."""

from collections.abc import Callable
from typing import Any

import msgspec

from contracts.model import Contract
from contracts.subjects import business_licence, division, resident

CONTRACTS: dict[str, Contract] = {
    found.name: found for found in (division.V1, resident.V1, resident.V2, business_licence.V1)
}


RECORDS: dict[str, type[msgspec.Struct]] = {
    "division.v1": division.DivisionV1,
    "resident.v1": resident.ResidentV1,
    "resident.v2": resident.ResidentV2,
    "business_licence.v1": business_licence.BusinessLicenceV1,
}

STEPS: dict[tuple[str, str], Callable[[Any], Any]] = {
    ("resident.v2", "resident.v1"): resident.down,
}


def contract(name: str) -> Contract:
    """The contract called ``resident.v2``. Raises KeyError that says which there are."""
    try:
        return CONTRACTS[name]
    except KeyError:
        raise KeyError(f"Expected one of {', '.join(CONTRACTS)}, got {name}") from None
