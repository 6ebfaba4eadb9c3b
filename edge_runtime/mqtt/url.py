"""Broker addresses, ``mqtt[s]://[user[:password]@]host[:port]``.

IPv6 hosts are in brackets, user and password percent-encoded.
"""

import socket
from dataclasses import dataclass, field
from urllib.parse import unquote

from edge_runtime.errors import UsageError

DEFAULT_PORTS = {"mqtt": 1883, "mqtts": 8883}
_FORM = "write mqtt://[user[:password]@]host[:port], or mqtts:// for TLS"


@dataclass(frozen=True, slots=True)
class BrokerUrl:
    """A broker's address, taken apart. The password is in no ``repr`` and in no ``str``."""

    host: str
    """Without brackets, as ``getaddrinfo`` takes it."""
    port: int
    tls: bool
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        """Return the address for a log line, without user and password."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'mqtts' if self.tls else 'mqtt'}://{host}:{self.port}"


def parse_url(url: str) -> BrokerUrl:
    """Take a broker address apart. Raises UsageError, whose text never repeats a user or a password."""
    scheme, separator, rest = url.strip().partition("://")
    scheme = scheme.lower()
    if not separator:
        raise UsageError(f"the broker address has no mqtt:// in front: {_FORM}")
    if scheme not in DEFAULT_PORTS:
        hint = "websockets are not spoken here; " if scheme in ("ws", "wss") else ""
        raise UsageError(
            f"a broker address starts with mqtt:// or mqtts://, this one with {scheme[:20]}://; {hint}{_FORM}"
        )
    userinfo, at, place = rest.rpartition("@")
    if any(sign in userinfo for sign in "/?#"):
        raise UsageError(
            "user and password of the broker address must be percent-encoded (%2F for /, %40 for @, %23 for #)"
        )
    host, port = _split_place(place.removesuffix("/"))
    username, password = _split_userinfo(userinfo) if at else (None, None)
    return BrokerUrl(
        host=host,
        port=_port(port) if port is not None else DEFAULT_PORTS[scheme],
        tls=scheme == "mqtts",
        username=username,
        password=password,
    )


def _split_place(place: str) -> tuple[str, str | None]:
    if any(sign in place for sign in "/?#"):
        raise UsageError(f"nothing may follow host and port in a broker address; {_FORM}")
    if place.startswith("["):
        host, bracket, rest = place[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")) or not _is_ipv6(host):
            raise UsageError(f"an IPv6 broker address is written like mqtt://[fe80::1]:1883, not {place!r}")
        return host, rest[1:] if rest else None
    host, colon, port = place.partition(":")
    if ":" in port:
        raise UsageError(f"an IPv6 broker address needs brackets: mqtt://[{place}]")
    if not _is_host_name(host):
        raise UsageError(f"{host!r} is no host name; {_FORM}" if host else f"the broker address names no host; {_FORM}")
    return host, port if colon else None


def _is_ipv6(host: str) -> bool:
    address, _, zone = host.partition("%")
    try:
        socket.inet_pton(socket.AF_INET6, address)
    except (OSError, ValueError):
        return False
    return "%" not in host or zone.isalnum()


def _is_host_name(host: str) -> bool:
    if not all(sign.isalnum() or sign in "-._" for sign in host):
        return False
    try:  # what the resolver would refuse with a UnicodeError: empty or overlong labels
        return bool(host.removesuffix(".").encode("idna")) and len(host) <= 253
    except UnicodeError:
        return False


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text[:6]) < 65536):
        raise UsageError(f"the broker's port must be a number from 1 to 65535, not {text[:20]!r}")
    return int(text)


def _split_userinfo(userinfo: str) -> tuple[str, str | None]:
    user, colon, secret = userinfo.partition(":")
    try:
        username = unquote(user, errors="strict")
        password = unquote(secret, errors="strict") if colon else None
    except UnicodeDecodeError:
        raise UsageError(
            "user and password of the broker address are percent-encoded UTF-8, and these are not"
        ) from None
    if not username or "\0" in username:
        raise UsageError(f"the broker address has an @ but no user name before it; {_FORM}")
    return username, password
