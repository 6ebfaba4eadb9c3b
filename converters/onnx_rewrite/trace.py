"""Replay an ONNX graph operator by operator, with every shape known, and write down what it becomes.

Each operator is folded when all its inputs are constant, else handed to its rule, which says the same in plainer
operators, else expanded when ONNX defines it as a function, else kept. What a rule writes is replayed in the same way.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from converters.onnx_rewrite import evaluate

Array = NDArray[Any]
Given: TypeAlias = "str | Array | np.generic | float | Sequence[int]"
"""A value by its name, or a constant."""
Answer: TypeAlias = "str | Sequence[str] | None"
FLOAT: Final = onnx.TensorProto.FLOAT
_NEVER_FOLDED: Final = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial"}
)
_KNOWN_DOMAINS: Final = frozenset({"", "ai.onnx.ml"})
_LARGEST_FOLDED: Final = 64 * 1024 * 1024
"""Values; a constant that is computed is not made larger than this."""
_DEEPEST: Final = 40


class UnknownShapeError(Exception):
    """A rule needs a shape that is not known; the operator is kept."""


@dataclass(frozen=True, slots=True)
class Call:
    """One operator to be rewritten: its inputs by their new names ("" for one left out), its attributes."""

    op: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    name: str
    version: int
    """Of the operator set."""

    def has(self, index: int) -> bool:
        """Whether an input is given."""
        return index < len(self.inputs) and bool(self.inputs[index])

    def get(self, name: str, default: Any = None) -> Any:
        """Return an attribute."""
        return self.attributes.get(name, default)

    def wants(self, index: int) -> bool:
        """Whether an output is wanted."""
        return index < len(self.outputs) and bool(self.outputs[index])


Rule: TypeAlias = "Callable[[Trace, Call], Answer]"
"""Returns the new values of the operator's outputs, or None to keep it as it is."""


@dataclass(slots=True)
class Trace:
    """The graph that is being written. One thread at a time."""

    version: int
    rules: Mapping[str, Rule]
    expanded: frozenset[str] = frozenset()
    """Operators without a rule that are expanded as ONNX defines them."""
    opsets: Sequence[onnx.OperatorSetIdProto] = ()
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)
    types: dict[str, onnx.TypeProto] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    """What a value of the source is called now."""
    origin: str = ""
    """Name or output of the source's node that is being replayed."""
    _count: int = 0
    _depth: int = 0

    # What is known of values

    def shape(self, name: str) -> tuple[int, ...]:
        """Return a static shape. Raises UnknownShapeError."""
        if name in self.constants:
            return tuple(self.constants[name].shape)
        entry = self.types.get(name)
        if entry is None or not entry.HasField("tensor_type") or not entry.tensor_type.HasField("shape"):
            raise UnknownShapeError(name)
        sides = entry.tensor_type.shape.dim
        if not all(side.HasField("dim_value") for side in sides):
            raise UnknownShapeError(name)
        return tuple(side.dim_value for side in sides)

    def rank(self, name: str) -> int:
        """Return the number of axes. Raises UnknownShapeError."""
        return len(self.shape(name))

    def elem_type(self, name: str) -> int:
        """Return the ``TensorProto`` type of a value, 0 where it is not known."""
        if name in self.constants:
            return int(helper.np_dtype_to_tensor_dtype(self.constants[name].dtype))
        entry = self.types.get(name)
        return int(entry.tensor_type.elem_type) if entry is not None else 0

    def is_float(self, name: str) -> bool:
        """Whether a value is float32."""
        return self.elem_type(name) == int(FLOAT)

    def value(self, name: str) -> Array | None:
        """Return the value of a constant."""
        return self.constants.get(name)

    # Writing

    def constant(self, value: Given, dtype: Any = None) -> str:
        """Return the name of a value: its own, or that of a new constant (float32 unless it has another type)."""
        if isinstance(value, str):
            return value
        array = np.asarray(value)
        if dtype is not None:
            array = array.astype(dtype)
        elif not isinstance(value, np.ndarray) and not isinstance(value, np.generic):
            array = array.astype(np.float32 if isinstance(value, float) else np.int64)
        name = self.fresh("constant")
        self.constants[name] = array
        return name

    def initializer(self, tensor: onnx.TensorProto) -> str:
        """Return the name of a body's constant."""
        return self.constant(numpy_helper.to_array(tensor))

    def fresh(self, stem: str) -> str:
        """Return a new name."""
        self._count += 1
        return f"{self.origin or 'edge'}/{stem}_{self._count}"

    def op(self, kind: str, *inputs: Given, domain: str = "", **attributes: Any) -> str:
        """Write an operator with one output and return its name."""
        return self.ops(kind, *inputs, count=1, domain=domain, **attributes)[0]

    def ops(self, kind: str, *inputs: Given, count: int, domain: str = "", **attributes: Any) -> list[str]:
        """Write an operator with several outputs."""
        given = [self.constant(value) for value in inputs]
        outputs = [self.fresh(kind) for _ in range(count)]
        said = {key: value for key, value in attributes.items() if value is not None}
        return self._process(helper.make_node(kind, given, outputs, self.fresh(kind), domain=domain, **said))

    # Operators whose form depends on the version of the operator set

    def reduce(self, kind: str, value: str, axes: Sequence[int], *, keepdims: bool = True) -> str:
        """Write a reduction over ``axes``."""
        places, keep = [int(axis) for axis in axes], int(keepdims)
        if kind == "ReduceSum" or self.version >= 18:
            return self.op(kind, value, places, keepdims=keep)
        return self.op(kind, value, axes=places, keepdims=keep)

    def reshape(self, value: str, shape: Sequence[int]) -> str:
        """Write a RESHAPE, where the shape is another."""
        wanted = tuple(int(side) for side in shape)
        return value if self.shape(value) == wanted else self.op("Reshape", value, wanted)

    def cut(self, value: str, axis: int, start: int, end: int, step: int = 1) -> str:
        """Write a slice along one axis."""
        if (start, step) == (0, 1) and end >= self.shape(value)[axis]:
            return value
        return self.op("Slice", value, [start], [end], [axis], [step])

    def concat(self, values: Sequence[str], axis: int) -> str:
        """Write a concatenation, where there is more than one value."""
        return values[0] if len(values) == 1 else self.op("Concat", *values, axis=axis)

    def gather(self, value: str, indices: Any, axis: int) -> str:
        """Write a GATHER with constant indices."""
        return self.op("Gather", value, np.asarray(indices, np.int64), axis=axis)

    def replay(self, node: onnx.NodeProto) -> list[str]:
        """Replay a node of the source, or of a body, whose inputs are looked up in ``names``."""
        now = onnx.NodeProto()
        now.CopyFrom(node)
        now.input[:] = [self.names.get(name, name) for name in node.input]
        results = self._process(now)
        for output, result in zip(node.output, results, strict=False):
            if output:
                self.names[output] = result
        return results

    def _process(self, node: onnx.NodeProto) -> list[str]:
        call = Call(
            op=node.op_type,
            domain="" if node.domain == "ai.onnx" else node.domain,
            inputs=tuple(node.input),
            outputs=tuple(node.output),
            attributes={entry.name: helper.get_attribute_value(entry) for entry in node.attribute},
            name=node.name,
            version=self.version,
        )
        self._depth += 1
        try:
            return self._settle(call, node) if self._depth < _DEEPEST else self._keep(call, node)
        finally:
            self._depth -= 1

    def _settle(self, call: Call, node: onnx.NodeProto) -> list[str]:
        folded = self._folded(call, node)
        if folded is not None:
            return folded
        rule = self.rules.get(call.op) if call.domain in _KNOWN_DOMAINS else None
        if rule is not None:
            try:
                answer = rule(self, call)
            except UnknownShapeError:
                answer = None
            if answer is not None:
                return [answer] if isinstance(answer, str) else list(answer)
        if not call.domain and call.op in self.expanded:
            expanded = self._expand(call, node)
            if expanded is not None:
                return expanded
        return self._keep(call, node)

    def _folded(self, call: Call, node: onnx.NodeProto) -> list[str] | None:
        if call.op in _NEVER_FOLDED or any(name and name not in self.constants for name in call.inputs):
            return None
        if any(entry.type in {onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS} for entry in node.attribute):
            return None
        given = {name: self.constants[name] for name in call.inputs if name}
        results = evaluate.run(node, given, self.version, self.opsets)
        if results is None or any(result.size > _LARGEST_FOLDED for result in results):
            return None
        return [self.constant(result) for result in results]

    def _expand(self, call: Call, node: onnx.NodeProto) -> list[str] | None:
        """Replay the body by which ONNX defines the operator."""
        entries = [self.types.get(name) or _type_of(self.constants.get(name)) for name in call.inputs]
        body = evaluate.function_body(node, [entry for entry in entries if entry is not None], self.version)
        if body is None:
            return None
        return self.inline(body.node, dict(zip(body.input, call.inputs, strict=False)), body.output, node)

    def inline(
        self,
        nodes: Sequence[onnx.NodeProto],
        bound: Mapping[str, str],
        results: Sequence[str],
        caller: onnx.NodeProto | None = None,
    ) -> list[str]:
        """Replay the nodes of a function or subgraph with ``bound`` inputs; return the names of ``results``."""
        saved = dict(self.names)
        self.names.update(bound)
        given = {entry.name: entry for entry in caller.attribute} if caller is not None else {}
        try:
            for inner in nodes:
                self.replay(evaluate.with_attributes(inner, given))
            return [self.names.get(name, name) for name in results]
        finally:
            self.names = saved

    def _keep(self, call: Call, node: onnx.NodeProto) -> list[str]:
        kept = onnx.NodeProto()
        kept.CopyFrom(node)
        outputs = [self.fresh(call.op) if name else "" for name in node.output]
        del kept.output[:]
        kept.output.extend(outputs)
        kept.name = self.fresh(call.name or call.op)
        self.nodes.append(kept)
        known = evaluate.output_types(kept, self.types, self.constants, self.version, self.opsets)
        for source, output in zip(node.output, outputs, strict=True):
            entry = known.get(output) or self.types.get(source)
            if output and entry is not None:
                self.types[output] = entry
        return outputs


def _type_of(value: Array | None) -> onnx.TypeProto | None:
    if value is None:
        return None
    return helper.make_tensor_type_proto(helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)


def to_tensor(name: str, value: Array) -> onnx.TensorProto:
    """Return an initializer."""
    return numpy_helper.from_array(np.asarray(value, order="C"), name)
