"""Measured layers as text for a terminal."""

from typing import Any

from edge_runtime.analysis.layer_page import lines_of


def table(document: dict[str, Any]) -> str:
    """Return the document as lines for a person, the slowest layers marked by their share."""
    rows = list(lines_of(document["layers"]))
    total_ms = document["layers_ms"] or 1.0
    width, place_width = (max((len(row[part]) for row in rows), default=8) for part in (1, 0))
    place_width = max(4, place_width)
    with_prediction = document["device"] is not None
    head = f"{'#':>{place_width}}  {'operator':{width}}  {'output':18}  {'measured':>9}"
    lines = [head + (f"  {'predicted':>9}" if with_prediction else "") + "  share"]
    for place, name, row in rows:
        shape = "x".join(str(size) for size in row["output"] or [])
        line = f"{place:>{place_width}}  {name:{width}}  {shape:18}  "
        if row["measured_ms"] is None:
            lines.append(f"{line}not measured: {row['reason']}")
            continue
        share = row["measured_ms"] / total_ms
        line += f"{row['measured_ms']:9.4f}"
        if with_prediction:
            line += f"  {'' if row['predicted_ms'] is None else format(row['predicted_ms'], '.4f'):>9}"
        lines.append(f"{line}  {share:5.1%} {'#' * round(40 * share)}".rstrip())
    return "\n".join([*lines, "", *_summary(document)]) + "\n"


def _summary(document: dict[str, Any]) -> list[str]:
    threads = document["threads"]
    whole = f"whole {document['whole_ms']:.3f} ms, sum of layers {document['layers_ms']:.3f} ms"
    how = f"{threads} thread{'s' if threads > 1 else ''}; medians of repeated runs"
    lines = [f"{whole} ({document['ratio']:.2f} of it), {how}"]
    if left := [row["operator"] for row in document["layers"] if row["measured_ms"] is None]:
        lines.append(f"without {', '.join(left)}, not measured")
    lines += [_loop(row) for row in document["layers"] if "inside" in row and row["measured_ms"] is not None]
    if document["device"] is not None:
        lines.append(f"predicted for {document['device']}: {document['predicted_ms']:.3f} ms")
    if now := document.get("pace"):
        expected_ms = now * document["predicted_ms"]
        lines.append(f"the references take {now:.2f} times as long as then: {expected_ms:.3f} ms at this pace")
    return lines


def _loop(row: dict[str, Any]) -> str:
    inside_ms = sum(graph["measured_ms"] for graph in row["inside"])
    return (
        f"{row['index']} {row['operator']}: {inside_ms:.4f} ms of {row['measured_ms']:.4f} in the operators it runs, "
        "the rest in running them"
    )
