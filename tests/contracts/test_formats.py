"""Formats: what each takes and refuses, and that its pattern means the same everywhere."""

import re

import pytest

from contracts.formats import FORMATS, Format
from contracts.pattern import portable, python_form


def fault(name: str, text: str) -> str | None:
    found = FORMATS[name]
    return found.fault(text) if re.search(python_form(found.pattern), text) else "pattern"


@pytest.mark.parametrize("found", FORMATS.values(), ids=FORMATS)
def test_patterns_are_portable(found: Format) -> None:
    assert portable(found.pattern) == found.pattern


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("citizen-number", "11010519491231002X"),
        ("citizen-number", "810000199408230021"),  # a residence permit of a Hong Kong resident
        ("credit-code", "91350100M000100Y43"),
        ("division-code", "37"),
        ("division-code", "370102001001"),
        ("real-estate-unit", "310104019001GB00045F00430086"),
        ("real-estate-unit", "370102001002JA00001W00000000"),
        ("real-estate-unit", "370202000000GH00012W00000000"),
        ("real-estate-certificate", "鲁（2026）济南市不动产权第0012345号"),
        ("real-estate-certificate", "沪（2018）徐字不动产权第015979号"),
        ("marriage-certificate", "J110101-2010-000001"),
        ("marriage-certificate", "BJ370102-2026-000001"),
        ("marriage-certificate", "鲁历结字010300001"),
        ("divorce-certificate", "鲁历离字010300001"),
        ("divorce-certificate", "L370102-2026-000001"),
        ("divorce-certificate", "BL370102-2026-000001"),
        ("birth-certificate", "X320101001"),
        ("disability-certificate", "11010519491231002X44"),
        ("disability-certificate", "11010519491231002X12B1"),
    ],
)
def test_true_identifiers_are_right(name: str, text: str) -> None:
    assert fault(name, text) is None


@pytest.mark.parametrize(
    ("name", "text", "rule"),
    [
        ("citizen-number", "11010519491231002x", "pattern"),
        ("citizen-number", "110105194912310021", "check-digit"),
        ("citizen-number", "110105194913310029", "birth-date"),
        ("credit-code", "91350100I000100Y43", "pattern"),
        ("credit-code", "91350100M000100Y44", "check-character"),
        ("division-code", "37010", "pattern"),
        ("real-estate-unit", "310104 019001GB00045F00430086", "pattern"),
        ("real-estate-unit", "310104019001GA00045F00430086", "pattern"),
        ("real-estate-unit", "310104019001GB00045W00430086", "pattern"),
        ("real-estate-unit", "310104019001GB00045F0043008", "pattern"),
        ("real-estate-certificate", "鲁(2026)济南市不动产权第0012345号", "pattern"),
        ("marriage-certificate", "L110101-2010-000001", "pattern"),
        ("marriage-certificate", "J110101-10-000001", "pattern"),
        ("marriage-certificate", "鲁历离字010300001", "pattern"),
        ("divorce-certificate", "J110101-2010-000001", "pattern"),
        ("birth-certificate", "x320101001", "pattern"),
        ("birth-certificate", "X3201010011", "pattern"),
        ("disability-certificate", "11010519491231002X84", "pattern"),
        ("disability-certificate", "11010519491231002X15", "pattern"),
        ("disability-certificate", "11010519491231002X12B0", "pattern"),
        ("disability-certificate", "11010519491231002112", "check-digit"),
    ],
)
def test_other_texts_are_not(name: str, text: str, rule: str) -> None:
    assert fault(name, text) == rule
