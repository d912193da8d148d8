"""Contracts in a Confluent-compatible schema registry, by its REST interface.

Subjects are named as Confluent's TopicNameStrategy names them, ``resident.v2-value``: serialisers there
find the schema of the owner's topic without being told. The schema is the writer's, which is closed: a
registry's own check of JSON Schemas holds an added optional field compatible only then. It accepts what
the exported one does, in words that the comparers in registries know: draft 7, and codes as ``enum``.
"""

import base64
import json
import urllib.error
import urllib.parse
import urllib.request
from typing import Any, NamedTuple

from agents.base.errors import LevelsyncError
from contracts.export.json_schema import json_schema
from contracts.model import Contract

_TYPE = "application/vnd.schemaregistry.v1+json"
_DRAFT_7 = "http://json-schema.org/draft-07/schema#"
#: Seconds for one answer.
PATIENCE = 15.0


class RegistryRefused(LevelsyncError):
    """The schema registry does not take this."""


class RegistryAway(LevelsyncError):
    """The schema registry does not answer."""

    hint = "Is it the registry's address, with the path of its Confluent interface?"


class Pushed(NamedTuple):
    """``id`` is the registry's; ``new`` is False where the same schema stood already."""

    subject: str
    id: int
    new: bool


class Registry:
    """The registry at ``url``; user and password in it sign in, and are shown nowhere."""

    def __init__(self, url: str) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            shown = url.rpartition("@")[2]
            raise RegistryRefused(
                f"Expected a registry's address such as https://host:8081, got {shown}"
            )
        user, _, where = parts.netloc.rpartition("@")
        #: Its address without what signs in.
        self.name = urllib.parse.urlunsplit((parts.scheme, where, parts.path.rstrip("/"), "", ""))
        self._headers = {"Content-Type": _TYPE, "Accept": f"{_TYPE}, application/json"}
        if user:
            plain = urllib.parse.unquote(user).encode()
            self._headers["Authorization"] = f"Basic {base64.b64encode(plain).decode()}"

    def push(self, contract: Contract, compatibility: str) -> Pushed:
        """Register ``contract`` if it does not stand there, and hold its subject to ``compatibility``.

        Done twice it changes nothing. Raises RegistryRefused with what came back, RegistryAway.
        """
        subject = f"{contract.name}-value"
        body = {
            "schemaType": "JSON",
            "schema": json.dumps(_for_comparers(json_schema(contract)), ensure_ascii=False),
        }
        path = f"/subjects/{urllib.parse.quote(subject, safe='')}"
        standing = self._asked("POST", path, body, absent=True)
        if standing is None:
            made = self._asked("POST", f"{path}/versions", body)
            pushed = Pushed(subject, self._id(made, subject), True)
        else:
            pushed = Pushed(subject, self._id(standing, subject), False)
        self._hold(subject, compatibility)
        return pushed

    def _hold(self, subject: str, compatibility: str) -> None:
        path = f"/config/{urllib.parse.quote(subject, safe='')}"
        found = self._asked("GET", path, None, absent=True)
        if not isinstance(found, dict) or found.get("compatibilityLevel") != compatibility:
            self._asked("PUT", path, {"compatibility": compatibility})

    def _id(self, answer: Any, subject: str) -> int:
        if isinstance(answer, dict) and isinstance(answer.get("id"), int):
            return int(answer["id"])
        raise RegistryRefused(
            f"Expected an id for {subject} from {self.name}, got {json.dumps(answer)[:200]}"
        )

    def _asked(self, method: str, path: str, body: Any, *, absent: bool = False) -> Any:
        """The answer's JSON; None where ``absent`` is right and nothing is there."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"{self.name}{path}", data=data, headers=self._headers, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            said = error.read(2000)
            # 40401 no such subject, 40403 no such schema in it, 40408 no rule of its own.
            if absent and error.code == 404 and _code(said) in (40401, 40402, 40403, 40408):
                return None
            raise RegistryRefused(
                f"Expected {self.name} to answer {method} {path}, got {error.code} {_said(said)}"
            ) from None
        except (OSError, ValueError) as error:
            raise RegistryAway(f"{self.name} does not answer {method} {path}: {error}.") from None


def _for_comparers(schema: Any) -> Any:
    """Draft 7 has all our keywords in the same meaning. A comparer takes any ``oneOf`` for changed."""
    if isinstance(schema, list):
        return [_for_comparers(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {name: _for_comparers(each) for name, each in schema.items()}
    if "$schema" in plain:
        plain["$schema"] = _DRAFT_7
    options = plain.get("oneOf")
    if isinstance(options, list):
        plain["enum"] = [option.get("const") for option in plain.pop("oneOf")]
    return plain


def _code(said: bytes) -> int | None:
    try:
        code = json.loads(said).get("error_code")
    except (ValueError, AttributeError):
        return None
    return code if isinstance(code, int) else None


def _said(said: bytes) -> str:
    try:
        return str(json.loads(said)["message"])
    except (ValueError, KeyError, TypeError):
        return said.decode(errors="replace")[:200]
