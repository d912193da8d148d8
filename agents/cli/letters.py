"""``levelsync dead-letters``: what was refused, and its way back in or out."""

import argparse
import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agents.base.config import NodeFile
    from agents.base.requests import Asked, Requests
    from agents.capture.replay import Selection
    from agents.kafka.letters import Kept


def add(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("action", choices=["list", "show", "replay", "drop"])
    parser.add_argument("node_file", type=Path, metavar="NODE.toml")
    parser.add_argument("key", nargs="?", default="", help="only this key's")
    for name, text in (
        ("contract", "only this contract's"),
        ("rule", "only those refused by this rule"),
        ("path", "only those refused at this path"),
        ("id", "only this one"),
    ):
        parser.add_argument(f"--{name}", default="", help=text)
    parser.add_argument("--all", action="store_true", help="replay or drop without any filter")
    parser.add_argument("--wait", type=float, default=60.0, metavar="S", help="seconds (60)")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(command=dead_letters)


def dead_letters(args: argparse.Namespace) -> int:
    """List and show read Kafka; replay asks the running agent, the one writer of the contract's topics,
    and so does drop."""
    from agents.base.errors import LevelsyncError
    from agents.capture.replay import Selection
    from agents.kafka.cluster import nearest_cluster
    from agents.kafka.letters import find_letters
    from agents.sources import load

    config = load(args.node_file)
    selected = Selection(key=args.key, rule=args.rule, path=args.path, id=args.id)
    only = [args.contract] if args.contract else None
    changes = args.action in ("replay", "drop")
    if changes and not (args.all or args.contract or selected != Selection()):
        print(
            f"Expected a key, --contract, --rule, --path or --id, or --all to {args.action} every"
            " dead letter there is",
            file=sys.stderr,
        )
        return 2
    cluster = nearest_cluster(config)
    topics = None if config.kafka else _own(config)
    letters = asyncio.run(find_letters(cluster, only, selected.takes, topics))
    if not changes:
        _print(args, letters)
        return 0
    try:
        counts = _settle(args, config, selected, letters)
    except LevelsyncError as error:
        if not args.json:
            raise
        print(json.dumps({"ok": False, "error": str(error)}, ensure_ascii=False))
        return 1
    left = counts["refused"] + counts["unreadable"] + counts["not_here"]
    if args.json:
        print(json.dumps({"ok": not left, **counts}))
    else:
        _tell(counts)
    return 1 if left else 0


def _print(args: argparse.Namespace, letters: list["Kept"]) -> None:
    import msgspec

    for kept in sorted(letters, key=lambda kept: kept.letter.time):
        letter: dict[str, Any] = msgspec.to_builtins(kept.letter)
        if args.json:
            print(json.dumps(letter, ensure_ascii=False))
        elif args.action == "show":
            print(json.dumps(letter, ensure_ascii=False, indent=2))
        else:
            print(
                f"{letter['time']}  {letter['contract']}  {letter['path']}  {letter['rule']}  "
                f"{letter['message']}  {letter['id']}"
            )


def _settle(
    args: argparse.Namespace,
    config: "NodeFile",
    selected: "Selection",
    letters: list["Kept"],
) -> dict[str, int]:
    """Replay or drop ``letters``: the owner's by its capture, a link's here and now.

    Raises NotTaken, Unavailable.
    """
    import msgspec

    from agents.base.requests import Requests
    from agents.kafka.cluster import nearest_cluster
    from agents.kafka.letters import drop_received

    counts = dict.fromkeys(
        ("replayed", "superseded", "refused", "unreadable", "dropped", "not_here"), 0
    )
    there = {kept.part[0] for kept in letters}
    ours = {name for topic, name in _own(config).items() if topic in there}
    others = [kept for kept in letters if kept.part[0] not in _own(config)]
    # A leaf below writes its letters here, and settles them itself.
    count = len(others)
    others = [kept for kept in others if not _of_a_leaf(kept.part[0], config.node.id)]
    counts["not_here"] += count - len(others)
    if args.action == "drop":
        asyncio.run(drop_received(nearest_cluster(config), others))
        counts["dropped"] += len(others)
    else:
        counts["not_here"] += len(others)
    requests = Requests(config.agent.state / "requests")
    for name in sorted(ours):
        plain = msgspec.to_builtins(selected)
        for what, count in asked(requests, args.action, name, args.wait, plain).items():
            counts[what] += count
    return counts


def _own(config: "NodeFile") -> dict[str, str]:
    """The topics of letters that captures of this node write, each with its contract."""
    from agents.kafka.topics import dead, received

    named = {*(source.contract for source in config.source)}
    if config.kafka:
        return {dead(name): name for name in named}
    pushed = config.parent.push if config.parent else ()
    return {dead(received(name, config.node.id)): name for name in named.union(pushed)}


def _of_a_leaf(topic: str, node: str) -> bool:
    """Is it a topic of letters that a leaf below ``node`` writes?"""
    from agents.base.config import is_below
    from agents.kafka.topics import parse_received

    found = parse_received(topic.removesuffix(".dead"))
    return found is not None and is_below(found[1], node)


def asked(
    requests: "Requests", what: "Asked", contract: str, seconds: float, arguments: dict[str, Any]
) -> dict[str, Any]:
    """Ask the running agent for ``what`` and wait for the answer's facts. Raises NotTaken."""
    from agents.base.requests import NotTaken

    request = requests.ask(what, contract, **arguments)
    answer = requests.answered(request, seconds)
    requests.withdraw(request)
    if answer is None or answer.state == "running":
        raise NotTaken(contract=contract, after_s=seconds)
    return answer.facts


_WORDS = {
    "replayed": "replayed: accepted now, and on their way",
    "superseded": "superseded: a newer change of the key is published already; taken off the list",
    "refused": "refused again: `levelsync dead-letters list` says why",
    "unreadable": "cannot be replayed: what came was not readable as a record. Have it sent again, and"
    " drop these",
    "dropped": "dropped",
    "not_here": "belong to a topic of another owner: mend it there, or drop them here; those of a leaf"
    " are replayed and dropped at the leaf",
}


def _tell(counts: dict[str, int]) -> None:
    if not any(counts.values()):
        print("no such dead letter")
    for name, count in counts.items():
        if count:
            print(f"{count:6} {_WORDS[name]}")
