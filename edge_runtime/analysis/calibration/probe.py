"""A probe: one operator that calibration times; and the order in which probes take turns."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

MAIN_TYPES: Final = ("float32", "int8")

Make = Callable[[], bytes]


@dataclass(frozen=True, slots=True)
class Probe:
    """One operator to time. ``group`` is its kind, for taking turns."""

    group: str
    make: Make
    """Returns the model."""


def in_turns(probes: Sequence[Probe]) -> list[Probe]:
    """Return them with the kinds taking turns in proportion to their number.

    However early the time runs out, every kind of operator has had its share.
    """
    groups: dict[str, list[Probe]] = {}
    for probe in probes:
        groups.setdefault(probe.group, []).append(probe)
    placed = [
        ((number + 0.5) / len(members), name, probe)
        for name, members in groups.items()
        for number, probe in enumerate(members)
    ]
    return [probe for _, _, probe in sorted(placed, key=lambda place: place[:2])]
