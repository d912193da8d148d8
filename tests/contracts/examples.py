"""Records of every subject that their contracts accept, the same for the same seed.

As in JSON: dates and moments are text, exact numbers too. Every field is filled in.
"""

import datetime
import random
from collections.abc import Callable
from typing import Any

from contracts.identifiers import CREDIT_ALPHABET, citizen_check, credit_check
from contracts.subjects.access import hash_of

#: Streets of Jinan and Qingdao.
STREETS = ("370102001", "370102002", "370103001", "370202001")
_FAMILY, _GIVEN = (
    "王李张刘陈杨赵黄周吴",
    ("伟", "芳", "娜", "秀英", "敏", "静", "磊", "洋", "艳", "勇"),
)


def example(name: str, seed: int = 0) -> dict[str, Any]:
    """A full record of the contract ``name``, ``resident.v2``. Raises KeyError."""
    return _EXAMPLES[name](_Chance(f"{name} {seed}"))


class _Chance(random.Random):
    """Chance with the parts that records are made of."""

    def day(self, first: str, last: str) -> str:
        start, end = datetime.date.fromisoformat(first), datetime.date.fromisoformat(last)
        return (start + datetime.timedelta(days=self.randint(0, (end - start).days))).isoformat()

    def citizen(self, born: str, sex: str, place: str = "370102") -> str:
        order = self.randrange(500) * 2 + (sex == "1")
        first = f"{place}{born.replace('-', '')}{order:03}"
        return first + citizen_check(first)

    def credit(self, kind: str = "91") -> str:
        first = f"{kind}370102" + "".join(self.choices(CREDIT_ALPHABET, k=9))
        return first + credit_check(first)

    def name(self) -> str:
        return self.choice(_FAMILY) + self.choice(_GIVEN)

    def digits(self, count: int) -> str:
        return "".join(self.choices("0123456789", k=count))

    def phone(self) -> str:
        return "13" + self.digits(9)

    def person(self, first: str = "1940-01-01", last: str = "2005-12-31") -> dict[str, Any]:
        born, sex = self.day(first, last), self.choice("12")
        return {
            "id_number": self.citizen(born, sex),
            "name": self.name(),
            "sex": sex,
            "birth_date": born,
        }


def _division(chance: _Chance) -> dict[str, Any]:
    code = chance.choice(STREETS)
    return {
        "code": code,
        "name": f"{chance.choice(_FAMILY)}家街道",
        "level": "township",
        "parent": code[:6],
    }


def _resident_v1(chance: _Chance) -> dict[str, Any]:
    return {
        **chance.person(),
        "nationality": chance.choice(("01", "03", "11", "56", "98")),
        "division_code": chance.choice(STREETS),
        "address": f"解放路{chance.randint(1, 200)}号",
        "registered_at": f"{chance.day('2006-01-01', '2025-12-31')}T09:30:00+08:00",
    }


def _resident_v2(chance: _Chance) -> dict[str, Any]:
    former = _resident_v1(chance)
    former["address_detail"] = former.pop("address")
    return {
        **former,
        "household_no": chance.digits(9),
        "relation": chance.choice(("head", "spouse", "child", "parent", "other")),
        "status": "active",
        "phone": chance.phone(),
    }


def _household(chance: _Chance) -> dict[str, Any]:
    def some(relation: str, sex: str, first: str, last: str) -> dict[str, Any]:
        number = chance.citizen(chance.day(first, last), sex)
        return {"id_number": number, "name": chance.name(), "relation": relation}

    return {
        "household_no": chance.digits(9),
        "kind": "family",
        "head_id_number": chance.citizen(chance.day("1950-01-01", "1985-12-31"), "1"),
        "head_name": chance.name(),
        "members": [
            some("12", "2", "1950-01-01", "1985-12-31"),
            some("32", "2", "2006-01-01", "2020-12-31"),
        ],
        "division_code": chance.choice(STREETS),
        "address": f"泉城路{chance.randint(1, 200)}号",
        "status": "moved_out",
        "established_on": chance.day("1990-01-01", "2015-12-31"),
        "closed_on": chance.day("2016-01-01", "2025-12-31"),
    }


def _marriage(chance: _Chance) -> dict[str, Any]:
    his, hers = chance.day("1960-01-01", "1985-12-31"), chance.day("1960-01-01", "1985-12-31")
    registered = chance.day("2008-01-01", "2018-12-31")
    return {
        "certificate_no": f"J370102-{registered[:4]}-{chance.digits(6)}",
        "man_name": chance.name(),
        "man_id_number": chance.citizen(his, "1"),
        "man_document": None,
        "man_birth_date": his,
        "man_status_before": "10",
        "woman_name": chance.name(),
        "woman_id_number": chance.citizen(hers, "2"),
        "woman_document": None,
        "woman_birth_date": hers,
        "woman_status_before": "40",
        "registered_on": registered,
        "registry": "济南市历下区民政局",
        "division_code": "370102",
        "status": "divorced",
        "ended_on": chance.day("2019-01-01", "2025-12-31"),
        "divorce_by": "registration",
        "divorce_certificate_no": f"L370102-2019-{chance.digits(6)}",
    }


def _birth(chance: _Chance) -> dict[str, Any]:
    born, sex = chance.day("2023-04-01", "2025-12-31"), chance.choice("12")
    return {
        "certificate_no": f"X37{chance.digits(7)}",
        "child_name": chance.name(),
        "sex": sex,
        "born_at": f"{born}T{chance.randint(0, 23):02}:40:00+08:00",
        "weeks": chance.randint(36, 41),
        "weight": chance.randint(2500, 4200),
        "length": f"{chance.randint(46, 53)}.5",
        "division_code": "370102",
        "place": "济南市历下区妇幼保健院",
        "mother_name": chance.name(),
        "mother_id_number": chance.citizen(chance.day("1985-01-01", "2002-12-31"), "2"),
        "mother_document": None,
        "father_name": chance.name(),
        "father_id_number": None,
        "father_document": f"护照 E{chance.digits(8)}",
        "issuer": "济南市历下区妇幼保健院",
        "issuer_code": chance.credit("12"),
        "issued_on": chance.day("2026-01-01", "2026-01-31"),
        "child_id_number": chance.citizen(born, sex),
    }


def _death(chance: _Chance) -> dict[str, Any]:
    died = chance.day("2020-01-01", "2025-11-30")
    return {
        **chance.person("1925-01-01", "1960-12-31"),
        "died_on": died,
        "how": "natural",
        "place": chance.choice(("hospital", "home", "care_home")),
        "certificate_no": f"3701022026{chance.digits(8)}",
        "issued_on": died,
        "division_code": chance.choice(STREETS),
        "reported_by": chance.name(),
        "reporter_relation": chance.choice(("12", "22", "32")),
        "cremated_on": chance.day("2025-12-01", "2025-12-31"),
        "cancelled_on": chance.day("2025-12-01", "2025-12-31"),
    }


def _business_licence(chance: _Chance) -> dict[str, Any]:
    kind = chance.choice(("company", "partnership", "sole_proprietorship", "individual", "branch"))
    return {
        "credit_code": chance.credit("92" if kind == "individual" else "91"),
        "company_name": f"济南{chance.choice(_GIVEN)}商贸有限公司",
        "kind": kind,
        "legal_person": chance.name(),
        "legal_person_id": chance.citizen(chance.day("1960-01-01", "1999-12-31"), "2"),
        "registered_capital": f"{chance.randint(1, 5000)}.00",
        "established": chance.day("2001-01-01", "2024-12-31"),
        "valid_until": chance.day("2035-01-01", "2050-12-31"),
        "business_scope": "餐饮服务；日用百货销售",
        "division_code": chance.choice(STREETS),
        "address": f"泺源大街{chance.randint(1, 200)}号",
        "status": "valid",
        "issued_at": f"{chance.day('2025-01-01', '2025-12-31')}T10:00:00+08:00",
    }


def _social_insurance(chance: _Chance) -> dict[str, Any]:
    born = chance.day("1960-01-01", "1965-12-31")
    return {
        "relation_no": f"3701{chance.digits(12)}",
        "id_number": chance.citizen(born, chance.choice("12")),
        "name": chance.name(),
        "insurance": chance.choice(("employee_pension", "public_pension")),
        "division_code": "370102",
        "employer_code": chance.credit(),
        "employer_name": "济南某某机械有限公司",
        "joined_on": chance.day("1993-01-01", "2010-12-31"),
        "status": "ended",
        "contribution_base": f"{chance.randint(4000, 20000)}.50",
        "paid_months": chance.randint(180, 420),
        "paid_until": f"2020-{chance.randint(1, 12):02}",
        "benefits_from": chance.day("2021-01-01", "2024-12-31"),
        "ended_on": chance.day("2025-01-01", "2025-12-31"),
    }


def _medical_insurance(chance: _Chance) -> dict[str, Any]:
    person = chance.person("1970-01-01", "2000-12-31")
    del person["birth_date"]
    return {
        "relation_no": f"3701{chance.digits(16)}",
        "person_no": f"3701{chance.digits(20)}",
        **person,
        "insurance": chance.choice(("310", "320")),
        "person_kind": "11",
        "division_code": "370102",
        "employer_code": chance.credit(),
        "employer_name": "济南某某机械有限公司",
        "civil_servant": chance.random() < 0.5,
        "joined_on": chance.day("2018-01-01", "2020-12-31"),
        "status": "2",
        "stopped_on": chance.day("2021-01-01", "2025-12-31"),
        "paid_until": f"2025-{chance.randint(1, 12):02}",
    }


def _real_estate(chance: _Chance) -> dict[str, Any]:
    denominator = chance.randint(2, 9)
    return {
        "holding_no": f"370102-{chance.digits(12)}",
        "unit_code": f"370102001002GB{chance.digits(5)}F{chance.digits(8)}",
        "certificate_no": f"鲁（2026）济南市不动产权第{chance.digits(7)}号",
        "right": "4",
        "holder_name": chance.name(),
        "holder_id_number": chance.citizen(chance.day("1950-01-01", "2000-12-31"), "1"),
        "holder_credit_code": None,
        "holder_document": None,
        "co_ownership": "2",
        "share_numerator": chance.randint(1, denominator - 1),
        "share_denominator": denominator,
        "division_code": "370102001",
        "location": f"济南市历下区解放路{chance.randint(1, 200)}号1单元101室",
        "land_area": "135460.00",
        "floor_area": f"{chance.randint(40, 200)}.25",
        "use": "城镇住宅用地/住宅",
        "registered_at": f"{chance.day('2026-01-01', '2026-06-30')}T15:00:00+08:00",
        "term_from": "2010-01-01",
        "term_until": "2079-12-31",
        "mortgaged": chance.random() < 0.5,
        "seized": False,
        "status": "current",
    }


def _disability(chance: _Chance) -> dict[str, Any]:
    person, grade = chance.person(), chance.choice("1234")
    return {
        "certificate_no": f"{person['id_number']}7{grade}{chance.choice(('', 'B1', 'B2'))}",
        **person,
        "disability": "7",
        "grade": grade,
        "combined": chance.sample("123456", k=2),
        "division_code": chance.choice(STREETS),
        "issued_by": "济南市历下区残疾人联合会",
        "issued_on": chance.day("2020-01-01", "2025-12-31"),
        "valid_until": chance.day("2030-01-01", "2035-12-31"),
        "guardian_name": chance.name(),
        "guardian_relation": chance.choice(("51", "52")),
        "guardian_phone": chance.phone(),
        "phone": chance.phone(),
        "status": "valid",
    }


def _correction(chance: _Chance) -> dict[str, Any]:
    return {
        "id": f"{chance.randrange(16**14):014x}-370102-{chance.randrange(16**4):04x}",
        "contract": "resident.v2",
        "key": chance.citizen("1980-05-01", "1"),
        "record_division": chance.choice(STREETS),
        "field": "phone",
        "seen": f'"{chance.phone()}"',
        "proposed": f'"{chance.phone()}"',
        "evidence": "本人持身份证到窗口说明",
        "seen_id": f"pg/levelsync_37_resident_v2/0/{chance.digits(8)}/0",
        "filed_by": chance.name(),
        "filed_at": f"{chance.day('2026-01-01', '2026-06-30')}T15:00:00+08:00",
        "node": "370102",
        "division": "370102",
    }


def _correction_answer(chance: _Chance) -> dict[str, Any]:
    return {
        "id": f"{chance.randrange(16**14):014x}-370102-{chance.randrange(16**4):04x}",
        "contract": "resident.v2",
        "state": chance.choice(("accepted", "rejected")),
        "due": chance.day("2026-01-01", "2026-06-30"),
        "note": "已与本人核实",
        "answered_by": chance.name(),
        "answered_at": f"{chance.day('2026-01-01', '2026-06-30')}T15:00:00+08:00",
        "node": "37",
        "division": "370102",
    }


def _access(chance: _Chance) -> dict[str, Any]:
    number, at = chance.randint(2, 9), f"{chance.day('2026-01-01', '2026-06-30')}T15:00:00+08:00"
    chain = f"{chance.randrange(16**12):012x}"
    record = {
        "id": f"{chain}-{number:012}",
        "node": "370102",
        "division": "370102",
        "who": chance.name(),
        "kind": "clerk",
        "purpose": "窗口办事核验",
        "contract": "resident.v2",
        "action": "look-up",
        "what": [{"at": at, "what": chance.citizen("1980-05-01", "1")}],
        "since": at,
        "until": at,
        "chain": chain,
        "number": number,
        "previous": f"{chance.randrange(16**64):064x}",
    }
    return {**record, "hash": hash_of(record)}


_EXAMPLES: dict[str, Callable[[_Chance], dict[str, Any]]] = {
    "division.v1": _division,
    "resident.v1": _resident_v1,
    "resident.v2": _resident_v2,
    "household.v1": _household,
    "marriage.v1": _marriage,
    "birth.v1": _birth,
    "death.v1": _death,
    "business_licence.v1": _business_licence,
    "social_insurance.v1": _social_insurance,
    "medical_insurance.v1": _medical_insurance,
    "real_estate.v1": _real_estate,
    "disability.v1": _disability,
    "correction.v1": _correction,
    "correction_answer.v1": _correction_answer,
    "access.v1": _access,
}
