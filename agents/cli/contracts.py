"""``levelsync contract list|show|publish``: what there is here, and telling it to every level below."""

import argparse
import asyncio
import datetime
import json
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents.base.errors import LevelsyncError
from agents.cli.findings import width

if TYPE_CHECKING:
    from agents.base.config import NodeFile
    from agents.base.known import Known
    from agents.kafka.bulletin import Bulletin
    from contracts.model import Contract


class NotPublishable(LevelsyncError):
    """This contract cannot be published from this node."""


def add_list(parser: argparse.ArgumentParser) -> None:
    _add_node(parser)
    parser.add_argument("--json", action="store_true", help="for programs")


def add_show(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="CONTRACT")
    add_list(parser)


def add_publish(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "reference",
        nargs="+",
        metavar="CONTRACT",
        help="a name that is installed, a Python file, or module:ATTRIBUTE",
    )
    parser.add_argument(
        "--node", type=Path, required=True, metavar="NODE.toml", help="the owner's node"
    )
    parser.add_argument(
        "--sunset",
        type=datetime.date.fromisoformat,
        metavar="DATE",
        help="the last day on which this major is filled",
    )
    parser.add_argument("--json", action="store_true", help="for programs")


def _add_node(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--node",
        type=Path,
        metavar="NODE.toml",
        help="what this node knows, with what was published to it",
    )


def listed(args: argparse.Namespace) -> int:
    """Every contract in a row."""
    known = known_at(args.node)
    rows = [
        {
            "contract": found.name,
            "revision": found.revision,
            "title": found.title.zh,
            "owner": found.owner.zh,
            "level": found.level,
            "key": found.key,
            "freshness_s": found.freshness,
            "publisher": known.publishers.get(found.subject, ""),
            "sunset": _day(known.sunsets.get(found.name)),
        }
        for found in known.contracts.values()
    ]
    if args.json:
        if args.node is None:
            print(json.dumps(rows, ensure_ascii=False))
        else:
            print(json.dumps({"contracts": rows, "refused": known.refused}, ensure_ascii=False))
        return 0
    table = [[name.replace("_", " ") for name in rows[0]]] if rows else []
    table += [[str(value) for value in row.values()] for row in rows]
    wide = [max(map(width, column)) for column in zip(*table, strict=True)]
    for line in table:
        padded = (cell + " " * (most - width(cell)) for cell, most in zip(line, wide, strict=True))
        print("  ".join(padded).rstrip())
    for key, why in known.refused.items():
        print(f"refused: {key}: {why}")
    return 0


def show(args: argparse.Namespace) -> int:
    """One contract whole, as JSON."""
    import msgspec

    found = known_at(args.node).contracts
    if args.name not in found:
        print(f"Expected one of {', '.join(found)}, got {args.name}", file=sys.stderr)
        return 2
    shown = msgspec.to_builtins(found[args.name])
    print(json.dumps(shown, ensure_ascii=False, indent=None if args.json else 2))
    return 0


def publish(args: argparse.Namespace) -> int:
    """Sign contracts and write them to this node's cluster; agents below take them up by themselves."""
    from agents.sources import load

    config = load(args.node)
    contracts = [found for each in args.reference for found in _referred(each)]
    done, key = asyncio.run(_publish(config, contracts, args.sunset))
    if args.json:
        print(json.dumps({"published": done, "publisher": config.node.id, "key": key}))
        return 0
    for row in done:
        print(f"{row['contract']:24} {row['state']}")
    print(f"signed by {config.node.id} with the key {key}")
    print(f'Nodes that should take no other write:  [trust]  "{config.node.id}" = ["{key}"]')
    return 0


async def _publish(
    config: "NodeFile", contracts: Iterable["Contract"], sunset: datetime.date | None
) -> tuple[list[dict[str, Any]], str]:
    """What became of each, and the public key they are signed by."""
    from agents.base.keys import signing_key
    from agents.base.known import Known
    from contracts.signed import public_text, sign

    bulletin = _bulletin(config)
    known = Known(config.node.id, config.trust)
    known.learn(await bulletin.read_once())
    key = signing_key(config.agent.key, make=True)
    rows, written = [], {}
    for contract in contracts:
        name = contract.dataschema
        if known.stands(contract, config.node.id, sunset):
            rows.append({"contract": name, "state": "stands already"})
            continue
        raw = sign(
            contract,
            publisher=config.node.id,
            key=key,
            time=time.time_ns() // 1000,
            sunset=sunset,
        )
        known.learn({name: raw})
        if name in known.refused:
            raise NotPublishable(f"{name} is not published: {known.refused[name]}")
        written[name] = raw
        rows.append({"contract": name, "state": "published"})
    await bulletin.write(written)
    return rows, public_text(key.public_key())


def _referred(reference: str) -> list["Contract"]:
    from contracts.load import installed_or_loaded
    from contracts.model import WrongContract

    try:
        return installed_or_loaded(reference)
    except WrongContract as error:
        raise NotPublishable(str(error)) from None


def known_at(node: Path | None) -> "Known":
    """What is installed; with a node file also what was published on its clusters."""
    from agents.base.known import Known
    from agents.sources import load

    if node is None:
        return Known("0", {})
    config = load(node)
    known = Known(config.node.id, config.trust)
    known.learn(asyncio.run(_bulletin(config).read_once()))
    return known


def _bulletin(config: "NodeFile") -> "Bulletin":
    from agents.kafka.bulletin import Bulletin
    from agents.kafka.cluster import nearest_cluster
    from agents.kafka.topics import CONTRACTS_TOPIC

    return Bulletin(nearest_cluster(config), CONTRACTS_TOPIC)


def _day(day: datetime.date | None) -> str:
    return day.isoformat() if day else ""
