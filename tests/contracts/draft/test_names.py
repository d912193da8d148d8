"""What columns are called."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.draft.names import identifiers, is_field_name, known, title


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        ("姓名", "name"), ("xm", "name"), ("申请人姓名", "name"), ("sqr_xm", "name"), ("full_name", "name"),
        ("身份证号", "citizen"), ("SFZH", "citizen"), ("fddbr_sfzh", "citizen"), ("idNumber", "citizen"),
        ("zjhm", "document"), ("手机号码", "phone"), ("lxdh", "phone"), ("applicant_phone", "phone"),
        ("住址", "address"), ("hjdz", "address"), ("home_address", "address"), ("csrq", "birth"),
        ("出生日期", "birth"), ("date_of_birth", "birth"), ("xzqhdm", "division"),
        ("所属区划", "division"), ("bh", "key"), ("许可证号", "key"), ("zt", ""), ("mz", "nationality"),
        ("wholly_unknown", None), ("x", None), ("", None), ("kh_xm", "name"), ("file_name", None),
    ],
)  # fmt: skip
def test_common_names_tell_what_a_column_is(column: str, kind: str | None) -> None:
    found = known(column)
    assert (found.kind if found else None) == kind


def test_names_that_can_be_fields_stay_and_others_are_made() -> None:
    columns = ["cert_no", "姓名", "name", "class", "持证人姓名", "2nd", "a b", "奇怪", "姓名 "]
    assert identifiers(columns) == {
        "cert_no": "cert_no", "姓名": "name_2", "name": "name", "class": "class_",
        "持证人姓名": "holder_name", "2nd": "field_6", "a b": "a_b", "奇怪": "field_8",
        "姓名 ": "name_3",
    }  # fmt: skip


@given(st.lists(st.text(max_size=80), unique=True, max_size=30))
def test_any_columns_become_different_field_names(columns: list[str]) -> None:
    names = identifiers(columns)
    assert list(names) == columns
    assert len(set(names.values())) == len(columns)
    assert all(map(is_field_name, names.values()))


def test_a_title_comes_from_the_comment_then_the_name() -> None:
    assert title("xm")[0].zh == "姓名"
    assert title("cert_no", "证书编号")[0].zh == "证书编号"
    assert title("cert_no", "证书编号")[0].en == "Certificate number"
    text, sure = title("zzz_no")
    assert (text.zh, text.en, sure) == ("zzz_no", "Zzz no", False)
    assert title("姓名")[1]
