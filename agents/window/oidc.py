"""An OpenID Connect provider, as one that relies on it sees it (OpenID Connect Core 1.0, section 3.1).

Authorization code with PKCE (RFC 7636), ``state`` and ``nonce``; the ID token is believed for its
signature by a key of the provider's, its issuer, audience, times and nonce, never for the line it came
over alone.
"""

import asyncio
import base64
import hashlib
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

import aiohttp
import msgspec

from agents.base.window import LOOPBACK, Login

if TYPE_CHECKING:
    from joserfc import jwk

#: What an ID token may be signed with: never with what the client knows too, never with nothing.
ALGORITHMS = ("RS256", "ES256", "PS256", "EdDSA", "Ed25519")
#: Seconds: for one answer of the provider's, for which what it says of itself and its keys are
#: believed, between two tries while it is away, and by which clocks may differ.
PATIENCE, FRESH, PAUSE, LEEWAY = 5.0, 3_600.0, 2.0, 60
#: Bytes of an answer, and keys, at most.
LARGEST, MOST_KEYS = 512 * 1024, 50


class Away(Exception):
    """The provider does not answer, or not as one does."""


class Refused(Exception):
    """The provider, or what it says, does not vouch for anybody."""


class Provider:
    """The provider of ``login``."""

    def __init__(self, login: Login) -> None:
        self.login = login
        self._session: aiohttp.ClientSession | None = None
        self._lock = asyncio.Lock()
        self._about: dict[str, Any] = {}
        self._about_at = self._keys_at = -FRESH
        self._keys: list[jwk.Key] = []
        self._failed: tuple[float, str] = (-PAUSE, "")

    @property
    def back(self) -> str:
        """Where the provider sends the browser back to."""
        return f"{self.login.url.rstrip('/')}/login/back"

    async def begin(self, state: str, nonce: str, verifier: str) -> str:
        """The address at which a clerk says who they are. Raises Away."""
        about = await self._discovered()
        offered = about.get("scopes_supported", [])
        scopes = ["openid", "profile", *(["groups"] if "groups" in offered else [])]
        digest = hashlib.sha256(verifier.encode()).digest()
        asked = {
            "response_type": "code",
            "client_id": self.login.client,
            "redirect_uri": self.back,
            "scope": " ".join(scopes),
            "state": state,
            "nonce": nonce,
            "code_challenge": base64.urlsafe_b64encode(digest).decode().rstrip("="),
            "code_challenge_method": "S256",
        }
        address: str = about["authorization_endpoint"]
        return f"{address}{'&' if urlsplit(address).query else '?'}{urlencode(asked)}"

    async def clerk(self, code: str, verifier: str, nonce: str) -> dict[str, Any]:
        """Who came back with ``code``: the ID token's claims. Raises Away, Refused."""
        about = await self._discovered()
        given = await self._exchanged(about, code, verifier)
        token = given.get("id_token")
        if not isinstance(token, str):
            raise Refused("Expected an ID token, got none")
        claims = await self._verified(token, nonce)
        if self.login.groups not in claims and "userinfo_endpoint" in about:
            claims = await self._more(about, given, claims)
        return claims

    async def close(self) -> None:
        """Nobody asks any more."""
        if self._session:
            await self._session.close()

    # ---- what the provider says of itself ----------------------------------------------------

    async def _discovered(self) -> dict[str, Any]:
        async with self._lock:
            now = time.monotonic()
            if now - self._about_at < FRESH:
                return self._about
            failed, why = self._failed
            if now - failed < PAUSE:
                raise Away(why)
            try:
                self._about = await self._discover()
                self._about_at = now
            except Away as error:
                self._failed = (now, str(error))
                if not self._about:
                    raise
            return self._about

    async def _discover(self) -> dict[str, Any]:
        issuer = self.login.issuer
        about = await self._get(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
        if about.get("issuer") != issuer:
            raise Away(f"Expected the issuer `{issuer}`, got `{about.get('issuer')}`")
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
            if not _safe(about.get(name)):
                raise Away(f"Expected `https://` as its {name}, got `{about.get(name)}`")
        if not _safe(about.get("userinfo_endpoint")):
            about.pop("userinfo_endpoint", None)
        return about

    async def _fetch_keys(self) -> None:
        # 3 MB that only a window with a login needs.
        from joserfc import errors, jwk

        found = await self._get(self._about["jwks_uri"])
        listed = found.get("keys")
        keys: list[jwk.Key] = []
        for each in listed[:MOST_KEYS] if isinstance(listed, list) else []:
            # One that is of no use to us, or of a kind not known here, does no harm.
            if isinstance(each, dict) and each.get("kty") in ("RSA", "EC", "OKP"):
                if each.get("use", "sig") != "sig":
                    continue
                try:
                    keys.append(jwk.import_key(each))
                except (errors.JoseError, ValueError, TypeError, KeyError):
                    continue
        self._keys, self._keys_at = keys, time.monotonic()

    # ---- who somebody is ---------------------------------------------------------------------

    async def _exchanged(
        self, about: Mapping[str, Any], code: str, verifier: str
    ) -> dict[str, Any]:
        """What the provider gives for ``code``."""
        login = self.login
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.back,
            "code_verifier": verifier,
        }
        headers = {}
        ways = about.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        if login.secret and "client_secret_basic" in ways:
            pair = f"{quote(login.client, safe='')}:{quote(login.secret, safe='')}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        else:
            form["client_id"] = login.client
            if login.secret:
                form["client_secret"] = login.secret
        return await self._ask("POST", about["token_endpoint"], headers, form)

    async def _verified(self, token: str, nonce: str) -> dict[str, Any]:
        from joserfc import errors, jwt

        login = self.login
        decoded = await self._decoded(token)
        registry = jwt.JWTClaimsRegistry(
            leeway=LEEWAY,
            iss={"essential": True, "value": login.issuer},
            aud={"essential": True, "value": login.client},
            sub={"essential": True},
            exp={"essential": True},
            iat={"essential": True},
            nonce={"essential": True, "value": nonce},
            azp={"value": login.client},
        )
        try:
            registry.validate(decoded)
        except errors.JoseError as error:
            raise Refused(f"The ID token is not for this login: {error}") from None
        return decoded

    async def _decoded(self, token: str) -> dict[str, Any]:
        """The claims of a token that a key of the provider's signed."""
        from joserfc import errors, jws, jwt

        try:
            head = jws.extract_compact(token.encode()).headers()
        except (errors.JoseError, ValueError, RecursionError) as error:
            raise Refused(f"Expected a signed ID token, got another: {error}") from None
        if head.get("alg") not in ALGORITHMS:
            raise Refused(f"Expected one of {', '.join(ALGORITHMS)}, got `{head.get('alg')}`")
        fresh = time.monotonic() - self._keys_at < FRESH
        for again in (False, True) if fresh else (True,):
            if again:
                await self._fetch_keys()
            for key in self._keys:
                if key.kid in (None, head.get("kid")) or "kid" not in head:
                    try:
                        return dict(jwt.decode(token, key, algorithms=list(ALGORITHMS)).claims)
                    except (errors.JoseError, ValueError, TypeError):
                        continue
        raise Refused("Expected an ID token signed by a key of the provider's, got another")

    async def _more(
        self, about: Mapping[str, Any], given: Mapping[str, Any], claims: dict[str, Any]
    ) -> dict[str, Any]:
        """The claims with those a provider gives only at its userinfo address."""
        access = given.get("access_token")
        if not isinstance(access, str) or not access.isascii() or not access.isprintable():
            return claims
        told = await self._get(about["userinfo_endpoint"], {"Authorization": f"Bearer {access}"})
        if told.get("sub") != claims["sub"]:
            raise Refused("Expected the same `sub` from userinfo, got another")
        return told | claims

    # ---- HTTP --------------------------------------------------------------------------------

    async def _get(self, address: str, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        return await self._ask("GET", address, headers or {})

    async def _ask(
        self,
        method: str,
        address: str,
        headers: Mapping[str, str],
        form: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """A JSON object. Raises Away, and Refused where it says no."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=PATIENCE), cookie_jar=aiohttp.DummyCookieJar()
            )
        try:
            async with self._session.request(
                method, address, headers=headers, data=form, allow_redirects=False
            ) as response:
                body = await _limited(response)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise Away(f"{_place(address)}: {type(error).__name__} {error}") from None
        try:
            found = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            found = None
        if form is not None and 400 <= response.status < 500:
            why = found.get("error") if isinstance(found, dict) else response.status
            raise Refused(f"The provider does not take the code: {str(why)[:100]}")
        if response.status != 200 or not isinstance(found, dict):
            raise Away(f"{_place(address)}: expected a JSON object, got status {response.status}")
        return found


async def _limited(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > LARGEST:
            raise ValueError(f"expected at most {LARGEST} bytes, got more")
    return bytes(body)


def _safe(address: object) -> bool:
    """May what is secret go there? By TLS, or on this machine."""
    if not isinstance(address, str):
        return False
    try:
        parts = urlsplit(address)
        name = parts.hostname
    except ValueError:
        return False
    return bool(name) and (parts.scheme == "https" or (parts.scheme == "http" and name in LOOPBACK))


def _place(address: str) -> str:
    """An address without what may be secret of it."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
