"""How much memory a model takes once it has run: the arena, what its kernels pack, tables, and the interpreter itself.

Arena, workspace, packed weights and address tables follow from the graph. What the interpreter's objects take is
fitted to the growth of ``Anonymous`` in ``/proc/self/smaps_rollup`` on x86-64 with ai-edge-litert 2.3.0
(docs/static-inference.md has the errors). The model file itself is mapped, not copied, and counted on its own.
"""

from dataclasses import dataclass, replace
from typing import Final

from edge_runtime.analysis.arena import Arena, plan_arena, plan_workspace
from edge_runtime.analysis.graph import Graph, Node
from edge_runtime.analysis.loops import called_graphs
from edge_runtime.analysis.packing import packing_bytes
from edge_runtime.analysis.xnnpack import (
    Delegation,
    RuntimeName,
    delegation,
    indirection_bytes,
    packed_bytes,
)

PROCESS_BYTES: Final = 57 * 2**20
"""The daemon before a model: Python, numpy, the interpreter, the codec, the broker's client (measured: 66 to 70 MiB
with MobileNetV2, of which the model is 11)."""

_LOOKED_UP: Final = frozenset({"LOGISTIC", "TANH"})
_LOOKED_UP_BYTES: Final = 1_060
"""Of their tables for 8 and 16 bits, which every such operator has."""


@dataclass(frozen=True, slots=True)
class Memory:
    """The parts of a model's memory in bytes; ``total_bytes`` is their sum, ``process_bytes`` the whole program's."""

    planned: Arena
    """Of the interpreter alone, as it plans without XNNPACK: what the lifetimes of the tensors ask for."""
    arena: Arena
    """Of the interpreter under this runtime; without what XNNPACK keeps to itself."""
    workspace_bytes: int
    """XNNPACK's own intermediate tensors."""
    packed_bytes: int
    """Weights, or blocks of them, in the order the kernels want."""
    table_bytes: int
    """Input addresses of XNNPACK's convolutions, pooling and resizing."""
    interpreter_bytes: int
    """Objects of the interpreter, and what the C library keeps."""
    called_bytes: int
    """All of this for graphs of the file that operators run: bodies of loops, branches."""
    file_bytes: int
    """The mapped model file; the kernel may drop its pages."""

    @property
    def total_bytes(self) -> int:
        """Return what is allocated for the model."""
        own = self.arena.size_bytes - self.arena.untouched_bytes + self.arena.persistent_bytes + self.workspace_bytes
        return own + self.packed_bytes + self.table_bytes + self.interpreter_bytes + self.called_bytes

    @property
    def process_bytes(self) -> int:
        """Return the resident memory of the daemon with this model."""
        return PROCESS_BYTES + self.total_bytes + self.file_bytes


def estimate_memory(
    graph: Graph,
    *,
    runtime: RuntimeName = "litert",
    xnnpack: bool = True,
    pointer_bytes: int = 8,
    int8_lanes: int = 16,
) -> Memory:
    """Return the memory of a model under a runtime. Raises ModelError for a graph that is made to keep us busy.

    ``pointer_bytes`` and ``int8_lanes`` are the device's, as its profile has them.
    """
    others = called_graphs(graph)
    sizes = _Sizes(runtime, xnnpack, pointer_bytes, int8_lanes, share=1 + len(others))
    return replace(sizes.of(graph), called_bytes=sum(sizes.of(one, called=True).total_bytes for one in others))


@dataclass(frozen=True, slots=True)
class _Sizes:
    """What the memory of every graph of a file is worked out with."""

    runtime: RuntimeName
    xnnpack: bool
    pointer_bytes: int
    int8_lanes: int
    share: int
    """Of how many graphs each is one."""

    def of(self, graph: Graph, *, called: bool = False) -> Memory:
        """Return the memory of one graph without those that it runs; the interpreter itself is the main one's."""
        parts = delegation(graph, runtime=self.runtime, enabled=self.xnnpack)
        taken = [node for node in graph.nodes if parts.segment[node.index] is not None]
        plain = [node for node in graph.nodes if parts.segment[node.index] is None]
        planned = plan_arena(graph, share=self.share)
        arena = plan_arena(graph, parts, share=self.share) if taken else planned
        objects = _interpreter_bytes(graph, parts, called=called)
        packed = sum(packed_bytes(graph, node, int8_lanes=self.int8_lanes) for node in taken)
        return Memory(
            planned=planned,
            arena=arena,
            workspace_bytes=plan_workspace(graph, parts, share=self.share),
            packed_bytes=packed + packing_bytes(graph, plain, arena_bytes=arena.size_bytes, objects_bytes=objects),
            table_bytes=sum(indirection_bytes(graph, node, pointer_bytes=self.pointer_bytes) for node in taken),
            interpreter_bytes=objects,
            file_bytes=graph.model.size_bytes,
            called_bytes=0,
        )


def _interpreter_bytes(graph: Graph, parts: Delegation, *, called: bool) -> int:
    """Return what objects take, fitted: per operator, tensor, quantised channel, and once the interpreter's own."""
    nodes, tensors = len(graph.nodes), len(graph.tensors)
    scales = sum(min(len(tensor.scale_values), tensor.elements) for tensor in graph.tensors)
    kept = sum(_result_copies(graph, node) for node in graph.nodes)
    tables = sum(_LOOKED_UP_BYTES for node in graph.nodes if node.name in _LOOKED_UP)
    if parts.taken:
        objects = 81_000 * (not called) + 670 * nodes + 1_940 * tensors + 6.5 * scales
    else:
        channels = sum(_quantized_channels(graph, node) for node in graph.nodes)
        objects = 60_400 * (not called) + 680 * nodes + 377 * tensors + 7.4 * scales + 8 * channels
    return int(objects) + kept + tables


def _quantized_channels(graph: Graph, node: Node) -> int:
    """Return for how many channels an 8-bit product keeps a multiplier and a shift, of 4 bytes each."""
    result, weights = graph.result(node), graph.operand(node, 1)
    if result is None or weights is None or result.type.name == "float32" or not result.shape:
        return 0
    per_channel = node.name == "FULLY_CONNECTED" and len(weights.scale_values) > 1
    return max(result.shape[-1], 0) if per_channel or node.name in {"CONV_2D", "DEPTHWISE_CONV_2D"} else 0


def _result_copies(graph: Graph, node: Node) -> int:
    """Return what the detection operator leaves on the heap: a copy of all scores as floats (measured)."""
    scores = graph.operand(node, 1) if node.name == "TFLite_Detection_PostProcess" else None
    return 4 * scores.elements if scores else 0
