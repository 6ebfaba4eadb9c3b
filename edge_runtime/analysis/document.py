"""An inspection as one JSON-like document: what ``--json`` prints, and what text and page are made of."""

from pathlib import Path
from typing import Any, Final

from edge_runtime.analysis.cost import CONTROL, costs
from edge_runtime.analysis.graph import Graph, Node
from edge_runtime.analysis.inspection import Inspection, Prediction, foreign
from edge_runtime.analysis.loops import alternatives, called_graphs, whole_costs
from edge_runtime.analysis.prediction import Latency
from edge_runtime.analysis.said import manifest, weight_schemes
from edge_runtime.errors import EdgeRuntimeError
from edge_runtime.model_file import EDGETPU_OPERATOR, ModelFile, Tensor
from edge_runtime.sinks.answer import printable

_LONGEST: Final = 1000


def document(found: Inspection) -> dict[str, Any]:
    """Return the inspection as JSON-like values; sizes in bytes, times in ms."""
    graph, model = found.graph, found.graph.model
    return {
        "schema": 1,
        "model": {
            "path": model.path,
            "sha256": model.sha256,
            "size_bytes": model.size_bytes,
            "description": model.description,
            "subgraphs": model.subgraph_count,
            "signatures": {str(number): name for number, name in sorted(model.signatures.items())},
            "inputs": [_tensor(graph.tensors[index]) for index in model.inputs],
            "outputs": [_tensor(graph.tensors[index]) for index in model.outputs],
            "metadata": sorted(model.metadata),
            "files": sorted(model.associated_files),
            "manifest": manifest(model),
            "weights": weight_schemes(graph),
        },
        "use": _use(model),
        "operators": graph.operators(),
        "graphs": _runs(graph),
        "totals": {
            "operators": len(graph.nodes),
            "macs": sum(cost.macs for cost in found.costs),
            "parameters": sum(cost.parameters for cost in found.costs),
            "weight_bytes": sum(cost.weight_bytes for one in (graph, *called_graphs(graph)) for cost in costs(one)),
            "moved_bytes": sum(cost.bytes_moved for cost in found.costs),
        },
        "memory": _memory(found),
        "xnnpack": {
            "operators": found.delegation.taken,
            "parts": found.delegation.segments,
            "left": _left(found),
        },
        "edgetpu": _edgetpu(found),
        "layers": [_layer(found, node) for node in graph.nodes],
        "layers_device": found.predictions[0].profile.name if found.predictions else None,
        "devices": [_prediction(prediction) for prediction in found.predictions],
        "budgets": {"fps": found.fps, "memory_mb": found.memory_mb},
        "verdict": found.verdict,
    }


def describe_node(graph: Graph, node: Node) -> str:
    """Return ``4 DEPTHWISE_CONV_2D (1, 56, 56, 96)``."""
    result = graph.result(node)
    return f"{node.index} {node.name} {_shape(result)}" if result and result.shape else f"{node.index} {node.name}"


def _shape(tensor: Tensor) -> str:
    return "(" + ", ".join(str(size) for size in tensor.shape) + ")"


def _tensor(tensor: Tensor) -> dict[str, Any]:
    quantized = len(tensor.scale_values) > 0
    return {
        "name": tensor.name,
        "shape": list(tensor.shape),
        "type": tensor.type.name,
        "scale": float(tensor.scale_values[0]) if quantized else None,
        "zero_point": int(tensor.zero_point_values[0]) if quantized and tensor.zero_point_values else None,
    }


def _use(model: ModelFile) -> dict[str, Any]:
    """Return how the runtime would use the model: task, labels, what was inferred; or why it would not."""
    from edge_runtime.manifest import resolve

    try:
        spec = resolve(Path(model.path), model=model)
    except EdgeRuntimeError as error:
        return {"task": None, "labels": None, "inferred": [], "error": str(error)}
    return {
        "task": spec.task,
        "name": spec.identity.name,
        "version": spec.identity.version,
        "labels": len(spec.labels) if spec.labels is not None else None,
        "inferred": list(spec.inferred),
        "error": None,
    }


def _memory(found: Inspection) -> dict[str, Any]:
    memory = found.memory
    peak = memory.planned.peak
    return {
        "planned_arena_bytes": memory.planned.size_bytes + memory.planned.persistent_bytes,
        "arena_bytes": memory.arena.size_bytes - memory.arena.untouched_bytes + memory.arena.persistent_bytes,
        "workspace_bytes": memory.workspace_bytes,
        "packed_bytes": memory.packed_bytes,
        "table_bytes": memory.table_bytes,
        "interpreter_bytes": memory.interpreter_bytes,
        "called_bytes": memory.called_bytes,
        "total_bytes": memory.total_bytes,
        "process_bytes": memory.process_bytes,
        "plain_total_bytes": found.plain_memory.total_bytes,
        "peak": describe_node(found.graph, found.graph.nodes[peak]) if peak is not None else None,
        "peak_live_bytes": memory.planned.live_bytes[peak] if peak is not None else 0,
    }


def _runs(graph: Graph, *, within: str = "", seen: frozenset[int] = frozenset()) -> list[dict[str, Any]]:
    """Return the graphs that a graph's operators run, each followed by those that it runs itself."""
    found = []
    for number, called in graph.called.items():
        node = graph.nodes[number]
        known = alternatives(graph, node)
        times = {id(one): count for runs in known or () for one, count in runs}
        roles = ("branch if true", "branch if false") if node.name == "IF" else ("condition", "body")
        for index, role, one in zip(node.options.runs, roles, called, strict=True):
            found.append(
                {
                    "index": index,
                    "run_by": describe_node(graph, node) + within,
                    "role": role,
                    "times": times.get(id(one), 0) if known else None,
                    "operators": one.operators(),
                    "macs": sum(cost.macs for cost in whole_costs(one)),
                }
            )
            if index not in seen:
                found += _runs(one, within=f" of graph {index}", seen=seen | {index})
            seen |= {index}
    return found


def _left(found: Inspection) -> list[str]:
    """Return the kinds of operators that plain kernels run."""
    return list(dict.fromkeys(node.name for node in found.graph.nodes if _kernel(found, node) == "plain"))


def _edgetpu(found: Inspection) -> dict[str, Any]:
    mapping, graph = found.mapping, found.graph
    blocker = describe_node(graph, graph.nodes[mapping.blocker]) if mapping.blocker is not None else None
    return {
        "compiled": mapping.compiled,
        "operators": sum(mapping.mapped),
        "weight_bytes": mapping.weight_bytes,
        "split_at": blocker,
        "reason": mapping.reason,
    }


def _kernel(found: Inspection, node: Node) -> str:
    """Return what runs an operator: nothing does where it is known to no interpreter."""
    if foreign(node):
        return "Edge TPU" if node.name == EDGETPU_OPERATOR else "none"
    if node.name in CONTROL:
        return "graphs"
    return "plain" if found.delegation.segment[node.index] is None else "XNNPACK"


def _layer(found: Inspection, node: Node) -> dict[str, Any]:
    cost, result, fed = found.costs[node.index], found.graph.result(node), found.graph.operand(node, 0)
    known = found.predictions and not foreign(node)
    first = found.predictions[0].latency.nodes[node.index].ms if known else None
    return {
        "index": node.index,
        "operator": node.name,
        "type": fed.type.name if fed else None,
        "output": list(result.shape) if result else None,
        "macs": cost.macs,
        "parameters": cost.parameters,
        "moved_bytes": cost.bytes_moved,
        "kernel": _kernel(found, node),
        "xnnpack": found.delegation.segment[node.index] is not None,
        "runs": list(node.options.runs),
        "edgetpu": found.mapping.mapped[node.index],
        "predicted_ms": None if first is None else round(first, 5),
    }


def _prediction(prediction: Prediction) -> dict[str, Any]:
    latency, edgetpu, correction = prediction.latency, prediction.edgetpu, prediction.correction
    return {
        "device": latency.profile,
        "title": prediction.profile.title,
        "threads": latency.threads,
        "latency_ms": _latency(latency),
        "latency_unknown": latency.unknown,
        "edgetpu_ms": ({"predicted": _ms(edgetpu.ms), **_ends(edgetpu.low_ms, edgetpu.high_ms)} if edgetpu else None),
        "not_delegated_ms": _ms(latency.undelegated_ms),
        "fps": round(1000.0 / latency.ms, 1) if latency.ms and not latency.unknown else None,
        "correction": (
            {"ratio": round(correction.ratio, 3), "setup": correction.setup, "at": correction.at}
            if correction
            else None
        ),
        "verdict": prediction.verdict,
        "time_verdict": prediction.time_verdict,
        "memory_verdict": prediction.memory_verdict,
        "advice": [
            {
                "change": advice.change,
                "before_ms": _ms(advice.before_ms),
                "after_ms": _ms(advice.after_ms),
                "note": advice.note,
            }
            for advice in prediction.advice
        ],
    }


def _latency(latency: Latency) -> dict[str, float | None]:
    """Return the prediction with its interval; of what is not known only the lower end."""
    if latency.unknown:
        return {"predicted": None, "low": _ms(latency.low_ms), "high": None}
    return {"predicted": _ms(latency.ms), **_ends(latency.low_ms, latency.high_ms)}


def _ends(low_ms: float, high_ms: float) -> dict[str, float]:
    return {"low": _ms(low_ms), "high": _ms(high_ms)}


def _ms(value: float) -> float:
    """Return a time to the microsecond; of less than ten of them to ten nanoseconds."""
    return round(value, 3 if value >= 0.01 else 5)


def printable_values(value: Any) -> Any:
    """Return a document in which no name moves a cursor or fills a screen: a model says what it likes."""
    if isinstance(value, str):
        shown = printable(value)
        return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}…"
    if isinstance(value, dict):
        return {printable_values(key): printable_values(one) for key, one in value.items()}
    return [printable_values(one) for one in value] if isinstance(value, list) else value


def said(model: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what a document's model says of itself, in lines with a title: weights, metadata, manifest."""
    lines = []
    if model["weights"]:
        every = [f"{scheme} ({number} operator{'s' * (number > 1)})" for scheme, number in model["weights"].items()]
        lines.append(("weights", ", ".join(every)))
    if model["metadata"] or model["files"]:
        files = f"; files {', '.join(model['files'])}" if model["files"] else ""
        lines.append(("metadata", ", ".join(model["metadata"]) + files))
    if kept := model["manifest"]:
        parts = [" ".join(str(kept[key]) for key in ("name", "version") if kept.get(key)), kept.get("task")]
        accuracy = {key: one for key, one in kept.get("accuracy", {}).items() if not isinstance(one, dict)}
        parts += [f"{one}" if key == "metric" else f"{key} {one}" for key, one in accuracy.items()]
        parts += [f"made {kept['provenance']['date']}"] if "date" in kept.get("provenance", {}) else []
        lines.append(("manifest", f"{kept['found']}: {', '.join(filter(None, parts)) or 'says nothing of these'}"))
    return lines


def verdicts(result: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the verdicts on a document's device, each with a sentence that says what was asked and found.

    Of several devices: which each verdict is on.
    """
    if len(result["devices"]) != 1:
        boards: dict[str, list[str]] = {}
        for device in result["devices"]:
            boards.setdefault(device["verdict"], []).append(device["device"])
        order = ("fits", "tight", "does not fit")
        found = [(verdict, f"{verdict} on {', '.join(boards[verdict])}") for verdict in order if verdict in boards]
        return [*found, *_memory_verdict(result)]
    device, budgets = result["devices"][0], result["budgets"]
    found = []
    if verdict := device["time_verdict"]:
        timing = device["edgetpu_ms"] or device["latency_ms"]
        high, budget = timing["high"], f"{1000 / budgets['fps']:.3g} ms an inference"
        took = f"up to {high:.3g} of {budget}" if high is not None else "no time is predicted"
        if high is None and verdict == "does not fit":
            took = f"over {timing['low']:.3g} of {budget}"
        found.append((verdict, f"time: {verdict}, {took}, for {budgets['fps']:g} a second"))
    return [*found, *_memory_verdict(result)]


def _memory_verdict(result: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the verdict on memory, which is the same on every device."""
    verdict = result["devices"][0]["memory_verdict"] if result["devices"] else None
    if not verdict:
        return []
    program_mib = result["memory"]["process_bytes"] / 2**20
    return [(verdict, f"memory: {verdict}, about {program_mib:.0f} of {result['budgets']['memory_mb']:g} MiB")]
