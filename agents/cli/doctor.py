"""``levelsync doctor``: is the world around a node file as its agent needs it? Changes nothing."""

import asyncio
import contextlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from agents.base.asking import asked_one
from agents.base.config import NodeFile
from agents.base.duplicates import duplicates
from agents.base.errors import LevelsyncError
from agents.base.findings import Finding, ok, warning, wrong
from agents.base.requests import Requests
from agents.base.secret import hidden
from agents.base.status import Hop
from agents.base.tls import certificate_of
from agents.capture.http_desk import Desk
from agents.capture.published import Published
from agents.capture.source import Place, SourceSettings
from agents.cli.doctor_clusters import (
    examine_clock,
    examine_contracts,
    examine_grants,
    examine_settings,
)
from agents.cli.doctor_corrections import examine_corrections
from agents.cli.doctor_kafka import examine_access, examine_broker, examine_rights
from agents.cli.doctor_machine import examine_certificates, examine_room
from agents.kafka.cluster import (
    Cluster,
    NotAllowed,
    NotLetIn,
    nearest_cluster,
    parent_cluster,
)
from agents.kafka.grants import Announcement, read_grants
from agents.kafka.rights import Cluster as Rights
from agents.kafka.rights import Need, above
from agents.kafka.topics import dead, parse_received, received, view
from agents.kafka.wire import Connection
from agents.window.delivery_doctor import examine_mqtt, examine_sql
from contracts.model import Contract
from contracts.subjects import CONTRACTS

#: Seconds one source may take to look around.
PATIENCE = 30.0
_MARKS = {"ok": "ok", "warning": "note", "wrong": "WRONG"}

#: A finding and whose it is: ``agent``, ``kafka``, ``source resident.v2``.
Found = tuple[str, Finding]


async def examine_node(
    config: NodeFile, contracts: Mapping[str, Contract] = CONTRACTS
) -> list[Found]:
    """Look at everything the agent of ``config`` will need."""
    found: list[Found] = [("agent", each) for each in await _agent(config)]
    nearest = "kafka" if config.kafka else "parent"
    found += [(nearest, each) for each in await _nearest(config, contracts)]
    if config.kafka and config.parent:
        found += [("parent", each) for each in await _above(config)]
    found += await _clusters(config, contracts)
    found += [
        (
            "node file",
            warning(
                "collected more than once (多头采集)",
                str(each),
                "Collect it in one place, or say whose word counts first: see `levelsync check`.",
            ),
        )
        for each in duplicates(config, contracts)
    ]
    found += [("corrections", each) for each in examine_corrections(config)]
    looks = [_source(settings, config, contracts) for settings in config.source]
    for settings, findings in zip(config.source, await asyncio.gather(*looks), strict=True):
        found += [(f"source {settings.contract}", each) for each in findings]
    return found + await _window(config, contracts)


def told(found: Sequence[Found], *, for_programs: bool) -> str:
    """The findings for a person, or as JSON."""
    right = all(each.judgement != "wrong" for _, each in found)
    if for_programs:
        findings = [{"at": at, **msgspec.to_builtins(each)} for at, each in found]
        return hidden(json.dumps({"ok": right, "findings": findings}, ensure_ascii=False))
    lines = []
    last = ""
    for at, each in found:
        if at != last:
            lines.append(at)
            last = at
        lines.append(f"  {_MARKS[each.judgement]:5} {each.about}: {each.found}")
        if each.do:
            lines.append(f"        → {each.do}")
    counts = [sum(each.judgement == judgement for _, each in found) for judgement in _MARKS]
    lines.append(f"{counts[0]} right, {counts[1]} to know, {counts[2]} wrong")
    return hidden("\n".join(lines))


async def _clusters(config: NodeFile, contracts: Mapping[str, Contract]) -> list[Found]:
    """What can only be seen where clusters answer; that one does not is found elsewhere."""
    found: list[Found] = []
    places = [("kafka" if config.kafka else "parent", nearest_cluster(config))]
    if config.kafka and config.parent:
        places.append(("parent", parent_cluster(config)))
    with contextlib.suppress(LevelsyncError):
        for at, cluster in places:
            found += [(at, each) for each in await examine_clock(cluster)]
    with contextlib.suppress(LevelsyncError):
        if config.kafka:
            findings = await examine_settings(nearest_cluster(config), config, contracts)
            found += [("topics", each) for each in findings]
    with contextlib.suppress(LevelsyncError):
        found += [("contracts", each) for each in await examine_contracts(config, contracts)]
    with contextlib.suppress(LevelsyncError):
        found += [("grants", each) for each in await examine_grants(config)]
    return found


# ---- the agent's own machine -----------------------------------------------------------------


async def _agent(config: NodeFile) -> list[Finding]:
    found = [_folder(config.agent.state)]
    with contextlib.suppress(OSError):
        found.append(await asyncio.to_thread(examine_room, config.agent.state))
    found += examine_certificates(config)
    running = await asked_one(config.agent.listen)
    addresses = {"agent.listen": config.agent.listen}
    if config.window:
        addresses["window.listen"] = config.window.listen
    if config.intake:
        addresses["intake.listen"] = config.intake.listen
    for field, table in (("window", config.window), ("intake", config.intake)):
        try:
            if table:
                certificate_of(table.certificate, table.key, field)
        except LevelsyncError as error:
            found.append(wrong(f"{field}.certificate", error.message, "Name PEM files."))
    for name, address in addresses.items():
        found.append(await _port(name, address, running, config.node.id))
    return found


def _folder(state: Path) -> Finding:
    about = f"agent.state {state}"
    there = state
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir():
        return wrong(about, f"{there} is no folder", "Name another one under [agent] state.")
    if not os.access(there, os.R_OK | os.W_OK | os.X_OK):
        return wrong(
            about,
            f"this user may not write in {there}",
            f"chown it to the agent's user, or run this command as that user: {there}",
        )
    if there != state:
        return ok(about, f"not there yet, will be made in {there}")
    if state.stat().st_mode & 0o022:
        return warning(
            about,
            "others than the agent's user may write in it",
            f"chmod go-w {state}: requests in it are obeyed",
        )
    return ok(about, "may be written")


async def _port(name: str, address: str, running: dict[str, Any] | str, node: str) -> Finding:
    about = f"{name} {address}"
    host, _, port = address.rpartition(":")
    try:
        listening = await asyncio.start_server(_nobody, host.strip("[]"), int(port))
    except OSError as error:
        if isinstance(running, dict) and running.get("node") == node:
            return ok(about, "held by this node's own agent")
        return wrong(
            about,
            f"cannot be listened at: {error.strerror}",
            f"Find out who has it (`ss -ltnp | grep :{port}`), or name another address.",
        )
    listening.close()
    await listening.wait_closed()
    return ok(about, "free")


async def _nobody(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


# ---- Kafka -----------------------------------------------------------------------------------


async def _above(config: NodeFile) -> list[Finding]:
    try:
        cluster = parent_cluster(config)
    except LevelsyncError as error:
        return [_wrong_files(error)]
    found = await _reached(cluster)
    if found[0].judgement == "wrong":
        return found
    return found + await _rights_above(cluster, config)


async def _rights_above(cluster: Cluster, config: NodeFile) -> list[Finding]:
    told: dict[str, str] | None
    try:
        told = {
            each.contract: each.topic
            for each in await read_grants(cluster)
            if each.to == config.node.id and not each.ended
        }
    except NotAllowed:
        told = None  # it is among what is in want
    return await _rights(cluster, above(config, told=told))


async def _rights(cluster: Cluster, needs: Iterable[Need]) -> list[Finding]:
    """What the agent may do there."""
    try:
        async with Connection(cluster) as connection:
            return await examine_rights(connection, needs)
    except LevelsyncError as error:
        return [_away(cluster.bootstrap, error)]


async def _reached(cluster: Cluster) -> list[Finding]:
    """Is the cluster there, and are its certificates good?"""
    which = cluster.access.field
    files = examine_access(cluster.access)
    try:
        async with Connection(cluster) as connection:
            topics = await connection.topics()
            found = [ok(cluster.bootstrap, f"answers, {len(topics)} topics may be seen")]
            brokers = connection.brokers()
            if brokers < cluster.replicas:
                found.append(
                    wrong(
                        f"{which}.replicas",
                        f"{cluster.replicas} copies are wanted, {brokers} brokers are there",
                        "Topics cannot be made so: start the others, or lower it.",
                    )
                )
            return [*found, *examine_broker(cluster, connection), *files]
    except LevelsyncError as error:
        return [_away(cluster.bootstrap, error), *files]


async def _nearest(config: NodeFile, contracts: Mapping[str, Contract]) -> list[Finding]:
    try:
        cluster = nearest_cluster(config)
    except LevelsyncError as error:
        return [_wrong_files(error)]
    found = await _reached(cluster)
    if found[0].judgement == "wrong":
        return found
    if not config.kafka:
        return [
            *found, *await _kafka(cluster, config, contracts), *await _rights_above(cluster, config)
        ]  # fmt: skip
    # What children push is for their own files to say.
    needs = [
        each
        for each in Rights(config, (), contracts, certain=True).needs()
        if each.who == config.node.id
    ]
    return [*found, *await _kafka(cluster, config, contracts), *await _rights(cluster, needs)]


async def _kafka(
    cluster: Cluster, config: NodeFile, contracts: Mapping[str, Contract]
) -> list[Finding]:
    found: list[Finding] = []
    try:
        async with Connection(cluster) as connection:
            there = await connection.topics()
        if config.kafka:
            found += _topics(there, config, contracts)
        else:
            found += _of_leaf(there, await read_grants(cluster), config, contracts)
    except LevelsyncError as error:
        found.append(_away(cluster.bootstrap, error))
    return found


def _wrong_files(error: LevelsyncError) -> Finding:
    field, _, found = error.message.partition(": ")
    return wrong(field, found, "Name PEM files that this user may read.")


def _away(address: str, error: LevelsyncError) -> Finding:
    if isinstance(error, (NotLetIn, NotAllowed)):
        return wrong(address, error.message, error.hint)
    said = ", ".join(str(value) for name, value in error.facts.items() if name == "said")
    return wrong(
        address,
        f"{error.message}{f': {said}' if said else ''}",
        "Start it, or mend the line; is it the address that brokers advertise?",
    )


def _topics(
    there: Mapping[str, int], config: NodeFile, contracts: Mapping[str, Contract]
) -> list[Finding]:
    """Have the topics that this node writes as many partitions as their contracts say?"""
    found = []
    for name in sorted(config.owned & contracts.keys()):
        contract = contracts[name]
        found += [
            _topic(topic, there.get(topic), contract.partitions) for topic in (name, dead(name))
        ]
    for grant in config.grant:
        topic = view(grant.contract, grant.to)
        if topic in there and grant.contract in contracts:
            found.append(_topic(topic, there[topic], contracts[grant.contract].partitions))
    for topic, count in there.items():
        parsed = parse_received(topic)
        if parsed and parsed[0] in config.expected and parsed[0] in contracts:
            found.append(_topic(topic, count, contracts[parsed[0]].partitions))
    return found


def _of_leaf(
    there: Mapping[str, int],
    grants: Sequence[Announcement],
    config: NodeFile,
    contracts: Mapping[str, Contract],
) -> list[Finding]:
    """Does the parent give what a leaf pulls, and have what it pushes as many partitions as it should?"""
    parent, found = config.parent, []
    assert parent
    told = {each.contract: each for each in grants if each.to == config.node.id}
    for name in parent.pull:
        given = told.get(name)
        if given is None or given.ended:
            found.append(
                warning(
                    f"pull {name}",
                    "the grant has ended" if given else f"not granted by {parent.id}",
                    f"Have {parent.id} name it in a [[grant]] to {config.node.id}; it comes by itself.",
                )
            )
        else:
            found.append(ok(f"pull {name}", f"granted, in {given.topic or 'no topic yet'}"))
    for name in sorted(set(parent.push) & contracts.keys()):
        topic, wanted = received(name, config.node.id), contracts[name].partitions
        found += [_topic(each, there.get(each), wanted) for each in (topic, dead(topic))]
    return found


def _topic(topic: str, count: int | None, wanted: int) -> Finding:
    if count is None:
        return ok(f"topic {topic}", "not there yet, the agent makes it")
    if count < wanted:
        return wrong(
            f"topic {topic}",
            f"{count} partitions, the contract says {wanted}",
            "A record keeps its partition number all the way: make the topic as the contract says.",
        )
    return ok(f"topic {topic}", f"{count} partitions")


# ---- where the window delivers to -------------------------------------------------------------


async def _window(config: NodeFile, contracts: Mapping[str, Contract]) -> list[Found]:
    found: list[Found] = []
    if config.window is None:
        return found
    if mqtt := config.window.mqtt:
        found += [("window mqtt", each) for each in await examine_mqtt(mqtt)]
    for sql in config.window.sql:
        found += [(f"window sql {sql.table}", each) for each in await examine_sql(sql, contracts)]
    return found


# ---- sources ---------------------------------------------------------------------------------


async def _source(
    settings: Any, config: NodeFile, contracts: Mapping[str, Contract]
) -> list[Finding]:
    assert isinstance(settings, SourceSettings)
    contract = contracts.get(settings.contract)
    if contract is None:
        return [
            warning(
                settings.collects,
                "not looked at, since its contract is not installed here",
                "Run this where it is; the agent waits until it is published.",
            )
        ]
    topic = contract.name if config.kafka else received(contract.name, config.node.id)
    place = Place(
        contract=contract,
        node=config.node.id,
        state=config.agent.state / "sources" / contract.name,
        requests=Requests(config.agent.state / "requests"),
        published=Published(nearest_cluster(config), contract, topic),
        hop=Hop("capture", contract.name, settings.collects, contract.name),
        desk=Desk(config.intake, ()) if config.intake else None,
        topic=topic,
    )
    try:
        async with asyncio.timeout(PATIENCE):
            return await settings.examine(place)
    except (LevelsyncError, OSError, TimeoutError) as error:
        return [
            wrong(
                settings.collects,
                str(error) or f"no answer within {PATIENCE:.0f} s",
                "Start the server, or mend the line.",
            )
        ]
