"""``levelsync report``: the scorecard of a node, or of several together."""

import argparse
import asyncio
import sys
import time
from pathlib import Path

import msgspec

from agents.report.model import Report


def add(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("node_file", type=Path, nargs="?", metavar="NODE.toml")
    parser.add_argument(
        "--merge", type=Path, nargs="+", metavar="FILE", default=[],
        help="reports of several nodes as --json wrote them, and folders of such: one report over all",
    )  # fmt: skip
    parser.add_argument(
        "--from", dest="from_", default="", metavar="DAY", help="2026-11-01 (30 days before --to)"
    )
    parser.add_argument(
        "--to", dest="to_", default="", metavar="DAY", help="the last day, counted too (today)"
    )
    parser.add_argument(
        "--html", type=Path, metavar="FILE", help="write one page, to read or print"
    )
    parser.add_argument("--json", action="store_true", help="for programs, and for --merge")
    parser.add_argument(
        "--language", choices=("zh", "en", "both"), help="by the terminal's; a page can be switched"
    )
    parser.set_defaults(command=report)


def report(args: argparse.Namespace) -> int:
    """Exits 0 with a report also where little is known: it says so."""
    from agents.cli.findings import language
    from agents.report.page import page
    from agents.report.period import WrongPeriod
    from agents.report.table import told

    if bool(args.node_file) == bool(args.merge):
        print(
            "Expected `levelsync report NODE.toml` or `levelsync report --merge FILE…`",
            file=sys.stderr,
        )
        return 2
    try:
        found = _merged(args) if args.merge else _gathered(args)
    except (WrongPeriod, WrongReport) as wrong:
        print(wrong, file=sys.stderr)
        return 2
    chosen = args.language or language()
    if args.html:
        try:
            args.html.write_text(page(found, chosen), encoding="utf-8")
        except OSError as error:
            print(f"Expected a file that can be written, got {args.html}: {error}", file=sys.stderr)
            return 1
    if args.json:
        print(msgspec.json.format(msgspec.json.encode(found), indent=1).decode())
    elif args.html:
        print(f"{args.html} written")
    else:
        print(told(found, "en" if chosen == "both" else chosen))
    return 0


class WrongReport(ValueError):
    """A file that is no report; the text says what was expected."""


def _gathered(args: argparse.Namespace) -> Report:
    from agents.report.gather import gather
    from agents.report.period import Period
    from agents.sources import load
    from contracts.subjects import CONTRACTS

    period = Period.parsed(args.from_, args.to_, time.time())
    return asyncio.run(gather(load(args.node_file), period, CONTRACTS))


def _merged(args: argparse.Namespace) -> Report:
    from agents.report.merge import merged

    if args.from_ or args.to_:
        raise WrongReport("Expected no --from and --to beside --merge: the reports have their own")
    files = [
        file
        for path in args.merge
        for file in (sorted(path.glob("*.json")) if path.is_dir() else [path])
    ]
    reports = []
    for file in files:
        try:
            reports.append(msgspec.json.decode(file.read_bytes(), type=Report))
        except (OSError, msgspec.DecodeError) as error:
            raise WrongReport(
                f"Expected a report as --json writes it, got {file}: {error}"
            ) from None
    if not reports:
        raise WrongReport("Expected reports as --json writes them, got none")
    if len({(each.from_, each.to) for each in reports}) > 1:
        days = sorted({f"{each.from_} – {each.to}" for each in reports})
        raise WrongReport(f"Expected reports of one period, got {', '.join(days)}")
    return merged(reports)
