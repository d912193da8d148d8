"""``levelsync acl``: the least rights on a node's Kafka: printed, compared with what is there, made."""

import argparse
import asyncio
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agents.base.config import NodeFile
    from agents.kafka.acls import Entries
    from agents.kafka.cluster import Cluster as Kafka
    from agents.kafka.rights import Cluster, Need, Right


def add(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument(
        "node_files", type=Path, nargs="+", metavar="NODE.toml",
        help="the node whose Kafka it is; then its children, and the departments beside it",
    )  # fmt: skip
    parser.add_argument(
        "--children", type=Path, nargs="+", default=[], metavar="FILE", help="more of its children"
    )
    parser.add_argument(
        "--window", nargs="+", action="append", default=[], metavar=("USER", "CONTRACT"),
        help="a window system that reads contracts from Kafka itself",
    )  # fmt: skip
    parser.add_argument(
        "--principal", action="append", default=[], metavar="NODE=User:NAME",
        help="what the brokers call a node, where its file does not say it",
    )  # fmt: skip
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--check", action="store_true", help="compare with what the brokers have")
    what.add_argument("--apply", action="store_true", help="make what is missing")
    parser.add_argument(
        "--as", type=Path, dest="admin", metavar="FILE",
        help="a TOML file with a table [kafka], as in a node file, for --check and --apply",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(command=acl)


def acl(args: argparse.Namespace) -> int:
    """Node files are read without their secrets: those of others are not for this machine."""
    from agents.kafka.rights import Cluster, above
    from agents.sources import load
    from contracts.subjects import CONTRACTS

    files = [*args.node_files, *args.children]
    home, *others = (load(each, secrets=False) for each in files)
    principals = dict(each.split("=", 1) for each in args.principal if "=" in each)
    windows = {user: names for user, *names in args.window}
    if wrong := _wrong(args, home, windows):
        print(wrong, file=sys.stderr)
        return 2
    cluster = Cluster(home, others, CONTRACTS, principals) if home.kafka else None
    if cluster and cluster.strangers:
        print(
            f"Expected nodes whose parent is {home.node.id}, or departments beside it, got"
            f" {', '.join(cluster.strangers)}",
            file=sys.stderr,
        )
        return 2
    needs = cluster.needs(windows) if cluster else []
    higher = list(above(home, principals)) if home.parent else []
    if args.check or args.apply:
        return _compared(args, home, cluster, needs)
    if args.json:
        told = _told(home, cluster, needs)
        if home.parent:
            told["above"] = _plain(home.parent.bootstrap, higher)
        print(json.dumps(told, ensure_ascii=False))
        return 0
    if cluster:
        _print(f"On the Kafka of {home.node.id}", home.nearest.bootstrap, needs)
        for each in cluster.unknown:
            print(f"# {each}: give its node file too, where it pushes anything up.")
    if home.parent:
        _print(
            f"On the Kafka of {home.parent.id}, for who runs it; where a contract is given whole, the"
            " topic itself takes the view's place",
            home.parent.bootstrap,
            higher,
        )
    return 0


def _wrong(args: argparse.Namespace, home: "NodeFile", windows: dict[str, Any]) -> str:
    if wrong := [each for each in args.principal if "=" not in each]:
        return f"Expected --principal NODE=User:NAME, got {wrong[0]}"
    if lonely := [user for user, names in windows.items() if not names]:
        return f"Expected --window USER CONTRACT…, got no contract for {lonely[0]}"
    if (args.check or args.apply) and home.kafka is None:
        return "Expected a node with [kafka] for --check and --apply: a leaf's is its parent's"
    return ""


# ---- printed -------------------------------------------------------------------------------------


def _plain(bootstrap: str, needs: Iterable["Need"]) -> dict[str, Any]:
    import msgspec

    return {"bootstrap": bootstrap, "needs": msgspec.to_builtins(list(needs))}


def _told(home: "NodeFile", cluster: "Cluster | None", needs: list["Need"]) -> dict[str, Any]:
    told: dict[str, Any] = {"node": home.node.id}
    if cluster:
        told |= {**_plain(home.nearest.bootstrap, needs), "unknown": cluster.unknown}
    return told


def _print(title: str, bootstrap: str, needs: Sequence["Need"]) -> None:
    """A table in comments, then the lines to paste."""
    from agents.kafka.rights import command

    print(f"# {title} ({bootstrap}):")
    rows = [
        (each.who, each.principal, f"{each.kind} {each.name}{'*' * each.prefixed}",
         ", ".join(each.operations), each.why)
        for each in needs
    ]  # fmt: skip
    widths = [max((len(row[at]) for row in rows), default=0) for at in range(4)]
    for row in rows:
        print("#", *(text.ljust(width) for text, width in zip(row, widths, strict=False)), row[4])
    for each in needs:
        print(command(each, bootstrap))


# ---- compared and made ---------------------------------------------------------------------------


def _compared(
    args: argparse.Namespace, home: "NodeFile", cluster: "Cluster | None", needs: list["Need"]
) -> int:
    from agents.base.config import load_kafka
    from agents.kafka.cluster import cluster_of, nearest_cluster
    from agents.kafka.rights import covers
    from agents.sources import load

    if args.admin:
        kafka = cluster_of(load_kafka(args.admin), "kafka")
    else:
        kafka = nearest_cluster(load(args.node_files[0]))
    wanted = {right: need for need in needs for right in need.rights}
    there = asyncio.run(_entries(kafka, {each.principal for each in needs}))
    missing = sorted(
        right for right in wanted if not any(covers(each, right) for each in there.allowed)
    )
    more = sorted(each for each in there.allowed if each not in wanted)
    if args.apply:
        asyncio.run(_allow(kafka, missing))
    if args.json:
        import msgspec

        found = {
            **_told(home, cluster, needs), "made" if args.apply else "missing": missing,
            "more": more, "denied": sorted(there.denied),
        }  # fmt: skip
        print(json.dumps(msgspec.to_builtins(found), ensure_ascii=False))
    else:
        word = "made" if args.apply else "missing"
        for title, rights in (
            (word, missing),
            ("more than needed", more),
            ("denied", there.denied),
        ):
            for each in sorted(rights):
                print(f"{title}: {_short(each)}")
        done = "were made" if args.apply else "are missing"
        print(f"{len(wanted)} needed, {len(missing)} {done}, {len(more)} more than needed")
    return 1 if missing and not args.apply else 0


def _short(right: "Right") -> str:
    star = "*" if right.prefixed else ""
    return f"{right.principal} {right.operation} on {right.kind} {right.name}{star}"


async def _entries(kafka: "Kafka", principals: set[str]) -> "Entries":
    from agents.kafka.acls import entries
    from agents.kafka.wire import Connection

    async with Connection(kafka) as connection:
        return await entries(connection, principals)


async def _allow(kafka: "Kafka", rights: Sequence["Right"]) -> None:
    from agents.kafka.acls import allow
    from agents.kafka.wire import Connection

    async with Connection(kafka) as connection:
        await allow(connection, rights)
