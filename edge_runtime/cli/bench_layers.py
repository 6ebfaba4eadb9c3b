"""``edge-infer bench MODEL --layers``: measured time per layer, beside the prediction where the device is known."""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from edge_runtime.analysis.calibration.calibrate import machine_name
from edge_runtime.analysis.calibration.pace import Pace
from edge_runtime.analysis.graph import Graph, read_graph
from edge_runtime.analysis.inspection import unforeseeable
from edge_runtime.analysis.latency import predict_latency
from edge_runtime.analysis.layer_page import render_layers
from edge_runtime.analysis.layers import GraphTime, LayerTime, time_layers, time_model
from edge_runtime.analysis.operator_cache import FILE_NAME, OperatorCache
from edge_runtime.analysis.prediction import Latency, NodeLatency
from edge_runtime.analysis.profile import THIS_DEVICE, Profile, load_profile
from edge_runtime.bench import machine
from edge_runtime.cli.bench_layers_text import table
from edge_runtime.errors import EngineError, StoreError, UsageError
from edge_runtime.interpreter import load_runtime, quiet_native_output
from edge_runtime.store.atomic import replace_file

WHOLE_SHARE = 0.25
"""Of the time goes to the whole model, half before and half after the layers: the machine may change meanwhile."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for: ``device`` is a profile's name or file, ``state`` the directory this device's are kept in."""

    threads: str | None
    seconds: float
    device: str | None
    state: Path
    html: str | None
    as_json: bool


def run(path: Path, wanted: Wanted) -> int:
    """Measure, remember and print. Raises UsageError, ModelError, EngineError, StoreError."""
    threads = _threads(wanted.threads)
    graph = read_graph(path)
    name, profile = _profile(wanted)
    predicted = predict_latency(graph, profile, threads=threads) if profile else None
    if predicted and predicted.unknown:
        sys.stderr.write(f"not predicted: {predicted.unknown}\n")
        predicted = name = None
    document, layers = measure(graph, threads=threads, seconds=wanted.seconds, device=name, predicted=predicted)
    document["pace"] = pace(profile, threads=threads) if predicted else None
    document["remembered"] = remember(layers, threads=threads, state=wanted.state)
    if wanted.html:
        _write(Path(wanted.html), render_layers(document))
    sys.stdout.write(json.dumps(document) + "\n" if wanted.as_json else table(document))
    return 0


def measure(
    graph: Graph, *, threads: int, seconds: float, device: str | None, predicted: Latency | None
) -> tuple[dict[str, Any], list[LayerTime]]:
    """Return what the whole and every layer by itself usually take, in ms. Raises EngineError, UsageError."""
    whole_s = seconds * WHOLE_SHARE / 2
    before_ms = _whole_ms(graph, threads=threads, seconds=whole_s)
    layers = list(time_layers(graph, threads=threads, budget_s=seconds * (1 - WHOLE_SHARE)))
    after_ms = time_model(graph.model.data, threads=threads, seconds=whole_s)
    whole_ms = (before_ms + after_ms) / 2
    total_ms = sum(layer.usual_ms or 0.0 for layer in layers)
    document = {
        "schema": 1,
        "model": graph.model.path,
        "threads": threads,
        "device": device,
        "whole_ms": whole_ms,
        "layers_ms": total_ms,
        "ratio": total_ms / whole_ms,
        "predicted_ms": predicted.ms - predicted.call_ms if predicted else None,
        "interval_ms": [predicted.low_ms, predicted.high_ms] if predicted else None,
        "layers": _rows(layers, predicted.nodes if predicted else None),
    }
    return document, layers


def _whole_ms(graph: Graph, *, threads: int, seconds: float) -> float:
    """Time the model. Raises UsageError where it has no operators, EngineError with why where it does not run."""
    if not graph.nodes:
        raise UsageError(f"{graph.model.path} has no operators, so there is nothing to measure")
    try:
        return time_model(graph.model.data, threads=threads, seconds=seconds)
    except EngineError as error:
        reason = unforeseeable(graph) or str(error).rpartition(": ")[2]
        raise EngineError(f"{graph.model.path} does not run here: {reason}") from error


def _rows(layers: Sequence[LayerTime], predicted: Sequence[NodeLatency] | None) -> list[dict[str, Any]]:
    """Return the operators of the main graph as the document has them."""
    rows = []
    for layer in layers:
        expected = predicted[layer.node.index] if predicted else None
        # What runs others was not measured by itself on any device: its prediction is a sum over them.
        expected_ms = (expected.ms if expected.inside else expected.alone_ms) if expected else None
        rows.append(_row(layer, expected, expected_ms, times=1))
    return rows


def _row(layer: LayerTime, expected: NodeLatency | None, expected_ms: float | None, *, times: int) -> dict[str, Any]:
    """Return an operator; ``times`` is how often its graph runs in an inference, and all of them count."""
    result = layer.graph.result(layer.node)
    row = {
        "index": layer.node.index,
        "operator": layer.node.name,
        "output": list(result.shape) if result else None,
        "measured_ms": None if layer.usual_ms is None else times * layer.usual_ms,
        "predicted_ms": None if expected_ms is None else times * expected_ms,
        "reason": layer.reason,
    }
    if layer.inside:
        # Which branch of an IF was predicted is not told.
        known = expected.inside if expected and layer.node.name == "WHILE" else ()
        row["inside"] = [
            _inside(graph, latency[1] if latency else None, times=times)
            for graph, latency in zip_longest(layer.inside, known)
        ]
    return row


def _inside(graph: GraphTime, expected: Latency | None, *, times: int) -> dict[str, Any]:
    """Return a graph that an operator runs, which itself is run so many ``times``."""
    every = times * graph.times
    nodes: Sequence[NodeLatency | None] = expected.nodes if expected else [None] * len(graph.layers)
    rows = [
        _row(layer, node, node.ms if node else None, times=every)
        for layer, node in zip(graph.layers, nodes, strict=True)
    ]
    return {"graph": graph.number, "times": every, "measured_ms": times * graph.total_ms, "layers": rows}


def pace(profile: Profile | None, *, threads: int) -> float | None:
    """Return how many times as long everything takes at this moment as when the device was calibrated.

    None where the profile is of another machine or tells nothing of it. Raises EngineError.
    """
    calibration = profile.calibration if profile else None
    if calibration is None or calibration.machine != machine_name(machine()):
        return None
    context = calibration.context(threads)
    if not context.reference_us:
        return None
    with quiet_native_output():
        return Pace(load_runtime(), threads=context.threads, reference_us=context.reference_us).now()


def remember(layers: list[LayerTime], *, threads: int, state: Path) -> int:
    """Keep the layers' times in the state directory; return how many operators it knows now, 0 where it cannot."""
    cache = this_cache(state)
    for layer in _every(layers):
        if layer.alone_ms is not None:
            cache.add(layer.graph, layer.node, threads=threads, us=1e3 * layer.alone_ms)
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_file(state / FILE_NAME, cache.content())
    except OSError as error:
        sys.stderr.write(f"the layers' times are not remembered: {error.strerror} ({state})\n")
        return 0
    return len(cache)


def _every(layers: Sequence[LayerTime]) -> Iterator[LayerTime]:
    """Yield operators and those of the graphs that they run."""
    for layer in layers:
        yield layer
        for graph in layer.inside:
            yield from _every(graph.layers)


def this_cache(state: Path) -> OperatorCache:
    """Return what this device knows of operators. Raises UsageError when no interpreter is installed."""
    here = machine()
    return OperatorCache.read(state / FILE_NAME, runtime=load_runtime().version, machine=machine_name(here))


def _profile(wanted: Wanted) -> tuple[str | None, Profile | None]:
    """Return the device to predict for and its name: what was asked for, else this device where it was calibrated."""
    own = wanted.state / THIS_DEVICE
    if wanted.device in {None, "this"}:
        if own.is_file():
            return "this device", load_profile(str(own))
        if wanted.device:
            raise UsageError("this device was not calibrated yet: edge-infer bench --calibrate")
        return None, None
    assert wanted.device is not None
    return wanted.device, load_profile(wanted.device)


def _write(path: Path, page: str) -> None:
    try:
        path.write_text(page, "utf-8")
    except OSError as error:
        raise StoreError(f"--html {path} cannot be written: {error.strerror}") from error


def _threads(text: str | None) -> int:
    if text is None or text == "auto":
        return max(1, (os.cpu_count() or 1) - 1)
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"--threads {text}: give a number above 0, or auto")
    return int(text)
