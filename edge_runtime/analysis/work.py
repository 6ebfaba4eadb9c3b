"""What every operator of a graph asks of the kernel that runs it: its kind, MACs, values, bytes, and what those weigh.

Weights are relative to a usual operator of the same kernels and were measured on x86-64 (single operators of a
calibration, ai-edge-litert 2.3.0, scripts/fit_x86_profile.py). Pure functions.
"""

from math import prod
from typing import Final

from edge_runtime.analysis.cost import Cost, costs
from edge_runtime.analysis.graph import Graph, Node
from edge_runtime.analysis.prediction import Kind, Work
from edge_runtime.analysis.profile import ElementType
from edge_runtime.analysis.xnnpack import RuntimeName, delegation, fused_away, is_hybrid

_DENSE: Final = frozenset({"FULLY_CONNECTED", "BATCH_MATMUL"})
_WINDOW: Final = frozenset({"TRANSPOSE_CONV", "CONV_3D", "CONV_3D_TRANSPOSE"})
_LSTM: Final = frozenset({"UNIDIRECTIONAL_SEQUENCE_LSTM", "BIDIRECTIONAL_SEQUENCE_LSTM", "LSTM"})
_REPEATED_OVERHEAD: Final = 0.1
"""Of an operator's overhead, what it has in a loop (x86-64: 1400 small operators of an LSTM take 0.02 us each)."""
_VIEWS: Final = frozenset({"RESHAPE", "SQUEEZE", "EXPAND_DIMS", "BITCAST"})
_MOST_TAPS: Final = 25
"""XNNPACK has depthwise kernels up to a window of 5 by 5; larger ones run as products of one channel each."""
_CELL_MACS: Final = {"LSTM": 450, "hybrid LSTM": 570, "8-bit LSTM": 2700}
"""The gates and activations of an LSTM's cell take as long as so many of its MACs."""
_16_BIT_MACS: Final = 22
"""Products of 16-bit activations run on reference kernels: a MAC of theirs takes as long as so many of 8 bits (x86-64:
four networks in int16x8 took 3 to 17 times as long as predicted without, -26 to +11 % with it)."""
_16_BIT: Final = frozenset({"CONV_2D", "TRANSPOSE_CONV", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"})
_DELEGATED_WEIGHTS: Final = {
    "TRANSPOSE_CONV": 1.8, "MAX_POOL_2D": 3.0, "AVERAGE_POOL_2D": 2.0, "RESIZE_BILINEAR": 3.5, "SOFTMAX": 7.0,
    "LOGISTIC": 2.0, "TANH": 1.8, "EXP": 2.0, "GELU": 2.0, "ELU": 1.5, "LOG": 3.0, "MEAN": 0.6, "SUM": 0.6,
    "SLICE": 0.65, "STRIDED_SLICE": 0.65, "grouped": 1.3, "single": 0.7,
}  # fmt: skip
_DELEGATED_8_BIT_WEIGHTS: Final = {
    "TRANSPOSE_CONV": 1.8, "MAX_POOL_2D": 2.0, "RESIZE_BILINEAR": 8.0, "ADD": 2.5, "SUB": 2.2, "MUL": 3.5,
    "LOGISTIC": 2.0, "TANH": 2.0, "LEAKY_RELU": 1.4, "DEQUANTIZE": 2.0, "MEAN": 0.6, "SUM": 0.6, "SLICE": 0.6,
    "STRIDED_SLICE": 0.6, "BATCH_MATMUL": 3.0, "single": 0.4,
}  # fmt: skip
_PLAIN_WEIGHTS: Final = {
    "RFFT2D": 20.0, "COMPLEX_ABS": 7.0, "SUB": 30.0, "MUL": 30.0, "DIV": 30.0, "ADD": 2.0, "SOFTMAX": 4.0,
    "TFLite_Detection_PostProcess": 5.0, "RESIZE_BILINEAR": 10.0, "PACK": 0.2, "TILE": 0.2,
    "RESIZE_NEAREST_NEIGHBOR": 0.5, "LSTM": 0.6,
}  # fmt: skip
_PLAIN_8_BIT_WEIGHTS: Final = {
    "SUB": 30.0, "MUL": 30.0, "DIV": 30.0, "ADD": 2.0, "SOFTMAX": 4.0, "RESIZE_BILINEAR": 10.0, "RELU": 16.0,
    "PRELU": 17.0, "HARD_SWISH": 6.0, "SQUARED_DIFFERENCE": 7.0, "RSQRT": 100.0, "AVERAGE_POOL_2D": 2.0,
    "GELU": 0.4, "RESIZE_NEAREST_NEIGHBOR": 0.4, "MAXIMUM": 0.05, "PACK": 0.05, "TILE": 0.05,
    "BATCH_MATMUL": 7.0, "hybrid depthwise": 2.2, "hybrid LSTM": 2.5, "8-bit LSTM": 7.0,
}  # fmt: skip
_WEIGHTS: Final[dict[tuple[bool, bool], dict[str, float]]] = {
    (True, True): _DELEGATED_WEIGHTS, (True, False): _DELEGATED_8_BIT_WEIGHTS,
    (False, True): _PLAIN_WEIGHTS, (False, False): _PLAIN_8_BIT_WEIGHTS,
}  # fmt: skip
"""By whether XNNPACK runs the operator and whether it is of float32."""


def model_work(
    graph: Graph, *, runtime: RuntimeName = "litert", xnnpack: bool = True, repeated: bool = False
) -> tuple[Work, ...]:
    """Return the work of every operator in execution order; ``repeated`` is of a graph that another runs."""
    parts = delegation(graph, runtime=runtime, enabled=xnnpack)
    fused = fused_away(graph, parts)
    every = costs(graph)
    model_weight_bytes = sum(cost.weight_bytes for cost in every)
    return tuple(
        _work(
            graph,
            node,
            cost,
            delegated=parts.segment[node.index] is not None,
            repeated=repeated,
            fused=node.index in fused,
            model_weight_bytes=model_weight_bytes,
        )
        for node, cost in zip(graph.nodes, every, strict=True)
    )


def _work(
    graph: Graph, node: Node, cost: Cost, *, delegated: bool, repeated: bool, fused: bool, model_weight_bytes: int
) -> Work:
    kind: Kind = "nothing" if fused else _kind(graph, node, cost, delegated=delegated)
    type_name = _element_type(graph, node)
    name = _kernel_name(graph, node, kind, delegated=delegated)
    channels, depth = _sides(graph, node, cost, kind)
    fed = sum(graph.tensors[index].elements for index in node.inputs if index >= 0 and not graph.constant[index])
    return Work(
        kind=kind,
        type=type_name,
        delegated=delegated,
        macs=cost.macs * _mac_weight(graph, node) + cost.elements * _CELL_MACS.get(name, 0),
        channels=channels,
        depth=depth,
        bytes_moved=cost.bytes_moved,
        weight_bytes=cost.weight_bytes,
        model_weight_bytes=model_weight_bytes,
        values=max(fed, cost.elements) if kind == "values" else cost.elements,
        weight=_WEIGHTS[delegated, type_name == "float32"].get(name, 1.0),
        overhead=_REPEATED_OVERHEAD if repeated else 1.0,
    )


def _mac_weight(graph: Graph, node: Node) -> int:
    fed = graph.operand(node, 2 if node.name == "TRANSPOSE_CONV" else 0)
    return _16_BIT_MACS if node.name in _16_BIT and fed is not None and fed.type.name == "int16" else 1


def _kernel_name(graph: Graph, node: Node, kind: Kind, *, delegated: bool) -> str:
    """Return what an operator is called in the tables of weights: by its kernel, where that is not its own."""
    hybrid = is_hybrid(graph, node)
    if node.name in _LSTM:
        eight_bits = _element_type(graph, node) != "float32"
        return "hybrid LSTM" if hybrid else "8-bit LSTM" if eight_bits else "LSTM"
    if node.name == "DEPTHWISE_CONV_2D" and not delegated and hybrid:
        return "hybrid depthwise"
    groups = _groups(graph, node) if kind == "window" and delegated else 1
    if groups == 1:
        return node.name
    weights = graph.operand(node, 1)
    alone = node.name == "DEPTHWISE_CONV_2D" or (weights is not None and weights.shape[0] == groups)
    return "single" if alone else "grouped"


def _kind(graph: Graph, node: Node, cost: Cost, *, delegated: bool) -> Kind:
    if node.name in _VIEWS:
        return "values" if delegated else "nothing"
    weights = graph.operand(node, 1)
    taps = prod(weights.shape[1:3]) if weights and len(weights.shape) == 4 else 1
    if node.name == "DEPTHWISE_CONV_2D":
        return "window" if delegated and taps > _MOST_TAPS else "depthwise"
    if node.name == "CONV_2D" and delegated and _groups(graph, node) > 1 and taps <= _MOST_TAPS:
        # One channel in each group is a depthwise convolution by another name.
        single = weights is not None and weights.shape[3] == 1 and weights.shape[0] == _groups(graph, node)
        return "depthwise" if single else "window"
    if node.name == "CONV_2D":
        return "dense" if taps == 1 and node.options.stride == (1, 1) else "window"
    if node.name in _DENSE or (cost.macs and node.name not in _WINDOW):
        return "dense"
    if node.name == "TRANSPOSE_CONV":
        return "transposed"
    return "window" if node.name in _WINDOW else "values"


def _element_type(graph: Graph, node: Node) -> ElementType:
    """Return the type whose kernels run it; what is neither float nor 8 bits is counted as float."""
    kinds = {graph.tensors[index].type.name for index in (*node.inputs, *node.outputs) if index >= 0}
    if "uint8" in kinds:
        return "uint8"
    return "int8" if "int8" in kinds else "float32"


def _groups(graph: Graph, node: Node) -> int:
    """Return how many groups of channels a convolution has, each of which is a product of its own; 1 for all else."""
    if node.name not in {"CONV_2D", "DEPTHWISE_CONV_2D"}:
        return 1
    fed, weights = graph.operand(node, 0), graph.operand(node, 1)
    if fed is None or weights is None or len(fed.shape) != 4 or len(weights.shape) != 4:
        return 1
    if node.name == "DEPTHWISE_CONV_2D":
        return max(1, fed.shape[3])
    return max(1, fed.shape[3] // max(1, weights.shape[3]))


def _sides(graph: Graph, node: Node, cost: Cost, kind: Kind) -> tuple[int, int]:
    """Return the output channels and the input channels that a kernel rounds up, 0 for none."""
    weights, result = graph.operand(node, 1), graph.result(node)
    if not cost.macs or weights is None or len(weights.shape) not in {2, 4} or min(weights.shape) < 1:
        return 0, 0
    if node.name == "BATCH_MATMUL":
        left = graph.operand(node, 0)
        return (result.shape[-1], left.shape[-1]) if result and left and result.shape and left.shape else (0, 0)
    if kind == "depthwise":
        return (weights.shape[-1] if node.name == "DEPTHWISE_CONV_2D" else weights.shape[0]), 0
    if node.name == "DEPTHWISE_CONV_2D":
        return max(1, weights.shape[3] // _groups(graph, node)), 1
    if node.name == "CONV_2D" and _groups(graph, node) > 1:
        return max(1, weights.shape[0] // _groups(graph, node)), weights.shape[3]
    return weights.shape[0], prod(weights.shape[1:]) if kind == "dense" else weights.shape[-1]
