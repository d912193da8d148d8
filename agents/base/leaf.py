"""What the node file of a leaf may say: a node without Kafka gives nothing to others and keeps little."""

from typing import TYPE_CHECKING

from agents.base.table import Wrong

if TYPE_CHECKING:
    from agents.base.config import NodeFile

ACCESSES = "access.v1"
#: Contracts that a window itself tells, without any source.
TOLD_BY_WINDOWS = frozenset({"correction.v1", ACCESSES})


def check(config: "NodeFile") -> None:
    """Raise :class:`Wrong` for the first thing in a file without ``[kafka]`` that needs one."""
    parent = config.parent
    if parent is None:
        raise Wrong(
            "[kafka], or [parent], which a node without Kafka works from", "neither", "kafka"
        )
    if config.grant:
        raise Wrong(
            "a node with [kafka], from which others read what they are given: a leaf gives nothing",
            f"a grant of `{config.grant[0].contract}` to `{config.grant[0].to}`",
            "grant[0]",
        )
    if config.corrections:
        raise Wrong("a node with [kafka], which takes corrections in", "a leaf", "corrections")
    if config.agent.share != "1/1":
        raise Wrong(
            "one agent: a leaf has nothing to share out", f"`{config.agent.share}`", "agent.share"
        )
    if parent.pull and config.window is None:
        raise Wrong("[window], in which a leaf keeps what it pulls", "none", "parent.pull")
    if config.window and ACCESSES not in parent.push:
        raise Wrong(
            f"`{ACCESSES}` among them: who looks at what at this window is written down above",
            f"{list(parent.push)}",
            "parent.push",
        )
    for index, source in enumerate(config.source):
        if source.also:
            raise Wrong(
                "a node with [kafka], on which other majors are made: a leaf makes none",
                f"`{source.also[0]}`",
                f"source[{index}].also",
            )
        if source.contract not in parent.push:
            raise Wrong(
                f"`{source.contract}` among them: what a leaf collects goes to its parent",
                f"{list(parent.push)}",
                "parent.push",
            )
    for index, name in enumerate(parent.push):
        if name not in config.owned | TOLD_BY_WINDOWS:
            raise Wrong(
                "a contract that a [[source]] here fills: a leaf has nothing else to push",
                f"`{name}`",
                f"parent.push[{index}]",
            )
