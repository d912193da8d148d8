"""``levelsync status``: what one agent says of itself, or every agent of a folder of node files."""

import argparse
import asyncio
import json
import sys
import time
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

#: Where the agents of a folder are asked, where not at the `listen` of their node file.
ADDRESSES = "status.toml"

Judgement = Literal["fine", "look", "wrong"]


def add(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("node_file", type=Path, nargs="?", metavar="NODE.toml")
    parser.add_argument(
        "--all", type=Path, metavar="FOLDER", dest="folder",
        help="every node whose file is in this folder, as a tree",
    )  # fmt: skip
    parser.add_argument(
        "--wrong", action="store_true", help="with --all: those alone where something is wrong"
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(command=status)


def status(args: argparse.Namespace) -> int:
    """One agent or all of them; 1 where something is wrong."""
    if (args.node_file is None) == (args.folder is None):
        print("Expected either NODE.toml or --all FOLDER", file=sys.stderr)
        return 2
    return _all(args) if args.folder else _one(args)


# ---- one -------------------------------------------------------------------------------------


def answer_at(address: str) -> dict[str, Any] | None:
    """/status of the agent at ``address``; None, and said, when none answers."""
    from agents.base.asking import asked_one

    found = asyncio.run(asked_one(address))
    if isinstance(found, str):
        print(f"No agent answers at {address} ([agent] listen): {found}", file=sys.stderr)
        return None
    return found


def _one(args: argparse.Namespace) -> int:
    from agents.sources import load

    found = answer_at(load(args.node_file).agent.listen)
    if found is None:
        return 1
    if args.json:
        print(json.dumps(found, ensure_ascii=False))
    else:
        _print_status(found)
    return 0 if found["ready"] and not found.get("troubles") else 1


def _print_status(found: dict[str, Any]) -> None:
    print(f"node {found['node']}  levelsync {found['version']}")
    for what in (*found["troubles"].values(), *found["warnings"]):
        print(f"{'':8} {what}")
    print(f"{'hop':8} {'from → to':58} {'state':9} {'events':>9} {'lag':>6}  complete as of")
    for hop in found["hops"]:
        path = f"{hop['from']} → {hop['to']}"
        age = f"{time.time() - hop['complete']:.1f} s ago" if hop["complete"] else "not known"
        lag = "" if hop["lag"] is None else hop["lag"]
        print(f"{hop['hop']:8} {path:58} {hop['state']:9} {hop['events']:9} {lag:>6}  {age}")
        for line in _below(hop):
            print(f"{'':8} {line}")


def _below(hop: dict[str, Any]) -> Iterable[str]:
    figures = hop["figures"]
    if hop.get("signed"):
        yield f"signed: {hop['signed']['said']}"
    if hop["gaps"]:
        times = f"{hop['gaps']} time{'s' * (hop['gaps'] != 1)}"
        yield f"{times} since the start events were missing, or the place to go on was gone"
    if hop["rejected"]:
        waiting = figures.get("dead_letters_waiting")
        wait = "" if waiting is None else f", {waiting:.0f} wait"
        what = "refused there" if hop["hop"] == "out" else f"dead letters{wait}"
        yield f"{hop['rejected']} {what}"
    elif figures.get("dead_letters_waiting"):
        yield f"{figures['dead_letters_waiting']:.0f} dead letters wait"
    if "copy_share" in figures and figures["copy_share"] < 1:
        yield f"copies: {figures['copy_rows']:.0f} rows, {figures['copy_share']:.0%}"
    if figures.get("file_rows"):
        yield (
            f"a file: {figures['file_rows']:.0f} rows, {figures['file_share']:.0%} read,"
            f" {figures.get('file_share_told', 0):.0%} told"
        )
    if figures.get("outgoing_waiting_events"):
        yield (
            f"{figures['outgoing_waiting_events']:.0f} records wait to be sent up, the oldest"
            f" for {figures['outgoing_waiting_seconds']:.0f} s"
        )
    if why := hop["error"] or hop["trouble"]:
        yield why
    if hop["waits"]:
        yield f"waits for {hop['waits']}"
    yield from hop["warnings"]


# ---- all -------------------------------------------------------------------------------------


class Hop(NamedTuple):
    """One hop as its agent tells of it, and what that means; ``age`` in seconds by the agent's clock."""

    told: dict[str, Any]
    age: float | None
    judgement: Judgement
    said: tuple[str, ...]
    #: That it is older than promised; empty when it is not.
    late: str = ""


class Node(msgspec.Struct):
    """One agent: where it was asked and what it said. ``said`` is about the agent, not about a hop."""

    id: str
    name: str = ""
    level: str = ""
    parent: str = ""
    address: str = ""
    version: str = ""
    revisions: dict[str, str] = {}
    judgement: Judgement = "fine"
    said: list[str] = []
    hops: list[Hop] = []

    def note(self, judgement: Judgement, text: str) -> None:
        """Something is to be said of it."""
        self.said.append(text)
        if self.judgement != "wrong":
            self.judgement = judgement

    @property
    def worst(self) -> Judgement:
        """Of itself and its hops."""
        judged = {self.judgement, *(hop.judgement for hop in self.hops)}
        return "wrong" if "wrong" in judged else "look" if "look" in judged else "fine"


def _all(args: argparse.Namespace) -> int:
    from agents.base.asking import asked
    from agents.cli.status_tree import drawn

    try:
        nodes = nodes_in(args.folder)
    except (OSError, ValueError) as error:
        print(f"{args.folder}: {error}", file=sys.stderr)
        return 2
    answers = asyncio.run(asked(node.address for node in nodes if node.address))
    for node in nodes:
        if node.address:
            judge(node, answers[node.address])
    compare(nodes)
    wrong = any(node.worst == "wrong" for node in nodes)
    if args.wrong:
        nodes = [node for node in nodes if node.worst != "fine"]
    if args.json:
        print(json.dumps({"ok": not wrong, "nodes": list(map(_plain, nodes))}, ensure_ascii=False))
    else:
        print(drawn(nodes, colours=sys.stdout.isatty()))
    return 1 if wrong else 0


def nodes_in(folder: Path) -> list[Node]:
    """The nodes whose files are in ``folder``, and those that its ``status.toml`` names alone.

    Only what is needed is read, so that no secret has to be there. Raises OSError, ValueError.
    """
    addresses = _addresses(folder / ADDRESSES)
    nodes = []
    for path in sorted(folder.glob("*.toml")):
        if path.name == ADDRESSES:
            continue
        try:
            nodes.append(_node(tomllib.loads(path.read_text(encoding="utf-8")), addresses))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            nodes.append(Node(path.stem))
            nodes[-1].note("wrong", f"{path.name}: expected a node file, got {error}")
    known = {node.id for node in nodes}
    nodes += [Node(name, address=at) for name, at in addresses.items() if name not in known]
    if not nodes:
        raise ValueError("expected node files in it, found none")
    return nodes


def _addresses(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    found = tomllib.loads(path.read_text(encoding="utf-8")).get("addresses", {})
    try:
        return msgspec.convert(found, dict[str, str])
    except msgspec.ValidationError:
        raise ValueError(
            f'{path.name}: expected `"3701" = "host:port"` under [addresses], got {found}'
        ) from None


def _node(raw: Mapping[str, Any], addresses: Mapping[str, str]) -> Node:
    from agents.base.asking import reachable

    node, agent, parent = raw["node"], raw.get("agent", {}), raw.get("parent", {})
    listen = str(agent.get("listen", "127.0.0.1:8600"))
    return Node(
        id=str(node["id"]),
        name=str(node.get("name", "")),
        level=str(node.get("level", "")),
        parent=str(parent.get("id", "")),
        address=addresses.get(str(node["id"]), reachable(listen)),
    )


# ---- what it means ---------------------------------------------------------------------------


def judge(node: Node, answer: dict[str, Any] | str) -> None:
    """Take in what the agent of ``node`` answered."""
    if isinstance(answer, str):
        node.note("wrong", f"does not answer at {node.address}: {answer}")
        return
    if answer.get("node") != node.id:
        node.note("wrong", f"another node answers at {node.address}: {answer.get('node')}")
        return
    node.version = str(answer.get("version", ""))
    node.revisions = dict(answer.get("contracts", {}))
    for said in dict(answer.get("troubles", {})).values():
        node.note("wrong", str(said))
    for said in answer.get("warnings", ()):
        node.note("look", str(said))
    node.hops = [judged(hop, answer.get("time", time.time())) for hop in answer["hops"]]


def judged(hop: dict[str, Any], now: float) -> Hop:
    """What ``hop`` says, at ``now`` by its agent's clock, in seconds since 1970 UTC."""
    age = max(0.0, now - hop["complete"]) if hop.get("complete") else None
    wrong: list[str] = []
    look: list[str] = []
    promise, state, figures = hop.get("promised_s"), hop["state"], hop.get("figures", {})
    if why := hop.get("trouble") or (hop.get("error") if state == "stopped" else None):
        wrong.append(why)
    elif hop.get("error"):
        look.append(hop["error"])
    late = ""
    if age and promise and age > promise and hop["hop"] != "out" and state != "ended":
        late = f"complete as of {told_age(age)} ago, promised are {promise:g} s"
    if state == "starting" and not wrong:
        look.append(f"waits for {hop['waits']}" if hop.get("waits") else "only just starts")
    if waiting := figures.get("dead_letters_waiting"):
        look.append(
            f"{waiting:.0f} dead letter{'s' * (waiting != 1)} wait{'s' * (waiting == 1)}: `levelsync"
            " dead-letters list`"
        )
    look += hop.get("warnings", [])
    judgement: Judgement = "wrong" if wrong or late else "look" if look else "fine"
    return Hop(hop, age, judgement, (*wrong, *look), late)


def compare(nodes: list[Node]) -> None:
    """Say which nodes are of another version than most, or know another revision of a contract."""
    versions = Counter(node.version for node in nodes if node.version)
    usual = versions.most_common(1)[0][0] if versions else ""
    newest: dict[str, str] = {}
    for node in nodes:
        for name, revision in node.revisions.items():
            newest[name] = max(newest.get(name, revision), revision, key=_number)
    for node in nodes:
        if node.version and node.version != usual:
            node.note("look", f"levelsync {node.version}, most nodes run {usual}")
        for name, revision in node.revisions.items():
            if revision != newest[name]:
                node.note("look", f"{name} {revision}, elsewhere {newest[name]} is known")


def _number(revision: str) -> tuple[int, ...]:
    return tuple(int(part) if part.isdigit() else 0 for part in revision.split("."))


def told_age(seconds: float) -> str:
    """``0.4 s``, ``12 min``, ``3 h``, ``2 d``"""
    if seconds < 100:
        return f"{seconds:.1f} s"
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _plain(node: Node) -> dict[str, Any]:
    return {
        "node": node.id,
        "name": node.name,
        "level": node.level,
        "parent": node.parent,
        "address": node.address,
        "version": node.version,
        "contracts": node.revisions,
        "judgement": node.worst,
        "said": node.said,
        "hops": [
            {**hop.told, "age_s": hop.age and round(hop.age, 3), "judgement": hop.judgement,
             "said": [*hop.said, *filter(None, [hop.late])]}
            for hop in node.hops
        ],
    }  # fmt: skip
