"""``levelsync files``: what lies in the folders of files, and an operator's word on one that is held."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agents.base.config import NodeFile
    from agents.capture.files_settings import FilesFolder

#: Files done and refused that are listed, the newest.
_LAST = 10


def add(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("action", choices=["list", "release", "refuse"])
    parser.add_argument("node_file", type=Path, metavar="NODE.toml")
    parser.add_argument("file", nargs="?", default="", help="a file that is held")
    parser.add_argument("--contract", default="", help="where several hold a file of this name")
    parser.add_argument("--wait", type=float, default=60.0, metavar="S", help="seconds (60)")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(command=files)


def files(args: argparse.Namespace) -> int:
    """List looks into the folders itself; the other two ask the running agent."""
    from agents.capture.files_settings import FilesFolder
    from agents.sources import load

    config = load(args.node_file)
    folders = [
        source
        for source in config.source
        if isinstance(source, FilesFolder) and args.contract in ("", source.contract)
    ]
    if not folders:
        print(
            f'Expected a [[source]] of kind = "files" in {args.node_file}, got none',
            file=sys.stderr,
        )
        return 2
    if args.action == "list":
        _print([_listed(each) for each in folders], for_programs=args.json)
        return 0
    if not args.file:
        print(
            f"Expected a file to {args.action}: `levelsync files list` names them", file=sys.stderr
        )
        return 2
    return _say(args, config, folders)


def _listed(settings: "FilesFolder") -> dict[str, Any]:
    from agents.capture.files_folder import Folder
    from agents.capture.files_report import read_report

    folder = Folder(settings)
    reports: dict[str, list[dict[str, Any]]] = {"held": [], "done": [], "refused": []}
    for kind, found in reports.items():
        place = settings.folder / getattr(settings, kind)
        for path in place.glob("*.report.json"):
            if report := read_report(path):
                name = path.name.removesuffix(".report.json")
                found.append(
                    {
                        "file": name, "at": report.ended, "why": report.why, "rows": report.rows,
                        "inserts": report.inserts, "updates": report.updates,
                        "upserts": report.upserts, "deletes": report.deletes,
                        "refused": report.refused,
                    }
                )  # fmt: skip
        found.sort(key=lambda each: each["at"], reverse=True)
        del found[_LAST:]
    return {
        "contract": settings.contract,
        "folder": str(settings.folder),
        "waiting": [each.name for each in folder.waiting()],
        "reading": [path.name for path in folder.taken()] if settings.reading.is_dir() else [],
        **reports,
    }


def _print(listed: list[dict[str, Any]], *, for_programs: bool) -> None:
    if for_programs:
        print(json.dumps(listed, ensure_ascii=False))
        return
    for each in listed:
        print(f"{each['contract']}  {each['folder']}")
        for kind in ("waiting", "reading"):
            for name in each[kind]:
                print(f"  {kind:8} {name}")
        for kind in ("held", "refused", "done"):
            for told in each[kind]:
                print(f"  {kind:8} {told['file']}  {told['at']}  {_figures(told)}")
                if told["why"]:
                    print(f"  {'':8} {told['why']}")


def _figures(told: dict[str, Any]) -> str:
    names = ("inserts", "updates", "upserts", "deletes", "refused")
    return ", ".join(
        [f"{told['rows']} rows", *(f"{told[name]} {name}" for name in names if told[name])]
    )


def _say(args: argparse.Namespace, config: "NodeFile", folders: list["FilesFolder"]) -> int:
    from agents.base.requests import Requests

    holding = [each for each in folders if (each.place_of("held") / args.file).is_file()]
    # A file that was half told and is gone is held nowhere, and can be refused all the same.
    asked = holding or folders
    if len(asked) > 1:
        names = ", ".join(each.contract for each in asked)
        print(f"Expected --contract, one of {names}, since each may mean it", file=sys.stderr)
        return 2
    requests = Requests(config.agent.state / "requests")
    request = requests.ask(
        "release", asked[0].contract, file=args.file, refuse=args.action == "refuse"
    )
    answer = requests.answered(request, args.wait)
    if answer is None:
        print(
            f"No answer after {args.wait:g} s: the agent is busy with another file, or does not run"
            " with this node file. The request stands.",
            file=sys.stderr,
        )
        return 1
    if answer.state != "running":
        requests.withdraw(request)
    state, facts = answer.state, answer.facts
    if args.json:
        print(json.dumps({"state": state, **facts}, ensure_ascii=False))
    elif state == "failed":
        print(facts.get("why", "The agent could not do it."), file=sys.stderr)
    elif state == "running":
        print(f"{args.file} is let go and not done yet; see `levelsync files list`")
    else:
        counts = [
            f"{facts[name]} {name}" for name in ("inserts", "updates", "deletes") if facts.get(name)
        ]
        print(f"{args.file}: {facts.get('result', 'done')} {', '.join(counts)}".rstrip())
    return 1 if state == "failed" else 0
