"""Say an ONNX network in the operators that convert well, before it is converted.

``prepare`` is a pure function of a model with static shapes: it folds what is constant, expands functions, and rewrites
what the converter gets wrong or does not know. Each module beside it holds the rules of one family.
"""

from typing import Final

import onnx
from onnx import helper

from converters.onnx_rewrite.rules import EXPANDED, RULES
from converters.onnx_rewrite.trace import Trace, to_tensor

OLDEST_OPSET: Final = 13
"""Older models are brought to this one by ONNX's own converter, else left as they are."""
_MODERN_OPSET: Final = 18


def prepare(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the same network in plainer operators. Inputs and outputs keep their names, shapes and order."""
    model = _inlined(model)
    if all(entry.domain not in {"", "ai.onnx"} for entry in model.opset_import):
        model.opset_import.append(helper.make_opsetid("", _MODERN_OPSET))
    if opset(model) < OLDEST_OPSET:
        modern = _modern(model)
        if modern is None:
            return model
        model = modern
    return _Replay(model).run()


def opset(model: onnx.ModelProto) -> int:
    """Return the version of ONNX's own operators."""
    return max((entry.version for entry in model.opset_import if entry.domain in {"", "ai.onnx"}), default=1)


def _inlined(model: onnx.ModelProto) -> onnx.ModelProto:
    if not model.functions:
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        return copy
    from onnx import inliner

    return inliner.inline_local_functions(model)


def _modern(model: onnx.ModelProto) -> onnx.ModelProto | None:
    from onnx import version_converter

    try:
        modern = version_converter.convert_version(model, _MODERN_OPSET)
    except Exception:  # noqa: BLE001 - it raises what it likes; the old model is then converted as it is
        return None
    same = [*model.graph.input, *model.graph.output] == [*modern.graph.input, *modern.graph.output]
    return modern if same else None  # of Scan it loses the batch


class _Replay:
    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = model
        self._trace = Trace(opset(model), RULES, EXPANDED, list(model.opset_import))

    def run(self) -> onnx.ModelProto:
        trace, graph = self._trace, self._model.graph
        for tensor in graph.initializer:
            trace.constants[tensor.name] = onnx.numpy_helper.to_array(tensor)
        known = onnx.shape_inference.infer_shapes(self._model).graph
        for value in [*known.value_info, *known.output, *graph.input]:
            if value.name not in trace.constants:
                trace.types[value.name] = value.type
        for node in graph.node:
            trace.origin = node.name or next((name for name in node.output if name), node.op_type)
            trace.replay(node)
        trace.origin = ""
        return self._written()

    def _written(self) -> onnx.ModelProto:
        trace, graph = self._trace, self._model.graph
        inputs = [value for value in graph.input if value.name not in trace.constants]
        nodes = self._named_outputs({value.name for value in inputs})
        nodes = _reached(nodes, [value.name for value in graph.output])
        used = {name for node in nodes for name in node.input}
        constants = [to_tensor(name, value) for name, value in trace.constants.items() if name in used]
        outputs = []
        for value in graph.output:
            entry = trace.types.get(trace.names.get(value.name, value.name))
            outputs.append(helper.make_value_info(value.name, entry) if entry is not None else value)
        written = helper.make_graph(nodes, graph.name or "network", inputs, outputs, constants)
        return helper.make_model(written, opset_imports=list(self._model.opset_import), ir_version=10)

    def _named_outputs(self, inputs: set[str]) -> list[onnx.NodeProto]:
        """Return the nodes with the graph's outputs under their own names again."""
        trace, taken = self._trace, dict[str, str]()
        copies = []
        for value in self._model.graph.output:
            now = trace.names.get(value.name, value.name)
            if now == value.name:
                continue
            if now in inputs or now in trace.constants or now in taken:
                source = taken.get(now, now)
                copies.append(helper.make_node("Identity", [source], [value.name], f"{value.name}/copy"))
            else:
                taken[now] = value.name
        for node in trace.nodes:
            node.input[:] = [taken.get(name, name) for name in node.input]
            node.output[:] = [taken.get(name, name) for name in node.output]
        return [*trace.nodes, *copies]


def _reached(nodes: list[onnx.NodeProto], wanted: list[str]) -> list[onnx.NodeProto]:
    """Return the nodes that something depends on."""
    needed = set(wanted)
    kept = []
    for node in reversed(nodes):
        if any(name in needed for name in node.output):
            kept.append(node)
            needed.update(node.input)
            for entry in node.attribute:
                if entry.type == onnx.AttributeProto.GRAPH:
                    needed.update(name for inner in entry.g.node for name in inner.input)
    return kept[::-1]
