"""A small OpenID Connect provider on loopback, that can be told to lie."""

import base64
import functools
import hashlib
import json
import time
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import web
from aiohttp.test_utils import TestServer
from joserfc import jwk, jwt


class Provider:
    """Approves whoever comes, as ``claims`` say they are; ``hurt`` changes what it does."""

    def __init__(self) -> None:
        self.keys: dict[str, jwk.Key] = {}
        self.rotate("first")
        self.claims: dict[str, Any] = {
            "sub": "u1", "preferred_username": "wang.fang", "groups": ["counter"]
        }  # fmt: skip
        #: Claims of the ID token that are other than they should be; None takes one out.
        self.lies: dict[str, Any] = {}
        #: The algorithm and key ID of the header, and the key it is signed with, where not our own.
        self.algorithm, self.head = "RS256", dict[str, Any]()
        self.signer: jwk.Key | None = None
        self.about: dict[str, Any] = {}
        self.userinfo: dict[str, Any] | None = None
        self.secret = "client-secret"
        self.asked: list[str] = []
        self._codes: dict[str, dict[str, str]] = {}
        app = web.Application()
        app.router.add_get("/.well-known/openid-configuration", self._discovery)
        app.router.add_get("/authorize", self._authorize)
        app.router.add_post("/token", self._token)
        app.router.add_get("/keys", self._jwks)
        app.router.add_get("/userinfo", self._userinfo)
        self.server = TestServer(app)

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    def rotate(self, name: str, kind: str = "RSA") -> None:
        """From now on it signs with another key, and the former is gone."""
        made: jwk.Key
        if kind == "RSA":
            made = jwk.RSAKey.import_key(_rsa(name).as_dict(private=True))
        elif kind == "EC":
            made = jwk.ECKey.generate_key("P-256", {"kid": name, "use": "sig"})
        else:
            made = jwk.OKPKey.generate_key("Ed25519", {"kid": name, "use": "sig"})
        self.keys = {name: made}

    async def _discovery(self, _: web.Request) -> web.Response:
        self.asked.append("discovery")
        at = self.issuer
        return web.json_response(
            {
                "issuer": at,
                "authorization_endpoint": f"{at}/authorize",
                "token_endpoint": f"{at}/token",
                "jwks_uri": f"{at}/keys",
                **({"userinfo_endpoint": f"{at}/userinfo"} if self.userinfo else {}),
                **self.about,
            }
        )

    async def _authorize(self, request: web.Request) -> web.Response:
        asked = dict(request.query)
        assert asked["response_type"] == "code"
        assert asked["code_challenge_method"] == "S256"
        assert "openid" in asked["scope"].split()
        code = f"code-{len(self._codes)}"
        self._codes[code] = asked
        back = f"{asked['redirect_uri']}?code={code}&state={asked['state']}"
        return web.Response(status=303, headers={"Location": back})

    async def _token(self, request: web.Request) -> web.Response:
        self.asked.append("token")
        form = dict(parse_qsl((await request.read()).decode()))
        asked = self._codes.pop(form["code"], None)
        challenge = base64.urlsafe_b64encode(
            hashlib.sha256(form["code_verifier"].encode()).digest()
        ).decode().rstrip("=")  # fmt: skip
        expected = "Basic " + base64.b64encode(f"window:{self.secret}".encode()).decode()
        if request.headers.get("Authorization") != expected:
            return web.json_response({"error": "invalid_client"}, status=401)
        if asked is None or asked["code_challenge"] != challenge:
            return web.json_response({"error": "invalid_grant"}, status=400)
        return web.json_response(
            {
                "access_token": "access",
                "token_type": "Bearer",
                "id_token": self._id_token(asked["nonce"]),
            }
        )

    def _id_token(self, nonce: str) -> str:
        now = int(time.time())
        claims = {
            "iss": self.issuer, "aud": "window", "iat": now, "exp": now + 300, "nonce": nonce,
            **self.claims, **self.lies,
        }  # fmt: skip
        claims = {name: value for name, value in claims.items() if value is not None}
        name, key = next(iter(self.keys.items()))
        head = {"alg": self.algorithm, "kid": name, **self.head}
        if head["alg"] == "none":
            return f"{part(head)}.{part(claims)}."
        return jwt.encode(head, claims, self.signer or key, algorithms=[head["alg"]])

    async def _jwks(self, _: web.Request) -> web.Response:
        self.asked.append("keys")
        odd = [{"kty": "AKP", "kid": "odd", "alg": "ML-DSA-44", "pub": "x"}, {"kty": "RSA"}, 7]
        keys = [key.as_dict(private=False) for key in self.keys.values()]
        return web.json_response({"keys": [*odd, *keys]})

    async def _userinfo(self, request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == "Bearer access"
        return web.json_response(self.userinfo)


@functools.cache
def _rsa(name: str) -> jwk.RSAKey:
    """Made once a name: it takes a while."""
    return jwk.RSAKey.generate_key(2048, {"kid": name, "use": "sig"})


def part(value: dict[str, Any]) -> str:
    """A part of a token that nobody signs."""
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()
