"""The noise of each layer of a quantised network: every tensor of both networks, read in one run of each."""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from converters.comparison import SAME_DB
from converters.steps import observer
from edge_runtime import model_file
from edge_runtime.analysis.operator_names import operator_name
from edge_runtime.model_file import ModelFile, parse_model

_MOVES: Final = frozenset({"CONCATENATION", "RESHAPE", "TRANSPOSE", "SQUEEZE", "EXPAND_DIMS"})
_WEIGHTED: Final = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "BATCH_MATMUL", "TRANSPOSE_CONV"})
_FEW_WEIGHTS: Final = 256
_MOST_COMPARED: Final = 8
"""Samples over which activations are compared."""


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator of a float network, by its first output."""

    output: str
    kind: str
    inputs: tuple[str, ...]
    """Its computed inputs; constants are left out."""


@dataclass(slots=True)
class Noise:
    """Powers of one tensor, summed over values and samples."""

    signal: float = 0.0
    noise: float = 0.0

    @property
    def share(self) -> float:
        """Return noise to signal."""
        if not math.isfinite(self.noise):
            return math.inf
        return self.noise / self.signal if self.signal else 0.0

    @property
    def db(self) -> float:
        """Return 10 log10 of signal to noise, within +-SAME_DB."""
        if not self.noise or not self.signal or not math.isfinite(self.noise):
            return SAME_DB if not self.noise else -SAME_DB
        return round(max(-SAME_DB, min(SAME_DB, 10.0 * math.log10(self.signal / self.noise))), 2)


def measure(wanted: bytes, got: bytes, samples: str | Path) -> dict[str, Noise]:
    """Compare the tensors of a quantised network with those of the float one, by name, over a few samples."""
    names = {name: index for index, name in observer.computed(wanted)}
    others = {name: read for name, read in observer.comparable(got).items() if name in names}
    found = {name: Noise() for name in others}
    both = zip(observer.runs(wanted, samples), observer.runs(got, samples), strict=True)
    for read, read_other in itertools.islice(both, _MOST_COMPARED):
        for name, values_of in others.items():
            right = read(names[name]).reshape(-1)
            error = values_of(read_other).reshape(-1) - right
            found[name].signal += float(right @ right)
            found[name].noise += float(error @ error)
    return found


def operators(content: bytes) -> list[Operator]:
    """Return the operators of a float network in execution order."""
    model = parse_model(content, "the float model")
    computed = {name for _, name in observer.computed(content)}
    return [
        Operator(
            output=model.tensors[operator.outputs[0]].name,
            kind=operator_name(operator.code),
            inputs=tuple(
                name
                for name in (model.tensors[index].name for index in operator.inputs if index >= 0)
                if name in computed
            ),
        )
        for operator in model.operators
        if operator.outputs
    ]


def noisiest(wanted: bytes, got: bytes, samples: str | Path) -> list[str]:
    """Return the outputs of the operators, those first whose noise to signal grows most from input to output.

    Operators whose output the quantised network does not have, such as what was fused, come last.
    """
    noise = measure(wanted, got, samples)
    grown = {one.output: _growth(one, noise) for one in operators(wanted)}
    return sorted(grown, key=lambda name: grown[name], reverse=True)


def joins(content: bytes) -> list[str]:
    """Return the outputs of the operators that lead from CONCATENATION to the network's outputs and compute nothing."""
    makers = {one.output: one for one in operators(content)}
    model = parse_model(content, "the float model")
    found: list[str] = []
    for index in model.outputs:
        path: list[str] = []
        name = model.tensors[index].name
        while (maker := makers.get(name)) is not None and maker.kind in _MOVES and maker.inputs:
            path.append(name)
            if maker.kind == "CONCATENATION":
                found += path
                break
            name = maker.inputs[0]
    return found


def decoding(content: bytes) -> list[str]:
    """Return the outputs of the operators between the last layers with weights and the network's outputs.

    There a detector turns offsets into boxes. A layer with few weights belongs to it: a change of coordinates, or the
    mean over a distribution of offsets.
    """
    model = parse_model(content, "the float model")
    makers = {index: operator for operator in model.operators for index in operator.outputs}
    found: dict[int, None] = {}
    waiting = list(model.outputs)
    while waiting:
        operator = makers.get(index := waiting.pop())
        if operator is None or index in found or _weights(model, operator) > _FEW_WEIGHTS:
            continue
        found[index] = None
        waiting += [place for place in operator.inputs if place >= 0]
    return [model.tensors[operator.outputs[0]].name for operator in model.operators if operator.outputs[0] in found]


def _weights(model: ModelFile, operator: model_file.Operator) -> int:
    """Return how many constant weights an operator multiplies its input by."""
    if operator_name(operator.code) not in _WEIGHTED:
        return 0
    weights = model.tensors[operator.inputs[1]]
    return math.prod(weights.shape) if model.buffer(weights.buffer) else 0


def _growth(operator: Operator, noise: Mapping[str, Noise]) -> float:
    if operator.output not in noise:
        return -math.inf
    before = max((noise[name].share for name in operator.inputs if name in noise), default=0.0)
    after = noise[operator.output].share
    return 0.0 if math.isinf(before) else after - before
