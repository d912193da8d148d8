"""``levelsync accesses``: who looked at one record, and whether the journal is whole."""

import argparse
import asyncio
import datetime
import json
import sqlite3
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agents.base.config import NodeFile
    from agents.kafka.accesses import Break, Look
    from agents.kafka.cluster import Cluster


def add(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument(
        "what", metavar="NODE.toml|verify", help="`verify` looks whether each node's chain is whole"
    )
    parser.add_argument("rest", nargs="*", metavar="CONTRACT KEY", help="the record; or NODE.toml")
    for name in ("from", "to"):
        parser.add_argument(
            f"--{name}", dest=f"{name}_", default="", metavar="DAY", help="2026-01-31, or a moment"
        )
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(command=accesses)


def accesses(args: argparse.Namespace) -> int:
    """Both read this node's own topics of accesses and those that came from below."""
    from agents.kafka.cluster import nearest_cluster
    from agents.sources import load

    verify = args.what == "verify"
    if len(args.rest) != (1 if verify else 2):
        said = "verify NODE.toml" if verify else "NODE.toml CONTRACT KEY"
        print(f"Expected `levelsync accesses {said}`", file=sys.stderr)
        return 2
    config = load(Path(args.rest[0] if verify else args.what))
    if config.kafka is None:
        print("Expected a node with [kafka]: a leaf's accesses are kept above", file=sys.stderr)
        return 2
    here = nearest_cluster(config)
    if verify:
        return _verify(args, config, here)
    try:
        since, until = _moment(args.from_, end=False), _moment(args.to_, end=True)
    except ValueError:
        print(
            "Expected --from and --to as `2026-01-31` or `2026-01-31T09:00:00+08:00`",
            file=sys.stderr,
        )
        return 2
    contract, key = args.rest
    looks = asyncio.run(_looks(here, contract, key, since, until))
    if args.json:
        print(json.dumps([each._asdict() for each in looks], ensure_ascii=False))
        return 0
    for each in looks:
        print(f"{each.at}  {each.node}  {each.kind} {each.who}  {each.purpose}  {each.action}")
    if not looks:
        print(f"nobody looked up {key} of {contract} in this time, as far as this node knows")
    return 0


def _moment(text: str, *, end: bool) -> datetime.datetime:
    """A day is a day in China, to its end where it is the end. Raises ValueError."""
    from agents.base.config import CHINA

    if not text:
        return datetime.datetime(9999 if end else 1, 1, 2, tzinfo=datetime.UTC)
    if len(text) == 10:
        day = datetime.date.fromisoformat(text)
        time = datetime.time.max if end else datetime.time.min
        return datetime.datetime.combine(day, time, CHINA)
    found = datetime.datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=CHINA)


async def _looks(
    here: "Cluster",
    contract: str,
    key: str,
    since: datetime.datetime,
    until: datetime.datetime,
) -> list["Look"]:
    from agents.kafka.accesses import accesses as all_accesses
    from agents.kafka.accesses import looks_at

    found: dict[tuple[str, str], Look] = {}
    async for access in all_accesses(here):
        for look in looks_at(access, contract, key, since, until):
            found[look.id, look.at] = look
    return sorted(found.values())


def _verify(args: argparse.Namespace, config: "NodeFile", here: "Cluster") -> int:
    records, found = asyncio.run(_broken(config, here))
    broken = [each for each in found if not each.note]
    if args.json:
        told: dict[str, Any] = {"ok": not broken, "records": records}
        print(json.dumps({**told, "found": [each._asdict() for each in found]}, ensure_ascii=False))
    else:
        for each in found:
            kind = "note" if each.note else "BROKEN"
            at = f" at offset {each.offset}" if each.offset >= 0 else " at its end"
            print(f"{kind}  {each.topic}{at}, node {each.node}, chain {each.chain}, record"
                  f" {each.number}: {each.why}")  # fmt: skip
        print(f"{records} records read, {len(broken)} places where a chain is broken")
    return 1 if broken else 0


async def _broken(config: "NodeFile", here: "Cluster") -> tuple[int, list["Break"]]:
    from agents.kafka.accesses import Chains
    from agents.kafka.accesses import accesses as all_accesses
    from agents.kafka.topics import own
    from contracts.subjects.access import ACCESS

    chains, found = Chains(), []
    async for access in all_accesses(here):
        found += chains.next(access)
    if end := _own_end(config):
        found += chains.ended(own(ACCESS, config.node.id), config.node.id, *end)
    return chains.records, found


def _own_end(config: "NodeFile") -> tuple[str, int] | None:
    """This node's chain and its last record that does not wait any more, where its state is at hand."""
    file = config.agent.state / "outgoing.sqlite"
    if not file.exists():
        return None
    try:
        base = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
        try:
            name = base.execute("SELECT value FROM meta WHERE name = 'id'").fetchone()
            row = base.execute("SELECT number FROM chain").fetchone()
            waits = base.execute(
                "SELECT count(*) FROM waiting WHERE contract = 'access.v1'"
            ).fetchone()
        finally:
            base.close()
    except sqlite3.Error:
        return None
    return (name[0], row[0] - waits[0]) if name and row else None
