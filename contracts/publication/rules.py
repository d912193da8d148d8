"""What can be wrong with a contract beside the record of what was published, in both languages."""

from collections.abc import Sequence

import msgspec

from contracts.evolution.findings import Finding
from contracts.model import Contract
from contracts.text import Text


class Problem(msgspec.Struct, frozen=True):
    """``dataschema`` is the revision (``resident.v2/2.1``), ``about`` another revision or a file that
    the message names, ``findings`` what changed."""

    rule: str
    dataschema: str
    about: str
    message: Text
    way_out: Text
    findings: tuple[Finding, ...] = ()


def problem(
    rule: str, contract: Contract | str, about: str = "", findings: Sequence[Finding] = ()
) -> Problem:
    """The problem of a rule of :data:`RULES`."""
    message, way_out = RULES[rule]
    return Problem(
        rule=rule,
        dataschema=contract if isinstance(contract, str) else contract.dataschema,
        about=about,
        message=_filled(message, about),
        way_out=_filled(way_out, about),
        findings=tuple(findings),
    )


def _filled(text: Text, about: str) -> Text:
    return Text(text.zh.format(about=about), text.en.format(about=about))


_AGAIN = Text(
    "从版本库取回该文件；要改动就另立新修订号",
    "bring the file back from version control; a change takes a new revision",
)

RULES: dict[str, tuple[Text, Text]] = {
    # Today's contract.
    "not-recorded": (
        Text("该修订尚未记入已发布目录", "this revision is not recorded as published yet"),
        Text("运行 `levelsync contract check --record` 并提交所写的文件",
             "run `levelsync contract check --record` and commit what it writes"),
    ),
    "revision-not-raised": (
        Text("内容已改而修订号未变：已发布的修订不可更改", "it was changed, but is still called by a"
             " revision that was published and does not change"),
        Text("改动是兼容的：把 `minor` 提高，使修订号为 {about}",
             "the change is compatible: raise `minor` so that it is {about}"),
    ),
    "published-changed": (
        Text("已发布的修订改变了含义，且改动不兼容",
             "the meaning of a published revision changed, and incompatibly"),
        Text("撤回改动；或作为 {about} 发布，保留现有主版本，写好升降转换",
             "take it back; or publish it as {about} beside this major, with steps up and down"),
    ),
    "revision-breaks": (
        Text("新修订与已发布的修订不兼容", "the new revision is not compatible with what was published"),
        Text("按下列各项修改；或作为 {about} 发布，写好升降转换",
             "change what is listed; or publish it as {about} with steps up and down"),
    ),
    "revision-skipped": (
        Text("修订号不连续：应为 {about}", "revisions are numbered without gaps: {about} is due"),
        Text("把修订号改为 {about}", "call it {about}"),
    ),
    "revision-behind": (
        Text("已发布过更新的修订 {about}，此处却是旧修订",
             "a later revision, {about}, was published, and this is an earlier one"),
        Text("取回 {about} 的写法，再在其后修订", "bring {about} back, and go on from there"),
    ),
    "revision-without-change": (
        Text("修订号提高了，内容与 {about} 相同",
             "the revision was raised, but it says what {about} says"),
        Text("撤回修订号", "take the number back"),
    ),
    "major-not-needed": (
        Text("改动是兼容的，却换了主版本：所有窗口都要无谓迁移",
             "a compatible change wears a new major: every window would have to move for nothing"),
        Text("作为 {about} 发布", "publish it as {about}"),
    ),
    "contract-vanished": (
        Text("已发布的合约不见了：仍有窗口在读",
             "a contract that was published is gone: windows still read it"),
        Text("取回它；若已按截止日期停用，把停用日期（如 2027-12-31）和原因写入 {about}",
             "bring it back; if its sunset has come, write the day (2027-12-31) and why into {about}"),
    ),
    # The record.
    "revision-missing": (
        Text("记录中缺少修订 {about}", "revision {about} is missing from the record"),
        _AGAIN,
    ),
    "record-changed": (
        Text("{about} 在发布之后被改动", "{about} was changed after it was published"),
        _AGAIN,
    ),
    "record-lost": (Text("{about} 不见了", "{about} is gone"), _AGAIN),
    "record-unlisted": (
        Text("{about} 未列入 SHA256SUMS", "{about} does not stand in SHA256SUMS"),
        Text("删除该文件，用 `levelsync contract check --record` 写入",
             "remove the file and let `levelsync contract check --record` write it"),
    ),
    "record-unreadable": (
        Text("{about} 不是其文件名所说的合约", "{about} does not hold the contract its name says"),
        _AGAIN,
    ),
}  # fmt: skip
