"""One file a subject, and the table of all contracts this version knows."""

from contracts.model import Contract
from contracts.subjects import business_licence, division, resident

CONTRACTS: dict[str, Contract] = {
    found.name: found for found in (division.V1, resident.V1, resident.V2, business_licence.V1)
}


def contract(name: str) -> Contract:
    """The contract called ``resident.v2``. Raises KeyError that says which there are."""
    try:
        return CONTRACTS[name]
    except KeyError:
        raise KeyError(f"Expected one of {', '.join(CONTRACTS)}, got {name}") from None
