"""Names with a colon, as exports from TensorFlow have them: the converter writes others and then loses its inputs."""

from collections.abc import Iterator, Mapping
from typing import Any

from converters.steps.repairs import packed


def without_colons(model: Any) -> dict[str, str]:
    """Rename values of an ONNX model in place; return the new names of its inputs and outputs with their old ones."""
    taken = {name for graph in _graphs(model.graph) for name in _names(graph)}
    plain: dict[str, str] = {}
    for name in sorted(name for name in taken if ":" in name):
        wanted = name.replace(":", "_")
        while wanted in taken:
            wanted += "_"
        taken.add(wanted)
        plain[name] = wanted
    for graph in _graphs(model.graph):
        for node in graph.node:
            node.input[:] = [plain.get(name, name) for name in node.input]
            node.output[:] = [plain.get(name, name) for name in node.output]
        for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
            value.name = plain.get(value.name, value.name)
    ends = {value.name for value in (*model.graph.input, *model.graph.output)}
    return {wanted: name for name, wanted in plain.items() if wanted in ends}


def named_again(content: bytes, names: Mapping[str, str]) -> bytes:
    """Return a ``.tflite`` whose tensors are called as ``names`` says."""
    if not names:
        return content
    from ai_edge_litert import schema_py_generated as schema

    model: Any = schema.ModelT.InitFromPackedBuf(content, 0)
    for tensor in model.subgraphs[0].tensors:
        name = tensor.name.decode()
        tensor.name = names.get(name, name).encode()
    return packed(model)


def _graphs(graph: Any) -> Iterator[Any]:
    yield graph
    for node in graph.node:
        for entry in node.attribute:
            for inner in (entry.g, *entry.graphs):
                if inner.node:
                    yield from _graphs(inner)


def _names(graph: Any) -> Iterator[str]:
    for node in graph.node:
        yield from node.input
        yield from node.output
    for value in (*graph.input, *graph.output, *graph.initializer):
        yield value.name
