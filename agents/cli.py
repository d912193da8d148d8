"""The command line, and the only place that wires everything together."""

import argparse
import asyncio
import contextlib
import json
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents.base.errors import LevelsyncError

if TYPE_CHECKING:
    from agents.base.config import NodeFile
    from agents.base.run import Part
    from agents.base.status import Status
    from agents.kafka.cluster import Cluster
    from agents.kafka.topics import Watch

#: Seconds each stage may take to drain after SIGTERM.
GRACE = 10.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is 0, 1 where the answer is no, or 2 for a wrong call."""
    parser = _parser()
    args = parser.parse_args(arguments)
    try:
        code: int = args.command(args)
    except LevelsyncError as error:
        print(f"levelsync: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return code


def _parser() -> argparse.ArgumentParser:
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
        ("status", status, "Lag, freshness and state of every hop of a running agent."),
    ):
        made = command(name, does, text)
        made.add_argument("node_file", type=Path, metavar="NODE.toml")
        if name != "run":
            made.add_argument("--json", action="store_true", help="for programs")
    contracts = command("contract", contract, "The contracts this version knows.")
    contracts.add_argument("action", choices=["list", "show"])
    contracts.add_argument("name", nargs="?", metavar="CONTRACT", help="for show")
    contracts.add_argument("--json", action="store_true", help="for programs")
    letters = command("dead-letters", dead_letters, "Changes that were refused, and why.")
    letters.add_argument("action", choices=["list", "show"])
    letters.add_argument("node_file", type=Path, metavar="NODE.toml")
    letters.add_argument("key", nargs="?", help="only this key's")
    letters.add_argument("--json", action="store_true", help="for programs")
    return parser


def demo(args: argparse.Namespace) -> int:
    from agents.demo.demo import run as run_demo

    return run_demo(args)


def check(args: argparse.Namespace) -> int:
    from agents.base.config import load
    from agents.base.errors import ConfigError

    try:
        config = load(args.node_file)
    except ConfigError as error:
        if args.json:
            print(json.dumps({"ok": False, "error": str(error)}, ensure_ascii=False))
        else:
            print(error)
        return 1
    summary = _summary(config)
    if args.json:
        print(json.dumps({"ok": True, **summary}, ensure_ascii=False))
    else:
        print(f"{args.node_file}: right")
        for name, values in summary.items():
            print(f"  {name:9} {', '.join(values) if isinstance(values, list) else values}")
    return 0


def _summary(config: "NodeFile") -> dict[str, Any]:
    parent = config.parent
    return {
        "node": f"{config.node.id} {config.node.name} ({config.node.level})",
        "sources": [source.contract for source in config.source],
        "grants": [f"{grant.contract} to {grant.to}" for grant in config.grant],
        "pulls": list(parent.pull) if parent else [],
        "pushes": list(parent.push) if parent else [],
        "window": config.window.listen if config.window else "none",
    }


def status(args: argparse.Namespace) -> int:
    from agents.base.config import load

    address = load(args.node_file).agent.listen
    try:
        with urllib.request.urlopen(f"http://{address}/status", timeout=5) as answer:
            found = json.load(answer)
    except (urllib.error.URLError, TimeoutError) as error:
        print(f"No agent answers at {address} ([agent] listen): {error}", file=sys.stderr)
        return 1
    if args.json:
        print(json.dumps(found, ensure_ascii=False))
    else:
        _print_status(found)
    return 0 if found["ready"] else 1


def _print_status(found: dict[str, Any]) -> None:
    import time

    print(f"node {found['node']}  levelsync {found['version']}")
    print(f"{'hop':8} {'from → to':58} {'state':9} {'events':>9} {'lag':>6}  complete as of")
    for hop in found["hops"]:
        path = f"{hop['from']} → {hop['to']}"
        age = f"{time.time() - hop['complete']:.1f} s ago" if hop["complete"] else "not known"
        lag = "" if hop["lag"] is None else hop["lag"]
        print(f"{hop['hop']:8} {path:58} {hop['state']:9} {hop['events']:9} {lag:>6}  {age}")
        if hop["rejected"]:
            print(f"{'':8} {hop['rejected']} dead letters")
        if hop["error"]:
            print(f"{'':8} {hop['error']}")


def contract(args: argparse.Namespace) -> int:
    import msgspec

    from contracts.subjects import CONTRACTS

    if args.action == "show":
        if args.name not in CONTRACTS:
            print(f"Expected one of {', '.join(CONTRACTS)}, got {args.name}", file=sys.stderr)
            return 2
        found = CONTRACTS[args.name]
        fields = {
            name: msgspec.to_builtins(getattr(found, name))
            for name in found.__struct_fields__
            if name not in ("record", "rules")
        }
        fields["schema"] = msgspec.json.schema(found.record)
        print(json.dumps(fields, ensure_ascii=False, indent=None if args.json else 2))
        return 0
    rows = [
        {
            "contract": found.name,
            "revision": f"{found.major}.{found.minor}",
            "title": found.title.zh,
            "owner": found.owner.zh,
            "level": found.level,
            "key": found.key,
            "freshness_s": found.freshness,
        }
        for found in CONTRACTS.values()
    ]
    if args.json:
        print(json.dumps(rows, ensure_ascii=False))
    else:
        for row in rows:
            print("  ".join(f"{value!s:20}" for value in row.values()).rstrip())
    return 0


def dead_letters(args: argparse.Namespace) -> int:
    from agents.base.config import load
    from agents.kafka.cluster import Cluster
    from agents.kafka.letters import read_letters

    config = load(args.node_file)
    cluster = Cluster(config.kafka.bootstrap)
    letters = asyncio.run(read_letters(cluster, key=args.key))
    for letter in letters:
        if args.json:
            print(json.dumps(letter, ensure_ascii=False))
        elif args.action == "show":
            print(json.dumps(letter, ensure_ascii=False, indent=2))
        else:
            print(
                f"{letter['time']}  {letter['contract']}  {letter['path']}  {letter['rule']}  "
                f"{letter['message']}"
            )
    return 0


def run(args: argparse.Namespace) -> int:
    from agents.base.config import load
    from agents.base.log import set_up

    config = load(args.node_file)
    set_up(config.node.id)
    asyncio.run(_serve(config))
    return 0


async def _serve(config: "NodeFile") -> None:
    import structlog

    from agents.base.freshness import watch_freshness
    from agents.base.health import health_app, listening
    from agents.base.run import run_in_order
    from agents.base.status import Status
    from agents.kafka.audit import KafkaAudit
    from agents.kafka.cluster import Cluster
    from agents.kafka.topics import Watch
    from contracts.subjects import CONTRACTS

    log = structlog.get_logger()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    config.agent.state.mkdir(parents=True, exist_ok=True)
    seen = Status(config.node.id, version("levelsync"))
    here = Cluster(config.kafka.bootstrap, config.kafka.replicas, f"levelsync-{config.node.id}")
    watch = Watch(here)
    audit = KafkaAudit(here, config.node.id)
    promises = {name: found.freshness for name, found in CONTRACTS.items()}
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(
            listening(health_app(seen), config.agent.listen, "agent.listen")
        )
        stages = [
            _captures(config, here, seen),
            _views(config, here, watch, seen),
            _links(config, here, seen),
            [],
        ]
        if config.window:
            stages[-1] = await _window(config, here, watch, seen, stack)
        log.info("agent starts", level=config.node.level, hops=len(seen.hops))
        beside = [
            asyncio.create_task(watch.run(), name="watch-topics"),
            asyncio.create_task(watch_freshness(seen, promises, audit), name="watch-freshness"),
            asyncio.create_task(audit.run(), name="audit"),
        ]
        try:
            await run_in_order(stages, stop, GRACE)
        except* LevelsyncError as group:
            raise group.exceptions[0] from None
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            log.info("agent ends")


def _captures(config: "NodeFile", here: "Cluster", seen: "Status") -> "list[Part]":
    if not config.source:
        return []
    from agents.capture.intake import Intake
    from agents.capture.postgres import PostgresSource
    from contracts.subjects import CONTRACTS

    parts: list[Part] = []
    for table in config.source:
        found = CONTRACTS[table.contract]
        columns = {field: field for field in found.record.__struct_fields__} | table.columns
        slot = f"levelsync_{config.node.id}_{found.name}".replace(".", "_").replace("-", "_")

        def source(
            dsn: str = table.dsn,
            name: str = table.table,
            columns: dict[str, str] = columns,
            key: str = found.key,
            slot: str = slot,
        ) -> PostgresSource:
            return PostgresSource(dsn=dsn, table=name, columns=columns, key=key, name=slot)

        hop = seen.hop("capture", found.name, table.table, found.name)
        parts.append(Intake(hop, contract=found, cluster=here, node=config.node.id, source=source))
    return parts


def _views(config: "NodeFile", here: "Cluster", watch: "Watch", seen: "Status") -> "list[Part]":
    from agents.base.config import scope_of
    from agents.kafka.topics import data_topic, view
    from agents.relay.relay import Relay
    from agents.relay.view import ScopeSieve
    from contracts.subjects import CONTRACTS

    given = [(grant.contract, grant.to, scope_of(grant.to)) for grant in config.grant]
    if config.parent:
        # Upwards goes all this node owns or was given by those below.
        given += [(name, config.parent.id, "0") for name in config.parent.push]
    parts: list[Part] = []
    for name, to, scope in given:
        topic = view(name, to)

        def sieve(topic: str = topic, name: str = name, scope: str = scope) -> ScopeSieve:
            path = config.agent.state / "views" / f"{topic}.sqlite"
            return ScopeSieve(here, topic, name, scope, path)

        def sources(name: str = name, to: str = to) -> frozenset[str]:
            return watch.held(name, without=to)

        parts.append(
            Relay(
                seen.hop("view", name, name, topic),
                upstream=here,
                downstream=here,
                sources=sources,
                target=data_topic(CONTRACTS[name], topic),
                identity=f"levelsync-{config.node.id}-{topic}",
                sieve=sieve,
            )
        )
    return parts


def _links(config: "NodeFile", here: "Cluster", seen: "Status") -> "list[Part]":
    if config.parent is None:
        return []
    from agents.kafka.cluster import Cluster
    from agents.kafka.topics import data_topic, received, view
    from agents.relay.relay import Relay
    from contracts.subjects import CONTRACTS

    node, parent = config.node.id, config.parent
    above = Cluster(parent.bootstrap, parent.replicas, f"levelsync-{node}")
    ways = [
        (name, above, view(name, node), here, received(name, parent.id)) for name in parent.pull
    ]
    ways += [
        (name, here, view(name, parent.id), above, received(name, node)) for name in parent.push
    ]
    parts: list[Part] = []
    for name, upstream, topic, downstream, target in ways:

        def sources(topic: str = topic) -> frozenset[str]:
            return frozenset({topic})

        parts.append(
            Relay(
                seen.hop("link", name, topic, target),
                upstream=upstream,
                downstream=downstream,
                sources=sources,
                target=data_topic(CONTRACTS[name], target),
                identity=f"levelsync-{node}-{target}",
            )
        )
    return parts


async def _window(
    config: "NodeFile",
    here: "Cluster",
    watch: "Watch",
    seen: "Status",
    stack: contextlib.AsyncExitStack,
) -> "list[Part]":
    from agents.base.health import listening
    from agents.window.feed import Feed
    from agents.window.follow import Follow
    from agents.window.gateway import window_app
    from agents.window.store import Store
    from contracts.subjects import CONTRACTS

    assert config.window
    store = Store(config.agent.state / "window.sqlite")
    stack.callback(store.close)
    feed = Feed(store)
    expected = {source.contract for source in config.source}
    if config.parent:
        expected |= {*config.parent.pull, *config.parent.push}

    def sources(name: str) -> Callable[[], frozenset[str]]:
        return lambda: watch.held(name)

    follows = {
        name: Follow(
            seen,
            contract=found,
            cluster=here,
            store=store,
            feed=feed,
            sources=sources(name),
            expected=name in expected,
        )
        for name, found in CONTRACTS.items()
    }
    app = window_app(config.node.name, store, feed, follows, seen)
    await stack.enter_async_context(listening(app, config.window.listen, "window.listen"))
    return list(follows.values())


if __name__ == "__main__":
    sys.exit(main())
