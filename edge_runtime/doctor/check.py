"""What one check found."""

import re
import sys
from typing import Literal

import msgspec

Status = Literal["ok", "warn", "fail", "none"]
"""``none`` is for what is not there and need not be."""


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One part of the device: how it is in one sentence, and the exact next command where there is one."""

    name: str
    status: Status
    message: str
    do: str | None = None


def check(name: str, status: Status, message: str, do: str | None = None) -> Check:
    """Return a check; ``do`` defaults to the first command in backticks that the message names."""
    if do is None and status != "ok" and (quoted := re.search(r"`([^`]+)`", message)):
        do = quoted[1]
    return Check(name=name, status=status, message=message, do=do)


def pip_install(*packages: str) -> str:
    """Return the command that installs into the very environment this runs in."""
    return " ".join([sys.executable, "-m", "pip", "install", *packages])
