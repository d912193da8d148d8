"""Benches beside the peers: python -m tests.bench NAME [--json] [--quick] [--case CASE …]; and
python -m tests.bench chaos [--seed N] [--minutes N] [--json] [--quick], which has none."""

import argparse
import asyncio
import json
import sys
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, NamedTuple

from agents.base.errors import LevelsyncError
from tests.bench import capture, chaos, contracts, overheads, relay, window
from tests.bench.table import show


class Bench(NamedTuple):
    """One bench: the cases it has, and what runs some of them and gives the answer."""

    cases: Sequence[str]
    run: Callable[[Sequence[str], bool], Coroutine[Any, Any, dict[str, Any]]]


BENCHES = {
    "capture": Bench(capture.NAMES, capture.run),
    "contracts": Bench(contracts.NAMES, contracts.run),
    "overheads": Bench(overheads.NAMES, overheads.run),
    "relay": Bench(relay.NAMES, relay.run),
    "window": Bench(window.NAMES, window.run),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when every copy was equal, 1 when not, 2 for a wrong call."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("bench", help=f"one of: {', '.join(BENCHES)}, chaos")
    parser.add_argument("--json", action="store_true", help="one JSON object, not a table")
    parser.add_argument("--quick", action="store_true", help="in under a minute, rough figures")
    parser.add_argument("--case", action="append", default=[], help="only this case; repeatable")
    parser.add_argument("--seed", type=int, default=1, help="of chaos: what is done when")
    parser.add_argument("--minutes", type=float, help=f"of chaos: {chaos.MINUTES:.0f} if not said")
    args = parser.parse_args(arguments)
    if args.bench == "chaos":
        usual = chaos.QUICK_MINUTES if args.quick else chaos.MINUTES
        return _answer(chaos.run(args.seed, args.minutes or usual), args)
    bench = BENCHES.get(args.bench)
    if bench is None:
        parser.error(f"no bench {args.bench!r}; there are: {', '.join(BENCHES)}")
    if unknown := [case for case in args.case if case not in bench.cases]:
        parser.error(f"no case {unknown[0]!r}; there are: {', '.join(bench.cases)}")
    return _answer(bench.run(args.case, args.quick), args)


def _answer(running: Coroutine[Any, Any, dict[str, Any]], args: argparse.Namespace) -> int:
    try:
        answer = asyncio.run(running)
    except LevelsyncError as error:
        print(f"bench {args.bench}: {error}", file=sys.stderr)
        return 1
    if args.json:
        print(json.dumps(answer, ensure_ascii=False))
    else:
        show(answer)
    return 0 if all(case["equal"] for case in answer["cases"]) else 1


if __name__ == "__main__":
    sys.exit(main())
