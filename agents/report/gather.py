"""Putting a node's scorecard together."""

import datetime
import sqlite3
from collections.abc import Mapping

from agents.base.config import CHINA, NodeFile
from agents.base.errors import LevelsyncError
from agents.base.history import FILE, Row, read_history
from agents.kafka.cluster import nearest_cluster
from agents.report.corrections import corrections
from agents.report.lines import lines, title_of
from agents.report.model import Corrections, Given, Report, Use
from agents.report.period import Period
from agents.report.uses import uses
from contracts.model import Contract
from contracts.text import Text

NO_HISTORY = Text(
    "本节点没有历史记录：代理从未运行，或状态目录已丢失",
    "There is no history here: the agent never ran, or its state folder was lost",
)
NO_BOOK = Text(
    "本节点没有纠错台账，未统计纠错",
    "This node keeps no book of corrections, so none are counted",
)
LEAF = Text(
    "末梢节点的查询日志保存在上级，见上级的报告",
    "A leaf's accesses are kept by its parent: see the parent's report",
)


async def gather(config: NodeFile, period: Period, contracts: Mapping[str, Contract]) -> Report:
    """What the node of ``config`` knows of ``period``. What cannot be read is said in the report."""
    not_known: list[Text] = []
    state = config.agent.state
    found = lines(_history(config, period, not_known), period, config.node.id, contracts)
    corrected: list[Corrections] = []
    try:
        corrected = corrections(state, period, contracts)
    except FileNotFoundError:
        not_known.append(NO_BOOK)
    except sqlite3.Error as error:
        not_known.append(
            Text(f"纠错台账无法读取：{error}", f"The book of corrections cannot be read: {error}")
        )
    used: list[Use] = []
    if config.kafka is None:
        not_known.append(LEAF)
    else:
        try:
            used = await uses(nearest_cluster(config), period, contracts)
        except LevelsyncError as error:
            not_known.append(
                Text(
                    f"查询日志无法读取：{error.message}",
                    f"The accesses cannot be read: {error.message}",
                )
            )
    return Report(
        node=config.node.id,
        name=config.node.name,
        level=config.node.level,
        from_=period.first.isoformat(),
        to=period.last.isoformat(),
        made=datetime.datetime.now(CHINA).isoformat(timespec="seconds"),
        lines=tuple(found),
        corrections=tuple(corrected),
        uses=tuple(used),
        given=tuple(
            Given(
                contract=grant.contract,
                title=title_of(grant.contract, contracts),
                to=grant.to,
                purpose=grant.purpose,
                until=grant.until.isoformat() if grant.until else "",
            )
            for grant in config.grant
        ),
        not_known=tuple(not_known),
    )


def _history(config: NodeFile, period: Period, not_known: list[Text]) -> list[Row]:
    try:
        rows = list(read_history(config.agent.state / FILE, period.since, period.until))
    except FileNotFoundError:
        not_known.append(NO_HISTORY)
        return []
    except sqlite3.Error as error:
        not_known.append(Text(f"历史记录无法读取：{error}", f"The history cannot be read: {error}"))
        return []
    if not rows:
        not_known.append(Text("本期没有历史记录", "Nothing of this period is in the history"))
    elif (first := min(row.at for row in rows)) > period.since + 3600:
        at = datetime.datetime.fromtimestamp(first, CHINA).strftime("%Y-%m-%d %H:%M")
        not_known.append(
            Text(
                f"历史记录自 {at} 起，此前未知", f"The history begins at {at}: before is not known"
            )
        )
    return rows
