"""What the catalogue page calls things, in both languages."""

from html import escape

from contracts.model import Classification, Keeper, Mask, OnRefusal, Sharing, Updates
from contracts.text import Text

LEVELS: dict[Keeper, Text] = {
    "nation": Text("国家级", "nation"),
    "province": Text("省级", "province"),
    "city": Text("市级", "city"),
    "county": Text("县级", "county"),
    "township": Text("乡镇（街道）级", "township"),
    "village": Text("村（社区）级", "village"),
    "every": Text("各级各节点", "every node, for itself"),
}
CLASSIFICATIONS: dict[Classification, Text] = {
    "general": Text("一般数据", "general"),
    "important": Text("重要数据", "important"),
    "core": Text("核心数据", "core"),
}
SHARING: dict[Sharing, Text] = {
    "unconditional": Text("无条件共享", "unconditional"),
    "conditional": Text("有条件共享", "conditional"),
    "not_shared": Text("不予共享", "not shared"),
}
UPDATES: dict[Updates, Text] = {
    "realtime": Text("实时", "in real time"),
    "daily": Text("每日", "daily"),
    "weekly": Text("每周", "weekly"),
    "monthly": Text("每月", "monthly"),
    "quarterly": Text("每季度", "quarterly"),
    "yearly": Text("每年", "yearly"),
    "irregular": Text("不定期", "irregular"),
}
ON_REFUSAL: dict[OnRefusal, Text] = {
    "follow": Text("后续变更照常通过", "later changes of the key follow"),
    "wait": Text("后续变更排队等待处理", "later changes of the key wait behind it"),
}
MASKS: dict[Mask, Text] = {
    "last4": Text("留后四位", "last four kept"),
    "hash": Text("加密摘要", "keyed hash"),
    "year": Text("仅留年份", "year alone"),
    "null": Text("不给出", "left out"),
}


def two(text: Text) -> str:
    """Both languages as markup, Chinese first; once where they say the same."""
    if text.zh == text.en:
        return escape(text.zh)
    return f'{escape(text.zh)} <span class="en" lang="en">{escape(text.en)}</span>'


def duration(seconds: float) -> Text:
    """A promise in the largest unit that says it in whole numbers."""
    for size, zh, en in ((86400, "天", "d"), (3600, "小时", "h"), (60, "分钟", "min")):
        if seconds >= size and seconds % size == 0:
            return Text(f"{seconds / size:g} {zh}内", f"within {seconds / size:g} {en}")
    return Text(f"{seconds:g} 秒内", f"within {seconds:g} s")
