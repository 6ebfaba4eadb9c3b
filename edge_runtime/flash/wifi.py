"""A Wi-Fi connection for NetworkManager, which Raspberry Pi OS uses since Bookworm: a file that only root may read."""

import hashlib
import re
import uuid
from typing import Final

from edge_runtime.errors import UsageError

_ROUNDS: Final = 4096
"""IEEE 802.11i: the key is PBKDF2-HMAC-SHA1 of passphrase and SSID, 4096 rounds, 256 bits."""


def keyfile(ssid: str, password: str | None) -> str:
    """Return the file. The passphrase itself is not in it, only the key for this one network. Raises UsageError."""
    raw = ssid.encode()
    if not 1 <= len(raw) <= 32 or "\n" in ssid:
        raise UsageError(f"--wifi {ssid!r}: a network's name has 1 to 32 bytes")
    lines = ["[connection]", "id=edge-infer-wifi", f"uuid={uuid.uuid5(uuid.NAMESPACE_DNS, ssid)}", "type=wifi", ""]
    # As bytes: a name may hold what has a meaning in this file.
    lines += ["[wifi]", "mode=infrastructure", f"ssid={';'.join(str(byte) for byte in raw)};", ""]
    if password is not None:
        lines += ["[wifi-security]", "key-mgmt=wpa-psk", f"psk={_key(raw, password)}", ""]
    return "\n".join([*lines, "[ipv4]", "method=auto", "", "[ipv6]", "method=auto", ""])


def country(code: str) -> str:
    """Return the code of a country, in which the radio's rules apply. Raises UsageError."""
    if not re.fullmatch(r"[A-Za-z]{2}", code):
        raise UsageError(f"--wifi-country {code}: give the two letters of the country, as DE or GB")
    return code.upper()


def _key(ssid: bytes, password: str) -> str:
    if re.fullmatch(r"[0-9a-fA-F]{64}", password):
        return password.lower()
    raw = password.encode()
    if not 8 <= len(raw) <= 63:
        raise UsageError("a Wi-Fi password has 8 to 63 characters")
    return hashlib.pbkdf2_hmac("sha1", raw, ssid, _ROUNDS, 32).hex()
