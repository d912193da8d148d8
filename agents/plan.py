"""What a changed node file would do, before it does. The wiring itself is asked, with the file that runs
and with the one that is to run, and its answers are compared. Nothing is changed."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from agents.agent import needing_a_start
from agents.base.config import NodeFile, structured
from agents.base.errors import LevelsyncError
from agents.base.run import Job
from agents.base.status import Status
from agents.kafka.cluster import nearest_cluster, parent_cluster
from agents.kafka.topics import dead, received, view
from agents.kafka.wire import Connection
from agents.sources import KINDS, implied
from agents.wiring_kafka import KafkaWiring
from contracts.subjects import EVERYWHERE

Does = Literal["restart", "begins", "ends", "anew", "emptied", "shown", "hidden"]


class Effect(msgspec.Struct, frozen=True):
    """``what`` a part of the agent is to do: ``does`` says how that changes.

    ``records`` is how many have to be read for it at most, None where that is not known; ``makes`` are
    topics that are not there yet.
    """

    does: Does
    what: str
    why: str = ""
    makes: tuple[str, ...] = ()
    records: int | None = None


class Setting(msgspec.Struct, frozen=True):
    """A setting of the file, and what it was and is; empty where it was not there, or is no more."""

    path: str
    before: str
    after: str


class Plan(msgspec.Struct, frozen=True):
    """What would change. ``not_known`` says why effects in Kafka could not be seen."""

    settings: tuple[Setting, ...]
    effects: tuple[Effect, ...]
    not_known: str = ""

    @property
    def nothing(self) -> bool:
        """Would nothing change?"""
        return not self.settings and not self.effects


async def plan(
    path: Path, config: NodeFile, old: Mapping[str, Any], new: Mapping[str, Any]
) -> Plan:
    """From the sealed tables ``old`` to ``new``, which ``config`` was read from at ``path``. Raises
    ConfigError where ``old`` is no node file any more."""
    settings = tuple(_settings(old, new, ""))
    before, after = (implied(structured(raw, KINDS)) for raw in (old, new))
    effects: list[Effect] = []
    fixed = needing_a_start(before, after)
    if fixed:
        effects.append(Effect("restart", ", ".join(fixed), "a running agent goes on as before"))
    effects += _window(before, after)
    not_known = ""
    if config.kafka:
        try:
            effects += await _jobs(path, config, before, after)
        except LevelsyncError as error:
            not_known = error.message
    else:
        effects += _leaf(before, after)
    return Plan(settings, tuple(effects), not_known)


# ---- settings ------------------------------------------------------------------------------------


def _settings(old: Any, new: Any, path: str) -> Iterator[Setting]:
    if old == new:
        return
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys((*old, *new)):
            yield from _settings(old.get(key), new.get(key), f"{path}.{key}" if path else key)
    elif _tables(old) and _tables(new) and (old or new):
        ours, theirs = _keyed(old or ()), _keyed(new or ())
        for key in dict.fromkeys((*ours, *theirs)):
            yield from _settings(ours.get(key), theirs.get(key), f"{path}[{key}]")
    else:
        yield Setting(path, _said(old), _said(new))


def _tables(value: Any) -> bool:
    return value is None or (
        isinstance(value, list) and all(isinstance(each, Mapping) for each in value)
    )


def _keyed(tables: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """An array of tables by what tells them apart."""
    found: dict[str, Mapping[str, Any]] = {}
    for number, table in enumerate(tables):
        names = [
            str(table[key]) for key in ("contract", "to", "name", "group", "table") if key in table
        ]
        key = " ".join(names) or str(number)
        found[key if key not in found else f"{key} {number}"] = table
    return found


def _said(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} = {_said(each)}" for key, each in value.items())
    if isinstance(value, list):
        return "[" + ", ".join(map(_said, value)) + "]"
    return str(value)


# ---- what each node has --------------------------------------------------------------------------


def _window(before: NodeFile, after: NodeFile) -> Iterator[Effect]:
    """Contracts that a window shows from now on, and no more."""
    old = before.expected - EVERYWHERE if before.window else frozenset()
    new = after.expected - EVERYWHERE if after.window else frozenset()
    for name in sorted(new - old):
        yield Effect("shown", f"window {name}", "its records are read from the top")
    for name in sorted(old - new):
        yield Effect("hidden", f"window {name}", "what is stored stays until the grant has ended")


def _leaf(before: NodeFile, after: NodeFile) -> Iterator[Effect]:
    """The sources of a node whose window follows its parent's topics itself."""
    ours, theirs = ({each.contract: each for each in file.source} for file in (before, after))
    for name in sorted(ours.keys() | theirs.keys()):
        if name not in ours:
            yield Effect("begins", f"capture {name}", theirs[name].collects)
        elif name not in theirs:
            yield Effect("ends", f"capture {name}", ours[name].collects)
        elif ours[name] != theirs[name]:
            yield Effect("anew", f"capture {name}", "it goes on from where it was")


# ---- what only one with Kafka has ----------------------------------------------------------------


async def _jobs(path: Path, config: NodeFile, before: NodeFile, after: NodeFile) -> list[Effect]:
    """Parts that begin, end or are made anew. Raises Unavailable."""
    old, _ = await _asked(path, config, before)
    new, wiring = await _asked(path, config, after)
    async with Connection(nearest_cluster(config)) as connection:
        there = await connection.topics()
    above: dict[str, int] = {}
    if config.parent:
        async with Connection(parent_cluster(config)) as connection:
            above = await connection.topics()
    effects = []
    for name in sorted({*old, *new}, key=lambda each: ((new.get(each) or old[each]).stage, each)):
        if name in old and name in new and old[name].spec == new[name].spec:
            continue
        effects.append(_effect(name, old.get(name), new.get(name), after, there, above))
    return [await _counted(effect, wiring, config, after, there, above) for effect in effects]


async def _asked(
    path: Path, config: NodeFile, file: NodeFile
) -> tuple[dict[str, Job], KafkaWiring]:
    """The jobs that ``file`` would have, on the clusters of ``config``; and who was asked."""
    kept: dict[str, Any] = {"kafka": config.kafka, "agent": config.agent}
    if file.parent and config.parent:
        kept["parent"] = msgspec.structs.replace(
            config.parent, id=file.parent.id, pull=file.parent.pull, push=file.parent.push
        )
    wiring = KafkaWiring(path, msgspec.structs.replace(file, **kept), Status(file.node.id, ""))
    await wiring.look_once()
    wiring.learn()
    _, jobs = wiring.plan()
    return jobs, wiring


def _effect(
    name: str,
    old: Job | None,
    new: Job | None,
    after: NodeFile,
    there: Mapping[str, int],
    above: Mapping[str, int],
) -> Effect:
    kind, *_ = name.split(" ")
    if new is None:
        why = "the topic stays as it is" if kind != "view" else "a whole contract is read itself"
        return Effect("ends", name, why)
    target, cluster = _target(name, after), above if name.endswith(" up") else there
    makes = tuple(topic for topic in (target, dead(target)) if target and topic not in cluster)
    if kind in ("view", "step") and _ended(new) and not (old and _ended(old)):
        return Effect("emptied", name, "what stands in it is deleted, there and below")
    if old is None:
        return Effect("begins", name, _WHY.get(kind, ""), makes)
    return Effect("anew", name, _AGAIN.get(kind, ""), makes)


_WHY = {
    "capture": "the source is read from the top",
    "view": "what the grant lets through is copied",
    "step": "every record is stepped",
    "link": "what stands upstream is copied",
}
_AGAIN = {
    "capture": "it goes on from where it was",
    "view": "everything is looked at again; only what differs is told",
    "step": "everything is looked at again; only what differs is told",
    "link": "it is brought in line with the other topic; only what differs is told",
}


def _ended(job: Job) -> bool:
    """Is it a view of a grant that has ended?"""
    first = job.spec[0] if isinstance(job.spec, tuple) else None
    return first is True or getattr(first, "ended", False) is True


def _target(name: str, after: NodeFile) -> str:
    kind, contract, *more = name.split(" ")
    if kind == "view":
        return view(contract, more[0])
    if kind == "link":
        return received(
            contract, after.node.id if more == ["up"] else after.parent.id if after.parent else ""
        )
    return contract


async def _counted(
    effect: Effect,
    wiring: KafkaWiring,
    config: NodeFile,
    after: NodeFile,
    there: Mapping[str, int],
    above: Mapping[str, int],
) -> Effect:
    """``effect`` with how many records have to be read for it."""
    if effect.does not in ("begins", "anew", "emptied") or effect.what.startswith("capture"):
        return effect
    kind, contract, *more = effect.what.split(" ")
    cluster, topics, seen = nearest_cluster(config), wiring.sources_of(effect.what), there
    if effect.does == "emptied":
        topics = frozenset({_target(effect.what, after)})
    elif kind == "link" and more == ["down"]:
        cluster, seen = parent_cluster(config), above
        topics = frozenset({wiring.upstream_of(contract)} - {""})
    parts = [(topic, number) for topic in topics if topic in seen for number in range(seen[topic])]
    if not parts:
        return msgspec.structs.replace(effect, records=0)
    async with Connection(cluster) as connection:
        ends = await connection.ends(parts)
    return msgspec.structs.replace(effect, records=sum(end - first for first, end in ends.values()))
