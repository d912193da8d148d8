"""``levelsync contract export|push-schemas``: contracts in the forms that others read."""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from agents.base.errors import ConfigError, LevelsyncError

if TYPE_CHECKING:
    from agents.base.config import Grant, NodeFile
    from agents.base.kafka_access import Reach
    from contracts.export.asyncapi import Cluster, Flow, NodeView
    from contracts.model import Contract

FORMS = ("json-schema", "asyncapi", "odcs", "catalogue", "typescript", "python")


class NotExportable(LevelsyncError):
    """This cannot be exported so."""


def add_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "names",
        nargs="*",
        metavar="CONTRACT",
        help="a name, a Python file, or module:ATTRIBUTE; all there are when left out",
    )
    parser.add_argument("--form", required=True, choices=FORMS)
    parser.add_argument(
        "--node",
        type=Path,
        metavar="NODE.toml",
        help="the contracts this node speaks of; asyncapi describes the node",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE|DIR",
        help="standard output when left out; a folder takes one file a contract",
    )
    parser.add_argument(
        "--reader",
        action="store_true",
        help="json-schema: unknown fields pass, as for who reads",
    )


def export(args: argparse.Namespace) -> int:
    """Write contracts in the form asked for; 2 for a call that cannot be."""
    if args.reader and args.form != "json-schema":
        raise NotExportable(f"Expected --reader with --form json-schema, got {args.form}")
    if args.form == "asyncapi":
        if args.node is None or args.names:
            raise NotExportable("Expected --node NODE.toml alone with --form asyncapi")
        _write(args.out, _asyncapi(args.node, args.out))
        return 0
    chosen = _chosen(args.names, args.node)
    if args.form in ("json-schema", "odcs"):
        return _each(args, chosen)
    _write(args.out, _together(args.form)(chosen))
    return 0


def add_push(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="CONTRACT", help="all there are when left out")
    parser.add_argument(
        "--registry",
        required=True,
        metavar="URL",
        help="a Confluent-compatible schema registry; https://user:password@host/ signs in",
    )
    parser.add_argument(
        "--compatibility",
        default="BACKWARD_TRANSITIVE",
        metavar="RULE",
        help="what the registry shall hold newer revisions to (BACKWARD_TRANSITIVE)",
    )
    parser.add_argument("--node", type=Path, metavar="NODE.toml", help="the contracts it speaks of")
    parser.add_argument("--json", action="store_true", help="for programs")


def push_schemas(args: argparse.Namespace) -> int:
    """Tell a schema registry of contracts; what stands there already is left alone."""
    from agents.cli.registry import Registry

    registry = Registry(args.registry)
    done = []
    for contract in _chosen(args.names, args.node):
        pushed = registry.push(contract, args.compatibility)
        done.append({"subject": pushed.subject, "id": pushed.id, "new": pushed.new})
        if not args.json:
            print(f"{pushed.subject:36} id {pushed.id:<8} {'new' if pushed.new else 'stands'}")
    if args.json:
        print(json.dumps({"registry": registry.name, "pushed": done}, ensure_ascii=False))
    return 0


# ---- which contracts -------------------------------------------------------------------------


def _chosen(names: Sequence[str], node: Path | None) -> "list[Contract]":
    if node is not None:
        config, known = _node(node)
        missing = [name for name in names if name not in known]
        if missing:
            raise NotExportable(f"Expected one of {', '.join(known)}, got {', '.join(missing)}")
        return [known[name] for name in names or sorted(config.named) if name in known]
    from contracts.load import installed_or_loaded
    from contracts.model import WrongContract
    from contracts.subjects import CONTRACTS

    found: list[Contract] = []
    try:
        for name in names:
            found += installed_or_loaded(name)
    except WrongContract as error:
        raise NotExportable(str(error)) from None
    return found or list(CONTRACTS.values())


def _node(path: Path) -> "tuple[NodeFile, Mapping[str, Contract]]":
    """The node file, and what the node knows. Its cluster is asked only where the file speaks of
    contracts that are not installed."""
    from agents.cli.contracts import known_at
    from agents.sources import load
    from contracts.subjects import CONTRACTS

    config = load(path)
    if config.named <= CONTRACTS.keys():
        return config, CONTRACTS
    return config, known_at(path).contracts


# ---- forms -----------------------------------------------------------------------------------


def _each(args: argparse.Namespace, chosen: "list[Contract]") -> int:
    """One text a contract: several need a folder."""
    from contracts.export.json_schema import json_schema
    from contracts.export.odcs import odcs

    def text(contract: "Contract") -> str:
        if args.form == "odcs":
            return odcs(contract)
        return _as_json(json_schema(contract, reader=args.reader))

    suffix = ".odcs.yaml" if args.form == "odcs" else ".schema.json"
    if len(chosen) == 1 and (args.out is None or not args.out.is_dir()):
        _write(args.out, text(chosen[0]))
        return 0
    if args.out is None or (args.out.exists() and not args.out.is_dir()):
        raise NotExportable(f"Expected --out with a folder for {len(chosen)} contracts, got none")
    args.out.mkdir(parents=True, exist_ok=True)
    for contract in chosen:
        _write(args.out / f"{contract.name}{suffix}", text(contract))
    return 0


def _together(form: str) -> "Callable[[list[Contract]], str]":
    """All contracts in one text."""
    from contracts.export.catalogue import catalogue
    from contracts.export.python_types import python_types
    from contracts.export.typescript import typescript

    return {"catalogue": catalogue, "typescript": typescript, "python": python_types}[form]


def _asyncapi(node: Path, out: Path | None) -> str:
    from contracts.export.asyncapi import asyncapi
    from contracts.model import WrongContract

    config, known = _node(node)
    try:
        document = asyncapi(_view(config), known)
    except WrongContract as error:
        raise ConfigError(f"{node}: {error}") from None
    if out is not None and out.suffix in (".yaml", ".yml"):
        import yaml

        return yaml.safe_dump(document, allow_unicode=True, sort_keys=False)
    return _as_json(document)


def _view(config: "NodeFile") -> "NodeView":
    """The node as its file tells it; what children push up is theirs to say."""
    import time
    from importlib.metadata import version

    from contracts.export.asyncapi import Flow, NodeView

    parent = config.parent
    now = time.time()
    return NodeView(
        id=config.node.id,
        name=config.node.name,
        version=version("levelsync"),
        cluster=_cluster(config.node.id, config.nearest),
        owns=tuple(sorted(config.owned)),
        gives=tuple(_given(grant) for grant in config.grant if not grant.ended(now)),
        parent=None if parent is None else _cluster(parent.id, parent),
        pulls=()
        if parent is None
        else tuple(
            Flow(contract=name, neighbour=parent.id, terms_known=False) for name in parent.pull
        ),
        pushes=()
        if parent is None
        else tuple(Flow(contract=name, neighbour=parent.id) for name in parent.push),
    )


def _cluster(node: str, reach: "Reach") -> "Cluster":
    from contracts.export.asyncapi import Cluster, Security

    ways: dict[str, Security] = {
        "PLAIN": "plain", "SCRAM-SHA-256": "scram-sha-256", "SCRAM-SHA-512": "scram-sha-512",
    }  # fmt: skip
    security: tuple[Security, ...] = ()
    if reach.sasl and reach.sasl.mechanism in ways:
        security = (ways[reach.sasl.mechanism],)
    elif reach.tls and reach.tls.certificate.name:
        security = ("tls",)
    return Cluster(
        node=node, bootstrap=reach.bootstrap, security=security, tls=reach.tls is not None
    )


def _given(grant: "Grant") -> "Flow":
    from contracts.export.asyncapi import Flow

    return Flow(
        contract=grant.contract,
        neighbour=grant.to,
        fields=grant.fields,
        mask=grant.mask,
        purpose=grant.purpose,
    )


def _as_json(document: object) -> str:
    return json.dumps(document, ensure_ascii=False, indent=2) + "\n"


def _write(out: Path | None, text: str) -> None:
    if out is None:
        sys.stdout.write(text)
        return
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise NotExportable(f"Expected a file that can be written, got {error}") from None
