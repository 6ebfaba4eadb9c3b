"""What a file says of its model besides the graph: how products are quantised, and the manifest."""

from collections import Counter
from functools import reduce
from pathlib import Path
from typing import Any

import msgspec

from edge_runtime.analysis.cost import WEIGHTED
from edge_runtime.analysis.graph import Graph, Node
from edge_runtime.analysis.loops import called_graphs
from edge_runtime.errors import EdgeRuntimeError
from edge_runtime.manifest_file import Manifest, overlay, read_embedded, read_sidecar, sidecar_path
from edge_runtime.model_file import ModelFile, Tensor


def weight_schemes(graph: Graph) -> dict[str, int]:
    """Return how many operators hold their weights how, ``int8 per channel with int8 activations``."""
    found: Counter[str] = Counter()
    for one in (graph, *called_graphs(graph)):
        widened = {node.outputs[0]: node for node in one.nodes if node.name == "DEQUANTIZE" and node.outputs}
        found.update(filter(None, (_scheme(one, node, widened) for node in one.nodes if node.name in WEIGHTED)))
    return dict(found.most_common())


def _scheme(graph: Graph, node: Node, widened: dict[int, Node]) -> str | None:
    """Return one operator's scheme; None where it has no weights in the file."""
    stored: list[Tensor] = []
    fed: Tensor | None = None
    for index in node.inputs:
        source = widened.get(index)
        kept = source.inputs[0] if source is not None and source.inputs else index
        if kept < 0:
            continue
        if graph.constant[kept]:
            stored.append(graph.tensors[kept])
        else:
            fed = fed or graph.tensors[index]
    weights = max((one for one in stored if len(one.shape) > 1), key=lambda one: one.size_bytes, default=None)
    if weights is None or fed is None:
        return None
    kind = weights.type.name + (" per channel" if len(weights.scale_values) > 1 else "")
    return kind if kind == fed.type.name == "float32" else f"{kind} with {fed.type.name} activations"


def manifest(model: ModelFile) -> dict[str, Any] | None:
    """Return the manifest beside a model over the one inside it, with where it was found; None where there is none.

    Of labels their number, of the calibration's statistics nothing. One that is not sound counts as none: ``use`` says
    so.
    """
    path = Path(model.path)
    try:
        beside, inside = read_sidecar(path, model), read_embedded(model)
    except EdgeRuntimeError:
        return None
    both = [one for one in (beside, inside) if one is not None]
    if not both:
        return None
    merged: Manifest = reduce(overlay, both)
    values = msgspec.to_builtins(merged)
    labels = None if merged.labels is None else len(merged.labels)
    kept = {
        key: values[key]
        for key in ("name", "version", "task", "input", "output", "provenance", "accuracy")
        if key in values
    }
    return {"found": str(sidecar_path(path)) if beside else "in the file", **kept, "labels": labels}
