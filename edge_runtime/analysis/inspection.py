"""Everything that is known of a model before it runs, gathered once."""

from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import Final

from edge_runtime.analysis.cost import Cost
from edge_runtime.analysis.edgetpu import Accelerated, Mapping, map_operators, with_edgetpu
from edge_runtime.analysis.fit import Advice, Verdict, advise, best, judge_memory, judge_time, worst
from edge_runtime.analysis.graph import Graph, Node, read_graph
from edge_runtime.analysis.latency import predict_latency
from edge_runtime.analysis.loops import called_graphs, whole_costs
from edge_runtime.analysis.memory import Memory, estimate_memory
from edge_runtime.analysis.operator_cache import OperatorCache
from edge_runtime.analysis.prediction import Latency
from edge_runtime.analysis.profile import Profile, load_profile, profile_names
from edge_runtime.analysis.xnnpack import Delegation, RuntimeName, delegation
from edge_runtime.model_file import EDGETPU_OPERATOR

_OWN_CUSTOM: Final = frozenset({"TFLite_Detection_PostProcess", "AudioSpectrogram", "Mfcc", "NumericVerify"})
"""Custom operators that every interpreter has (``tflite/core/kernels/register.cc``)."""


def foreign(node: Node) -> bool:
    """Return whether no interpreter has a kernel for an operator."""
    return node.custom and node.name not in _OWN_CUSTOM


@dataclass(frozen=True, slots=True)
class Inspection:
    """A model under one runtime; ``predictions`` has one entry per device asked for."""

    graph: Graph
    costs: tuple[Cost, ...]
    """Per operator, with what it runs of other graphs."""
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
        """Return the verdict on the device, the most favourable of several; None when no budget was given."""
        return best(one.verdict for one in self.predictions if one.verdict)


@dataclass(frozen=True, slots=True)
class Prediction:
    """A model on one device."""

    profile: Profile
    latency: Latency
    edgetpu: Accelerated | None
    """With the device's Edge TPU; None where it has none, nothing maps, or it is no faster with it."""
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
        costs=whole_costs(graph),
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
    if (why := unforeseeable(graph)) is not None:
        latency = replace(latency, low_ms=0.0, high_ms=inf, unknown=why)
    advice = [] if latency.unknown else advise(graph, latency, profile, mapping=asked.mapping)
    if asked.correction is not None and not latency.unknown:
        latency, advice = _corrected(latency, advice, asked.correction.ratio)
    accelerated = None if latency.unknown else with_edgetpu(asked.mapping, latency, profile)
    # A small network is done before its input is on the chip: who has the choice leaves it to the processor.
    accelerated = accelerated if accelerated and accelerated.ms < latency.ms else None
    judged = accelerated or latency
    least_ms = latency.low_ms if latency.unknown else judged.ms
    return Prediction(
        profile=profile,
        latency=latency,
        edgetpu=accelerated,
        advice=tuple(advice),
        time_verdict=judge_time(least_ms, judged.high_ms, fps=asked.fps) if asked.fps else None,
        memory_verdict=judge_memory(asked.memory, asked.memory_mb) if asked.memory_mb else None,
        correction=asked.correction,
    )


def unforeseeable(graph: Graph) -> str | None:
    """Return why a model's work cannot be told from its file, or None."""
    if any(node.custom and node.name == EDGETPU_OPERATOR for node in graph.nodes):
        return "it is compiled for an Edge TPU, which hides its operators: inspect the model it was compiled from"
    nodes = [node for one in (graph, *called_graphs(graph)) for node in one.nodes]
    if names := dict.fromkeys(node.name for node in nodes if foreign(node)):
        return f"interpreters know no {' and no '.join(names)}: it runs only with a library that brings the operator"
    for index in graph.model.inputs:
        tensor = graph.tensors[index]
        if -1 in tensor.shape_signature[1:]:
            open_shape = "×".join("?" if size < 0 else str(size) for size in tensor.shape_signature)  # noqa: RUF001
            return f"its input {open_shape} has no fixed size and is counted as it is stored: convert it with one"
    return None


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
