"""Invented residents and businesses at real streets, the same for the same seed."""

import datetime
import random
from typing import Any

from faker import Faker

from contracts.divisions import divisions
from contracts.identifiers import CREDIT_ALPHABET, citizen_check, credit_check

#: The county whose window the demo shows, and others to move from and to.
COUNTY = "370102"
ELSEWHERE = ("370103", "370104", "370112", "370202", "370602")

_RELATIONS = ("head", "spouse", "child", "parent", "other")
_KINDS = ("company", "partnership", "sole_proprietorship", "individual", "branch")
_SCOPES = ("食品销售；日用百货销售", "软件开发；信息技术咨询服务", "餐饮服务", "建筑材料销售")
_NATIONS = ("01",) * 30 + ("03", "11", "15", "06")


class People:
    """Makes rows as the offices' tables have them."""

    def __init__(self, seed: int = 37) -> None:
        self.chance = random.Random(seed)
        self._faker = Faker("zh_CN")
        self._faker.seed_instance(seed)
        streets = [found.code for found in divisions("37") if found.level == "township"]
        self._streets = {
            county: [code for code in streets if code.startswith(county)]
            for county in (COUNTY, *ELSEWHERE)
        }
        self._serial = 0
        self._household = ""

    def street(self, county: str) -> str:
        """A real street of ``county``."""
        return self.chance.choice(self._streets[county])

    def serial(self) -> int:
        """A number never given before."""
        self._serial += 1
        return self._serial

    def phone(self) -> str:
        """A mobile number never given before: it tells two versions of a record apart."""
        return f"13{self.serial():09}"

    def moment(self) -> datetime.datetime:
        return datetime.datetime(2026, 1, 1, 8, tzinfo=datetime.UTC) + datetime.timedelta(
            seconds=self.chance.randrange(20_000_000)
        )

    def citizen_number(self, born: datetime.date, sex: str) -> str:
        """A valid number nobody else here has."""
        place = self.chance.choice((COUNTY, *ELSEWHERE))
        order = self.chance.randrange(500) * 2 + (sex == "1")
        first = f"{place}{born:%Y%m%d}{order % 1000:03}"
        return first + citizen_check(first)

    def resident(self, county: str) -> dict[str, Any]:
        """A row of ``population.resident`` living in ``county``."""
        chance = self.chance
        relation = chance.choice(_RELATIONS)
        if relation == "head" or not self._household:
            relation, self._household = "head", f"{chance.randrange(10**9):09}"
        sex = chance.choice("12")
        born = datetime.date(1935, 1, 1) + datetime.timedelta(days=chance.randrange(32_500))
        name = self._faker.name_male() if sex == "1" else self._faker.name_female()
        return {
            "citizen_no": self.citizen_number(born, sex),
            "full_name": name,
            "sex": sex,
            "birth_date": born,
            "nation": chance.choice(_NATIONS),
            "street_code": self.street(county),
            "address": self._faker.street_address(),
            "household": self._household,
            "relation": relation,
            "status": "active",
            "registered_at": self.moment(),
            "phone": self.phone(),
        }

    def wrong_resident(self) -> tuple[dict[str, Any], str]:
        """A row that breaks the contract, and the rule it breaks."""
        row = self.resident(COUNTY)
        number = row["citizen_no"]
        rule = self.chance.choice(("check-digit", "birth-date", "pattern", "enum"))
        if rule == "check-digit":
            row["citizen_no"] = number[:17] + ("1" if number[17] != "1" else "2")
        elif rule == "birth-date":
            first = number[:10] + "1332" + number[14:17]
            row["citizen_no"] = first + citizen_check(first)
        elif rule == "pattern":
            row["street_code"] = "历下"
        else:
            row["sex"] = "7"
        return row, rule

    def licence(self) -> dict[str, Any]:
        """A row of ``licence.certificate`` in the county."""
        chance = self.chance
        owner = self.resident(COUNTY)
        kind = chance.choice(_KINDS)
        body = "".join(chance.choice(CREDIT_ALPHABET) for _ in range(9))
        first = f"{'92' if kind == 'individual' else '91'}{COUNTY}{body}"
        established = datetime.date(2000, 1, 1) + datetime.timedelta(days=chance.randrange(9_400))
        return {
            "cert_no": first + credit_check(first),
            "company_name": "济南" + self._faker.company(),
            "kind": kind,
            "legal_person": owner["full_name"],
            "legal_person_id": owner["citizen_no"],
            "registered_capital": f"{chance.randrange(3, 5000)}.{self.serial() % 100:02}",
            "established": established,
            "valid_until": None,
            "business_scope": chance.choice(_SCOPES),
            "street_code": self.street(COUNTY),
            "address": self._faker.street_address(),
            "status": "valid",
            "issued_at": self.moment(),
        }
