"""The command line."""

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents.base.errors import LevelsyncError
from agents.base.log import set_up_command

if TYPE_CHECKING:
    from agents.base.config import Grant, NodeFile
    from agents.kafka.grants import Announcement


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is 0, 1 where the answer is no, 2 for a wrong call, or 3 from an
    agent whose node another one has taken over."""
    arguments = sys.argv[1:] if arguments is None else arguments
    args = _parser(contract=arguments[:1] == ["contract"]).parse_args(arguments)
    if args.command not in (run, demo):
        set_up_command()
    try:
        code: int = args.command(args)
    except LevelsyncError as error:
        print(f"levelsync: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read has had enough. What is still buffered must not fail again at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


def _parser(*, contract: bool) -> argparse.ArgumentParser:
    """``contract``'s own commands need much that an agent should not have to load."""
    from agents.cli import (
        accesses,
        acl,
        backfill,
        corrections,
        files,
        keys,
        letters,
        status,
        window,
    )
    from agents.cli import plan as ahead
    from agents.cli import report as scorecard
    from agents.demo.demo import add_arguments as demo_arguments

    parser = argparse.ArgumentParser(
        prog="levelsync",
        description="Government data moves between levels the moment it changes.",
    )
    parser.add_argument("--version", action="version", version=f"levelsync {version('levelsync')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, does: Any, text: str) -> argparse.ArgumentParser:
        made: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
        made.set_defaults(command=does)
        return made

    demo_arguments(
        command("demo", demo, "Three levels on this machine, from a real database to a real page.")
    )
    for name, does, text in (
        ("run", run, "Run the agent of a node."),
        ("check", check, "Is the node file right? Says where and why not."),
        (
            "doctor",
            run_doctor,
            "Are the servers around a node, and its rights there, as it needs them?",
        ),
    ):
        made = command(name, does, text)
        made.add_argument("node_file", type=Path, metavar="NODE.toml")
        if name != "run":
            made.add_argument("--json", action="store_true", help="for programs")
    status.add(
        command("status", None, "Lag, freshness and state of every hop of one agent, or of all.")
    )
    again = command(
        "resync", resync, "Bring a contract's copies at this node in line with upstream's state."
    )
    again.add_argument("node_file", type=Path, metavar="NODE.toml")
    again.add_argument("contract", metavar="CONTRACT")
    again.add_argument("--wait", type=float, default=60.0, metavar="S", help="seconds (60)")
    again.add_argument("--json", action="store_true", help="for programs")
    backfill.add(command("backfill", None, "Tell a contract's rows again, all or some, or anew."))
    granted = command("grants", grants, "What this node gives and is given, to whom, for what.")
    granted.add_argument("node_file", type=Path, metavar="NODE.toml")
    granted.add_argument("--json", action="store_true", help="for programs")
    acl.add(command("acl", None, "The least rights on a node's Kafka: print, compare, make."))
    _add_contract(
        command("contract", None, "Contracts: what there is, writing, checking, publishing.")
    )
    files.add(
        command("files", None, "Files that arrive: see them, let a held one go or refuse it.")
    )
    window.add(command("window", None, "The window's store: read everything anew from Kafka."))
    letters.add(
        command("dead-letters", None, "Changes that were refused: see, replay or drop them.")
    )
    corrections.add(
        command("corrections", None, "What windows say is wrong in this node's data: see, answer.")
    )
    ahead.add(command("plan", None, "What a changed node file would do, before it does."))
    scorecard.add(command("report", None, "The scorecard: what was promised, and what was kept."))
    keys.add(command("keys", None, "What this node signs with, and whose signatures it takes."))
    accesses.add(command("accesses", None, "Who looked at a record; is the journal of that whole?"))
    return parser


def _add_contract(parser: argparse.ArgumentParser) -> None:
    from agents.cli import contracts, draft, evolution, exports

    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, add, does, text in (
        ("list", contracts.add_list, contracts.listed, "The contracts there are."),
        ("show", contracts.add_show, contracts.show, "One contract whole, as JSON."),
        (
            "new",
            draft.add_new,
            draft.new,
            "A first contract from a PostgreSQL table, a CSV, JSON, a JSON Schema or an ODCS file.",
        ),
        (
            "diff",
            evolution.add_diff,
            evolution.diff,
            "Whom a change breaks, and the usual way out.",
        ),
        (
            "check",
            evolution.add_check,
            evolution.check,
            "Is what was published as it was, and does what is new follow it?",
        ),
        ("export", exports.add_export, exports.export, "Contracts in the forms that others read."),
        (
            "push-schemas",
            exports.add_push,
            exports.push_schemas,
            "Give contracts' schemas to a Confluent-compatible schema registry.",
        ),
        (
            "publish",
            contracts.add_publish,
            contracts.publish,
            "Sign contracts and tell every level below of them.",
        ),
    ):
        made = commands.add_parser(name, help=text, description=text)
        add(made)
        made.set_defaults(command=does)


def demo(args: argparse.Namespace) -> int:
    from agents.demo.demo import run as run_demo

    return run_demo(args)


def check(args: argparse.Namespace) -> int:
    from agents.base.duplicates import duplicates
    from agents.base.errors import ConfigError
    from agents.sources import load
    from contracts.subjects import CONTRACTS

    try:
        config = load(args.node_file)
    except ConfigError as error:
        if args.json:
            print(json.dumps({"ok": False, "error": str(error)}, ensure_ascii=False))
        else:
            print(error)
        return 1
    summary = _summary(config)
    if unknown := sorted(config.named - CONTRACTS.keys()):
        summary["waits"] = unknown
    twice = duplicates(config, CONTRACTS)
    if args.json:
        collected = [str(each) for each in twice]
        found = {"ok": True, **summary, "collected_twice": collected}
        print(json.dumps(found, ensure_ascii=False))
    else:
        print(f"{args.node_file}: right")
        for name, values in summary.items():
            print(f"  {name:9} {', '.join(values) if isinstance(values, list) else values}")
        if unknown:
            print("  The last are not installed here: they wait until their owner publishes them.")
        if twice:
            print("Collected more than once (多头采集), so people are asked for it more than once:")
            for each in twice:
                print(f"  {each}")
            print("Collect it in one place; or say in the node file whose word counts first:")
            print("  [precedence]")
            for each in twice:
                print(f"  {each.what} = {json.dumps([one.contract for one in each.by])}")
    return 0


def _summary(config: "NodeFile") -> dict[str, Any]:
    parent = config.parent
    return {
        "node": f"{config.node.id} {config.node.name} ({config.node.level})",
        "sources": [source.contract for source in config.source],
        "grants": [_granted(grant) for grant in config.grant],
        "pulls": list(parent.pull) if parent else [],
        "pushes": list(parent.push) if parent else [],
        "window": config.window.listen if config.window else "none",
    }


def _granted(grant: "Grant") -> str:
    what = [
        grant.scope and f"scope {grant.scope}",
        grant.where and f"where {grant.where}",
        grant.fields and f"only {', '.join(grant.fields)}",
        grant.mask and f"masked {', '.join(grant.mask)}",
        grant.until and f"until {grant.until}",
    ]
    return " ".join([f"{grant.contract} to {grant.to}", *(each for each in what if each)])


def run_doctor(args: argparse.Namespace) -> int:
    from agents.cli.doctor import examine_node, told
    from agents.sources import load

    findings = asyncio.run(examine_node(load(args.node_file)))
    print(told(findings, for_programs=args.json))
    return 1 if any(each.judgement == "wrong" for _, each in findings) else 0


def resync(args: argparse.Namespace) -> int:
    """The request is a file, so that it stands also while the agent is away or is killed."""
    from agents.cli.status import answer_at
    from agents.sources import load

    config = load(args.node_file)
    if args.contract not in config.named:
        named = ", ".join(sorted(config.named))
        print(f"Expected one of {named}, got {args.contract}", file=sys.stderr)
        return 2
    file = config.agent.state / "resync" / args.contract
    file.parent.mkdir(parents=True, exist_ok=True)
    moment = time.time_ns() // 1000
    file.write_text(str(moment), encoding="utf-8")
    until = time.monotonic() + args.wait
    while file.exists() and time.monotonic() < until:
        time.sleep(0.2)
    done = not file.exists()
    found = answer_at(config.agent.listen)
    hops = [hop for hop in found["hops"] if hop["contract"] == args.contract] if found else []
    if args.json:
        print(json.dumps({"contract": args.contract, "done": done, "hops": hops}))
        return 0 if done else 1
    for hop in hops:
        print(f"{hop['hop']:8} {hop['to']:40} {hop['state']:9} {hop['error'] or ''}")
    if not done:
        print(
            f"{args.contract} is not in line yet after {args.wait:g} s. The request stands until it"
            " is; see `levelsync status`.",
            file=sys.stderr,
        )
    return 0 if done else 1


def grants(args: argparse.Namespace) -> int:
    from agents.kafka.cluster import nearest_cluster, parent_cluster
    from agents.kafka.grants import read_grants
    from agents.sources import load

    config = load(args.node_file)
    node = config.node.id
    here = asyncio.run(read_grants(nearest_cluster(config)))
    above: list[Announcement] = []
    if config.parent and config.kafka:
        above = asyncio.run(read_grants(parent_cluster(config)))
    found = {
        "gives": [told for told in here if told.giver == node],
        "is_given": [told for told in (*here, *above) if told.to == node],
    }
    if args.json:
        import msgspec

        print(json.dumps(msgspec.to_builtins(found), ensure_ascii=False))
        return 0
    for title, told in found.items():
        print(title.replace("_", " "))
        for each in told:
            print(f"  {each.contract}  {each.giver} → {each.to}  {_terms(each)}")
            print(f"    {each.purpose}; in {each.topic or 'no topic yet'}")
    return 0


def _terms(told: "Announcement") -> str:
    if told.ended:
        return "ended"
    what = [
        told.rows or "every row",
        f"only {', '.join(told.fields)}" if told.fields else "every field",
        told.mask and f"masked {', '.join(told.mask)}",
        told.until and f"until {told.until}",
    ]
    return ", ".join(each for each in what if each)


def run(args: argparse.Namespace) -> int:
    from agents.base.log import set_up
    from agents.sources import load

    config = load(args.node_file)
    set_up(config.node.id)
    from agents.agent import serve

    asyncio.run(serve(args.node_file, config))
    return 0
