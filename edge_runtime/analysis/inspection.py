"""Everything that is known of a model before it runs, gathered once and written as one document."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edge_runtime.analysis.cost import Cost, costs
from edge_runtime.analysis.edgetpu import Accelerated, Mapping, map_operators, with_edgetpu
from edge_runtime.analysis.fit import Advice, Verdict, advise, judge_memory, judge_time, worst
from edge_runtime.analysis.graph import Graph, Node, read_graph
from edge_runtime.analysis.latency import Latency, predict_latency
from edge_runtime.analysis.memory import Memory, estimate_memory
from edge_runtime.analysis.operator_cache import OperatorCache
from edge_runtime.analysis.profile import Profile, load_profile, profile_names
from edge_runtime.analysis.xnnpack import Delegation, RuntimeName, delegation
from edge_runtime.errors import EdgeRuntimeError
from edge_runtime.model_file import Tensor


@dataclass(frozen=True, slots=True)
class Inspection:
    """A model under one runtime; ``predictions`` has one entry per device asked for."""

    graph: Graph
    costs: tuple[Cost, ...]
    memory: Memory
    plain_memory: Memory
    """Without XNNPACK."""
    delegation: Delegation
    mapping: Mapping
    predictions: tuple["Prediction", ...]
    fps: float | None = None
    """The budgets that were given."""
    memory_mb: float | None = None

    @property
    def verdict(self) -> Verdict | None:
        """Return the verdict on the first device, or None when no budget was given."""
        return self.predictions[0].verdict if self.predictions else None


@dataclass(frozen=True, slots=True)
class Prediction:
    """A model on one device."""

    profile: Profile
    latency: Latency
    edgetpu: Accelerated | None
    """With the device's Edge TPU; None where it has none or nothing maps."""
    advice: tuple[Advice, ...]
    time_verdict: Verdict | None
    """On the Edge TPU's time where it is used."""
    memory_verdict: Verdict | None
    correction: "Correction | None" = None
    """Applied to ``latency`` and ``advice``."""

    @property
    def verdict(self) -> Verdict | None:
        """Return the less favourable of both, or None when no budget was given."""
        given = [verdict for verdict in (self.time_verdict, self.memory_verdict) if verdict]
        return worst(given) if given else None


@dataclass(frozen=True, slots=True)
class Correction:
    """How long the model usually takes on this device, as a running daemon measured it."""

    ratio: float
    """Times the prediction."""
    setup: str
    """Runtime, threads and delegate it was measured with."""
    at: str


def inspect_model(
    path: Path,
    *,
    profiles: tuple[Profile, ...] = (),
    runtime: RuntimeName = "litert",
    threads: int | None = None,
    fps: float | None = None,
    memory_mb: float | None = None,
    correction: Correction | None = None,
    operators: OperatorCache | None = None,
) -> Inspection:
    """Analyse a model file without running it. Raises UsageError when there is none, ModelError when it is not sound.

    ``fps`` and ``memory_mb`` (of the whole program) are the budgets that verdicts are about; ``correction`` is for the
    one profile of a device that has run the model, ``operators`` for one on which operators were timed.
    """
    graph = read_graph(path)
    pointer_bytes = max((profile.pointer_bytes for profile in profiles), default=8)
    int8_lanes = max((profile.int8_lanes for profile in profiles), default=16)
    memory = estimate_memory(graph, runtime=runtime, pointer_bytes=pointer_bytes, int8_lanes=int8_lanes)
    mapping = map_operators(graph)
    asked = _Asked(mapping, memory, runtime, threads, fps, memory_mb, correction, operators)
    predictions = tuple(_predicted(graph, profile, asked) for profile in profiles)
    return Inspection(
        graph=graph,
        costs=costs(graph),
        memory=memory,
        plain_memory=estimate_memory(graph, runtime=runtime, xnnpack=False, pointer_bytes=pointer_bytes),
        delegation=delegation(graph, runtime=runtime),
        mapping=mapping,
        predictions=predictions,
        fps=fps,
        memory_mb=memory_mb,
    )


@dataclass(frozen=True, slots=True)
class _Asked:
    """What every prediction of a model is made with."""

    mapping: Mapping
    memory: Memory
    runtime: RuntimeName
    threads: int | None
    fps: float | None
    memory_mb: float | None
    correction: Correction | None
    operators: OperatorCache | None


def _predicted(graph: Graph, profile: Profile, asked: _Asked) -> Prediction:
    """Return a model on one device."""
    used, operators = asked.threads or int(profile.cores.value), asked.operators
    known = operators.known(threads=used) if operators else None
    latency = predict_latency(graph, profile, threads=asked.threads, runtime=asked.runtime, known=known)
    advice = [] if latency.unknown else advise(graph, latency, profile, mapping=asked.mapping)
    if asked.correction is not None and not latency.unknown:
        latency, advice = _corrected(latency, advice, asked.correction.ratio)
    accelerated = None if latency.unknown else with_edgetpu(asked.mapping, latency, profile)
    judged = accelerated or latency
    return Prediction(
        profile=profile,
        latency=latency,
        edgetpu=accelerated,
        advice=tuple(advice),
        time_verdict=judge_time(judged.ms, judged.high_ms, fps=asked.fps) if asked.fps else None,
        memory_verdict=judge_memory(asked.memory, asked.memory_mb) if asked.memory_mb else None,
        correction=asked.correction,
    )


def _corrected(latency: Latency, advice: list[Advice], ratio: float) -> tuple[Latency, list[Advice]]:
    """Scale a prediction to what the device was seen to take; around that it varies by a tenth to a third."""
    ms = latency.ms * ratio
    nodes = tuple(replace(node, ms=node.ms * ratio) for node in latency.nodes)
    scaled = [replace(one, before_ms=one.before_ms * ratio, after_ms=one.after_ms * ratio) for one in advice]
    call_ms = latency.call_ms * ratio
    return replace(latency, ms=ms, low_ms=ms * 0.9, high_ms=ms * 1.3, nodes=nodes, call_ms=call_ms), scaled


def boards_that_fit(
    path: Path,
    *,
    runtime: RuntimeName = "litert",
    threads: int | None = None,
    fps: float | None = None,
    memory_mb: float | None = None,
) -> list[str]:
    """Return the shipped profiles that meet budgets, those with the least to spare first. Raises ModelError."""
    every = tuple(load_profile(name) for name in profile_names())
    found = inspect_model(path, profiles=every, runtime=runtime, threads=threads, fps=fps, memory_mb=memory_mb)
    fitting = [prediction for prediction in found.predictions if prediction.verdict == "fits"]
    fitting.sort(key=lambda prediction: -(prediction.edgetpu or prediction.latency).ms)
    return [prediction.profile.name for prediction in fitting]


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
            "inputs": [_tensor(graph.tensors[index]) for index in model.inputs],
            "outputs": [_tensor(graph.tensors[index]) for index in model.outputs],
            "metadata": sorted(model.metadata),
            "files": sorted(model.associated_files),
        },
        "use": _use(Path(model.path)),
        "operators": graph.operators(),
        "totals": {
            "operators": len(graph.nodes),
            "macs": sum(cost.macs for cost in found.costs),
            "parameters": sum(cost.parameters for cost in found.costs),
            "weight_bytes": sum(cost.weight_bytes for cost in found.costs),
            "moved_bytes": sum(cost.bytes_moved for cost in found.costs),
        },
        "memory": _memory(found),
        "xnnpack": {
            "operators": found.delegation.taken,
            "parts": found.delegation.segments,
            "left": _names(graph, [number is None for number in found.delegation.segment]),
        },
        "edgetpu": _edgetpu(found),
        "layers": [_layer(found, node) for node in graph.nodes],
        "devices": [_prediction(prediction) for prediction in found.predictions],
        "budgets": {"fps": found.fps, "memory_mb": found.memory_mb},
        "verdict": found.verdict,
    }


def describe_node(graph: Graph, node: Node) -> str:
    """Return ``4 DEPTHWISE_CONV_2D (1, 56, 56, 96)``."""
    result = graph.result(node)
    return f"{node.index} {node.name} {_shape(result)}" if result else f"{node.index} {node.name}"


def _shape(tensor: Tensor) -> str:
    return "(" + ", ".join(str(size) for size in tensor.shape) + ")"


def _tensor(tensor: Tensor) -> dict[str, Any]:
    quantized = tensor.scales.size > 0
    return {
        "name": tensor.name,
        "shape": list(tensor.shape),
        "type": tensor.type.name,
        "scale": float(tensor.scales[0]) if quantized else None,
        "zero_point": int(tensor.zero_points[0]) if quantized and tensor.zero_points.size else None,
    }


def _use(path: Path) -> dict[str, Any]:
    """Return how the runtime would use the model: task, labels, what was inferred; or why it would not."""
    from edge_runtime.manifest import resolve

    try:
        spec = resolve(path)
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
        "arena_bytes": memory.arena.size_bytes + memory.arena.persistent_bytes,
        "workspace_bytes": memory.workspace_bytes,
        "packed_bytes": memory.packed_bytes,
        "table_bytes": memory.table_bytes,
        "interpreter_bytes": memory.interpreter_bytes,
        "total_bytes": memory.total_bytes,
        "process_bytes": memory.process_bytes,
        "plain_total_bytes": found.plain_memory.total_bytes,
        "peak": describe_node(found.graph, found.graph.nodes[peak]) if peak is not None else None,
        "peak_live_bytes": memory.planned.live_bytes[peak] if peak is not None else 0,
    }


def _names(graph: Graph, chosen: list[bool]) -> list[str]:
    return list(dict.fromkeys(node.name for node, inside in zip(graph.nodes, chosen, strict=True) if inside))


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


def _layer(found: Inspection, node: Node) -> dict[str, Any]:
    cost, result, fed = found.costs[node.index], found.graph.result(node), found.graph.operand(node, 0)
    first = found.predictions[0].latency.nodes[node.index].ms if found.predictions else None
    return {
        "index": node.index,
        "operator": node.name,
        "type": fed.type.name if fed else None,
        "output": list(result.shape) if result else None,
        "macs": cost.macs,
        "parameters": cost.parameters,
        "moved_bytes": cost.bytes_moved,
        "xnnpack": found.delegation.segment[node.index] is not None,
        "edgetpu": found.mapping.mapped[node.index],
        "predicted_ms": round(first, 5) if first is not None else None,
    }


def _prediction(prediction: Prediction) -> dict[str, Any]:
    latency, edgetpu, correction = prediction.latency, prediction.edgetpu, prediction.correction
    return {
        "device": latency.profile,
        "title": prediction.profile.title,
        "threads": latency.threads,
        "latency_ms": _latency(latency),
        "latency_unknown": latency.unknown,
        "edgetpu_ms": (
            {"predicted": round(edgetpu.ms, 3), **_ends(edgetpu.low_ms, edgetpu.high_ms)} if edgetpu else None
        ),
        "not_delegated_ms": round(latency.undelegated_ms, 3),
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
                "before_ms": round(advice.before_ms, 3),
                "after_ms": round(advice.after_ms, 3),
                "note": advice.note,
            }
            for advice in prediction.advice
        ],
    }


def _latency(latency: Latency) -> dict[str, float | None]:
    """Return the prediction with its interval; of what is not known only the lower end."""
    if latency.unknown:
        return {"predicted": None, "low": round(latency.low_ms, 3), "high": None}
    return {"predicted": round(latency.ms, 3), **_ends(latency.low_ms, latency.high_ms)}


def _ends(low_ms: float, high_ms: float) -> dict[str, float]:
    return {"low": round(low_ms, 3), "high": round(high_ms, 3)}
