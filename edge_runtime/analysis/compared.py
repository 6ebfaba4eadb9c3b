"""Two inspections side by side, from their documents."""

from dataclasses import dataclass
from typing import Any, Final, Literal

_FIGURES: Final = (
    ("operators", ("totals", "operators"), ""),
    ("MACs", ("totals", "macs"), ""),
    ("parameters", ("totals", "parameters"), ""),
    ("arena without XNNPACK", ("memory", "planned_arena_bytes"), "B"),
    ("memory without XNNPACK", ("memory", "plain_total_bytes"), "B"),
    ("memory", ("memory", "total_bytes"), "B"),
    ("file", ("model", "size_bytes"), "B"),
    ("operators on an Edge TPU", ("edgetpu", "operators"), ""),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of two models; None where it is not known."""

    title: str
    before: float | None
    after: float | None
    unit: Literal["", "B", "ms"] = ""
    more_is_better: bool = False

    @property
    def ratio(self) -> float | None:
        """Return the second figure in terms of the first."""
        return self.after / self.before if self.before and self.after is not None else None

    @property
    def shown_ratio(self) -> str:
        """Return the ratio for people: two decimals, of less than a hundredth one digit."""
        if self.ratio is None:
            return "-"
        return f"{self.ratio:.2f}" if self.ratio >= 0.01 or not self.ratio else f"{self.ratio:.1g}"


def compare(first: dict[str, Any], second: dict[str, Any]) -> list[Row]:
    """Return what is worth comparing of the documents of two models on the same devices."""
    rows = [
        Row(title, first[part][key], second[part][key], unit, title.endswith("Edge TPU"))  # type: ignore[arg-type]
        for title, (part, key), unit in _FIGURES
    ]
    for one, other in zip(first["devices"], second["devices"], strict=True):
        rows.append(Row(one["device"], one["latency_ms"]["predicted"], other["latency_ms"]["predicted"], "ms"))
        if one["edgetpu_ms"] or other["edgetpu_ms"]:
            before, after = ((device["edgetpu_ms"] or device["latency_ms"])["predicted"] for device in (one, other))
            rows.append(Row(f"{one['device']} with Edge TPU", before, after, "ms"))
    return rows
