"""Which operators the converter is known not to take, so that they are named before any long work."""

from typing import Final

import onnx

UNSUPPORTED: Final = frozenset({"MelWeightMatrix", "Scan", "SequenceMap", "StringNormalizer", "TreeEnsemble"})


def unsupported(model: onnx.ModelProto) -> list[str]:
    """Return "Operator at name" for each node of a rewritten model that will not convert; names are the source's."""
    return [
        f"{node.op_type} at {node.name.rpartition('/')[0] or node.name or node.output[0]}"
        for node in model.graph.node
        if node.op_type in UNSUPPORTED or node.domain not in {"", "ai.onnx"}
    ]
