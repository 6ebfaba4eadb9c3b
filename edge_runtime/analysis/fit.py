"""Whether a model suits a device, and what would make it faster, each advice with its predicted figure.

A verdict compares the prediction's interval with the budget: it fits when even the upper end does, is tight when only
the prediction itself does. Advice is computed by the same model of latency on changed work; accuracy is not predicted.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from edge_runtime.analysis.cost import CONTROL
from edge_runtime.analysis.edgetpu import Mapping, with_edgetpu
from edge_runtime.analysis.graph import Graph
from edge_runtime.analysis.latency import node_ms
from edge_runtime.analysis.loops import called_graphs
from edge_runtime.analysis.memory import Memory
from edge_runtime.analysis.prediction import Latency, Work
from edge_runtime.analysis.profile import Profile

Verdict = Literal["fits", "tight", "does not fit"]
_ORDER: Final[tuple[Verdict, ...]] = ("fits", "tight", "does not fit")
_NARROWER: Final = 0.75
_LEAST_GAIN: Final = 0.03
_SMALLEST_SIDE: Final = 96
_FEW_CHANNELS: Final = 4
_STATE: Final = frozenset({"VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "CALL_ONCE"})
"""Operators that keep something from run to run: nothing can replace them, and they take next to no time."""


@dataclass(frozen=True, slots=True)
class Advice:
    """One change and the predicted time after it."""

    change: str
    before_ms: float
    after_ms: float
    note: str = ""

    @property
    def gain_ms(self) -> float:
        """Return the time it saves per inference."""
        return self.before_ms - self.after_ms


def judge_time(ms: float, high_ms: float, *, fps: float) -> Verdict:
    """Return whether an inference of ``ms``, at most ``high_ms``, is done within a frame."""
    budget_ms = 1000.0 / fps
    if high_ms <= budget_ms:
        return "fits"
    return "tight" if ms <= budget_ms else "does not fit"


def judge_memory(memory: Memory, budget_mb: float) -> Verdict:
    """Return whether the whole program stays within a budget; the last tenth of it counts as tight."""
    share = memory.process_bytes / (budget_mb * 2**20)
    return "fits" if share <= 0.9 else "tight" if share <= 1.0 else "does not fit"


def worst(verdicts: Sequence[Verdict]) -> Verdict:
    """Return the least favourable verdict; ``fits`` for none."""
    return max(verdicts, key=_ORDER.index, default="fits")


def best(verdicts: Iterable[Verdict]) -> Verdict | None:
    """Return the most favourable verdict; None for none."""
    return min(verdicts, key=_ORDER.index, default=None)


def advise(graph: Graph, latency: Latency, profile: Profile, *, mapping: Mapping) -> list[Advice]:
    """Return what would make a model faster on a device, the largest gain first; gains under 3 % are left out."""
    works = latency.works
    # A calibrated device is predicted by other means than its speeds; of these only the ratio is used then.
    by_speed = sum(times * node_ms(work, profile, threads=latency.threads) for times, work in works)
    measured = latency.ms / by_speed if by_speed else 1.0

    def after(change: Callable[[Work], Work], *, threads: int = latency.threads) -> float:
        return measured * sum(times * node_ms(change(work), profile, threads=threads) for times, work in works)

    found = [
        *_quantise(graph, latency, after),
        *_shrink(graph, latency, after),
        Advice(
            f"a model {_NARROWER} times as wide",
            latency.ms,
            after(_narrow),
            "all but the first and last channels; must be trained",
        ),
        *_mend(graph, latency, after),
        *_reduce_channels(graph, latency, profile),
        *_accelerate(latency, profile, mapping),
    ]
    cores = int(profile.cores.value)
    if latency.threads < cores:
        found.append(Advice(f"{cores} threads", latency.ms, after(lambda work: work, threads=cores)))
    useful = [advice for advice in found if advice.gain_ms > _LEAST_GAIN * latency.ms]
    return sorted(useful, key=lambda advice: -advice.gain_ms)


After = Callable[[Callable[[Work], Work]], float]


def _quantise(graph: Graph, latency: Latency, after: After) -> list[Advice]:
    kinds = {work.type for _, work in latency.works if work.macs}
    if "float32" in kinds:
        change = "quantise to int8 (edge-convert --quantize int8)"
        return [Advice(change, latency.ms, after(_as_int8), _a_quarter(graph))]
    if "uint8" in kinds:
        change = "per-channel int8 instead of per-tensor uint8"
        return [Advice(change, latency.ms, after(_as_int8), "convert the float model again, or its weights alone")]
    return []


def _as_int8(work: Work) -> Work:
    if work.type == "int8":
        return work
    smaller = 4 if work.type == "float32" else 1
    return replace(
        work,
        type="int8",
        bytes_moved=work.bytes_moved // smaller,
        weight_bytes=work.weight_bytes // smaller,
        model_weight_bytes=work.model_weight_bytes // smaller,
    )


def _a_quarter(graph: Graph) -> str:
    """Return by what the weights shrink; nothing where there are hardly any."""
    every = (zip(one.tensors, one.constant, strict=True) for one in (graph, *called_graphs(graph)))
    kilobytes = sum(tensor.size_bytes for one in every for tensor, stored in one if stored) / 1e3
    if kilobytes < 1:
        return ""
    size = f"{kilobytes / 1e3:.1f} MB" if kilobytes >= 1e3 else f"{kilobytes:.0f} kB"
    return f"weights from {size} to a quarter"


def _shrink(graph: Graph, latency: Latency, after: After) -> list[Advice]:
    """Return advice to feed a smaller picture: 5/7 of its side (224 to 160), a multiple of 32."""
    shape = graph.tensors[graph.model.inputs[0]].shape if graph.model.inputs else ()
    if len(shape) != 4 or shape[1] != shape[2] or shape[3] not in {1, 3} or shape[1] < _SMALLEST_SIDE:
        return []
    side = shape[1]
    smaller = max(32, round(side * 5 / 7 / 32) * 32)
    factor = (smaller / side) ** 2
    spatial = {
        node.index
        for node in graph.nodes
        if (result := graph.result(node)) is not None
        and len(result.shape) == 4
        and result.shape[1] * result.shape[2] > 1
    }
    works = [node.work for node in latency.nodes]
    changed = {id(work) for index, work in enumerate(works) if index in spatial}

    def scale(work: Work) -> Work:
        return _scaled(work, factor) if id(work) in changed else work

    before = sum(work.macs for work in works)
    less = 1 - sum(scale(work).macs for work in works) / before if before else 0.0
    change = f"input {side}→{smaller}: MACs \N{MINUS SIGN}{100 * less:.0f} %"
    return [Advice(change, latency.ms, after(scale), "must be trained or exported at that size")]


def _scaled(work: Work, factor: float) -> Work:
    return replace(
        work,
        macs=int(work.macs * factor),
        bytes_moved=int(work.bytes_moved * factor),
        values=int(work.values * factor),
    )


def _narrow(work: Work) -> Work:
    square = _NARROWER**2 if work.kind in {"dense", "window", "transposed"} else _NARROWER
    return replace(
        work,
        macs=int(work.macs * square),
        bytes_moved=int(work.bytes_moved * _NARROWER),
        weight_bytes=int(work.weight_bytes * square),
        model_weight_bytes=int(work.model_weight_bytes * _NARROWER**2),
        values=int(work.values * _NARROWER),
    )


def _mend(graph: Graph, latency: Latency, after: After) -> list[Advice]:
    """Return advice to replace the operators that XNNPACK does not take, by what they would cost if it did."""
    names: dict[str, float] = {}
    replaced = set()
    for node, timed in zip(graph.nodes, latency.nodes, strict=True):
        if not timed.work.delegated and node.name not in CONTROL | _STATE:
            names[node.name] = names.get(node.name, 0.0) + timed.ms
            replaced.add(id(timed.work))
    if not names or not any(node.work.delegated for node in latency.nodes):
        return []
    slowest = sorted(names, key=lambda name: -names[name])[:3]
    change = f"replace what XNNPACK does not take ({', '.join(slowest)})"

    def taken(work: Work) -> Work:
        return replace(work, delegated=True, weight=1.0) if id(work) in replaced else work

    return [Advice(change, latency.ms, after(taken))]


def _accelerate(latency: Latency, profile: Profile, mapping: Mapping) -> list[Advice]:
    """Return advice to compile for the device's Edge TPU, and to mend what keeps operators off it."""
    now = with_edgetpu(mapping, latency, profile)
    if now is None:
        return []
    share = f"{sum(mapping.mapped)} of {len(mapping.mapped)} operators map"
    advice = [Advice("compile it for the Edge TPU", latency.ms, now.ms, share)]
    if mapping.blocker is not None:
        macs = sum(node.work.macs for node in latency.nodes)
        whole = replace(mapping, mapped=(True,) * len(mapping.mapped), macs=macs)
        mended = with_edgetpu(whole, latency, profile)
        assert mended is not None
        reason = f"{mapping.reason}, operator {mapping.blocker}"
        advice.append(Advice("mend what splits it for the Edge TPU", now.ms, mended.ms, reason))
    return advice


def _reduce_channels(graph: Graph, latency: Latency, profile: Profile) -> list[Advice]:
    """Return advice to feed fewer channels of a sensor, combined by PCA: the first product shrinks with them."""
    shape = graph.tensors[graph.model.inputs[0]].shape if graph.model.inputs else ()
    if len(shape) != 3 or not _FEW_CHANNELS < shape[2] <= 64:
        return []
    first = next((node.work for node in latency.nodes if node.work.macs), None)
    if first is None:
        return []
    kept = shape[2] // 2
    reduced = replace(first, macs=first.macs * kept // shape[2])
    gain = node_ms(first, profile, threads=latency.threads) - node_ms(reduced, profile, threads=latency.threads)
    change = f"{shape[2]}→{kept} sensor channels (PCA)"
    return [Advice(change, latency.ms, latency.ms - gain, "keep what explains most of the variance; must be trained")]
