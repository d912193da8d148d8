"""Bearer tokens for OAUTHBEARER: from a file, or from an OAuth 2 server (RFC 6749, section 4.4)."""

import asyncio
import base64
import json
import ssl
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import aiokafka.errors as kafka_errors
from aiokafka.abc import AbstractTokenProvider

from agents.base.kafka_access import Sasl

#: Seconds the OAuth 2 server may take: less than a broker waits for us.
PATIENCE = 5.0
#: Part of its life after which a token is asked for anew, and its life in seconds where it is not said.
PART, LIFE = 0.8, 60.0
#: Bytes of an answer that are read.
_MOST = 256 * 1024


class NoToken(kafka_errors.KafkaError):  # type: ignore[misc]
    """There is no token to log in with: what was expected, what was found, where, and what to do."""

    def __init__(self, expected: str, found: str, field: str, do: str) -> None:
        self.expected, self.found, self.field, self.do = expected, found, field, do
        super().__init__(f"expected {expected}, got {found}, at `{field}`")


class FileToken(AbstractTokenProvider):  # type: ignore[misc]
    """The token in a file that somebody else keeps fresh: read anew each time."""

    def __init__(self, file: Path, field: str) -> None:
        self._file, self._field = file, field

    async def token(self) -> str:
        """Raises NoToken."""
        try:
            token = (await asyncio.to_thread(self._file.read_text, "utf-8")).strip()
        except (OSError, UnicodeDecodeError) as error:
            raise self._none(str(error)) from None
        if not token or not token.isascii() or any(map(str.isspace, token)):
            raise self._none("an empty file" if not token else "something else")
        return token

    def _none(self, found: str) -> NoToken:
        return NoToken(
            f"a bearer token in {self._file}", found, f"{self._field}.token",
            "Have it written there; it is read anew for each connection.",
        )  # fmt: skip


class GrantedToken(AbstractTokenProvider):  # type: ignore[misc]
    """A token that an OAuth 2 server grants to a client by its secret, kept for most of its life."""

    def __init__(self, sasl: Sasl, field: str) -> None:
        self._sasl, self._field = sasl, field
        self._token, self._until = "", 0.0
        self._one = threading.Lock()

    async def token(self) -> str:
        """Raises NoToken."""
        return await asyncio.to_thread(self._asked)

    def _asked(self) -> str:
        with self._one:  # those who connect side by side ask once
            if time.monotonic() >= self._until:
                answer = self._answer()
                life = answer.get("expires_in")
                life = float(life) if isinstance(life, (int, float)) and life > 0 else LIFE
                self._token, self._until = answer["access_token"], time.monotonic() + life * PART
            return self._token

    def _answer(self) -> dict[str, Any]:
        sasl = self._sasl
        wanted = {"grant_type": "client_credentials"} | (
            {"scope": sasl.scope} if sasl.scope else {}
        )
        quoted = ":".join(urllib.parse.quote(each, safe="") for each in (sasl.client, sasl.secret))
        request = urllib.request.Request(
            sasl.url,
            urllib.parse.urlencode(wanted).encode(),
            {
                "Authorization": f"Basic {base64.b64encode(quoted.encode()).decode()}",
                "Accept": "application/json",
            },
        )
        try:
            trusted = ssl.create_default_context(cafile=sasl.ca if sasl.ca.name else None)
            with urllib.request.urlopen(request, timeout=PATIENCE, context=trusted) as answered:
                found = json.loads(answered.read(_MOST))
        except urllib.error.HTTPError as error:
            said = f"{error.code} {_said(error)}".strip()
            raise self._none(said, "Are `client` and `secret` those of the server?") from None
        except (OSError, ValueError) as error:
            raise self._none(str(error), "Start the OAuth 2 server, or mend `url`.") from None
        if not isinstance(found, dict) or not isinstance(found.get("access_token"), str):
            raise self._none("an answer without `access_token`", "Is `url` its token endpoint?")
        return found

    def _none(self, found: str, do: str) -> NoToken:
        return NoToken(f"a token from {self._sasl.url}", found, f"{self._field}.url", do)


def _said(error: urllib.error.HTTPError) -> str:
    """The short name of an OAuth 2 error; nothing else of what came is repeated."""
    try:
        found = json.loads(error.read(_MOST))
        name = found["error"] if isinstance(found, dict) else ""
    except (OSError, ValueError, KeyError):
        return ""
    return name if isinstance(name, str) and name.replace("_", "").isalnum() else ""
