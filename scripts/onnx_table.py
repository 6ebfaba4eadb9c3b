"""The page docs/onnx-operators.md from what the sweeps found."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

Row = Mapping[str, Any]
_START: Final = "<!-- measured: written by scripts/onnx_operators -->"
_KINDS: Final = ("passed", "refused", "wrong", "runtime", "beyond", "failed")
_PACKAGES: Final = ("onnx", "onnxruntime", "onnx2tf", "ai-edge-litert", "ai-edge-quantizer", "numpy")


def write_page(page: Path, state: Path) -> None:
    """Replace what follows the marker in the page; what stands before it is written by hand."""
    head = page.read_text().partition(_START)[0] if page.exists() else ""
    found = {scheme: _read(state / f"{scheme}-folded.jsonl") for scheme in ("none", "int8")}
    open_ended = _read(state / "none-all.jsonl")
    tools = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    parts = [
        f"{head}{_START}",
        f"\n## Measured\n\n{datetime.now(UTC):%Y-%m-%d}; {tools}.\n",
        _shares(found, open_ended),
        "## By operator\n",
        _operators(found),
        "## What is left\n",
        _left("Float", found["none"]),
        _left("int8", found["int8"]),
    ]
    page.write_text("\n".join(part for part in parts if part))


def _read(path: Path) -> list[Row]:
    lines = path.read_text().splitlines() if path.exists() else []
    return sorted({row["name"]: row for row in map(json.loads, lines)}.values(), key=lambda row: str(row["name"]))


def _shares(found: Mapping[str, Sequence[Row]], open_ended: Sequence[Row]) -> str:
    lines = [
        "| | cases | passed | refused | wrong | as onnxruntime | beyond int8 | failed |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    float_rows, int8_rows = found["none"], found["int8"]
    for title, rows in (
        ("float, all", float_rows),
        ("float, single operators", [row for row in float_rows if not row["expanded"]]),
        ("float, functions written out", [row for row in float_rows if row["expanded"]]),
        ("float, weights and limits as inputs too", open_ended),
        ("int8, all", int8_rows),
    ):
        if rows:
            counts = [sum(row["outcome"] == kind for row in rows) for kind in _KINDS]
            share = f"{counts[0]} ({counts[0] / len(rows):.1%})"
            lines.append(f"| {title} | {len(rows)} | {share} | {' | '.join(map(str, counts[1:]))} |")
    return "\n".join(lines) + "\n"


def _operators(found: Mapping[str, Sequence[Row]]) -> str:
    lines = ["| operator | float: passed of cases | int8: passed of cases |", "| --- | --- | --- |"]
    tables = {scheme: _by_operator(rows) for scheme, rows in found.items()}
    for operator in sorted(tables["none"]):
        cells = [_cell(tables[scheme].get(operator, [])) for scheme in ("none", "int8")]
        lines.append(f"| {operator} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines) + "\n"


def _by_operator(rows: Iterable[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        found[str(row["operator"])].append(row)
    return found


def _cell(rows: Sequence[Row]) -> str:
    if not rows:
        return ""
    passed = sum(row["outcome"] == "passed" for row in rows)
    return f"{passed} of {len(rows)}" if passed < len(rows) else f"all {len(rows)}"


def _left(title: str, rows: Sequence[Row]) -> str:
    """Return the reasons, by operator; cases of one operator with the same reason share a line."""
    groups: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for row in rows:
        if row["outcome"] != "passed":
            groups[row["operator"], row["outcome"], _short(row)].append(str(row["name"]).removeprefix("test_"))
    if not groups:
        return ""
    lines = [f"### {title}\n", "| operator | outcome | reason | cases |", "| --- | --- | --- | --- |"]
    for (operator, outcome, reason), names in sorted(groups.items()):
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        lines.append(f"| {operator} | {outcome} | {reason} | {shown} |")
    return "\n".join(lines) + "\n"


def _short(row: Row) -> str:
    """Return a reason without the case's own names and numbers."""
    reason = str(row["reason"]).replace("|", "/").replace("\n", " ")
    if "is not the same network" in reason:
        return (
            "differs from onnxruntime; " + reason.partition("the first operator that differs: ")[2].partition(" at ")[0]
        )
    if " dB, at least" in reason:
        return "below 20 dB after quantising"
    if "operators that do not convert" in reason or "TFLite does not have" in reason:
        return reason.partition(" at ")[0]
    return reason[:160]
