"""Cut a model into single-operator models and time each under the interpreter: a profile per layer.

Under LiteRT the sum of the parts is within a few percent of the whole (docs/static-inference.md), fused operators
included, because XNNPACK takes one operator at a time here. Of an operator that runs other graphs of the file, a loop,
theirs are timed too. Needs ``ai-edge-litert``, whose generated schema writes the parts.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

from edge_runtime.analysis.calibration.timing import Sitting
from edge_runtime.analysis.cost import CONTROL
from edge_runtime.analysis.graph import Graph, Node
from edge_runtime.analysis.loops import Runs, alternatives
from edge_runtime.errors import EngineError, UsageError
from edge_runtime.interpreter import load_runtime, quiet_native_output

COPIES: Final = 16
"""So many more of an operator of a loop tell what one takes there: most are far shorter than an inference of their own,
which calls the interpreter (0.3 us on x86-64, where an addition of 64 values takes 0.02).
"""
_UNSETTLED: Final = "how often it runs depends on data that the file does not hold"


@dataclass(frozen=True, slots=True)
class LayerTime:
    """One operator's measured time; ``usual_ms`` is None when it cannot be run by itself, and ``reason`` says why.

    In a graph that an operator runs ``usual_ms`` is of one run among others.
    """

    graph: Graph
    node: Node
    usual_ms: float | None
    reason: str | None = None
    alone_ms: float | None = None
    """As an inference of its own; None of what runs other graphs."""
    inside: tuple["GraphTime", ...] = ()
    """What it runs of other graphs; of an IF whose condition is not stored the costlier branch."""


@dataclass(frozen=True, slots=True)
class GraphTime:
    """A graph that an operator runs: which of the file, how often in a run of the operator, and its operators."""

    number: int
    times: int
    layers: tuple[LayerTime, ...]

    @property
    def total_ms(self) -> float:
        """Return what was measured of it, all runs together."""
        return self.times * sum(layer.usual_ms or 0.0 for layer in self.layers)


class Cutter:
    """Makes models of one operator out of a graph, with the same tensors, quantisation and constants."""

    def __init__(self, graph: Graph, *, number: int = 0, parsed: Any = None) -> None:
        """Read the file of a main graph; ``number`` and ``parsed`` are of graphs that it runs (``called``)."""
        try:
            self._schema = import_module("ai_edge_litert.schema_py_generated")
            self._flatbuffers = import_module("flatbuffers")
        except ImportError as error:
            raise UsageError("cutting a model into layers needs ai-edge-litert: pip install ai-edge-litert") from error
        self.graph, self.number = graph, number
        self._model = parsed or self._schema.ModelT.InitFromPackedBuf(graph.model.data, 0)

    def called(self, node: Node) -> dict[int, "Cutter"]:
        """Return what cuts the graphs that an operator runs, by ``id`` of the graph."""
        numbers = zip(self.graph.called.get(node.index, ()), node.options.runs, strict=True)
        return {id(graph): Cutter(graph, number=number, parsed=self._model) for graph, number in numbers}

    def cut(self, node: Node, *, copies: int = 1) -> bytes:
        """Return a ``.tflite`` with this operator alone, or so many of it side by side, with what it runs."""
        schema, whole = self._schema, self._model
        source = whole.subgraphs[self.number]
        model, graph = schema.ModelT(), schema.SubGraphT()
        model.version, graph.tensors, graph.operators, graph.outputs = whole.version, [], [], []
        # The graphs of the file know operators and constants by their places in it.
        called = node.name in CONTROL
        model.buffers = list(whole.buffers) if called else [schema.BufferT()]
        original = source.operators[node.index]
        model.operatorCodes = whole.operatorCodes if called else [whole.operatorCodes[original.opcodeIndex]]
        # Recurrent operators keep the quantisation of their gates in tensors that nothing reads.
        inner = original.intermediates
        inner = [] if inner is None else [int(index) for index in inner if 0 <= index < len(source.tensors)]
        place = {-1: -1}
        for index in dict.fromkeys((*node.inputs, *inner)):
            place[index] = self._add(index, graph, model) if index >= 0 else -1
        for _ in range(copies):
            operator = _copy(original)
            operator.opcodeIndex = original.opcodeIndex if called else 0
            operator.inputs = [place[index] for index in node.inputs]
            operator.outputs = [self._add(index, graph, model) for index in node.outputs]
            operator.intermediates = [place[index] for index in inner]
            graph.operators.append(operator)
            graph.outputs += operator.outputs
        graph.inputs = [place[index] for index in dict.fromkeys(node.inputs) if index >= 0 and self._is_fed(index)]
        model.subgraphs = [graph, *(whole.subgraphs[1:] if called else [])]
        builder = self._flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def _is_fed(self, index: int) -> bool:
        return not self.graph.constant[index] and not self.graph.tensors[index].is_variable

    def _add(self, index: int, graph: Any, model: Any) -> int:
        """Add a tensor of the source, its values with it where they are stored; return its place."""
        original = self._model.subgraphs[self.number].tensors[index]
        tensor = _copy(original)
        tensor.buffer = 0
        if self.graph.constant[index]:
            model.buffers.append(self._model.buffers[original.buffer])
            tensor.buffer = len(model.buffers) - 1
        graph.tensors.append(tensor)
        return len(graph.tensors) - 1


def _copy(original: Any) -> Any:
    made = type(original)()
    made.__dict__.update(original.__dict__)
    return made


def time_layers(graph: Graph, *, threads: int = 1, budget_s: float = 20.0) -> Iterator[LayerTime]:
    """Time every operator by itself, each for its share of ``budget_s``.

    Raises UsageError when no interpreter is installed that it can use.
    """
    timer = _Timer(threads, budget_s / max(_count(graph), 1))
    cutter = Cutter(graph)
    for node in graph.nodes:
        yield timer.layer(cutter, node)


def time_model(content: bytes, *, threads: int, seconds: float) -> float:
    """Return what a run usually takes, in ms, of those that fit into ``seconds``. Raises EngineError."""
    with quiet_native_output():
        return Sitting(load_runtime(), content, threads=threads).usual_us(seconds) / 1e3


def _count(graph: Graph) -> int:
    """Return how many models ``time_layers`` times; of operators of graphs that are run two."""
    called = (each for node in graph.nodes for each in graph.called.get(node.index, ()))
    return len(graph.nodes) + sum(2 * _count(each) for each in called)


@dataclass(frozen=True, slots=True)
class _Timer:
    """Times operators, each for ``share_s``."""

    threads: int
    share_s: float

    def layer(self, cutter: Cutter, node: Node) -> LayerTime:
        """Time an operator of the main graph."""
        if node.name in CONTROL:
            return self._control(cutter, node, inner=False)
        try:
            ms = self._ms(cutter.cut(node))
        except EngineError as error:
            return LayerTime(cutter.graph, node, None, str(error))
        return LayerTime(cutter.graph, node, ms, alone_ms=ms)

    def _inner(self, cutter: Cutter, node: Node) -> LayerTime:
        """Time an operator of a graph that another runs: what one more of it takes."""
        if node.name in CONTROL:
            return self._control(cutter, node, inner=True)
        try:
            ms, alone_ms = self._one_more_ms(cutter, node)
        except EngineError as error:
            return LayerTime(cutter.graph, node, None, str(error))
        return LayerTime(cutter.graph, node, ms, alone_ms=alone_ms)

    def _control(self, cutter: Cutter, node: Node, *, inner: bool) -> LayerTime:
        """Time a loop or branch as it is where the file settles what runs, else by the costlier of its branches."""
        ways = _ways(cutter.graph, node)
        if ways is None:
            return LayerTime(cutter.graph, node, None, _UNSETTLED)
        called = cutter.called(node)
        every = [tuple(self._graph(called[id(graph)], times) for graph, times in one) for one in ways.runs]
        inside = max(every, key=_total_ms)
        if not ways.settled:
            return LayerTime(cutter.graph, node, _total_ms(inside), inside=inside)
        try:
            ms = self._one_more_ms(cutter, node)[0] if inner else self._ms(cutter.cut(node))
        except EngineError as error:
            return LayerTime(cutter.graph, node, None, str(error), inside=inside)
        return LayerTime(cutter.graph, node, ms, inside=inside)

    def _graph(self, cutter: Cutter, times: int) -> GraphTime:
        return GraphTime(cutter.number, times, tuple(self._inner(cutter, node) for node in cutter.graph.nodes))

    def _one_more_ms(self, cutter: Cutter, node: Node) -> tuple[float, float]:
        """Return what one more of an operator takes, and what it takes alone."""
        alone_ms = self._ms(cutter.cut(node))
        many_ms = self._ms(cutter.cut(node, copies=1 + COPIES))
        return max(0.0, many_ms - alone_ms) / COPIES, alone_ms

    def _ms(self, content: bytes) -> float:
        return time_model(content, threads=self.threads, seconds=self.share_s)


def _total_ms(inside: tuple[GraphTime, ...]) -> float:
    return sum(each.total_ms for each in inside)


@dataclass(frozen=True, slots=True)
class _Ways:
    """What an operator may run, and whether that is one way only, also for what runs in it.

    The inputs that it is timed with are made up: they take the way of real ones only where there is one.
    """

    runs: tuple[Runs, ...]
    settled: bool


def _ways(graph: Graph, node: Node) -> _Ways | None:
    """Return what an operator may run; None where the file does not say how often, of it or of what runs in it."""
    runs = alternatives(graph, node)
    inner = [_ways(each, one) for each in graph.called.get(node.index, ()) for one in each.nodes]
    if runs is None or None in inner:
        return None
    return _Ways(runs, settled=len(runs) == 1 and all(one.settled for one in inner if one))
