"""``edge-infer bench MODEL --layers``: measured time per layer, beside the prediction where a device is named."""

import json
import os
import sys
from pathlib import Path
from typing import Any

from edge_runtime.analysis.graph import Graph, read_graph
from edge_runtime.analysis.latency import predict_latency
from edge_runtime.analysis.layers import time_layers, time_model
from edge_runtime.analysis.profile import load_profile
from edge_runtime.errors import UsageError

WHOLE_SHARE = 0.25
"""Of the time goes to the whole model, half before and half after the layers: the machine may change meanwhile."""


def run(path: Path, *, threads: str | None, seconds: float, device: str | None, as_json: bool) -> int:
    """Measure for about ``seconds`` and print. Raises UsageError, ModelError, EngineError."""
    document = measure(read_graph(path), threads=_threads(threads), seconds=seconds, device=device)
    sys.stdout.write(json.dumps(document) + "\n" if as_json else table(document))
    return 0


def measure(graph: Graph, *, threads: int, seconds: float, device: str | None) -> dict[str, Any]:
    """Return the shortest time of the whole and of every layer by itself, in ms. Raises EngineError, UsageError."""
    predicted = predict_latency(graph, load_profile(device), threads=threads) if device else None
    whole_s = seconds * WHOLE_SHARE / 2
    before_ms = time_model(graph.model.data, threads=threads, seconds=whole_s)
    layers = list(time_layers(graph, threads=threads, budget_s=seconds * (1 - WHOLE_SHARE)))
    after_ms = time_model(graph.model.data, threads=threads, seconds=whole_s)
    whole_ms = min(before_ms, after_ms)
    total_ms = sum(layer.best_ms or 0.0 for layer in layers)
    rows = [
        {
            "index": layer.node.index,
            "operator": layer.node.name,
            "output": list(result.shape) if (result := graph.result(layer.node)) else None,
            "measured_ms": layer.best_ms,
            "predicted_ms": predicted.nodes[layer.node.index].ms if predicted else None,
            "reason": layer.reason,
        }
        for layer in layers
    ]
    return {
        "schema": 1,
        "model": graph.model.path,
        "threads": threads,
        "device": device,
        "whole_ms": whole_ms,
        "layers_ms": total_ms,
        "ratio": total_ms / whole_ms,
        "predicted_ms": predicted.ms if predicted else None,
        "layers": rows,
    }


def table(document: dict[str, Any]) -> str:
    """Return the document as lines for a person, the slowest layers marked by their share."""
    rows, total_ms = document["layers"], document["layers_ms"] or 1.0
    width = max((len(row["operator"]) for row in rows), default=8)
    with_prediction = document["device"] is not None
    head = f"{'#':>4}  {'operator':{width}}  {'output':18}  {'measured':>9}"
    lines = [head + (f"  {'predicted':>9}" if with_prediction else "") + "  share"]
    for row in rows:
        shape = "x".join(str(size) for size in row["output"] or [])
        line = f"{row['index']:>4}  {row['operator']:{width}}  {shape:18}  "
        if row["measured_ms"] is None:
            lines.append(f"{line}not measured: {row['reason']}")
            continue
        share = row["measured_ms"] / total_ms
        line += f"{row['measured_ms']:9.4f}" + (f"  {row['predicted_ms']:9.4f}" if with_prediction else "")
        lines.append(f"{line}  {share:5.1%} {'#' * round(40 * share)}".rstrip())
    lines.append("")
    lines.append(
        f"whole {document['whole_ms']:.3f} ms, sum of layers {document['layers_ms']:.3f} ms "
        f"({document['ratio']:.2f} of it), {document['threads']} threads; the shortest of repeated runs"
    )
    if with_prediction:
        lines.append(f"predicted for {document['device']}: {document['predicted_ms']:.3f} ms")
    return "\n".join(lines) + "\n"


def _threads(text: str | None) -> int:
    if text is None or text == "auto":
        return max(1, (os.cpu_count() or 1) - 1)
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"--threads {text}: give a number above 0, or auto")
    return int(text)
