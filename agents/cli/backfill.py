"""``levelsync backfill``: have a contract's rows told again, all or some, while its stream goes on."""

import argparse
import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agents.base.requests import Answer, Request, Requests

#: Seconds the agent may take to take a request up. A contract that has stopped is begun anew first.
PATIENCE = 20.0
#: Seconds between looks at how far it is.
LOOK = 0.2


def add(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("node_file", type=Path, metavar="NODE.toml")
    parser.add_argument("contract", metavar="CONTRACT")
    parser.add_argument(
        "--where", default="", metavar="SQL", help="only rows for which this condition is true"
    )
    parser.add_argument(
        "--anew",
        action="store_true",
        help="copy every row, over a new slot where the old one cannot go on, and delete below what"
        " is gone from the table",
    )
    parser.add_argument(
        "--wait", action="store_true", help="until it is done; otherwise until it has begun"
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(command=backfill)


def backfill(args: argparse.Namespace) -> int:
    """The request is a file, so that it stands also when the agent is killed."""
    from agents.base.errors import LevelsyncError
    from agents.base.requests import NotTaken, Requests
    from agents.sources import load

    config = load(args.node_file)
    ours = sorted(source.contract for source in config.source)
    if args.contract not in ours:
        print(
            f"Expected a contract with a source here ({', '.join(ours) or 'none'}), got"
            f" {args.contract}",
            file=sys.stderr,
        )
        return 2
    if args.where and args.anew:
        print(
            "Expected --where or --anew: a copy anew has every row, since what it does not find is"
            " deleted below",
            file=sys.stderr,
        )
        return 2
    requests = Requests(config.agent.state / "requests")
    asked = {"where": args.where} if args.where else {"anew": True} if args.anew else {}
    request = requests.ask("backfill", args.contract, **asked)
    try:
        answer = _followed(args, requests, request)
        if answer is None:
            requests.withdraw(request)
            raise NotTaken(
                f"The agent did not take the request up within {PATIENCE:.0f} s",
                contract=args.contract,
                **_state(config.agent.listen, args.contract),
            )
    except LevelsyncError as error:
        if not args.json:
            raise
        print(json.dumps({"ok": False, "error": str(error)}, ensure_ascii=False))
        return 1
    if args.json:
        told = {"ok": answer.state != "failed", "state": answer.state, "request": request.id}
        print(json.dumps({**told, **answer.facts}, ensure_ascii=False))
    elif answer.state == "failed":
        print(f"{args.contract}: {answer.facts.get('error', 'failed')}", file=sys.stderr)
    elif answer.state == "done":
        print(f"{args.contract}: {answer.facts.get('rows', 0)} rows told")
    else:
        print(f"{args.contract}: {_told(answer)}; see `levelsync status`, or ask with --wait")
    return 1 if answer.state == "failed" else 0


def _followed(
    args: argparse.Namespace, requests: "Requests", request: "Request"
) -> "Answer | None":
    """The answer once it is done, or has begun where nobody waits; None when nobody took it up."""
    answer = requests.answered(request, PATIENCE, begun=True)
    said = ""
    while answer and answer.state == "running" and args.wait:
        if not args.json and (told := _told(answer)) != said:
            said = told
            end = "\r" if sys.stderr.isatty() else "\n"
            print(f"{args.contract}: {told}   ", end=end, file=sys.stderr, flush=True)
        answer = requests.answered(request, LOOK) or answer
    return answer


def _told(answer: "Answer") -> str:
    facts = answer.facts
    if "rows" not in facts:
        return f"waits {facts.get('waits', '')}".strip()
    return f"{facts['rows']} rows of about {facts['expected']}, {facts['share']:.0%}"


def _state(listen: str, contract: str) -> dict[str, Any]:
    """What the agent says of the contract's capture, if it answers."""
    from agents.base.asking import asked_one

    found = asyncio.run(asked_one(listen))
    if isinstance(found, str):
        return {"agent": f"does not answer at {listen}: {found}"}
    for hop in found["hops"]:
        if hop["hop"] == "capture" and hop["contract"] == contract:
            return {"state": hop["state"], "error": hop["error"]}
    return {"state": "no such capture"}
