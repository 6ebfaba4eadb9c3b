"""Cut a model into single-operator models and time each under the interpreter: a profile per layer.

Under LiteRT the sum of the parts is within a few percent of the whole (docs/static-inference.md), fused operators
included, because XNNPACK takes one operator at a time here. Needs ``ai-edge-litert``, whose generated schema writes the
parts.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from edge_runtime.analysis.calibration.timing import Sitting
from edge_runtime.analysis.graph import Graph, Node
from edge_runtime.errors import EngineError, UsageError
from edge_runtime.interpreter import load_runtime, quiet_native_output


@dataclass(frozen=True, slots=True)
class LayerTime:
    """One operator's measured time; ``best_ms`` is None when it cannot be run by itself, and ``reason`` says why."""

    node: Node
    best_ms: float | None
    reason: str | None = None


class Cutter:
    """Makes models of one operator out of a model, with the same tensors, quantisation and constants."""

    def __init__(self, graph: Graph) -> None:
        try:
            self._schema = import_module("ai_edge_litert.schema_py_generated")
            self._flatbuffers = import_module("flatbuffers")
        except ImportError as error:
            raise UsageError("cutting a model into layers needs ai-edge-litert: pip install ai-edge-litert") from error
        self._graph = graph
        self._model = self._schema.ModelT.InitFromPackedBuf(graph.model.data, 0)

    def cut(self, node: Node) -> bytes:
        """Return a ``.tflite`` with this operator alone."""
        schema, whole = self._schema, self._model
        source = whole.subgraphs[0]
        # Recurrent operators keep the quantisation of their gates in tensors that nothing reads.
        inner = source.operators[node.index].intermediates
        inner = [] if inner is None else [int(index) for index in inner if 0 <= index < len(source.tensors)]
        used = list(dict.fromkeys(index for index in (*node.inputs, *node.outputs, *inner) if index >= 0))
        place = {index: number for number, index in enumerate(used)} | {-1: -1}
        model, graph = schema.ModelT(), schema.SubGraphT()
        model.version, model.buffers, graph.tensors = whole.version, [schema.BufferT()], []
        for index in used:
            graph.tensors.append(self._tensor(source.tensors[index], index, model.buffers))
        operator = _copy(source.operators[node.index])
        model.operatorCodes = [whole.operatorCodes[operator.opcodeIndex]]
        operator.opcodeIndex = 0
        operator.inputs = [place[index] for index in node.inputs]
        operator.outputs = [place[index] for index in node.outputs]
        operator.intermediates = [place[index] for index in inner]
        graph.inputs = [place[index] for index in dict.fromkeys(node.inputs) if index >= 0 and self._is_fed(index)]
        graph.outputs = list(operator.outputs)
        graph.operators = [operator]
        model.subgraphs = [graph]
        builder = self._flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def _is_fed(self, index: int) -> bool:
        return not self._graph.constant[index] and not self._graph.tensors[index].is_variable

    def _tensor(self, original: Any, index: int, buffers: list[Any]) -> Any:
        tensor = _copy(original)
        tensor.buffer = 0
        if self._graph.constant[index]:
            buffers.append(self._model.buffers[original.buffer])
            tensor.buffer = len(buffers) - 1
        return tensor


def _copy(original: Any) -> Any:
    made = type(original)()
    made.__dict__.update(original.__dict__)
    return made


def time_layers(graph: Graph, *, threads: int = 1, budget_s: float = 20.0) -> Iterator[LayerTime]:
    """Time every operator by itself, each for its share of ``budget_s``; the best of its runs counts.

    Raises UsageError when no interpreter is installed that it can use.
    """
    cutter = Cutter(graph)
    share_s = budget_s / max(len(graph.nodes), 1)
    for node in graph.nodes:
        try:
            yield LayerTime(node, time_model(cutter.cut(node), threads=threads, seconds=share_s))
        except EngineError as error:
            yield LayerTime(node, None, str(error))


def time_model(content: bytes, *, threads: int, seconds: float) -> float:
    """Return a run's time in ms, the shortest of those that fit into ``seconds``. Raises EngineError."""
    with quiet_native_output():
        return Sitting(load_runtime(), content, threads=threads).shortest_us(seconds) / 1e3
