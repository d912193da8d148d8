"""``levelsync window rebuild``: have the window's store read anew from Kafka, all of it or one contract.

Beside a running agent that is a request to it, and what is shown stays until the new is whole. While no
agent runs, what is there is thrown away, and the agent reads it anew when it is started.
"""

import argparse
import asyncio
import fcntl
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agents.base.requests import Request, Requests

#: Seconds the agent may take to take a request up.
PATIENCE = 20.0
#: Seconds between looks at how far it is.
LOOK = 0.2
#: The bytes of its file that SQLite locks for as long as somebody has it open.
_SHARED = (510, 0x40000002)


def add(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    text = "Throw away what is here and read it anew from Kafka; look-ups go on meanwhile."
    made = commands.add_parser("rebuild", help=text, description=text)
    made.add_argument("node_file", type=Path, metavar="NODE.toml")
    made.add_argument("contract", nargs="?", metavar="CONTRACT", help="only this one")
    made.add_argument(
        "--no-wait", action="store_true", help="until it has begun; otherwise until it is done"
    )
    made.add_argument("--json", action="store_true", help="for programs")
    made.set_defaults(command=rebuild)


def rebuild(args: argparse.Namespace) -> int:
    """0 when it is done, or has begun where nobody waits."""
    from agents.base.errors import LevelsyncError
    from agents.sources import load

    config = load(args.node_file)
    if config.window is None:
        print(f"Expected a node with a [window], got {args.node_file} without", file=sys.stderr)
        return 2
    store = config.agent.state / "window.sqlite"
    try:
        if _is_open(store):
            found = _beside(args, config.agent.listen, config.agent.state / "requests")
        else:
            found = [_thrown_away(store, args.contract)]
    except LevelsyncError as error:
        if not args.json:
            raise
        print(json.dumps({"ok": False, "error": str(error)}, ensure_ascii=False))
        return 1
    ok = all(each["state"] != "failed" for each in found)
    if args.json:
        print(json.dumps({"ok": ok, "contracts": found}, ensure_ascii=False))
    else:
        for each in found:
            print(f"{each['contract'] or 'every contract'}: {_said(each)}")
    return 0 if ok else 1


def _is_open(store: Path) -> bool:
    """Has an agent the store open at this moment? Also where the file is damaged."""
    try:
        with store.open("r+b") as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, *_SHARED)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def _thrown_away(store: Path, contract: str | None) -> dict[str, Any]:
    """Without an agent: throw away what is there. Raises StoreDamaged where only a part of a damaged file
    should be."""
    from agents.window.store import Store

    if contract is None:
        for end in ("", "-wal", "-shm"):
            store.with_name(store.name + end).unlink(missing_ok=True)
    elif store.exists():
        held = Store(store)
        try:
            held.forget(contract)
        finally:
            held.close()
    return {"contract": contract, "state": "thrown away"}


def _beside(args: argparse.Namespace, listen: str, folder: Path) -> list[dict[str, Any]]:
    """With a running agent: ask it. Raises NotTaken."""
    from agents.base.requests import NotTaken, Requests

    hops = _hops(listen)
    if hops is None:
        raise NotTaken(
            "The window's store is open, and no agent answers", listen=listen, state=str(folder)
        )
    names = [args.contract] if args.contract else sorted(hop["contract"] for hop in hops)
    if unknown := {*names} - {hop["contract"] for hop in hops}:
        raise NotTaken(
            "The window does not show this contract",
            expected=sorted(hop["contract"] for hop in hops), found=sorted(unknown),
        )  # fmt: skip
    if damaged := [hop["error"] for hop in hops if "damaged" in (hop["error"] or "")]:
        # A file cannot be thrown away under an agent that reads from it.
        return [{"contract": None, "state": "failed", "error": damaged[0]}]
    requests = Requests(folder)
    asked = {name: requests.ask("rebuild", name) for name in names}
    return [_followed(args, requests, name, request) for name, request in asked.items()]


def _followed(
    args: argparse.Namespace, requests: "Requests", name: str, request: "Request"
) -> dict[str, Any]:
    """What the agent says once it is done, or has begun where nobody waits. Raises NotTaken."""
    from agents.base.requests import NotTaken

    deadline, said = time.monotonic() + PATIENCE, ""
    while True:
        answer = requests.answer_to(request)
        if answer is None:
            if time.monotonic() > deadline:
                requests.withdraw(request)
                raise NotTaken(
                    f"The agent did not take the request up within {PATIENCE:.0f} s", contract=name
                )
        elif answer.state != "running" or args.no_wait:
            return {"contract": name, "state": answer.state, **answer.facts}
        elif not args.json and (told := _said({"state": "running", **answer.facts})) != said:
            said = told
            end = "\r" if sys.stderr.isatty() else "\n"
            print(f"{name}: {told}   ", end=end, file=sys.stderr, flush=True)
        time.sleep(LOOK)


def _said(found: dict[str, Any]) -> str:
    if found["state"] == "thrown away":
        return "thrown away; the agent reads it anew from Kafka when it is started"
    if found["state"] == "failed":
        return str(found.get("error", "failed"))
    told = (
        f"{found['records']} of {found['expected']} records read, {found['share']:.0%},"
        f" {found['records_per_s']} a second"
    )
    if found["state"] == "done":
        return f"{found['held']} records, read anew in {found['seconds']} s"
    return told


def _hops(listen: str) -> list[dict[str, Any]] | None:
    """The hops of what the window shows, as the agent says; None when it does not answer."""
    from agents.base.asking import asked_one
    from contracts.subjects import EVERYWHERE

    found = asyncio.run(asked_one(listen))
    if isinstance(found, str):
        return None
    return [
        hop for hop in found["hops"] if hop["hop"] == "window" and hop["contract"] not in EVERYWHERE
    ]
