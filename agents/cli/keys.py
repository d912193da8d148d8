"""``levelsync keys new|list|rotate|trust``: what a node signs with, and whose signatures it takes."""

import argparse
import json
import os
import re
import sys
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents.base.errors import LevelsyncError

if TYPE_CHECKING:
    from agents.base.config import NodeFile


class NotWritten(LevelsyncError):
    """The node file cannot be changed without changing more of it than this line."""

    hint = "Put the line into its [trust] table by hand."


def add(parser: argparse.ArgumentParser) -> None:
    """The four commands."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, does, text in (
        ("new", new, "Make the key this node signs with, where it has none."),
        ("list", listed, "This node's keys, and those it trusts."),
        ("rotate", rotate, "Make the next key; with --take use it, once others trust it."),
        (
            "trust",
            trust,
            "Take the streams of a node only as signed by this key, and those before.",
        ),
    ):
        made = commands.add_parser(name, help=text, description=text)
        made.add_argument("node_file", type=Path, metavar="NODE.toml")
        if does is rotate:
            made.add_argument(
                "--take", action="store_true", help="use the key that was made before, from now on"
            )
        if does is trust:
            made.add_argument("node", metavar="NODE", help="whose key it is, such as 37")
            made.add_argument("key", metavar="KEY", help="as `keys list` there prints it")
            made.add_argument("--write", action="store_true", help="write it into the node file")
        made.add_argument("--json", action="store_true", help="for programs")
        made.set_defaults(command=does)


def new(args: argparse.Namespace) -> int:
    """A key, and the line for those who are to trust it."""
    from agents.base.keyring import Keyring
    from agents.base.keys import signing_key
    from agents.base.statement import public_of
    from agents.sources import load

    config = load(args.node_file)
    ring = Keyring(config.agent.key)
    if ring.path.exists():
        public = public_of(signing_key(ring.path))
        print(
            f"{config.node.id} has a key: {public}, in {ring.path}. `levelsync keys rotate` changes it.",
            file=sys.stderr,
        )
        return 1
    public = public_of(signing_key(ring.path, make=True))
    if args.json:
        print(json.dumps({"node": config.node.id, "key": public, "file": str(ring.path)}))
        return 0
    print(
        f"{config.node.id} signs with {_named(public)}; the private key is in {ring.path}, keep a copy"
    )
    print("A running agent takes it up by itself. Nodes that are to take nothing unsigned of it:")
    print(f"  levelsync keys trust THEIR.toml {config.node.id} {public} --write")
    return 0


def listed(args: argparse.Namespace) -> int:
    """Every key of this node and of those it trusts, one a row."""
    from agents.sources import load

    config = load(args.node_file)
    rows = [*_own(config), *_trusted(config)]
    if args.json:
        print(json.dumps(rows, ensure_ascii=False))
        return 0
    for row in rows:
        print(f"{row['node']:14} {row['id']}  {row['key']}  {_state(row)}")
    if not rows:
        print("No key, and nobody is trusted: `levelsync keys new` makes one.")
    return 0


def rotate(args: argparse.Namespace) -> int:
    """First the next key beside the one in use; then, with ``--take``, that in its place."""
    from agents.base.keyring import Keyring
    from agents.sources import load

    config = load(args.node_file)
    ring, node = Keyring(config.agent.key), config.node.id
    public = ring.take_next() if args.take else ring.make_next()
    if args.json:
        print(json.dumps({"node": node, "key": public, "in_use": args.take}))
        return 0
    if args.take:
        print(
            f"{node} signs with {_named(public)} from now on; a running agent has it within seconds."
        )
        print("Leave the key before in [trust] of others: what it signed still stands in topics.")
        return 0
    print(f"The next key of {node} is {_named(public)}; the one in use stays in use. Now:")
    print("  1. at every node that trusts this one:")
    print(f"     levelsync keys trust THEIR.toml {node} {public} --write")
    print(f"  2. here, when all have it:  levelsync keys rotate {args.node_file} --take")
    return 0


def trust(args: argparse.Namespace) -> int:
    """The line for ``[trust]``; with ``--write`` it is in the node file."""
    from agents.base.config import scope_of
    from agents.sources import load
    from contracts.identifiers import level_of
    from contracts.signed import public_key

    config = load(args.node_file)
    try:
        level_of(scope_of(args.node))
    except ValueError:
        print(f"Expected a node such as 3701, got {args.node}", file=sys.stderr)
        return 2
    try:
        public_key(args.key)
    except ValueError as error:
        print(f"Expected a key as `levelsync keys list` prints it, {error}", file=sys.stderr)
        return 2
    keys = tuple(dict.fromkeys((*config.trust.get(args.node, ()), args.key)))
    line = f"{json.dumps(args.node)} = {json.dumps(keys)}"
    written = False
    if args.write and keys != config.trust.get(args.node):
        _write(args.node_file, args.node, keys, line)
        written = True
    if args.json:
        print(json.dumps({"node": args.node, "keys": keys, "line": line, "written": written}))
        return 0
    if args.write:
        print(f"{args.node_file}: {'now' if written else 'already'} has in [trust]:  {line}")
        print("A running agent reads it again by itself: what is unsigned of that node stops.")
    else:
        print("[trust]")
        print(line)
    return 0


def _own(config: "NodeFile") -> list[dict[str, Any]]:
    from agents.base.keyring import Keyring
    from agents.base.keys import signing_key
    from agents.base.statement import public_of

    ring: Keyring = Keyring(config.agent.key)
    rows = [
        _row(config.node.id, each.key, "former", each.since, each.until) for each in ring.former()
    ]
    if ring.path.exists():
        key = public_of(signing_key(ring.path))
        rows.append(_row(config.node.id, key, "in use", ring.since()))
    if ring.next.exists():
        key = public_of(signing_key(ring.next))
        rows.append(_row(config.node.id, key, "next", ring.next.stat().st_mtime))
    return rows


def _trusted(config: "NodeFile") -> list[dict[str, Any]]:
    return [
        _row(node, key, "trusted") for node, keys in sorted(config.trust.items()) for key in keys
    ]


def _row(
    node: str, key: str, state: str, since: float | None = None, until: float | None = None
) -> dict[str, Any]:
    from agents.base.statement import key_id

    return {
        "node": node, "id": key_id(key), "key": key, "state": state,
        "since": _moment(since), "until": _moment(until),
    }  # fmt: skip


def _moment(seconds: float | None) -> str | None:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds)) if seconds else None


def _state(row: dict[str, Any]) -> str:
    words = [str(row["state"])]
    if row["state"] == "next":
        words = ["next, made", row["since"]]
    elif row["since"]:
        words += ["since" if not row["until"] else "from", row["since"]]
    if row["until"]:
        words += ["until", row["until"]]
    return " ".join(words)


def _named(key: str) -> str:
    from agents.base.statement import key_id

    return f"the key {key_id(key)}, {key}"


def _write(file: Path, node: str, keys: Sequence[str], line: str) -> None:
    """Put ``line`` into the ``[trust]`` table of ``file``, and change nothing else. Raises NotWritten."""
    text = file.read_text(encoding="utf-8")
    before = tomllib.loads(text)
    found = re.search(r"^\[trust\][^\n]*\n", text, re.MULTILINE)
    if found is None:
        changed = f"{text.rstrip()}\n\n[trust]\n{line}\n"
    else:
        after = re.compile(r"^\[", re.MULTILINE).search(text, found.end())
        end = after.start() if after else len(text)
        table = text[found.end() : end]
        own = re.compile(rf"^\s*\"?{re.escape(node)}\"?\s*=[^\n]*\n?", re.MULTILINE)
        if own.search(table):
            table = own.sub(lambda _: f"{line}\n", table, count=1)
        else:
            table = f"{line}\n{table}"
        changed = text[: found.end()] + table + text[end:]
    wanted = before | {"trust": before.get("trust", {}) | {node: list(keys)}}
    try:
        right = tomllib.loads(changed) == wanted
    except tomllib.TOMLDecodeError:
        right = False
    if not right:
        raise NotWritten(file=file, line=line)
    aside = file.with_name(f".{file.name}.new")
    aside.write_text(changed, encoding="utf-8")
    aside.chmod(file.stat().st_mode & 0o7777)
    os.replace(aside, file)
