"""Files in, a sample out; whatever cannot be read is one error that says where."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.draft.sample import ROWS, Sample, WrongSample
from contracts.draft.samples import csv_sample, json_sample


def columns(sample: Sample) -> dict[str, tuple[Any, ...]]:
    return {column.name: column.values for column in sample.columns}


@pytest.mark.parametrize(
    ("encoding", "told"), [("utf-8", "UTF-8"), ("utf-8-sig", "UTF-8"), ("gb18030", "GB18030"), ("gbk", "GB18030"), ("utf-16", "UTF-16")]
)  # fmt: skip
def test_csv_is_read_in_the_encodings_bureaus_use(encoding: str, told: str) -> None:
    sample = csv_sample("姓名,电话\r\n李雷,138\r\n".encode(encoding), "people.csv")
    assert columns(sample) == {"姓名": ("李雷",), "电话": ("138",)}
    assert told in sample.notes[0]


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"])
def test_the_delimiter_is_found_out(delimiter: str) -> None:
    rows = [["a", "b", "c"], ["1", "x y", "2,5"], ["2", '"q"', "3;5"]]
    text = "\n".join(
        delimiter.join('"' + cell.replace('"', '""') + '"' for cell in row) for row in rows
    )
    assert columns(csv_sample(text.encode(), "x.csv"))["c"] == ("2,5", "3;5")


def test_a_single_column_is_a_table_too() -> None:
    assert columns(csv_sample(b"code\n1\n2\n", "x.csv")) == {"code": ("1", "2")}


def test_empty_cells_are_no_values_and_empty_lines_no_rows() -> None:
    assert columns(csv_sample(b"a,b\n1,\n\n , 2 \n", "x.csv")) == {
        "a": ("1", None),
        "b": (None, "2"),
    }


def test_names_without_rows_are_a_sample_of_nothing() -> None:
    assert columns(csv_sample(b"a,b\n", "x.csv")) == {"a": (), "b": ()}


def test_only_the_first_rows_are_looked_at() -> None:
    text = "a\n" + "1\n" * (ROWS + 5)
    sample = csv_sample(text.encode(), "x.csv")
    assert (sample.rows, sample.whole) == (ROWS, False)
    lines = '{"a": 1}\n' * (ROWS + 5)
    assert (json_sample(lines.encode(), "x").rows, json_sample(lines.encode(), "x").whole) == (
        ROWS,
        False,
    )


def test_a_file_that_was_cut_ends_with_its_last_whole_line() -> None:
    data = "姓名,号\n李雷,1\n韩梅".encode("gb18030")[:-1]
    sample = csv_sample(data, "x.csv", whole=False)
    assert (columns(sample)["姓名"], sample.whole) == (("李雷",), False)
    assert json_sample(b'{"a": 1}\n{"a": 2}\n{"a"', "x", whole=False).rows == 2


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "found an empty file"),
        (b"\n\n", "found an empty file"),
        (b"a,b\n1\n", "Expected 2 values in line 2 of x.csv"),
        (b"a,b\n1,2,3\n", "found 3"),
        (b"a,a\n1,2\n", "found `a` twice"),
        (b"a,,b\n1,2,3\n", "a name for column 2"),
        (b"37010219900307,x\n1,2\n", "found none in column 1"),
        (b"PK\x03\x04\x00\x00", "zero byte"),
        (b"\xff\xff\xff\n1", "neither at byte 0"),
        (b'a,b\n"1,2\n', "Expected CSV in line 2"),
        (b'a,b\n"1"x,2\n', "Expected CSV in line 2"),
        (b"a\n" + b"x" * 200_000, "Expected CSV in line 2"),
        (b"a" * 201 + b"\n1", "at most 200 characters"),
        (",".join(f"c{at}" for at in range(1001)).encode(), "at most 1000 columns"),
    ],
)
def test_a_wrong_csv_is_one_error_that_says_where(data: bytes, said: str) -> None:
    with pytest.raises(WrongSample) as caught:
        csv_sample(data, "x.csv")
    assert said in str(caught.value)
    assert "37010219900307" not in str(caught.value)


def test_json_comes_as_a_list_a_record_a_wrapped_list_or_lines() -> None:
    records = [{"a": 1, "b": None}, {"a": 2, "c": [True]}]
    expected = {"a": (1, 2), "b": (None, None), "c": (None, [True])}
    lines = "\n".join(json.dumps(record) for record in records)
    for text in (json.dumps(records), json.dumps(records, indent=2), lines, lines + "\n\n",
                 json.dumps({"total": 2, "rows": records})):  # fmt: skip
        assert columns(json_sample(text.encode(), "x.json")) == expected
    assert columns(json_sample(b'{\n"a": 1\n}', "x.json")) == {"a": (1,)}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "found an empty file"),
        (b"[]", "found an empty list"),
        (b"[1]", "a list of something else"),
        (b"5", "found int"),
        (b"{}", "found none"),
        (b'[{"a": 1,}]', "line 1, column 10"),
        (b'[{"a": NaN}]', "found NaN"),
        (b'[{"a": 1, "a": 2}]', "the name 'a' twice"),
        (b'[{"a": "\\ud800"}]', "half a surrogate pair"),
        (b'[{"a": ' + b"1" * 5000 + b"}]", "too large"),
        (b"[" * 100_000, "Expected fewer levels"),
        (b'{"a": 1}\n{"a": }\n', "Expected JSON in line 2 of x.json"),
        (b'{"a": 1}\n[2]\n', "Expected a record in line 2"),
        (b"\xff\xfe\xff", "neither"),
    ],
)
def test_a_wrong_json_is_one_error_that_says_where(data: bytes, said: str) -> None:
    with pytest.raises(WrongSample) as caught:
        json_sample(data, "x.json")
    assert said in str(caught.value)


def test_json_that_was_cut_asks_for_lines() -> None:
    with pytest.raises(WrongSample, match="one record a line"):
        json_sample(b'[{"a": 1},', "x.json", whole=False)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_sample_or_one_error(data: bytes) -> None:
    for read in (csv_sample, json_sample):
        for whole in (True, False):
            with contextlib.suppress(WrongSample):
                assert read(data, "x", whole=whole).columns
