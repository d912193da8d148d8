"""What ``levelsync doctor`` finds on clusters: clocks, topics' settings, contracts, what is granted."""

import datetime
import time
from collections.abc import Iterable, Mapping, Sequence

from agents.base.config import CHINA, NodeFile, is_over
from agents.base.errors import LevelsyncError
from agents.base.findings import Finding, ok, warning, wrong
from agents.base.known import Known
from agents.kafka.bulletin import Bulletin
from agents.kafka.cluster import Cluster, nearest_cluster, parent_cluster
from agents.kafka.grants import Announcement, read_grants
from agents.kafka.topics import (
    CONTRACTS_TOPIC,
    Topic,
    data_topic,
    dead,
    dead_topic,
    own,
    parse_received,
    view,
)
from agents.kafka.wire import Connection
from contracts.model import Contract

#: Seconds that clocks may differ: below the tightest promise, and beyond which promises mean nothing.
CLOSE, FAR = 0.5, 5.0
#: Days before its end at which a grant is said to end.
SOON = 14


async def examine_clock(kafka: Cluster) -> list[Finding]:
    """How far is this machine's clock from the cluster's? Freshness is one clock minus another."""
    about = f"clock against {kafka.bootstrap}"
    try:
        async with Connection(kafka) as connection:
            await connection.clock()  # the first answer opens connections
            began = time.time()
            theirs = await connection.clock()
            ended = time.time()
    except LevelsyncError:
        return []  # that it does not answer is said already
    if theirs is None:
        return [
            warning(
                about,
                "not known: this Kafka does not tell its time, or not to this user",
                "Compare `date -u` on both machines, or allow Describe on the cluster:"
                f" `kafka-acls.sh --bootstrap-server {kafka.bootstrap} --add --cluster"
                " --operation Describe --allow-principal User:…`",
            )
        ]
    # They looked at their clock some time between: that much is not known.
    least, most = began - theirs, ended - theirs
    offset = 0.0 if least <= 0 <= most else min(abs(least), abs(most))
    ahead = "ahead of" if least > 0 else "behind"
    found = f"within {max(abs(least), abs(most)):.3f} s"
    if offset >= CLOSE:
        found = f"{offset:.1f} s {ahead} the cluster's"
        say = wrong if offset >= FAR else warning
        return [
            say(
                about,
                found,
                "Have both kept by one time server: `timedatectl set-ntp true`, then `timedatectl`",
            )
        ]
    return [ok(about, found)]


async def examine_settings(
    kafka: Cluster, config: NodeFile, contracts: Mapping[str, Contract]
) -> list[Finding]:
    """Are the topics that this node writes as it would make them? Raises Unavailable."""
    async with Connection(kafka) as connection:
        there = await connection.topics()
        wanted = [topic for topic in _written(there, config, contracts) if topic.name in there]
        if not wanted:
            return []
        names = {name for topic in wanted for name in topic.config} | {"min.insync.replicas"}
        found = await connection.settings([topic.name for topic in wanted], names)
        copies = {topic.name: connection.copies(topic.name) for topic in wanted}
    findings = []
    for topic in wanted:
        about = f"settings of {topic.name}"
        if topic.name not in found:
            findings.append(
                warning(
                    about,
                    "not known: this user may not see them",
                    f"`kafka-acls.sh --bootstrap-server {kafka.bootstrap} --add --topic {topic.name}"
                    " --operation DescribeConfigs --allow-principal User:…`",
                )
            )
            continue
        findings += _compared(topic, found[topic.name], copies[topic.name], kafka)
    return findings


def _written(
    there: Iterable[str], config: NodeFile, contracts: Mapping[str, Contract]
) -> list[Topic]:
    """The topics that this node's agent makes, where their contracts are installed."""
    found: dict[str, Topic] = {}

    def add(contract: Contract, name: str, *, letters: bool = True) -> None:
        topic = data_topic(contract, name)
        found[topic.name] = topic
        if letters:
            found[dead(topic.name)] = dead_topic(topic)

    for name in sorted(config.owned & contracts.keys()):
        add(contracts[name], own(contracts[name], config.node.id))
    for grant in config.grant:
        if grant.contract in contracts:
            add(contracts[grant.contract], view(grant.contract, grant.to))
    parent = config.parent
    for topic in there:
        received = parse_received(topic)
        if received and parent and received[1] == parent.id and received[0] in contracts:
            add(contracts[received[0]], topic)
    if parent:
        for name in sorted(set(parent.push) & contracts.keys()):
            add(contracts[name], view(name, parent.id))
    return list(found.values())


def _compared(topic: Topic, found: Mapping[str, str], copies: int, kafka: Cluster) -> list[Finding]:
    about = f"settings of {topic.name}"
    change = f"`kafka-configs.sh --bootstrap-server {kafka.bootstrap} --alter --entity-type topics"
    findings = []
    off = {
        name: value
        for name, value in topic.config.items()
        if not _as_good(name, found.get(name, ""), value)
    }
    if off:
        listed = ", ".join(f"{name} is {found.get(name) or 'not set'}" for name in off)
        asked = ",".join(f"{name}=[{value}]" for name, value in off.items())
        say = wrong if "cleanup.policy" in off or "retention.ms" in off else warning
        findings.append(
            say(
                about,
                f"{listed}; expected {', '.join(f'{name} {value}' for name, value in off.items())}",
                f"{change} --entity-name {topic.name} --add-config {asked}`",
            )
        )
    least = found.get("min.insync.replicas", "1")
    if copies and copies < kafka.replicas:
        findings.append(
            warning(
                about,
                f"{copies} copies of each partition; the node file asks for {kafka.replicas}",
                f"`kafka-reassign-partitions.sh --bootstrap-server {kafka.bootstrap} …`",
            )
        )
    if copies >= 3 and least == "1":
        findings.append(
            warning(
                about,
                f"min.insync.replicas is 1 with {copies} copies: what one broker alone has may be lost",
                f"{change} --entity-name {topic.name} --add-config min.insync.replicas=2`",
            )
        )
    return findings or [ok(about, "as the agent makes them")]


def _as_good(name: str, found: str, wanted: str) -> bool:
    if name == "cleanup.policy":
        return set(found.split(",")) == {wanted}
    if name in (
        "min.compaction.lag.ms",
        "delete.retention.ms",
        "max.message.bytes",
        "retention.ms",
    ):
        # More is no harm; -1 is without end.
        return found.lstrip("-").isdigit() and (int(found) >= int(wanted) or int(found) == -1)
    return found == wanted


# ---- contracts -----------------------------------------------------------------------------------


async def examine_contracts(config: NodeFile, contracts: Mapping[str, Contract]) -> list[Finding]:
    """Do this node and its parent mean the same by the contracts that pass between them? Raises
    Unavailable."""
    parent = config.parent
    if parent is None:
        return []
    told = await Bulletin(parent_cluster(config), CONTRACTS_TOPIC).read_once()
    known = Known(config.node.id, config.trust)
    known.learn(told)
    above: dict[str, list[str]] = {}
    for key in told:
        name, _, revision = key.partition("/")
        above.setdefault(name, []).append(revision)
    findings = []
    for name in sorted({*parent.pull, *parent.push}):
        about = f"contract {name}"
        refused = [
            f"{key}: {why}" for key, why in known.refused.items() if key.startswith(f"{name}/")
        ]
        here, there = contracts.get(name), above.get(name)
        if refused:
            findings.append(
                wrong(
                    about,
                    f"what {parent.id} publishes is refused: {refused[0]}",
                    "Compare `levelsync contract list --node NODE.toml` on both sides; a new key goes"
                    " into [trust].",
                )
            )
        elif there is None and here is None:
            findings.append(
                wrong(
                    about,
                    f"neither installed here nor published at {parent.id}",
                    f"Have its owner publish it: `levelsync contract publish {name} --node NODE.toml`",
                )
            )
        elif there is None or here is None:
            found = (
                f"{here.revision} is installed here"
                if here
                else f"{_newest(there)} from {parent.id}"
            )
            findings.append(ok(about, found))
        elif _number(here.revision) > _number(_newest(there)):
            findings.append(
                warning(
                    about,
                    f"{here.revision} is installed here, {_newest(there)} is published at {parent.id}",
                    "New fields do not get through until its owner publishes it:"
                    f" `levelsync contract publish {name} --node NODE.toml`",
                )
            )
        else:
            findings.append(
                ok(
                    about,
                    f"{_newest(there)} at {parent.id}, {here.revision} installed here: they go together",
                )
            )
    return findings


def _number(revision: str) -> tuple[int, ...]:
    return tuple(int(part) for part in revision.split(".") if part.isdigit())


def _newest(revisions: Sequence[str] | None) -> str:
    return max(revisions or ["0"], key=_number)


# ---- grants --------------------------------------------------------------------------------------


async def examine_grants(config: NodeFile) -> list[Finding]:
    """Is what is asked for given, and what is given asked for? Raises Unavailable."""
    findings: list[Finding] = []
    nearest = nearest_cluster(config)
    here = await read_grants(nearest)
    async with Connection(nearest) as connection:
        topics = await connection.topics()
    findings += _giving(config, here, topics)
    if config.parent and config.kafka:
        above = await read_grants(parent_cluster(config))
        findings += _being_given(config, above)
    return findings


def _being_given(config: NodeFile, above: Sequence[Announcement]) -> list[Finding]:
    parent, node, now = config.parent, config.node.id, time.time()
    assert parent
    told = {each.contract: each for each in above if each.to == node and each.giver == parent.id}
    findings = []
    for name in parent.pull:
        given, about = told.get(name), f"pull {name}"
        if given is None or given.ended:
            findings.append(
                warning(
                    about,
                    f"its grant has ended at {parent.id}"
                    if given
                    else f"not granted by {parent.id}",
                    f"Ask {parent.id} for a [[grant]] of {name} to {node}: it comes by itself then. Or"
                    " take it out of [parent] pull.",
                )
            )
            continue
        findings.append(_until(about, given, now, parent.id))
    for name, given in sorted(told.items()):
        if name not in parent.pull and not given.ended:
            findings.append(
                warning(
                    f"grant of {name}",
                    f"{parent.id} gives it for {given.purpose!r}, and nobody here pulls it",
                    f'Name "{name}" in [parent] pull, or have {parent.id} take the grant back.',
                )
            )
    return findings


def _until(about: str, given: Announcement, now: float, giver: str) -> Finding:
    if given.until:
        last = datetime.date.fromisoformat(given.until)
        days = (last - datetime.datetime.fromtimestamp(now, CHINA).date()).days
        if days <= SOON:
            return warning(
                about,
                f"granted to {last}, {days} days from now; then it is emptied here",
                f"Have {giver} give it longer: `until` of its [[grant]].",
            )
    return ok(about, f"granted, in {given.topic or 'no topic yet'}")


def _giving(
    config: NodeFile, here: Sequence[Announcement], topics: Mapping[str, int]
) -> list[Finding]:
    """Of each grant of the file: has the node what it gives, does the agent give it, how long?"""
    node, now, findings = config.node.id, time.time(), []
    told = {(each.contract, each.to): each for each in here if each.giver == node}
    for grant in config.grant:
        about = f"grant {grant.contract} to {grant.to}"
        announced = told.get((grant.contract, grant.to))
        held = grant.contract in config.expected or any(
            received and received[0] == grant.contract for received in map(parse_received, topics)
        )
        if grant.until and is_over(grant.until, now):
            findings.append(
                warning(
                    about,
                    f"over since {grant.until}",
                    "Take it out of the file, or set `until` anew.",
                )
            )
        elif not held:
            findings.append(
                wrong(
                    about,
                    f"this node has nothing of {grant.contract}: no source, no pull, nothing from below",
                    f'Name "{grant.contract}" in [parent] pull, or give it a [[source]].',
                )
            )
        elif announced is None or announced.ended:
            findings.append(
                warning(
                    about,
                    "the agent has not announced it yet",
                    "Start the agent, or see `levelsync status NODE.toml` for why not.",
                )
            )
        else:
            findings.append(_until(about, announced, now, "this node"))
    for (contract, to), each in sorted(told.items()):
        if not each.ended and not any(
            (grant.contract, grant.to) == (contract, to) for grant in config.grant
        ):
            findings.append(
                warning(
                    f"grant {contract} to {to}",
                    "still announced, and not in the file any more",
                    "The agent ends it once it has read the file: `kill -HUP` it, or start it.",
                )
            )
    return findings
