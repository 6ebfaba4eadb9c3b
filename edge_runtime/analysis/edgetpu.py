"""Which operators an Edge TPU would run, by the published rules (``edgetpu_rules``), without its compiler.

From the first operator that cannot, everything runs on the processor. The chip keeps about 8 MB of weights; more are
sent with every inference. The real compiler knows limits that are not published, so a mapping is a prediction.
"""

from dataclasses import dataclass

from edge_runtime.analysis.cost import costs
from edge_runtime.analysis.edgetpu_rules import obstacle
from edge_runtime.analysis.graph import Graph
from edge_runtime.analysis.prediction import Latency
from edge_runtime.analysis.profile import EdgeTpu, Profile
from edge_runtime.model_file import EDGETPU_OPERATOR


@dataclass(frozen=True, slots=True)
class Mapping:
    """Where each operator would run."""

    compiled: bool
    """The model has been compiled for an Edge TPU already; nothing more is known of its operators."""
    mapped: tuple[bool, ...]
    """Per operator: on the Edge TPU."""
    blocker: int | None
    """The first operator behind the mapped ones that is not supported."""
    reason: str | None
    weight_bytes: int
    """Of the mapped operators."""
    macs: int
    obstacles: tuple[str | None, ...] = ()
    """Per operator: why it cannot run there, or None; also for those that stay outside because of an earlier one."""

    @property
    def fraction(self) -> float:
        """Return the share of operators on the Edge TPU."""
        return sum(self.mapped) / len(self.mapped) if self.mapped else 0.0


@dataclass(frozen=True, slots=True)
class Accelerated:
    """An inference with an Edge TPU and what stays on the processor, with its interval."""

    ms: float
    low_ms: float
    high_ms: float


def map_operators(graph: Graph, *, quantized: bool = True) -> Mapping:
    """Return the predicted mapping. Operators before the first supported one (a QUANTIZE of floats) stay outside.

    ``quantized=False`` says what a float network would map to at most, once it is quantised.
    """
    if any(node.custom and node.name == EDGETPU_OPERATOR for node in graph.nodes):
        mapped = tuple(node.name == EDGETPU_OPERATOR for node in graph.nodes)
        return Mapping(True, mapped, None, None, graph.model.size_bytes, 0)
    reasons = [obstacle(graph, node, quantized=quantized) for node in graph.nodes]
    begin = next((index for index, reason in enumerate(reasons) if reason is None), len(reasons))
    end = next((index for index in range(begin, len(reasons)) if reasons[index]), len(reasons))
    mapped = tuple(begin <= index < end for index in range(len(reasons)))
    blocker = end if end < len(reasons) else None
    if begin == len(reasons) and reasons:
        blocker = 0
    found = costs(graph)
    return Mapping(
        compiled=False,
        mapped=mapped,
        blocker=blocker,
        reason=reasons[blocker] if blocker is not None else None,
        weight_bytes=sum(cost.weight_bytes for cost, inside in zip(found, mapped, strict=True) if inside),
        macs=sum(cost.macs for cost, inside in zip(found, mapped, strict=True) if inside),
        obstacles=tuple(reasons),
    )


def edgetpu_ms(mapping: Mapping, device: EdgeTpu) -> float:
    """Return the predicted time of the mapped part; what runs on the processor comes on top."""
    if not any(mapping.mapped):
        return 0.0
    streamed = max(0.0, mapping.weight_bytes - device.cache_mb * 1e6)
    return device.base_ms + device.ms_per_gmac * mapping.macs / 1e9 + streamed / (device.stream_gb_per_s * 1e6)


def with_edgetpu(mapping: Mapping, latency: Latency, profile: Profile) -> Accelerated | None:
    """Return the time with a device's Edge TPU, or None where it has none or nothing maps."""
    device = profile.edgetpu
    if device is None or not any(mapping.mapped) or mapping.compiled:
        return None
    rest_ms = sum(node.ms for node, inside in zip(latency.nodes, mapping.mapped, strict=True) if not inside)
    chip_ms = edgetpu_ms(mapping, device)
    return Accelerated(
        ms=chip_ms + rest_ms,
        low_ms=chip_ms * device.low + rest_ms * profile.interval.low,
        high_ms=chip_ms * device.high + rest_ms * profile.interval.high,
    )
