"""Bytes of files → fields: encodings, dialects, workbooks, archives, days."""

import datetime
import gzip
import io
import zipfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openpyxl import Workbook

from agents.base.table import Wrong
from agents.capture import files_read, files_xlsx
from agents.capture.files_cells import Cells
from agents.capture.files_encoding import FileWrong, encoding_of
from agents.capture.files_read import Table
from agents.capture.files_settings import FilesFolder
from contracts.model import Contract
from contracts.rejected import Rejected
from contracts.shape import Array, Boolean, Date, DateTime, Field, Integer, Number, String
from contracts.shape import Decimal as DecimalShape
from contracts.subjects import CONTRACTS
from contracts.text import Text

#: One field of each kind.
CONTRACT: Contract = msgspec.structs.replace(
    CONTRACTS["division.v1"],
    key="code",
    scope="code",
    rules=(),
    fields=(
        Field(name="code", title=Text("编号", "Code"), shape=String()),
        Field(name="name", title=Text("姓名", "Name"), shape=String(nullable=True)),
        Field(name="day", title=Text("日期", "Day"), shape=Date(nullable=True)),
        Field(name="moment", title=Text("时间", "Moment"), shape=DateTime(nullable=True)),
        Field(name="count", title=Text("数量", "Count"), shape=Integer(nullable=True)),
        Field(name="area", title=Text("面积", "Area"), shape=DecimalShape(nullable=True)),
        Field(name="share", title=Text("比例", "Share"), shape=Number(nullable=True)),
        Field(name="open", title=Text("营业", "Open"), shape=Boolean(nullable=True)),
        Field(name="tags", title=Text("标签", "Tags"), shape=Array(items=String(), nullable=True)),
    ),
)
ABSENT = {name: "" for name in CONTRACT.field_names if name not in ("code", "name")}
#: 㐀 is two bytes in no older table than GB18030, 𠮷 four.
RARE = "㐀𠮷"


def settings(**given: Any) -> FilesFolder:
    made = FilesFolder(contract="division.v1", folder=Path("in"), **given)
    made.validate()
    return made


def read(path: Path, **given: Any) -> list[dict[str, Any]]:
    """The fields of each row; a row that is refused is its rule."""
    how = settings(**{"columns": ABSENT} | given)
    found = []
    with Table(path, how, frozenset(CONTRACT.field_names)) as table:
        cells = Cells(CONTRACT, how, table)
        for row in table:
            try:
                if row.wrong:
                    raise row.wrong
                found.append(cells.fields(row))
            except Rejected as refused:
                found.append({"refused": refused.rule, "at": refused.path, "line": row.line})
    return found


def write(folder: Path, content: bytes | str, name: str = "a.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    ("encoding", "found"),
    [
        ("utf-8", "utf-8"), ("utf-8-sig", "utf-8"), ("gb18030", "gb18030"), ("utf-16", "utf-16"),
    ],
)  # fmt: skip
def test_encodings_are_found(tmp_path: Path, encoding: str, found: str) -> None:
    text = f"code,name\n1,张三{RARE}\n2,联通\n"
    path = write(tmp_path, text.encode(encoding))
    with path.open("rb") as file:
        assert encoding_of(file, "auto") == found
    assert read(path) == [{"code": "1", "name": f"张三{RARE}"}, {"code": "2", "name": "联通"}]


def test_utf_16_from_the_other_end(tmp_path: Path) -> None:
    path = write(tmp_path, b"\xfe\xff" + "code,name\n1,张\n".encode("utf-16-be"))
    assert read(path) == [{"code": "1", "name": "张"}]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("code,name\n1,张三丰\n".encode() + "2,欧阳修，字永叔\n".encode("gb18030"), "in line 3"),
        ("code,name\n1,张三\n".encode("gb18030") + "2,欧阳修，字永叔\n".encode(), "in line 3"),
        ("code,name\n1,张三\n".encode("gb18030") + "2,欧阳修，字永叔子\n".encode(), "in line 3"),
        ("code,name\n1,欧阳修，字永叔\n".encode() + b"2,\xe5\xbc\n", "in line 3"),
        (b"code,name\n1,\xff\xff\n", "not UTF-8 at byte 3 of line 2"),
        (b"code,name\n1,\x00\n", "zero byte at byte 3 - in line 2"),
        ("code,name\n1,张\n".encode("utf-16-le"), "zero byte"),
        (b"\xff\xfec\x00o", "Expected UTF-16"),
        (b"a" * (1024 * 1024 + 1), "longer one - in line 1"),
    ],
)
def test_a_file_in_no_one_encoding_is_refused_where_it_changes(
    tmp_path: Path, content: bytes, said: str
) -> None:
    """Red when a file in GB18030 may have lines in UTF-8: tried."""
    path = write(tmp_path, content)
    with pytest.raises(FileWrong) as caught:
        read(path)
    assert said in str(caught.value)


def test_an_encoding_that_is_said_is_held_to(tmp_path: Path) -> None:
    path = write(tmp_path, "code,name\n1,张三\n".encode("gb18030"))
    assert read(path, encoding="gb18030")[0]["name"] == "张三"
    with pytest.raises(FileWrong, match=r"Expected UTF-8, found otherwise at byte 3 - in line 2"):
        read(path, encoding="utf-8")


_HAN = st.text(st.characters(min_codepoint=0x4E00, max_codepoint=0x9FA5), min_size=2, max_size=8)


@given(st.lists(_HAN, min_size=6, max_size=12), st.sampled_from(["utf-8", "gb18030"]))
def test_what_is_found_is_what_was_written(names: list[str], encoding: str) -> None:
    """A word or two can be both; six names in either encoding are not."""
    data = "".join(f"{name}\n" for name in names).encode(encoding)
    assert encoding_of(io.BytesIO(data), "auto") == encoding


@pytest.mark.parametrize("separator", [",", "\t", ";", "|"])
def test_separators_are_found_by_the_columns_they_make(tmp_path: Path, separator: str) -> None:
    quoted = '"a, b; c | d\te ""f""\ng"'
    path = write(
        tmp_path,
        f"x,y;z|w\tcode{separator}name\n".replace("x,y;z|w\t", "")
        + f"1{separator}{quoted}\n2{separator}é\n",
    )
    assert read(path) == [
        {"code": "1", "name": 'a, b; c | d\te "f"\ng'}, {"code": "2", "name": "é"},
    ]  # fmt: skip


def test_lines_are_counted_as_an_editor_does(tmp_path: Path) -> None:
    path = write(tmp_path, 'title\r\ncode,name\r\n1,"a\r\nb"\r\n\r\n,,\r\n2\r\n3,c,,\r\n4,d,e\r\n')
    assert read(path, skip=1) == [
        {"code": "1", "name": "a\r\nb"},
        {"refused": "columns", "at": "$", "line": 7},
        {"code": "3", "name": "c"},
        {"refused": "columns", "at": "$", "line": 9},
    ]


def test_columns_go_by_their_names_their_titles_or_the_node_file(tmp_path: Path) -> None:
    path = write(tmp_path, "全名,编号,其他\n张三,1,x\n")
    assert read(path, columns={**ABSENT, "name": "全名"}) == [{"code": "1", "name": "张三"}]
    with pytest.raises(FileWrong, match="`name` or `姓名`"):
        read(path)
    with pytest.raises(FileWrong, match="`编号` twice"):
        read(write(tmp_path, "编号,编号,姓名\n1,2,3\n"))


def test_a_file_without_a_header_has_its_names_in_the_node_file(tmp_path: Path) -> None:
    path = write(tmp_path, "张三;1\n")
    assert read(path, header=False, names=("name", "code")) == [{"code": "1", "name": "张三"}]


def cell(text: str, column: str, folder: Path, **given: Any) -> Any:
    absent = {name: "" for name in CONTRACT.field_names if name not in ("code", column)}
    path = write(folder, f"code|{column}\n1|{text}\n")
    return read(path, columns=absent, **given)[0].get(column, "left out")


@pytest.mark.parametrize(
    ("text", "given", "expected"),
    [
        ("2024-01-31", {}, "2024-01-31"),
        ("2024/1/31", {}, "2024-01-31"),
        ("2024.1.3", {}, "2024-01-03"),
        ("20240131", {}, "2024-01-31"),
        ("2024年1月31日", {}, "2024-01-31"),
        ("2024/1/31 0:00:00", {}, "2024-01-31"),
        ("2024/1/31 8:30:00", {}, "2024/1/31 8:30:00"),
        ("31/01/2024", {}, "31/01/2024"),
        ("31/01/2024", {"dates": "%d/%m/%Y"}, "2024-01-31"),
        ("2024年01月31日", {"dates": {"day": ("%d/%m/%Y", "%Y年%m月%d日")}}, "2024-01-31"),
        ("45322", {"dates": "excel"}, "2024-01-31"),
        ("45322", {}, "45322"),
        ("", {}, None),
        (" 　", {}, None),
    ],
)
def test_days_in_many_styles(tmp_path: Path, text: str, given: Any, expected: Any) -> None:
    assert cell(text, "day", tmp_path, **given) == expected


def test_other_cells(tmp_path: Path) -> None:
    assert cell("2024-1-31 8:30", "moment", tmp_path) == "2024-01-31T08:30:00+08:00"
    assert cell("2024/01/31 08:30:05Z", "moment", tmp_path) == "2024-01-31T08:30:05Z"
    assert cell("2024-01-31T08:30:05+0900", "moment", tmp_path) == "2024-01-31T08:30:05+09:00"
    assert cell("是", "open", tmp_path, values={"open": {"是": "true"}}) == "true"
    assert cell('["a"]', "tags", tmp_path) == ["a"]
    assert cell("[a", "tags", tmp_path) == "[a"
    assert cell("NULL", "name", tmp_path, nothing=("", "NULL")) is None
    assert cell("=1+1", "name", tmp_path) == "=1+1"


def test_ndjson(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        '{"编":"1","name":"张","area":1.50,"count":2.0,"day":"2024/1/2"}\n\n'
        '{"编":"2","编":"3"}\n[1]\n{"编":\n{"编":"4","other":1}\n{"编":"5","share":NaN}\n',
        "a.ndjson",
    )
    assert read(path, columns={"code": "编"}) == [
        {"code": "1", "name": "张", "area": Decimal("1.50"), "count": 2, "day": "2024-01-02"},
        {"refused": "repeated-name", "at": "$", "line": 3},
        {"refused": "type", "at": "$", "line": 4},
        {"refused": "json", "at": "$", "line": 5},
        {"code": "4", "other": 1},
        {"refused": "json", "at": "$", "line": 7},
    ]


def workbook(path: Path, rows: list[list[Any]], **sheets: list[list[Any]]) -> Path:
    book = Workbook()
    sheet = book.active
    assert sheet is not None
    for row in rows:
        sheet.append(row)
    for name, more in sheets.items():
        added = book.create_sheet(name)
        for row in more:
            added.append(row)
    book.save(path)
    return path


def test_a_workbook(tmp_path: Path) -> None:
    day = datetime.date(2024, 1, 31)
    moment = datetime.datetime(2024, 1, 31, 8, 30)
    path = workbook(
        tmp_path / "a.xlsx",
        [
            ["小餐饮登记表"],
            ["编号", "姓名", "日期", "时间", "数量", "面积", "比例", "营业"],
            ["1", " 张三 ", day, moment, 3, 80.5, 0.25, True],
            [],
            [2, 13805310001, 20240131, "2024-01-31 08:30", 3.0, 80, 1, None],
            [3, 370102199003070016, None, None, None, None, None, None],
            [4, "#N/A", None, None, None, None, None, None],
        ],
        other=[["编号"]],
    )
    assert read(path, skip=1, columns={"tags": ""}) == [
        {
            "code": "1", "name": "张三", "day": "2024-01-31", "moment": "2024-01-31T08:30:00+08:00",
            "count": 3, "area": Decimal("80.5"), "share": 0.25, "open": True,
        },
        {
            "code": "2", "name": "13805310001", "day": "2024-01-31",
            "moment": "2024-01-31T08:30:00+08:00", "count": 3, "area": 80, "share": 1, "open": None,
        },
        {"refused": "digits-lost", "at": "$.name", "line": 6},
        {"refused": "excel-error", "at": "$.name", "line": 7},
    ]  # fmt: skip
    with pytest.raises(FileWrong, match="`nothing`, found `Sheet`, `other`"):
        read(path, sheet="nothing")


def test_a_formula_is_the_value_saved_with_it(tmp_path: Path) -> None:
    path = workbook(tmp_path / "a.xlsx", [["编号", "姓名"], ["1", '=HYPERLINK("http://x")']])
    assert read(path) == [{"code": "1", "name": None}]


def test_a_workbook_that_never_ends_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.xlsx"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
        archive.writestr("xl/worksheets/sheet1.xml", b" " * 20 * 1024**2)
    with pytest.raises(FileWrong, match="never ends"):
        read(path)
    monkeypatch.setattr(files_xlsx, "SHARED", 20_000)
    path = workbook(tmp_path / "b.xlsx", [["编号", "姓名"], ["1", "一二三"]])
    assert read(path) == [{"code": "1", "name": "一二三"}]
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("xl/sharedStrings.xml", b"x" * 20_001)
    with pytest.raises(FileWrong, match="save the workbook as CSV"):
        read(path)


@pytest.mark.parametrize(
    "content", [b"PK\x03\x04broken", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600]
)
def test_a_broken_workbook_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(FileWrong):
        read(write(tmp_path, content, "a.xlsx"))


def test_packed_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = "code,name\n1,张三\n".encode("gb18030")
    rows = [{"code": "1", "name": "张三"}]
    assert read(write(tmp_path, gzip.compress(content), "a.csv.gz")) == rows
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../etc/passwd", content)
    assert read(path) == rows
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("b.csv", content)
    with pytest.raises(FileWrong, match="archive of one file"):
        read(path)
    with pytest.raises(FileWrong, match="whole archive"):
        read(write(tmp_path, gzip.compress(content * 50)[:-12], "a.csv.gz"))
    monkeypatch.setattr(files_read, "FREE", 1_000)
    with pytest.raises(FileWrong, match="never ends"):
        read(write(tmp_path, gzip.compress(b"code,name\n" + b"1,a\n" * 1_000_000), "a.csv.gz"))


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"pattern": "../*.csv"}, "pattern"),
        ({"most_deleted": 1.5}, "most_deleted"),
        ({"settle": -1.0}, "settle"),
        ({"marker": "ok"}, "marker"),
        ({"marker": ".csv"}, "marker"),
        ({"quote": ""}, "quote"),
        ({"header": False}, "names"),
        ({"names": ("a",)}, "names"),
        ({"operation": "op"}, "operation"),
        ({"zone": "8"}, "zone"),
        ({"done": Path()}, "done"),
    ],
)
def test_settings_that_cannot_be_are_named(given: dict[str, Any], path: str) -> None:
    with pytest.raises(Wrong) as caught:
        settings(**given)
    assert caught.value.path == path
