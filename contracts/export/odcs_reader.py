"""Open Data Contract Standard 3.x → contract: ours come back whole, others as far as shapes go.

Quality checks over whole data sets (row counts, SQL) are no matter of one record and are passed over;
a limit on a value that no shape can say is refused where it stands.
"""

import re
from collections.abc import Mapping
from typing import Any

import msgspec
import yaml

from contracts.export.json_schema import parted
from contracts.export.json_schema_values import wrong
from contracts.export.odcs import CUSTOM
from contracts.export.odcs_shapes import Said, custom_of, fields_of, parts_of, text_of
from contracts.model import Contract, WrongContract
from contracts.shape import Field
from contracts.text import Text

_SECONDS = {
    "s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0, "ms": 0.001, "m": 60.0, "min": 60.0,
    "minute": 60.0, "minutes": 60.0, "h": 3600.0, "hr": 3600.0, "hour": 3600.0, "hours": 3600.0,
    "d": 86400.0, "day": 86400.0, "days": 86400.0, "y": 31557600.0, "yr": 31557600.0,
    "year": 31557600.0, "years": 31557600.0,
}  # fmt: skip
_UPDATES = ("realtime", "daily", "weekly", "monthly", "quarterly", "yearly", "irregular")


def contract_of_odcs(text: str, *, schema: str | None = None, **promises: Any) -> Contract:
    """The contract in a YAML ``text``. ``schema`` names one of several objects in it; ``promises`` are
    other fields of :class:`contracts.model.Contract` that the text does not say.

    What nobody says is the strictest: not shared, important data. Raises WrongContract with the place.
    """
    try:
        document = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise WrongContract(f"Expected YAML, {' '.join(str(error).split())}") from None
    if not isinstance(document, Mapping) or document.get("kind") != "DataContract":
        raise wrong("#/kind", "`DataContract`", _kind_of(document))
    if not str(document.get("apiVersion", "")).startswith("v3."):
        raise wrong("#/apiVersion", "version 3 of the standard", document.get("apiVersion"))
    try:
        at, chosen = _chosen(document, schema)
        fields = fields_of(chosen, at)
        said = _said(document, chosen, fields)
    except RecursionError:
        raise wrong("#/schema", "fewer levels", "more than can be read") from None
    said |= {name: value for name, value in promises.items() if value is not None}
    said["fields"] = fields
    try:
        return msgspec.convert(said, Contract)
    except msgspec.ValidationError as error:
        raise WrongContract(f"{error} of the document") from None


def _kind_of(document: Any) -> str:
    return repr(document.get("kind")) if isinstance(document, Mapping) else repr(document)


def _chosen(document: Said, name: str | None) -> tuple[str, Said]:
    objects = document.get("schema")
    if not isinstance(objects, list) or not all(isinstance(each, Mapping) for each in objects):
        raise wrong("#/schema", "a list of objects", repr(objects))
    names = [str(each.get("name")) for each in objects]
    if name is None and len(objects) == 1:
        return "#/schema/0", objects[0]
    if name not in names:
        raise wrong("#/schema", "one object, or the name of one", ", ".join(names) or "none")
    return f"#/schema/{names.index(name)}", objects[names.index(name)]


def _said(document: Said, chosen: Said, fields: tuple[Field, ...]) -> dict[str, Any]:
    custom = custom_of(document)
    said: dict[str, Any] = {
        "title": text_of(chosen, "businessName") or _plain(chosen.get("name")),
        "description": text_of(chosen, "description"),
        "owner": _owner(document),
        "key": _key(chosen, fields),
        "rules": _rules(chosen),
        **_name(document, chosen),
        **_service_levels(document),
        **{ours: custom[name] for ours, name in CUSTOM.items() if name in custom},
    }
    unstated = Text("未说明", "not stated")
    strictest = {
        "scope": said["key"],
        "catalogue": "",
        "level": "county",
        "classification": "important",
        "sharing": "not_shared",
        "basis": unstated,
        "freshness": 60.0,
    }
    return strictest | said


def _plain(name: Any) -> Text:
    return parted(str(name))


def _owner(document: Said) -> Text:
    team = document.get("team")
    found = text_of(team, "name") if isinstance(team, Mapping) else None
    return found or Text("未说明", "not stated")


def _name(document: Said, chosen: Said) -> dict[str, Any]:
    """Subject and version, from ``resident.v2`` or from the object's name and the version."""
    version = re.match(r"v?(\d+)(?:\.(\d+))?", str(document.get("version", "")))
    major, minor = (int(version[1]), int(version[2] or 0)) if version else (1, 0)
    ours = re.fullmatch(r"([a-z][a-z0-9_]*)\.v(\d+)", str(document.get("name", "")))
    if ours:
        return {"subject": ours[1], "major": int(ours[2]), "minor": minor}
    slug = re.sub(r"[^a-z0-9]+", "_", str(chosen.get("name", "")).lower()).strip("_")
    return {
        "subject": slug if slug[:1].isalpha() else "record",
        "major": max(major, 1),
        "minor": minor if major else 0,
    }


def _key(chosen: Said, fields: tuple[Field, ...]) -> str:
    for each in parts_of(chosen, "properties"):
        if each.get("primaryKey"):
            return str(each.get("name"))
    return fields[0].name


def _rules(chosen: Said) -> list[dict[str, Any]]:
    rules = []
    for check in parts_of(chosen, "quality"):
        if check.get("engine") != "cel":
            continue
        message = text_of(check, "description") or _plain(check.get("name"))
        rules.append(
            {
                "name": check.get("name"),
                "when": check.get("implementation"),
                "message": message,
                "path": custom_of(check).get("path", "$"),
            }
        )
    return rules


def _service_levels(document: Said) -> dict[str, Any]:
    said: dict[str, Any] = {}
    for level in parts_of(document, "slaProperties"):
        kind, value, seconds = level.get("property"), level.get("value"), _seconds(level)
        if kind == "latency" and seconds is not None:
            said["freshness"] = seconds
        elif kind == "retention" and seconds is not None:
            said["retention"] = round(seconds / 86400)
        elif kind == "frequency" and value in _UPDATES:
            said["updates"] = value
    return said


def _seconds(level: Said) -> float | None:
    """How long a service level is; None where it does not say so in a unit we know."""
    value, unit = level.get("value"), _SECONDS.get(str(level.get("unit", "s")))
    if unit is None or isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value * unit if 0 <= value < 1e12 else None
