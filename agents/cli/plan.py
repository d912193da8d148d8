"""``levelsync plan``: what a changed node file would do, before it does."""

import argparse
import asyncio
import json
import secrets
import sys
from pathlib import Path

import msgspec

from agents.base.errors import ConfigError


def add(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("node_file", type=Path, metavar="NODE.toml", help="the file as it is to be")
    parser.add_argument(
        "--against", type=Path, metavar="OLD.toml",
        help="compare with this file; with what the agent runs, or ran last, without it",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(command=plan)


def plan(args: argparse.Namespace) -> int:
    """Exits 0 where nothing would change, 1 where something would, 2 where that cannot be told."""
    from agents.base.config import parsed
    from agents.base.remembered import remembered, sealed
    from agents.plan import plan as planned
    from agents.sources import load

    try:
        config = load(args.node_file)
        if args.against:
            salt, old = secrets.token_hex(8), parsed(args.against)
            old = sealed(old, salt, args.against)
        elif kept := remembered(config.agent.state):
            salt, old = kept
        else:
            print(
                f"Expected what the agent runs in {config.agent.state}, got nothing: it never ran with"
                " this release, or elsewhere. Name the file it runs: --against OLD.toml",
                file=sys.stderr,
            )
            return 2
        new = sealed(parsed(args.node_file), salt, args.node_file)
        found = asyncio.run(planned(args.node_file, config, old, new))
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    if args.json:
        told = {"changes": not found.nothing, **msgspec.to_builtins(found)}
        print(json.dumps(told, ensure_ascii=False))
        return 0 if found.nothing else 1
    for setting in found.settings:
        print(f"{setting.path}: {setting.before or 'not set'} → {setting.after or 'not set'}")
    if found.effects:
        print()
    for effect in found.effects:
        print(f"{effect.does:8} {effect.what}" + (f"  ({effect.why})" if effect.why else ""))
        if effect.makes:
            print(f"{'':8} makes {', '.join(effect.makes)}")
        if effect.records is not None:
            print(f"{'':8} at most {effect.records:,} records to read")
    if found.not_known:
        print(f"What it does in Kafka is not known: {found.not_known}")
    if found.nothing:
        print("Nothing would change.")
    return 0 if found.nothing else 1
