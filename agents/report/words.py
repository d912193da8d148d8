"""The scorecard's words, in both languages."""

from agents.report.model import Way
from contracts.text import Text

TITLE = Text("数据共享考核评价表", "Scorecard of data sharing")
WAYS: dict[Way, Text] = {
    "collected": Text("采集", "collected"),
    "received": Text("接收", "received"),
    "shown": Text("窗口", "at the window"),
    "delivered": Text("推送", "delivered"),
    "given": Text("提供", "given"),
}
KINDS = {
    "system": Text("窗口系统", "window system"),
    "clerk": Text("工作人员", "clerks"),
    "machine": Text("本机", "this machine"),
    "mqtt": Text("MQTT设备", "over MQTT"),
    "sql": Text("数据库表", "into a table"),
}
CONTRACT = Text("合同", "Contract")
HOP = Text("环节", "Hop")
NODE = Text("节点", "Node")
OWNER = Text("数源部门", "Owner")
PROMISED = Text("承诺时效", "Promised")
KEPT = Text("承诺兑现", "Promise kept")
AVAILABLE = Text("可用率", "Available")
USUAL = Text("通常时效", "Age, p50")
P99 = Text("时效 p99", "Age, p99")
LARGEST = Text("最长", "Largest")
LATENCY = Text("传输延迟 p50 / p99", "Latency p50 / p99")
EVENTS = Text("事件", "Events")
REFUSED = Text("死信率", "Dead letters")
GAPS = Text("缺口", "Gaps")
BREACHES = Text("违约次数", "Breaches")
KNOWN = Text("有记录", "Known")
DAY = Text("日期", "Day")
FILED = Text("提出", "Filed")
OPEN = Text("待答复", "Open")
OVERDUE = Text("逾期", "Overdue")
ACCEPTED = Text("已采纳", "Accepted")
REJECTED = Text("未采纳", "Rejected")
IN_TIME = Text("按期答复", "In time")
TOOK = Text("用时 中位 / 最长", "Took: median / longest")
WHO = Text("使用者", "Who")
PURPOSE = Text("用途", "Purpose")
NODES = Text("节点数", "Nodes")
LOOK_UPS = Text("按主键查询", "Look-ups")
PAGES = Text("列表", "Pages")
FOLLOWS = Text("订阅", "Follows")
TO = Text("提供给", "Given to")
UNTIL = Text("有效期至", "Until")
SUMMARY = Text("总览", "At a glance")
DETAILS = Text("逐项", "Line by line")
CORRECTIONS = Text("校核纠错", "Corrections")
USES = Text("谁在使用", "Who uses it")
GIVEN = Text("共享授权", "Grants")
NOT_KNOWN = Text("未知事项", "What is not known")
HOW = Text("计算口径", "How it is counted")
NONE = Text("无", "none")
NO_END = Text("长期", "no end")
ALL_KNOWN = Text("本期全部有记录", "All of this period is known")
PERIOD = Text("考核期", "Period")
MADE = Text("生成时间", "Made")
RUNNING = Text("运行", "running")
NOT_RUNNING = Text("未运行", "not running")
NO_RECORD = Text("无记录", "not known")
PROMISE_LINE = Text("承诺", "promised")
DAILY_P99 = Text(
    "每日时效（99%的时间不超过）", "Age of each day, below which it was 99 % of the time"
)
DAILY_RUN = Text("每日运行情况", "Each day: running, not running, not known")
DAILY_EVENTS = Text("每日事件数", "Events of each day")
TABLE = Text("逐日数字", "Day by day")
COUNTED = (
    Text(
        "时效：某一时刻，数据完整截至多久以前。每秒查看一次；“承诺兑现”是时效不超过合同承诺的时间占比。",
        "Age: how long ago the data was complete, looked at once a second. Promise kept: the share of"
        " time in which the age was no more than the contract promises.",
    ),
    Text(
        "可用率：有记录的时间中，该环节正常运行的占比。",
        "Available: of the time that is known, the share in which the hop ran.",
    ),
    Text(
        "代理未运行、机器休眠、历史尚未开始的时间为“无记录”，既不计好，也不计坏，单独列出。",
        "Time in which the agent did not run, the machine slept or the history had not begun is not"
        " known: it is counted neither good nor bad, and shown.",
    ),
    Text(
        "p50、p99 按时效区间统计，至多偏大19%，不会偏小；“最长”为精确值。",
        "Ages p50 and p99 are counted in steps, so they may be up to 19 % too large, never too small; the"
        " largest is exact.",
    ),
    Text(
        "缺口：应到的事件未到或续传位置丢失而停止的次数。死信率：不符合合同被拒收的变更占全部变更之比。",
        "Gaps: how often it stopped since events were missing or its position was gone. Dead letters: the"
        " share of changes that broke the contract and were refused.",
    ),
    Text(
        "纠错为本期提出、截至生成报告时的状态；按期指在答复期限当日（北京时间）结束前作出决定。",
        "Corrections are those filed in the period, as they stand now. In time: decided by the end of the"
        " day they were due, China Standard Time.",
    ),
    Text(
        "使用情况只列系统与用途，不列个人。日期均为北京时间。",
        "Uses name systems and purposes, no persons. Days are days in China.",
    ),
)


def duration(seconds: float | None) -> str:
    """``0.8 s``, ``3.2 min``, ``5.0 h``, ``2.1 d``: read the same in both languages."""
    if seconds is None:
        return "–"
    for unit, size, least in (("d", 86_400, 2 * 86_400), ("h", 3600, 2 * 3600), ("min", 60, 120)):
        if seconds >= least:
            return f"{seconds / size:.1f} {unit}"
    if seconds >= 100:
        return f"{seconds:.0f} s"
    return f"{seconds:.1f} s" if seconds != int(seconds) else f"{seconds:.0f} s"


def share(value: float | None) -> str:
    """``99.98 %``; never 100 where something is missing."""
    if value is None:
        return "–"
    if value >= 1:
        return "100 %"
    return f"{min(99.99, int(value * 10_000) / 100):.2f} %"


def little(value: float | None) -> str:
    """``0 %``, ``0.02 %``: a share that should be small, never 0 where there is something."""
    if value is None:
        return "–"
    if not value:
        return "0 %"
    return f"{max(0.01, round(value * 100, 2)):.2f} %"


def number(value: float) -> str:
    """``1,234,567``"""
    return f"{value:,.0f}"


def milliseconds(p50: float | None, p99: float | None) -> str:
    """``12 / 40 ms``"""
    return "–" if p50 is None or p99 is None else f"{p50:.0f} / {p99:.0f} ms"


def hours(value: float | None) -> str:
    """``3.5 h``"""
    return "–" if value is None else duration(value * 3600)
