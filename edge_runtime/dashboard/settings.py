"""What the dashboard is told: where to listen, who may look, and which broker it watches."""

import ipaddress
import secrets
from pathlib import Path
from typing import Final

import msgspec

from edge_runtime.errors import UsageError
from edge_runtime.mqtt.settings import BrokerConfig

DEFAULT_HOST: Final = "127.0.0.1"
DEFAULT_PORT: Final = 8080
TOKEN_LENGTH: Final = 16
"""Fewest characters of a token somebody chose; a generated one has 32."""


class DashboardSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything ``python -m edge_runtime.dashboard`` reads from its standard input."""

    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    """0 takes any free port."""
    token: str | None = None
    """None: generated where one is needed, that is on every address but loopback."""
    names: tuple[str, ...] = ()
    """Host names, beside this machine's own, under which a proxy serves the page."""
    broker: BrokerConfig = BrokerConfig()


def parse_listen(text: str, *, flag: str) -> tuple[str, int]:
    """Read ``HOST:PORT``, ``HOST``, ``:PORT``, ``PORT`` or ``[IPV6]:PORT``. Raises UsageError."""
    host, colon, port = text.rpartition(":")
    if text.startswith("[") and text.endswith("]"):
        host, port = text, ""
    elif not colon:
        host, port = ("", text) if text.isdecimal() else (text, "")
    host = host.removeprefix("[").removesuffix("]")
    if (port and not port.isdecimal()) or int(port or 0) > 65535:
        raise UsageError(f"{flag} {text}: expected HOST:PORT, for example {flag} 127.0.0.1:{DEFAULT_PORT}")
    return host or DEFAULT_HOST, int(port) if port else DEFAULT_PORT


def read_token(path: str | None) -> str | None:
    """Return the token in a file, None without a file. Raises UsageError."""
    if path is None:
        return None
    try:
        token = Path(path).expanduser().read_text(encoding="ascii").strip()
    except OSError as error:
        raise UsageError(f"cannot read the dashboard's token from {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"the dashboard's token in {path} is not plain ASCII text") from error
    if not token:
        raise UsageError(f"the dashboard's token file {path} is empty")
    return token


def bracketed(host: str) -> str:
    """Return a host as it stands in a URL: IPv6 addresses in brackets."""
    return f"[{host}]" if ":" in host else host


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def with_token(settings: DashboardSettings) -> tuple[DashboardSettings, bool]:
    """Return settings that have a token where one is needed, and whether it was generated. Raises UsageError."""
    if settings.token is not None and len(settings.token) < TOKEN_LENGTH:
        raise UsageError(f"the dashboard's token is too short: use at least {TOKEN_LENGTH} characters")
    if settings.token is not None or is_loopback(settings.host):
        return settings, False
    return msgspec.structs.replace(settings, token=secrets.token_urlsafe(24)), True
