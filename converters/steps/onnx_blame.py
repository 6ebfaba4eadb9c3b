"""Find the first operator of an ONNX network that is not the same after conversion.

The network is cut behind ever fewer operators, halving what is left, until the shortest beginning is found that does
not convert, or does not give the source's numbers.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from converters.arrays import Array
from converters.steps.onnx_lowering import Lowering, agrees, lower
from converters.steps.onnx_source import Source
from edge_runtime.errors import ModelError

_FLOAT: Final = 1
_MOST_OPERATORS: Final = 4096


def first_wrong(model: Any, how: Lowering, inputs: Sequence[Array]) -> str:
    """Return ``Operator at name`` of the first operator whose outputs differ, or that does not convert; or nothing.

    ``inputs`` is one sample, in the source's layout.
    """
    plain = replace(how, folder=how.folder / "blame", turned=False)

    def is_right(count: int) -> bool:
        part = _beginning(model, count)
        if not part.graph.output:
            return True
        try:
            return agrees(lower(part, plain), plain, inputs, Source(part).named(inputs))
        except ModelError:
            return False

    nodes = model.graph.node
    if not 0 < len(nodes) <= _MOST_OPERATORS:
        return ""
    place = _first(is_right, len(nodes))
    return named(nodes[place])


def named(node: Any) -> str:
    """Return what an operator is called in messages."""
    return f"{node.op_type} at {node.name or next((name for name in node.output if name), '?')}"


def _first(is_right: Callable[[int], bool], count: int) -> int:
    """Return the place of the operator that ends the shortest beginning that is not right; all of it is not."""
    low, high = 0, count
    while high - low > 1:
        middle = (low + high) // 2
        if is_right(middle):
            low = middle
        else:
            high = middle
    return high - 1


def _beginning(model: Any, count: int) -> Any:
    """Return the network that ends behind its first ``count`` operators: what the rest reads are its outputs."""
    import onnx

    known = onnx.shape_inference.infer_shapes(model).graph
    types = {value.name: value for value in [*known.value_info, *known.output, *known.input]}
    kept, rest = model.graph.node[:count], model.graph.node[count:]
    read = {name for node in rest for name in node.input} | {value.name for value in model.graph.output}
    made = [name for node in kept for name in node.output if name in read and name in types]
    part = onnx.ModelProto()
    part.CopyFrom(model)
    del part.graph.node[count:]
    del part.graph.output[:]
    part.graph.output.extend(types[name] for name in made if types[name].type.tensor_type.elem_type == _FLOAT)
    return part
