"""Which profile belongs to the machine this runs on: its own, measured one, else that of its kind of board."""

import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from edge_runtime.analysis.profile import THIS_DEVICE, Profile, load_profile, parse_profile
from edge_runtime.errors import UsageError

THIS: Final = "this"
"""What ``--device`` calls this machine."""
_MODEL_FILES: Final = ("proc/device-tree/model", "sys/firmware/devicetree/base/model")
_BOARDS: Final = (
    ("Raspberry Pi Zero 2", "pi-zero-2-w"),
    ("Raspberry Pi 3", "pi-3b-plus"),
    ("Raspberry Pi 4", "pi-4b"),
    ("Raspberry Pi Compute Module 4", "pi-4b"),
    ("Raspberry Pi 400", "pi-4b"),
    ("Raspberry Pi 5", "pi-5"),
    ("Raspberry Pi 500", "pi-5"),
    ("Raspberry Pi Compute Module 5", "pi-5"),
    ("Phanbell", "coral-dev-board"),
)
"""How the device tree begins to name a board (or, for Coral's, what it contains), and its profile."""


def board_profile(
    root: Path = Path("/"), *, machine: Callable[[], str] = platform.machine, wide: bool = sys.maxsize > 2**32
) -> str | None:
    """Return the name of the shipped profile for this kind of machine, or None. ``wide``: a 64-bit program."""
    for place in _MODEL_FILES:
        try:
            model = (root / place).read_text("utf-8", "replace").strip("\0 \n")
        except OSError:
            continue
        found = next((name for start, name in _BOARDS if start in model), None)
        return f"pi-4b-{64 if wide else 32}" if found == "pi-4b" else found
    return "x86-64" if machine() in {"x86_64", "AMD64"} else None


def own_profile(state: Path) -> Profile | None:
    """Return the profile that was measured on this machine, None where there is none. Raises UsageError when damaged.

    It may lack what cannot be measured, an Edge TPU; that comes from the board's.
    """
    path = state / THIS_DEVICE
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}; measure it again: edge-infer bench --calibrate") from error
    return parse_profile(text, name=THIS, where=str(path))


def this_profile(state: Path) -> Profile | None:
    """Return this machine's own profile, else its board's, else None. Raises UsageError for a damaged file."""
    own = own_profile(state)
    if own is not None:
        return own
    name = board_profile()
    return load_profile(name) if name else None
