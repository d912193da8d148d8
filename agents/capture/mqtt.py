"""An MQTT broker as a source: what a node file says of it; :mod:`agents.capture.mqtt_source` reads it."""

from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from agents.base.findings import Finding
from agents.base.mqtt_address import Address, check_url, place_of, tls_of
from agents.base.table import Wrong
from agents.capture.mqtt_examine import examine
from agents.capture.mqtt_payload import Payload, unknown
from agents.capture.mqtt_source import MqttSource
from agents.capture.mqtt_template import Template
from agents.capture.source import Place, SourceSettings
from contracts.model import Contract


class MqttTopics(SourceSettings, frozen=True, kw_only=True, tag="mqtt"):
    """The topics of one template on one broker."""

    #: ``mqtt://host:port``, or ``mqtts://host:port`` for TLS.
    url: str
    #: ``devices/{scope}/gate/{device_id}``: see :class:`agents.capture.mqtt_template.Template`.
    topic: str
    payload: Payload = "json"
    #: Does an empty payload delete the key its topic names, or is it wrong?
    delete: Literal["empty", "never"] = "empty"
    #: What becomes of what a payload has and the contract does not name.
    extra: Literal["refuse", "drop"] = "refuse"
    #: What the payload calls its own id, and its own time (RFC 3339, or milliseconds since 1970).
    id_field: str = ""
    time_field: str = ""
    username: str = ""
    password: str = ""
    #: PEM files: the authority that signed the broker's certificate, and a certificate of our own.
    ca: str = ""
    cert: str = ""
    key: str = ""
    #: The session's name at the broker; ``levelsync_<node>_<contract>`` unless said otherwise.
    client_id: str = ""
    #: Hours the broker keeps the session while the agent is away; MQTT 5 (else the broker's word).
    session_hours: int = 72
    #: Messages under way at once; MQTT 5 (else the broker's word).
    inflight: int = 500
    version: Literal[4, 5] = 5

    def __repr__(self) -> str:
        return f"MqttTopics(contract={self.contract!r}, url={self.url!r}, topic={self.topic!r}, …)"

    @property
    def collects(self) -> str:
        """See :class:`agents.base.config.SourceTable`."""
        return f"{urlsplit(self.url).netloc} {self.topic}"

    def validate(self) -> None:
        """See :class:`agents.base.config.SourceTable`."""
        check_url(self.url, "url")
        Template(self.topic)
        for name in ("ca", "cert", "key"):
            file = getattr(self, name)
            if file and not place_of(self.url)[2]:
                raise Wrong("`mqtts://`, which files for TLS are for", f"`{self.url}`", "url")
            if file and not Path(file).is_file():
                raise Wrong("a readable PEM file", f"`{file}`", name)
        if self.key and not self.cert:
            raise Wrong("`cert` beside `key`", "none", "cert")
        if self.password and not self.username:
            raise Wrong("`username` beside `password`", "none", "username")
        if not 1 <= self.inflight <= 65_535:
            raise Wrong("1 to 65535", str(self.inflight), "inflight")
        if not 1 <= self.session_hours <= 24 * 365:
            raise Wrong("1 to 8760 hours", str(self.session_hours), "session_hours")

    def fits(self, contract: Contract) -> None:
        """See :class:`agents.base.config.SourceTable`."""
        if (name := unknown(Template(self.topic), contract)) is not None:
            raise Wrong(
                f"`key`, `scope` or a field of `{contract.name}` ({', '.join(contract.field_names)})",
                f"`{{{name}}}`",
                "topic",
            )

    def address(self, client_id: str) -> Address:
        """Where the broker is. Raises SourceMismatch where a file cannot be used."""
        host, port, tls = place_of(self.url)
        return Address(
            host=host,
            port=port,
            client_id=self.client_id or client_id,
            version=self.version,
            username=self.username or None,
            password=self.password or None,
            tls=tls_of(self.ca, self.cert, self.key) if tls else None,
            expiry=self.session_hours * 3600,
            receive=self.inflight,
        )

    def source(self, place: Place) -> "MqttSource":
        """See :class:`agents.capture.source.SourceSettings`."""
        return MqttSource(self, place)

    async def examine(self, place: Place) -> list[Finding]:
        """See :class:`agents.capture.source.SourceSettings`; by a session that leaves nothing behind."""
        return await examine(self, self.address(place.name))
