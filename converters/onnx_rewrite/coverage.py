"""Which operators are known not to convert, so that they are named before any long work, with what to do about them."""

from typing import Final

import onnx

UNSUPPORTED: Final = {
    "Loop": "the number of rounds must be a constant, at most 256",
    "MelWeightMatrix": "its inputs must be constants",
    "Range": "its inputs must be constants: they decide the shape of what follows",
    "Scan": "only of operator set 9 or later, over at most 256 steps",
    "SequenceMap": "TFLite has no sequences",
    "StringNormalizer": "TFLite has no operators of strings",
    "TreeEnsemble": "decision trees do not become a network",
}
"""What is left of them once everything constant is computed and everything of known length is written out."""


def unsupported(model: onnx.ModelProto) -> list[str]:
    """Return "Operator at name (why)" for each node that will not convert; names are the source's."""
    return [
        f"{node.op_type} at {node.name.rpartition('/')[0] or node.name or node.output[0]}"
        + (f" ({UNSUPPORTED[node.op_type]})" if node.op_type in UNSUPPORTED else "")
        for node in model.graph.node
        if node.op_type in UNSUPPORTED or node.domain not in {"", "ai.onnx"}
    ]
