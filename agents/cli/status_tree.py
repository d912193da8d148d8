"""The nodes of a folder as a tree on a terminal: what is wrong first, then every hop."""

import time
from collections.abc import Iterator, Sequence
from typing import Any

from agents.cli.findings import width, wrapped
from agents.cli.status import Hop, Judgement, Node, told_age

_COLOURS = {"fine": "32", "look": "33", "wrong": "31", "dim": "2", "bold": "1"}
_MARKS: dict[Judgement, str] = {"fine": "✓", "look": "!", "wrong": "✗"}
#: Columns of the tree and the contract together, and of the rest.
_FIRST, _WAY, _STATE = 40, 19, 9
_ORDER = {
    kind: at for at, kind in enumerate(("capture", "link", "view", "window", "answers", "out"))
}
#: What is listed above the tree at most.
_MOST = 12


def drawn(nodes: Sequence[Node], *, colours: bool) -> str:
    """The whole answer, in colour or not."""
    return "\n".join(_Drawing(nodes, colours).lines())


class _Drawing:
    def __init__(self, nodes: Sequence[Node], colours: bool) -> None:
        self._nodes, self._colours = nodes, colours
        self._below: dict[str, list[str]] = {}
        self._agents: dict[str, list[Node]] = {}
        for node in sorted(nodes, key=lambda each: each.id):
            self._agents.setdefault(node.id, []).append(node)
        for name, agents in self._agents.items():
            self._below.setdefault(self._above(agents[0]), []).append(name)

    def _paint(self, text: str, colour: str) -> str:
        return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if self._colours and text else text

    def _above(self, node: Node) -> str:
        """The node under which it is drawn; empty for a root."""
        scope = node.id.partition("-")[0]
        if node.parent in self._agents and node.parent.partition("-")[0] != scope:
            return node.parent
        above = [
            name
            for name in self._agents
            if name != node.id
            and "-" not in name
            and (name == "0" or scope.startswith(name))
            and (name != scope or "-" in node.id)
            and scope != "0"
        ]
        return max(above, key=lambda name: 0 if name == "0" else len(name), default="")

    def lines(self) -> Iterator[str]:
        yield self._paint(self._summary(), "bold")
        yield from self._worst()
        yield ""
        yield self._paint(
            f"{'node, contract':{_FIRST}}{'hop':{_WAY}} {'state':{_STATE}}{'age':>9}{'lag':>8}"
            f"{'gaps':>6}{'letters':>8}",
            "dim",
        )
        for name in self._below.get("", []):
            yield from self._node(name, "", "")

    def _summary(self) -> str:
        hops = [hop for node in self._nodes for hop in node.hops]
        judged = [hop.judgement for hop in hops] + [node.judgement for node in self._nodes]
        wrong, look = judged.count("wrong"), judged.count("look")
        verdict = ", ".join(
            text
            for number, text in ((wrong, f"{wrong} wrong"), (look, f"{look} to look at"))
            if number
        )
        return (
            f"{_counted(len(self._agents), 'node')}, {_counted(len(hops), 'hop')}:"
            f" {verdict or 'all is well'}   {time.strftime('%Y-%m-%d %H:%M:%S %z')}"
        )

    def _worst(self) -> Iterator[str]:
        """What is wrong, then what is to be looked at."""
        found: list[tuple[Judgement, str, str]] = []
        for node in self._nodes:
            called = f"{node.id} {node.name}".strip()
            found += [(node.judgement, called, said) for said in node.said]
            for hop in sorted(node.hops, key=_place):
                where = f"{called}, {hop.told['contract']} {_way(hop.told, node)}"
                found += [
                    (hop.judgement, where, said) for said in (*hop.said, hop.late)[:1] if said
                ]
        # What has stopped is why others below it are late.
        found.sort(key=lambda each: (each[0] != "wrong", each[2].startswith("complete as of")))
        for judgement, where, said in found[:_MOST]:
            first, *rest = wrapped(f"{where}: {_short(said)}", f"{_MARKS[judgement]} ")
            yield self._paint(first[:1], judgement) + first[1:]
            yield from rest
        if len(found) > _MOST:
            yield self._paint(f"  … and {len(found) - _MOST} more, see below", "dim")

    def _node(self, name: str, before: str, branch: str) -> Iterator[str]:
        below = self._below.get(name, [])
        after = before + {"": "", "├─ ": "│  ", "└─ ": "   "}[branch]
        for number, node in enumerate(self._agents[name]):
            lead = before + branch if number == 0 else after
            yield self._headed(node, lead)
            inside = after + ("│  " if below else "   ")
            for said in node.said:
                yield from self._told(said, inside, "", node.judgement)
            contract = ""
            for hop in sorted(node.hops, key=_place):
                yield from self._hop(hop, node, inside, again=hop.told["contract"] == contract)
                contract = hop.told["contract"]
        for number, child in enumerate(below):
            yield from self._node(child, after, "└─ " if number == len(below) - 1 else "├─ ")

    def _headed(self, node: Node, lead: str) -> str:
        mark = self._paint(_MARKS[node.worst], node.worst)
        more = "  ".join(
            part
            for part in (node.level, node.version and f"levelsync {node.version}", node.address)
            if part
        )
        title = self._paint(f"{node.id} {node.name}".strip(), "bold")
        return f"{self._paint(lead, 'dim')}{mark} {title}  {self._paint(more, 'dim')}"

    def _hop(self, hop: Hop, node: Node, inside: str, *, again: bool) -> Iterator[str]:
        told = hop.told
        revision = node.revisions.get(told["contract"], "")
        room = _FIRST - width(inside)
        contract = "" if again else _cut(f"{told['contract']} {revision}".strip(), room - 1)
        way = _cut(_way(told, node), _WAY)
        letters = int(told["figures"].get("dead_letters_waiting", 0))
        age = "" if hop.age is None else told_age(hop.age)
        cells = [
            contract + " " * (room - width(contract)),
            way + " " * (_WAY + 1 - width(way)),
            self._paint(f"{told['state']:{_STATE}}", _of_state(hop)),
            self._paint(f"{age:>9}", "wrong") if hop.late else f"{age:>9}",
            f"{'' if told['lag'] is None else told['lag']:>8}",
            self._number(told["gaps"], 6, "wrong"),
            self._number(letters, 8, "look"),
        ]
        yield self._paint(inside, "dim") + "".join(cells).rstrip()
        # Its age and its letters stand in the line already.
        for said in hop.said:
            if not (letters and "dead letter" in said):
                yield from self._told(said, inside, "  ", hop.judgement)

    def _number(self, number: int, room: int, colour: str) -> str:
        return self._paint(f"{number:>{room}}", colour) if number else " " * room

    def _told(self, said: str, inside: str, indent: str, judgement: Judgement) -> Iterator[str]:
        for line in wrapped(said, inside + indent):
            yield self._paint(inside, "dim") + self._paint(line[len(inside) :], judgement)


def _place(hop: Hop) -> tuple[str, int, str]:
    """By contract, and then in the order of the data."""
    kind, to = hop.told["hop"], str(hop.told["to"])
    return str(hop.told["contract"]), _ORDER.get(kind, len(_ORDER)), to


def _of_state(hop: Hop) -> str:
    if hop.told["state"] in ("running", "ended"):
        return "wrong" if hop.told.get("trouble") else "fine"
    return "wrong" if hop.judgement == "wrong" else "look"


def _way(told: dict[str, Any], node: Node) -> str:
    """``capture``, ``view → 3701``, ``link ↓ 37``, ``link ↑ 37``, ``out → broker``"""
    hop, to = str(told["hop"]), str(told["to"])
    if hop == "view":
        return f"view → {to.partition('.to.')[2] or to}"
    if hop == "link":
        neighbour = to.partition(".from.")[2]
        return f"link ↑ {node.parent}" if neighbour == node.id else f"link ↓ {neighbour}"
    return f"out → {to}" if hop == "out" else hop


def _cut(text: str, room: int) -> str:
    if width(text) <= room:
        return text
    while width(text) >= room:
        text = text[:-1]
    return f"{text}…"


def _short(text: str) -> str:
    """What is said at length below, in one line."""
    line = text.splitlines()[0]
    return line if len(line) <= 160 else f"{line[:159]}…"


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"
