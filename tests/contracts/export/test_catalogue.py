"""The catalogue page says all of every contract, in one file that loads nothing and runs nothing."""

import re
from html.parser import HTMLParser
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings

from contracts.export.catalogue import catalogue
from contracts.model import Contract, Rule
from contracts.subjects import CONTRACTS
from contracts.text import Text
from tests.contracts.export.test_types import strange
from tests.contracts.generated import contracts

ALLOWED = {
    "html", "head", "meta", "title", "style", "body", "header", "div", "i", "h1", "h2", "h3", "h4", "p",
    "span", "nav", "table", "thead", "tbody", "tr", "th", "td", "a", "code", "main", "article", "dl", "dt",
    "dd", "section", "wbr",
}  # fmt: skip
EMPTY = {"meta", "wbr"}


class Page(HTMLParser):
    """What a page is made of; fails where an element is left open or closed out of order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data

    @property
    def ids(self) -> list[str]:
        return [of["id"] or "" for _, of in self.elements if "id" in of]


def test_every_contract_field_and_word_is_on_the_page() -> None:
    page = Page(catalogue(CONTRACTS.values(), as_of="2026-11-25"))
    for contract in CONTRACTS.values():
        said: list[str] = [
            contract.title.zh,
            contract.title.en,
            contract.owner.zh,
            contract.basis.en,
        ]
        for field in contract.fields:
            said += [field.name, field.title.zh, field.title.en]
        for rule in contract.rules:
            said += [rule.name, rule.when, rule.message.zh, rule.message.en]
        for text in said:
            assert text in page.text
    assert "2026-11-25" in page.text
    assert "男" in page.text
    assert "GB/T 2261.1" in page.text


def test_the_index_leads_to_each_contract() -> None:
    page = Page(catalogue(CONTRACTS.values()))
    links = [of["href"] for tag, of in page.elements if tag == "a"]
    assert len(page.ids) == len(set(page.ids)) == len(CONTRACTS)
    assert {f"#{anchor}" for anchor in page.ids} == set(links)


def test_nothing_is_loaded_and_nothing_runs() -> None:
    text = catalogue(CONTRACTS.values())
    page = Page(text)
    assert {tag for tag, _ in page.elements} <= ALLOWED
    for _, attributes in page.elements:
        assert not any(name.startswith("on") or name in ("src", "style") for name in attributes)
    assert not re.search(r"url\(|@import|https?:", text)


HOSTILE = Text("<script>alert(1)</script>\"'&amp;</style>", "<img src=x onerror=alert(1)> &lt; {x}")


def test_hostile_texts_are_shown_and_never_markup() -> None:
    contract = msgspec.structs.replace(
        strange(), owner=HOSTILE, basis=HOSTILE, title=HOSTILE, description=HOSTILE, purposes=(HOSTILE,),
        catalogue="\"><svg/onload=alert(1)>", condition=HOSTILE,
        rules=(Rule("a", "key != '</code><script>'", HOSTILE, "$.<b>"),),
    )  # fmt: skip
    page = Page(catalogue([contract], title=HOSTILE, as_of="<b>"))
    assert {tag for tag, _ in page.elements} <= ALLOWED
    assert page.text.count(HOSTILE.en) >= 6
    assert "key != '</code><script>'" in page.text


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(contract=contracts())
def test_any_contract_makes_a_sound_page(contract: Contract) -> None:
    page = Page(catalogue([contract]))
    assert contract.name in page.text


def test_the_same_contracts_make_the_same_page() -> None:
    found: list[Any] = list(CONTRACTS.values())
    assert catalogue(found) == catalogue(reversed(found))
