"""A broker that checks who comes and what they may do."""

import json
import time
from collections.abc import Iterable
from pathlib import Path

from joserfc import jwt
from joserfc.jwk import RSAKey

from agents.base.kafka_access import Sasl, Tls
from agents.demo.servers import JAVA, KafkaServer, free_ports
from agents.kafka.access import Access
from agents.kafka.cluster import Cluster
from tests.certificates import Authority

ISSUER, AUDIENCE = "https://id.example", "kafka"
_HANDLER = "org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler"


class SecureKafka(KafkaServer):
    """Beside the plain listener, where everybody is an admin, one with TLS and a login (``login``) and one
    that asks for a certificate (``mutual``). Users of ``names`` have the password ``NAME-secret``."""

    def __init__(self, folder: Path, name: str, names: Iterable[str] = ("37",)) -> None:
        port, self.login, self.mutual, controller = free_ports(4)
        keys = folder / "keys"
        self.authority = Authority(keys)
        self.ca = self.authority.ca
        #: What tokens are signed with.
        self._signing = RSAKey.generate_key(2048, {"kid": "one", "alg": "RS256", "use": "sig"})
        jwks = keys / "jwks.json"
        jwks.write_text(json.dumps({"keys": [self._signing.as_dict(private=False)]}))
        self._certificate = keys / "broker-both.pem"
        self.certify()
        here = "127.0.0.1"
        listeners = {"PLAINTEXT": port, "LOGIN": self.login, "MUTUAL": self.mutual}
        login, oauth = "listener.name.login", "listener.name.login.oauthbearer.sasl"
        module = "org.apache.kafka.common.security"
        super().__init__(
            folder,
            port,
            name,
            {
                "listeners": ",".join(
                    f"{each}://{here}:{at}"
                    for each, at in {**listeners, "CONTROLLER": controller}.items()
                ),
                "advertised.listeners": ",".join(
                    f"{each}://{here}:{at}" for each, at in listeners.items()
                ),
                "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,"
                "LOGIN:SASL_SSL,MUTUAL:SSL",
                "inter.broker.listener.name": "PLAINTEXT",
                "controller.quorum.voters": f"1@{here}:{controller}",
                "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
                "super.users": "User:ANONYMOUS;User:admin",
                "ssl.keystore.type": "PEM",
                "ssl.keystore.location": self._certificate,
                "ssl.truststore.type": "PEM",
                "ssl.truststore.location": self.ca,
                "listener.name.mutual.ssl.client.auth": "required",
                f"{login}.sasl.enabled.mechanisms": "SCRAM-SHA-512,PLAIN,OAUTHBEARER",
                f"{login}.scram-sha-512.sasl.jaas.config": f"{module}.scram.ScramLoginModule required;",
                f"{login}.plain.sasl.jaas.config": f"{module}.plain.PlainLoginModule required"
                ' user_plain="plain-secret";',
                f"{oauth}.jaas.config": f"{module}.oauthbearer.OAuthBearerLoginModule required;",
                f"{oauth}.server.callback.handler.class": _HANDLER,
                f"{oauth}.oauthbearer.jwks.endpoint.url": jwks.as_uri(),
                f"{oauth}.oauthbearer.expected.audience": AUDIENCE,
                f"{oauth}.oauthbearer.expected.issuer": ISSUER,
            },
            java=(*JAVA, f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={jwks.as_uri()}"),
            formatting=[
                word
                for user in ("admin", *names)
                for word in (
                    "--add-scram", f"SCRAM-SHA-512=[name={user},password={user}-secret]",
                )
            ],
        )  # fmt: skip

    def certify(self, authority: Authority | None = None, **terms: object) -> None:
        """Give the broker a certificate; it takes one when it starts."""
        signed = (authority or self.authority).issue("broker", "broker", **terms)  # type: ignore[arg-type]
        self._certificate.write_bytes(b"".join(each.read_bytes() for each in reversed(signed)))

    def at(self, port: int, tls: Tls | None = None, sasl: Sasl | None = None) -> Cluster:
        """The cluster over one of its listeners."""
        return Cluster(f"127.0.0.1:{port}", access=Access("kafka", tls, sasl))

    def as_user(self, user: str, password: str = "") -> Cluster:
        """The cluster as a user sees it."""
        login = Sasl(mechanism="SCRAM-SHA-512", user=user, password=password or f"{user}-secret")
        return self.at(self.login, Tls(ca=self.ca), login)

    @property
    def admin(self) -> Cluster:
        return Cluster(self.bootstrap)

    def token(self, subject: str, *, seconds: float = 300.0, audience: str = AUDIENCE) -> str:
        """A bearer token for ``subject``."""
        now = int(time.time())
        claims = {
            "sub": subject, "iss": ISSUER, "aud": audience, "iat": now - 5, "exp": int(now + seconds),
        }  # fmt: skip
        return jwt.encode({"alg": "RS256", "kid": "one"}, claims, self._signing)
