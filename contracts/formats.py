"""Formats: texts with a structure of their own, most with a check character, by name."""

from collections.abc import Callable

import msgspec

from contracts.identifiers import citizen_fault, credit_fault, disability_fault
from contracts.text import Text


class Format(msgspec.Struct, frozen=True):
    """``pattern`` (portable) is what every such text matches. ``fault`` answers the stable short
    name of the rule a text breaks (``check-digit``), None when it is right."""

    name: str
    standard: str
    title: Text
    pattern: str
    fault: Callable[[str], str | None]


def shape_alone(text: str) -> None:
    """The pattern says all there is."""


FORMATS: dict[str, Format] = {
    found.name: found
    for found in (
        Format(
            "citizen-number",
            "GB 11643",
            Text("公民身份号码", "citizen number"),
            "^[0-9]{17}[0-9X]$",
            citizen_fault,
        ),
        Format(
            "credit-code",
            "GB 32100",
            Text("统一社会信用代码", "unified social credit code"),
            "^[0-9A-HJ-NPQRTUWXY]{2}[0-9]{6}[0-9A-HJ-NPQRTUWXY]{10}$",
            credit_fault,
        ),
        Format(
            "division-code",
            "GB/T 2260",
            Text("行政区划代码", "division code of 2, 4, 6, 9 or 12 digits"),
            "^[0-9]{2}(?:[0-9]{2}(?:[0-9]{2}(?:[0-9]{3}(?:[0-9]{3})?)?)?)?$",
            shape_alone,
        ),
        # Six digits division, three and three cadastral zones, two letters for owner and use of the land
        # or sea parcel, five digits its number; then what stands on it: F a building, L trees, Q other,
        # each with eight digits, or W for nothing. Collective ownership (A) is of collective land (J).
        Format(
            "real-estate-unit",
            "GB/T 37346",
            Text("不动产单元代码", "code of a real estate unit"),
            "^[0-9]{12}(?:JA|[GJZ][BCDEFGHLNSWXY])[0-9]{5}(?:[FLQ][0-9]{8}|W00000000)$",
            shape_alone,
        ),
        # 京 … 新 the province, 国 the ministry.
        Format(
            "real-estate-certificate",
            "",
            Text("不动产权证书号", "number of a real estate certificate"),
            "^[国京津冀晋蒙辽吉黑沪苏浙皖闽赣鲁豫鄂湘粤桂琼渝川贵云藏陕甘青宁新]"
            "（(?:19|20)[0-9]{2}）[^\n\r（）]{1,20}不动产权第[0-9]{5,10}号$",
            shape_alone,
        ),
        # B before J or L: issued again. The second form is the one in use before, with the places' short
        # names, two digits for the office, two for the year, five for the number.
        Format(
            "marriage-certificate",
            "",
            Text("结婚证字号", "number of a marriage certificate"),
            "^(?:B?J[0-9]{6}-(?:19|20)[0-9]{2}-[0-9]{6}|[一-龥]{1,12}结字[0-9]{9})$",
            shape_alone,
        ),
        Format(
            "divorce-certificate",
            "",
            Text("离婚证字号", "number of a divorce certificate"),
            "^(?:B?L[0-9]{6}-(?:19|20)[0-9]{2}-[0-9]{6}|[一-龥]{1,12}离字[0-9]{9})$",
            shape_alone,
        ),
        Format(
            "birth-certificate",
            "",
            Text("出生医学证明编号", "number of a medical certificate of birth"),
            "^[A-Z][0-9]{9}$",
            shape_alone,
        ),
        Format(
            "disability-certificate",
            "",
            Text("残疾人证号", "number of a disability certificate"),
            "^[0-9]{17}[0-9X][1-7][1-4](?:B[1-9])?$",
            disability_fault,
        ),
    )
}
