"""The Chinese pages say what the English ones do: the same blocks, the same shape, the same figures."""

import re
from decimal import Decimal
from itertools import zip_longest
from pathlib import Path

import pytest

from tests.guide import ROOT, anchors

DOCS = sorted((ROOT / "docs").glob("*.zh.md"))
PAGES = [ROOT / "README.zh.md", *DOCS]

_BLOCK = re.compile(r"^```.*?^```$", re.M | re.S)
_ROW = re.compile(r"^\|.*\|$", re.M)
_LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)")
_FIGURE = re.compile(r"(?<![A-Za-z\d_.,])(\d[\d,]*(?:\.\d+)?)(?: ?(million\b|M\b|万|亿))?")
_TIMES = {"": 1, "million": 10**6, "M": 10**6, "万": 10**4, "亿": 10**8}

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@every_page
def test_each_page_leads_to_the_other_language_at_its_head(page: Path) -> None:
    english = _english(page)
    assert page.read_text(encoding="utf-8").splitlines()[2] == f"[English]({english.name})"
    assert english.read_text(encoding="utf-8").splitlines()[2] == f"[中文]({page.name})"


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.name)
def test_a_chinese_guide_has_the_blocks_of_the_english_one(page: Path) -> None:
    chinese, english = (
        _BLOCK.findall(each.read_text(encoding="utf-8")) for each in (page, _english(page))
    )
    assert chinese == english


@every_page
def test_headings_and_tables_have_the_shape_of_the_english_ones(page: Path) -> None:
    def shape(page: Path) -> list[str | int]:
        """The level of each heading and the columns of each row of a table, in order."""
        return [
            found[1] or len(_cells(found[0]))
            for found in re.finditer(r"^(?:(#+) .*|\|.*\|)$", _prose(page), re.M)
        ]

    assert shape(page) == shape(_english(page))


@every_page
def test_every_figure_of_the_english_page_is_in_the_chinese_one(page: Path) -> None:
    for chinese, english in zip_longest(_passages(page), _passages(_english(page)), fillvalue=""):
        there = set(_figures(chinese))
        lost = [each for each in _figures(english) if each not in there]
        assert not lost, f"{english}\n{chinese}"


@every_page
def test_every_link_leads_somewhere_and_to_chinese_where_there_is_such(page: Path) -> None:
    for path, anchor in _LINK.findall(_prose(page)):
        target = page.parent / path if path else page
        assert target.exists(), path
        if anchor:
            assert anchor in anchors(_prose(target)), f"{path}#{anchor}"
        if target.name != _english(page).name:
            assert target.with_suffix(".zh.md") not in PAGES, f"{path} is there in Chinese"


def _english(page: Path) -> Path:
    return page.with_name(page.name.replace(".zh.md", ".md"))


def _prose(page: Path) -> str:
    """A page without its blocks, in which ``#`` begins a comment."""
    return _BLOCK.sub("", page.read_text(encoding="utf-8"))


def _cells(row: str) -> list[str]:
    return re.split(r"(?<!\\)\|", row)[1:-1]


def _passages(page: Path) -> list[str]:
    """The cells of all tables, then the text between each two headings."""
    prose = _prose(page)
    cells = [cell for row in _ROW.findall(prose) for cell in _cells(row)]
    return cells + re.split(r"^#+ ", _ROW.sub("", prose), flags=re.M)


def _figures(text: str) -> list[Decimal]:
    """``5 million``, ``500 万`` and ``5,000,000`` are one figure."""
    return [
        Decimal(digits.replace(",", "")) * _TIMES[times] for digits, times in _FIGURE.findall(text)
    ]
