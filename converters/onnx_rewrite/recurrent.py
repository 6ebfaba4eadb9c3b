"""RNN, GRU and LSTM written out step by step, with everything that ONNX lets them have."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from converters.onnx_rewrite.trace import Answer, Array, Call, Trace

_MOST_STEPS: Final = 128
"""Longer sequences are left to the converter."""
_DEFAULTS: Final = {"RNN": ("Tanh",), "GRU": ("Sigmoid", "Tanh"), "LSTM": ("Sigmoid", "Tanh", "Tanh")}
_GATES: Final = {"RNN": 1, "GRU": 3, "LSTM": 4}
_ALPHA: Final = {"LeakyRelu": 0.01, "Elu": 1.0, "HardSigmoid": 0.2, "ThresholdedRelu": 1.0, "Affine": 1.0}
_BETA: Final = {"HardSigmoid": 0.5, "Affine": 0.0}
Activation = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class _Cell:
    """One direction of a layer: its weights and how it steps."""

    trace: Trace
    call: Call
    weights: str
    """(inputs, gates * hidden)."""
    recurrence: str
    """(hidden, gates * hidden)."""
    bias_in: str
    bias_recurrent: str
    peephole: str
    hidden: int
    activations: tuple[Activation, ...]

    def step(self, x: str, h: str, c: str) -> tuple[str, str]:
        """Return the next hidden and cell state."""
        return {"RNN": self._rnn, "GRU": self._gru, "LSTM": self._lstm}[self.call.op](x, h, c)

    def _clipped(self, value: str) -> str:
        limit = self.call.get("clip", 0.0)
        return self.trace.op("Clip", value, np.float32(-limit), np.float32(limit)) if limit else value

    def _part(self, value: str, number: int) -> str:
        return self.trace.cut(value, 1, number * self.hidden, (number + 1) * self.hidden)

    def _sums(self, x: str, h: str) -> tuple[str, str]:
        t = self.trace
        return (
            t.op("Add", t.op("MatMul", x, self.weights), self.bias_in),
            t.op("Add", t.op("MatMul", h, self.recurrence), self.bias_recurrent),
        )

    def _rnn(self, x: str, h: str, c: str) -> tuple[str, str]:
        ours, theirs = self._sums(x, h)
        return self.activations[0](self._clipped(self.trace.op("Add", ours, theirs))), c

    def _gru(self, x: str, h: str, c: str) -> tuple[str, str]:
        t, (gate, candidate) = self.trace, self.activations
        ours, theirs = self._sums(x, h)
        update = gate(self._clipped(t.op("Add", self._part(ours, 0), self._part(theirs, 0))))
        reset = gate(self._clipped(t.op("Add", self._part(ours, 1), self._part(theirs, 1))))
        if self.call.get("linear_before_reset", 0):
            back = t.op("Mul", reset, self._part(theirs, 2))
        else:
            matrix = t.cut(self.recurrence, 1, 2 * self.hidden, 3 * self.hidden)
            back = t.op("Add", t.op("MatMul", t.op("Mul", reset, h), matrix), self._part(self.bias_recurrent, 2))
        new = candidate(self._clipped(t.op("Add", self._part(ours, 2), back)))
        # as much of the old state as the update gate says
        return t.op("Add", new, t.op("Mul", update, t.op("Sub", h, new))), c

    def _lstm(self, x: str, h: str, c: str) -> tuple[str, str]:
        t, (gate, candidate, out) = self.trace, self.activations
        ours, theirs = self._sums(x, h)
        total = t.op("Add", ours, theirs)
        i, o, f, g = (self._part(total, number) for number in range(4))
        i = gate(self._clipped(self._peeped(i, c, 0)))
        f = (
            t.op("Sub", np.float32(1.0), i)
            if self.call.get("input_forget", 0)
            else gate(self._clipped(self._peeped(f, c, 2)))
        )
        g = candidate(self._clipped(g))
        cell = t.op("Add", t.op("Mul", f, c), t.op("Mul", i, g))
        o = gate(self._clipped(self._peeped(o, cell, 1)))
        return t.op("Mul", o, out(cell)), cell

    def _peeped(self, value: str, cell: str, number: int) -> str:
        if not self.peephole:
            return value
        return self.trace.op("Add", value, self.trace.op("Mul", self._part(self.peephole, number), cell))


def recurrence(trace: Trace, call: Call) -> Answer:
    """Write a layer out: each direction, each step."""
    x = call.inputs[0]
    if call.get("layout", 0):
        x = trace.op("Transpose", x, perm=[1, 0, 2])
    steps, batch, _ = trace.shape(x)
    lengths = trace.value(call.inputs[4]) if call.has(4) else np.full(batch, steps)
    if steps > _MOST_STEPS or lengths is None or any(trace.value(call.inputs[place]) is None for place in (1, 2)):
        return None
    direction = _text(call.get("direction", "forward"))
    count = 2 if direction == "bidirectional" else 1
    found = [
        _direction(trace, call, x, number, backwards=direction == "reverse" or number == 1, lengths=lengths)
        for number in range(count)
    ]
    return _answers(trace, call, found)


def _answers(trace: Trace, call: Call, found: list[tuple[list[str], str, str]]) -> list[str]:
    """Return Y (steps, directions, batch, hidden), Y_h and Y_c (directions, batch, hidden)."""
    batch, hidden = trace.shape(found[0][1])
    first = bool(call.get("layout", 0))
    per_step = []
    for outputs in zip(*(outputs for outputs, _, _ in found), strict=True):
        shape = [batch, 1, 1, hidden] if first else [1, 1, batch, hidden]
        per_step.append(trace.concat([trace.reshape(output, shape) for output in outputs], 2 if first else 1))
    whole = trace.concat(per_step, 1 if first else 0) if call.wants(0) else ""
    lasts = []
    for place, states in ((1, [one[1] for one in found]), (2, [one[2] for one in found])):
        if not call.wants(place):
            lasts.append("")
            continue
        shape = [batch, 1, hidden] if first else [1, batch, hidden]
        lasts.append(trace.concat([trace.reshape(state, shape) for state in states], 1 if first else 0))
    return [whole, *lasts]


def _direction(
    trace: Trace, call: Call, x: str, number: int, *, backwards: bool, lengths: Array
) -> tuple[list[str], str, str]:
    """Return the output of every step in the order of time, the last hidden and the last cell state."""
    steps, batch, inputs = trace.shape(x)
    cell = _cell(trace, call, number)
    h, c = (_state(trace, call, place, number, batch, cell.hidden) for place in (5, 6))
    outputs: dict[int, str] = {}
    for step in reversed(range(steps)) if backwards else range(steps):
        now = trace.reshape(trace.cut(x, 0, step, step + 1), [batch, inputs])
        next_h, next_c = cell.step(now, h, c)
        live = (step < lengths).astype(np.float32)[:, None]
        if live.all():
            h, c, outputs[step] = next_h, next_c, next_h
        else:  # what is over keeps its state and gives zeros
            outputs[step] = trace.op("Mul", next_h, live)
            h = trace.op("Add", outputs[step], trace.op("Mul", h, 1.0 - live))
            c = trace.op("Add", trace.op("Mul", next_c, live), trace.op("Mul", c, 1.0 - live)) if next_c != c else c
    return [outputs[step] for step in range(steps)], h, c


def _cell(trace: Trace, call: Call, number: int) -> _Cell:
    weights, recurrent = trace.value(call.inputs[1]), trace.value(call.inputs[2])
    assert weights is not None
    assert recurrent is not None
    hidden, gates = recurrent.shape[2], _GATES[call.op]
    if call.has(3):
        parts = [
            trace.cut(trace.cut(call.inputs[3], 0, number, number + 1), 1, start, start + gates * hidden)
            for start in (0, gates * hidden)
        ]
    else:
        parts = [trace.constant(np.zeros((1, gates * hidden), np.float32))] * 2
    peephole = trace.cut(call.inputs[7], 0, number, number + 1) if call.has(7) else ""
    names = [_text(name) for name in call.get("activations", [])] or list(_DEFAULTS[call.op]) * 2
    size = len(_DEFAULTS[call.op])
    return _Cell(
        trace=trace,
        call=call,
        weights=trace.constant(np.ascontiguousarray(weights[number].T)),
        recurrence=trace.constant(np.ascontiguousarray(recurrent[number].T)),
        bias_in=parts[0],
        bias_recurrent=parts[1],
        peephole=peephole,
        hidden=hidden,
        activations=_activations(trace, call, names)[number * size : (number + 1) * size],
    )


def _state(trace: Trace, call: Call, place: int, number: int, batch: int, hidden: int) -> str:
    if not call.has(place):
        return trace.constant(np.zeros((batch, hidden), np.float32))
    first = call.get("layout", 0)
    return trace.reshape(trace.cut(call.inputs[place], 1 if first else 0, number, number + 1), [batch, hidden])


def _activations(trace: Trace, call: Call, names: list[str]) -> tuple[Activation, ...]:
    """Return the functions; alphas and betas are given in turn to those that take one."""
    alphas, betas = list(call.get("activation_alpha", [])), list(call.get("activation_beta", []))
    found = []
    for name in names:
        alpha = (alphas.pop(0) if alphas else _ALPHA[name]) if name in _ALPHA else 0.0
        beta = (betas.pop(0) if betas else _BETA[name]) if name in _BETA else 0.0
        found.append(_activation(trace, name, alpha, beta))
    return tuple(found)


def _activation(trace: Trace, name: str, alpha: float, beta: float) -> Activation:
    if name == "Affine":
        return lambda x: trace.op("Add", trace.op("Mul", x, np.float32(alpha)), np.float32(beta))
    if name == "ScaledTanh":
        return lambda x: trace.op("Mul", trace.op("Tanh", trace.op("Mul", x, np.float32(beta))), np.float32(alpha))
    said: dict[str, Any] = {"alpha": alpha} if name in _ALPHA else {}
    said |= {"beta": beta} if name in _BETA else {}
    return lambda x: trace.ops(name, x, count=1, **said)[0]


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


RULES = {"RNN": recurrence, "GRU": recurrence, "LSTM": recurrence}
