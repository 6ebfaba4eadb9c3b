"""How fast models really were on this device: a small file in the state directory, replaced whole and rarely."""

import logging
import re
from pathlib import Path
from typing import Final

import msgspec

from edge_runtime.store.atomic import replace_file

log = logging.getLogger(__name__)

FILE_NAME: Final = "speeds.json"
MOST_SPEEDS: Final = 64
"""The oldest are dropped; one is some 250 bytes."""


class Speed(msgspec.Struct, frozen=True, kw_only=True):
    """One model on one set-up of this device."""

    sha256: str
    """Of the model file."""
    setup: str
    """What ran it, see `setup_name`."""
    profile: str
    """What predicted it."""
    predicted_ms: float
    measured_ms: float
    """The usual p50 of an invoke."""
    at: str
    """RFC 3339."""

    @property
    def ratio(self) -> float:
        """Return how many times as long as predicted it takes."""
        return self.measured_ms / self.predicted_ms


class _File(msgspec.Struct, frozen=True, kw_only=True):
    schema: int = 1
    speeds: list[Speed] = []


def setup_name(*, runtime: str, threads: int, delegate: str) -> str:
    """Return ``ai-edge-litert 2.3.0, 2 threads, cpu``."""
    return f"{runtime}, {threads} thread{'' if threads == 1 else 's'}, {delegate}"


def setup_threads(setup: str) -> int | None:
    """Return how many threads a set-up's name says."""
    found = re.search(r", (\d{1,4}) threads?, ", setup)
    return int(found[1]) if found else None


def read_speeds(state: Path) -> list[Speed]:
    """Return what is known, the oldest first; nothing when there is no file, or none that can be used."""
    try:
        found = msgspec.json.decode((state / FILE_NAME).read_bytes(), type=_File).speeds
    except FileNotFoundError:
        return []
    except (OSError, msgspec.DecodeError) as error:
        log.warning("%s is not used and will be written anew: %s", state / FILE_NAME, error)
        return []
    return [speed for speed in found if 0 < speed.predicted_ms < 1e9 and 0 < speed.measured_ms < 1e9]


def find_speed(state: Path, *, sha256: str, setup: str) -> Speed | None:
    """Return what is known of a model on a set-up."""
    return next((one for one in read_speeds(state) if (one.sha256, one.setup) == (sha256, setup)), None)


def keep_speed(state: Path, speed: Speed) -> None:
    """Replace what is known of the same model and set-up. Raises OSError, mostly with the old file still there."""
    others = [one for one in read_speeds(state) if (one.sha256, one.setup) != (speed.sha256, speed.setup)]
    content = _File(speeds=[*others, speed][-MOST_SPEEDS:])
    replace_file(state / FILE_NAME, msgspec.json.encode(content) + b"\n")
