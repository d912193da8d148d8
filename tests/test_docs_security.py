"""Every test that docs/security.md names is there, every link leads somewhere."""

import re

from tests.guide import ROOT, anchors

TEXT = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")


def test_every_test_the_page_names_is_there() -> None:
    there = {
        name
        for file in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(
            r"^(?:async )?def (test_\w+)", file.read_text(encoding="utf-8"), re.M
        )
    }
    named = set(re.findall(r"`(test_\w+)`", TEXT))
    assert len(named) > 50
    assert named - there == set()


def test_every_threat_has_what_stops_it_and_a_test() -> None:
    table = TEXT.partition("## Threats")[2].partition("## Secrets")[0]
    threats = re.findall(r"^\| (.*?) \| (.*?) \| (.*?) \|$", table, re.M)[2:]
    assert len(threats) > 35
    for what, stops, shown in threats:
        assert stops, what
        assert "`test_" in shown, what


def test_every_link_of_the_page_leads_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", TEXT):
        assert (ROOT / "docs" / target).exists(), target
    assert set(re.findall(r"\]\(#([^)]*)\)", TEXT)) <= anchors(TEXT)
