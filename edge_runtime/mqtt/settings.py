"""The ``[broker]`` section of the configuration, and what is made of it before a connection is opened."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from edge_runtime.errors import UsageError
from edge_runtime.mqtt.url import BrokerUrl, parse_url

if TYPE_CHECKING:
    import ssl

HIDDEN = "***"
_LONGEST_FIELD_BYTES = 65_535  # MQTT 3.1.1, 1.5.3: strings carry a 16-bit length


class Secret(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a secret is kept: ``{ file = "/etc/edge-infer/password" }`` or ``{ env = "MY_PASSWORD" }``."""

    file: str | None = None
    """A file that holds the secret and nothing else; one newline at its end is not part of it."""
    env: str | None = None
    """The name of an environment variable."""

    def __post_init__(self) -> None:
        """Raise ValueError (a ValidationError while decoding) unless exactly one place is given."""
        if (self.file is None) == (self.env is None):
            raise ValueError("a secret is given as { file = ... } or as { env = ... }, exactly one of them")

    def read(self, environ: Mapping[str, str]) -> str:
        """Return the secret. Raises UsageError that names the place, never the secret."""
        if self.env is not None:
            if self.env not in environ:
                raise UsageError(f"the environment variable {self.env}, named as the broker's password, is not set")
            return environ[self.env]
        path = Path(self.file or "").expanduser()
        try:
            return path.read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise UsageError(f"cannot read the broker's password from {path}: {reason}") from error


class OutboxConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[broker.outbox]``: what is kept on disk while the broker is away."""

    max_bytes: Annotated[int, msgspec.Meta(ge=65_536)] = 64 * 1024 * 1024
    """Payload and topic bytes kept; beyond it the oldest messages go, counted. 64 MiB are about 110,000 predictions."""
    max_age_s: Annotated[float, msgspec.Meta(gt=0)] = 7 * 86_400.0
    """Older messages go, counted."""
    events_max_bytes: Annotated[int, msgspec.Meta(ge=65_536)] = 8 * 1024 * 1024
    """The same for events, which count by themselves: a flood of predictions does not push them out."""
    events_max_age_s: Annotated[float, msgspec.Meta(gt=0)] = 30 * 86_400.0


class BrokerConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[broker]``: which broker, as whom, and how the connection is secured. Its ``repr`` shows no secret."""

    url: str = "mqtt://localhost:1883"
    username: str | None = None
    """Wins over a user in ``url``."""
    password: str | Secret | None = None
    """Wins over a password in ``url``."""
    ca_file: str | None = None
    """PEM certificates to trust instead of the system's; for mqtts only."""
    cert_file: str | None = None
    """The device's own certificate, PEM; for mqtts only."""
    key_file: str | None = None
    """Its key, where it is not in ``cert_file``."""
    insecure: bool = False
    """Accept any certificate and any host name. For a test bench: whoever answers is believed."""
    protocol: Literal["3.1.1", "5"] = "3.1.1"
    """With 3.1.1 a broker has no way to say that an ACL refused a message; with 5 it is logged and counted."""
    keepalive_s: Annotated[int, msgspec.Meta(ge=5, le=3600)] = 30
    outbox: bool | OutboxConfig = True
    """``[broker.outbox]`` sets limits; ``outbox = false`` (``--no-outbox``) keeps nothing on disk."""

    def __repr__(self) -> str:
        """Return the settings without a password."""
        shown = self.redacted()
        fields = (f"{name}={getattr(shown, name)!r}" for name in self.__struct_fields__)
        return f"BrokerConfig({', '.join(fields)})"

    def redacted(self) -> "BrokerConfig":
        """Return these settings fit to be shown: a password is ``***``, in ``url`` too."""
        head, at, place = self.url.rpartition("@")
        scheme, separator, userinfo = head.partition("://")
        if at and ":" in (userinfo if separator else head):
            user = userinfo.partition(":")[0]
            head = f"{scheme}://{user}:{HIDDEN}" if separator else HIDDEN
        return msgspec.structs.replace(
            self,
            url=f"{head}{at}{place}",
            password=HIDDEN if isinstance(self.password, str) else self.password,
        )

    def endpoint(self, environ: Mapping[str, str] | None = None) -> "Endpoint":
        """Take the address apart, read the secrets and look at the files. Raises UsageError."""
        url = parse_url(self.url)
        password = self.password
        if isinstance(password, Secret):
            password = password.read(os.environ if environ is None else environ)
        username = url.username if self.username is None else self.username
        password = url.password if password is None else password
        if password is not None and username is None:
            raise UsageError("the broker's password is given and no user name; add username or user@ in the address")
        for value in (username, password):
            if value is not None and ("\0" in value or len(value.encode()) > _LONGEST_FIELD_BYTES):
                raise UsageError("the broker's user name and password must be shorter than 64 KiB and hold no NUL")
        self._check_files(tls=url.tls)
        return Endpoint(
            url=BrokerUrl(host=url.host, port=url.port, tls=url.tls, username=username, password=password),
            ca_file=_expanded(self.ca_file),
            cert_file=_expanded(self.cert_file),
            key_file=_expanded(self.key_file),
            insecure=self.insecure,
            protocol=self.protocol,
            keepalive_s=self.keepalive_s,
        )

    def _check_files(self, *, tls: bool) -> None:
        files = {"ca_file": self.ca_file, "cert_file": self.cert_file, "key_file": self.key_file}
        given = {key: path for key, path in files.items() if path is not None}
        if given and not tls:
            raise UsageError(
                f"{' and '.join(given)} of the broker are for TLS, and the address says mqtt://: write mqtts://"
            )
        if self.key_file is not None and self.cert_file is None:
            raise UsageError("the broker's key_file needs a cert_file beside it")
        for key, path in given.items():
            try:
                Path(path).expanduser().open("rb").close()
            except OSError as error:
                raise UsageError(f"cannot read the broker's {key} {path}: {error.strerror}") from error


def _expanded(path: str | None) -> str | None:
    return None if path is None else str(Path(path).expanduser())


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Everything a connection attempt needs; made by ``BrokerConfig.endpoint``. Its ``repr`` shows no password."""

    url: BrokerUrl
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    insecure: bool = False
    protocol: Literal["3.1.1", "5"] = "3.1.1"
    keepalive_s: int = 30

    @property
    def in_the_clear(self) -> bool:
        """Whether a password would cross a network unencrypted."""
        local = self.url.host in ("localhost", "::1") or self.url.host.startswith("127.")
        return self.url.password is not None and not self.url.tls and not local

    def tls_context(self) -> "ssl.SSLContext | None":
        """Return what secures the connection, None for ``mqtt://``. Raises UsageError for files that hold no PEM.

        Made anew for each attempt, so that a renewed certificate is used without a restart.
        """
        if not self.url.tls:
            return None
        from edge_runtime.mqtt import tls

        return tls.make_context(
            ca_file=self.ca_file, cert_file=self.cert_file, key_file=self.key_file, insecure=self.insecure
        )
