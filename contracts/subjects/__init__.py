"""One file a subject, and the tables of all contracts, records and steps this version knows."""

from collections.abc import Callable
from typing import Any

import msgspec

from contracts.model import Contract
from contracts.subjects import (
    access,
    birth,
    business_licence,
    correction,
    death,
    disability,
    division,
    household,
    marriage,
    medical_insurance,
    real_estate,
    resident,
    social_insurance,
)

_WRITTEN: tuple[tuple[Contract, type[msgspec.Struct]], ...] = (
    (division.V1, division.DivisionV1),
    (resident.V1, resident.ResidentV1),
    (resident.V2, resident.ResidentV2),
    (household.V1, household.HouseholdV1),
    (marriage.V1, marriage.MarriageV1),
    (birth.V1, birth.BirthV1),
    (death.V1, death.DeathV1),
    (business_licence.V1, business_licence.BusinessLicenceV1),
    (social_insurance.V1, social_insurance.SocialInsuranceV1),
    (medical_insurance.V1, medical_insurance.MedicalInsuranceV1),
    (real_estate.V1, real_estate.RealEstateV1),
    (disability.V1, disability.DisabilityV1),
    (correction.CORRECTION, correction.CorrectionV1),
    (correction.ANSWER, correction.CorrectionAnswerV1),
    (access.ACCESS, access.AccessV1),
)

#: By their names, ``resident.v2``.
CONTRACTS: dict[str, Contract] = {found.name: found for found, _ in _WRITTEN}

#: Those that every node fills with what it does itself.
EVERYWHERE = frozenset(name for name, found in CONTRACTS.items() if found.level == "every")

#: The class each of them is written as.
RECORDS: dict[str, type[msgspec.Struct]] = {found.name: record for found, record in _WRITTEN}

#: From one major version to another, by both names: a record of the first as one of the second, or None
#: for one the second would not hold.
STEPS: dict[tuple[str, str], Callable[[Any], Any | None]] = {
    ("resident.v1", "resident.v2"): resident.up,
    ("resident.v2", "resident.v1"): resident.down,
}


def contract(name: str) -> Contract:
    """The contract called ``resident.v2``. Raises KeyError that says which there are."""
    try:
        return CONTRACTS[name]
    except KeyError:
        raise KeyError(f"Expected one of {', '.join(CONTRACTS)}, got {name}") from None
