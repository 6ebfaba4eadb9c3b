"""Time probes on this machine: the median of many short runs, taken again in a second pass after all others.

A noisy or hot machine is slow for a while and then fast again. What a model usually takes is what its user sees, and
what is measured at several moments, each at its pace (``calibration.pace``), repeats within a few percent.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import log
from statistics import geometric_mean, median
from typing import Any, Final

import numpy as np

from edge_runtime.analysis.calibration.probe import Probe
from edge_runtime.analysis.descriptor import Descriptor, describe
from edge_runtime.analysis.graph import build_graph
from edge_runtime.analysis.xnnpack import takes
from edge_runtime.errors import EngineError
from edge_runtime.interpreter import NATIVE_ERRORS, Runtime, one_line
from edge_runtime.model_file import parse_model

LEAST_BATCHES: Final = 5
BATCH_S: Final = 0.0003
LONGEST_S: Final = 0.1
"""What takes longer than this is not run again."""


Slowness = Callable[[int, float], float]
"""Tells how many times as long everything took with so many threads at a moment (``time.monotonic``)."""
Meanwhile = Callable[[int], object]
"""Called after everything that was timed, with the number of its threads."""


def nothing(_threads: int) -> None:
    """Do nothing meanwhile."""


def undisturbed(_threads: int, _at_s: float) -> float:
    """Return 1: a machine that is always as fast."""
    return 1.0


@dataclass(frozen=True, slots=True)
class Point:
    """A measured operator: the time of a whole inference that does nothing else."""

    descriptor: Descriptor
    threads: int
    us: float


@dataclass(frozen=True, slots=True)
class Timed:
    """What a run took at a moment, with so many threads."""

    us: float
    at_s: float
    threads: int

    def at_pace(self, slowness: Slowness) -> float:
        """Return what it would have taken at the pace 1."""
        return self.us / slowness(self.threads, self.at_s)


def together(timed: Sequence[Timed], slowness: Slowness) -> float:
    """Return the geometric mean of what was timed at several moments, each at the pace 1."""
    return geometric_mean(one.at_pace(slowness) for one in timed)


class Sitting:
    """An interpreter with a model in it and noise in its inputs."""

    def __init__(self, runtime: Runtime, content: bytes, *, threads: int) -> None:
        try:
            self._interpreter = runtime.interpreter(model_content=content, num_threads=threads)
            self._interpreter.allocate_tensors()
            _fill(self._interpreter)
            self._interpreter.invoke()
        except NATIVE_ERRORS as error:
            raise EngineError(f"this operator does not run by itself: {one_line(error)}") from error

    def usual_us(self, seconds: float) -> float:
        """Return the time of a run, of those that fit into ``seconds`` (see ``usual``)."""
        return usual(self._interpreter.invoke, seconds)

    def runs_in(self, seconds: float) -> int:
        """Return how many runs take about so long."""
        return max(1, int(1e6 * seconds / max(self.usual_us(seconds), 0.01)))

    def time_us(self, count: int) -> float:
        """Return the mean time of so many runs."""
        return _batch_ns(self._interpreter.invoke, count) / count / 1e3

    def usual_call_us(self, seconds: float) -> float:
        """Return the same for calls as an engine makes them: inputs set, run, outputs copied."""
        inner = self._interpreter
        inputs = [(detail["index"], inner.get_tensor(detail["index"])) for detail in inner.get_input_details()]
        outputs = [detail["index"] for detail in inner.get_output_details()]

        def call() -> None:
            for index, value in inputs:
                inner.set_tensor(index, value)
            inner.invoke()
            for index in outputs:
                inner.get_tensor(index)

        return usual(call, seconds)


def usual(run: Callable[[], object], seconds: float) -> float:
    """Return microseconds of a run: the median of means over ``BATCH_S``, of those that fit into ``seconds``.

    The shortest of them would be another moment's for each operator: no network is as fast as all of those together.
    """
    now = time.perf_counter_ns
    end_ns = now() + int(seconds * 1e9)
    batch, times_ns = 1, [_batch_ns(run, 1)]
    while times_ns[-1] < BATCH_S * 1e9 / 2:
        batch = max(2 * batch, min(8 * batch, int(BATCH_S * 1e9 * batch / max(times_ns[-1], 1))))
        times_ns = [_batch_ns(run, batch)]
    while (len(times_ns) < LEAST_BATCHES or now() < end_ns) and times_ns[-1] < LONGEST_S * 1e9:
        times_ns.append(_batch_ns(run, batch))
    return median(times_ns) / batch / 1e3


def _batch_ns(run: Callable[[], object], count: int) -> int:
    began_ns = time.perf_counter_ns()
    for _ in range(count):
        run()
    return time.perf_counter_ns() - began_ns


def _fill(interpreter: Any) -> None:
    """Set every input to noise: zeros would take branches that real values do not."""
    random = np.random.default_rng(2)
    for detail in interpreter.get_input_details():
        shape, dtype = detail["shape"], np.dtype(detail["dtype"])
        if dtype.kind == "f":
            interpreter.set_tensor(detail["index"], random.random(shape, np.float32).astype(dtype) - dtype.type(0.3))
        elif dtype.kind in "iu":
            # On both sides of zero points: plain kernels branch on it. Wider integers may be places in a tensor.
            values = random.integers(-100 if dtype == np.int8 else 0, 250 if dtype == np.uint8 else 100, shape)
            interpreter.set_tensor(detail["index"], values.astype(dtype))


def describe_probe(probe: Probe, content: bytes, *, quantized: bool) -> Descriptor:
    """Return the descriptor of a probe's one operator."""
    graph = build_graph(parse_model(content, probe.group))
    (node,) = graph.nodes
    return describe(graph, node, delegated=takes(graph, node, quantized=quantized))


class ProbeTimer:
    """Times a list of probes pass after pass. Those that do not run here are left out. One thread calls it."""

    def __init__(
        self, probes: Sequence[Probe], runtime: Runtime, *, threads: Sequence[int], meanwhile: Meanwhile = nothing
    ) -> None:
        self._probes, self._runtime, self._threads, self._meanwhile = probes, runtime, threads, meanwhile
        self._found: dict[tuple[int, int], tuple[Descriptor, list[Timed]]] = {}
        self._left_out: set[int] = set()
        self._following = 0

    def points(self, slowness: Slowness = undisturbed) -> list[Point]:
        """Return what was measured so far."""
        return [
            Point(descriptor, threads, together(timed, slowness))
            for (_, threads), (descriptor, timed) in self._found.items()
        ]

    def noise(self, slowness: Slowness = undisturbed) -> float:
        """Return how far two passes are apart: the median of the logarithm, 0 of a single one."""
        apart = [
            abs(log(timed[1].at_pace(slowness) / timed[0].at_pace(slowness)))
            for _, timed in self._found.values()
            if len(timed) > 1
        ]
        return median(apart) if apart else 0.0

    def run(self, seconds: float, progress: Callable[[int], object] = lambda _done: None) -> None:
        """Time all probes once within ``seconds``, or as many as can be; ``progress`` is told of every probe.

        It goes on where the last run ended.
        """
        end_s = time.monotonic() + seconds
        for done in range(len(self._probes)):
            left_s = end_s - time.monotonic()
            if left_s <= 0:
                break
            progress(1)
            index = self._following
            probe, self._following = self._probes[index], (index + 1) % len(self._probes)
            if index in self._left_out:
                continue
            share_s = left_s / (len(self._probes) - done) / len(self._threads)
            try:
                for descriptor, timed in _time_probe(probe, self._runtime, threads=self._threads, share_s=share_s):
                    self._found.setdefault((index, timed.threads), (descriptor, []))[1].append(timed)
                    self._meanwhile(timed.threads)
            except EngineError:
                self._left_out.add(index)


def _time_probe(
    probe: Probe, runtime: Runtime, *, threads: Iterable[int], share_s: float
) -> Iterable[tuple[Descriptor, Timed]]:
    content = probe.make()
    descriptor = describe_probe(probe, content, quantized=runtime.name == "litert")
    for used in threads:
        yield descriptor, time_within(runtime, content, threads=used, seconds=share_s)


def time_within(runtime: Runtime, content: bytes, *, threads: int, seconds: float) -> Timed:
    """Build an interpreter and time a run, both within ``seconds`` if that can be. Raises EngineError."""
    began_s = time.monotonic()
    sitting = Sitting(runtime, content, threads=threads)
    us = sitting.usual_us(max(0.0, seconds - (time.monotonic() - began_s)))
    return Timed(us, time.monotonic(), threads)
