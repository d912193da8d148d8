"""``levelsync corrections``: what windows say is wrong in this node's data, and the answers to it."""

import argparse
import getpass
import json
import sys
import time
from pathlib import Path
from typing import Any


def add(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("action", choices=["list", "show", "answer"])
    parser.add_argument("node_file", type=Path, metavar="NODE.toml")
    parser.add_argument("id", nargs="?", default="", help="one correction")
    parser.add_argument("--all", action="store_true", help="list those that are decided too")
    decided = parser.add_mutually_exclusive_group()
    for word, state in (("--accept", "accepted"), ("--reject", "rejected")):
        decided.add_argument(word, dest="state", action="store_const", const=state)
    parser.add_argument("--note", default="", help="what the clerk is told; a rejection needs one")
    parser.add_argument("--by", default="", help="who answers; the user's own name without it")
    parser.add_argument("--wait", type=float, default=20.0, metavar="S", help="seconds (20)")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(command=corrections, state="")


def corrections(args: argparse.Namespace) -> int:
    """All three ask the running agent."""
    from agents.sources import load

    config = load(args.node_file)
    if config.corrections is None:
        print(
            f"Expected [corrections] in {args.node_file}, by which an owner takes them in, got none",
            file=sys.stderr,
        )
        return 2
    if args.action != "list" and not args.id:
        print(f"Expected the ID of a correction to {args.action}, got none", file=sys.stderr)
        return 2
    if args.action == "answer" and not args.state:
        print("Expected --accept or --reject, got neither", file=sys.stderr)
        return 2
    if args.action == "answer":
        by = args.by or getpass.getuser()
        given = {"id": args.id, "state": args.state, "note": args.note, "by": by}
        facts, failed = _asked(args, config.agent.state, "answer", given)
        found = [facts["correction"]] if "correction" in facts else []
    else:
        given = {"id": args.id, "all": args.all}
        facts, failed = _asked(args, config.agent.state, "corrections", given)
        found = facts.get("corrections", [])
    if args.json:
        print(json.dumps({"ok": not failed, **facts}, ensure_ascii=False))
    elif failed:
        print(facts.get("error", "The agent could not do it."), file=sys.stderr)
    else:
        _print(args.action, found, facts.get("left_out", 0))
    return 1 if failed else 0


def _asked(
    args: argparse.Namespace, state: Path, what: Any, given: dict[str, Any]
) -> tuple[dict[str, Any], bool]:
    """The facts of the agent's answer, and whether it is no."""
    from agents.base.requests import NotTaken, Requests
    from contracts.subjects.correction import CORRECTION

    requests = Requests(state / "requests")
    request = requests.ask(what, CORRECTION.name, **given)
    try:
        until = time.monotonic() + args.wait
        while time.monotonic() < until:
            answer = requests.answer_to(request)
            if answer and answer.state != "running":
                return answer.facts, answer.state == "failed"
            time.sleep(0.05)
    finally:
        requests.withdraw(request)
    return {"error": str(NotTaken(contract=CORRECTION.name, after_s=args.wait))}, True


def _print(action: str, found: list[dict[str, Any]], left_out: int) -> None:
    if action == "show":
        for each in found:
            print(json.dumps(each, ensure_ascii=False, indent=2))
        return
    for each in found:
        late = " OVERDUE" if each["overdue"] else ""
        due = f"due {each['due']}{late}" if each["state"] == "received" else each["state"]
        change = f"{json.dumps(each['seen'], ensure_ascii=False)} → "
        change += json.dumps(each["proposed"], ensure_ascii=False)
        print(f"{each['id']}  {each['contract']} {each['key']}  {each['field']} {change}")
        print(f"{'':4}{due}, filed {each['filed_at']} by {each['filed_by']} at {each['node']}")
        for name in ("evidence", "note"):
            if each[name]:
                print(f"{'':4}{name}: {each[name]}")
    if not found:
        print("no correction")
    if left_out:
        print(f"{left_out} older ones are left out")
