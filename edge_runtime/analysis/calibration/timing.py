"""Time probes on this machine: the shortest of many runs, taken again in a second pass after all others.

A noisy or hot machine is slow for a while and then fast again; what is measured at two moments far apart and counted
by its minimum repeats within a few percent where medians do not.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from edge_runtime.analysis.calibration.probe import Probe
from edge_runtime.analysis.descriptor import Descriptor, describe
from edge_runtime.analysis.graph import build_graph
from edge_runtime.analysis.xnnpack import takes
from edge_runtime.errors import EngineError
from edge_runtime.interpreter import NATIVE_ERRORS, Runtime, one_line
from edge_runtime.model_file import parse_model

LEAST_BATCHES: Final = 4
BATCH_S: Final = 0.0005
LONGEST_S: Final = 0.1
"""What takes longer than this is not run again."""


Slowness = Callable[[int], float]
"""Tells how many times as long everything takes at this moment, with so many threads; times are divided by it."""


def undisturbed(_threads: int) -> float:
    """Return 1: a machine that is always as fast."""
    return 1.0


@dataclass(frozen=True, slots=True)
class Point:
    """A measured operator: the time of a whole inference that does nothing else."""

    descriptor: Descriptor
    threads: int
    us: float


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

    def shortest_us(self, seconds: float) -> float:
        """Return the time of a run, the shortest of those that fit into ``seconds`` (see ``shortest``)."""
        return shortest(self._interpreter.invoke, seconds)

    def runs_in(self, seconds: float) -> int:
        """Return how many runs take about so long."""
        return max(1, int(1e6 * seconds / max(self.shortest_us(seconds), 0.01)))

    def time_us(self, count: int) -> float:
        """Return the mean time of so many runs."""
        return _batch_ns(self._interpreter.invoke, count) / count / 1e3

    def shortest_call_us(self, seconds: float) -> float:
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

        return shortest(call, seconds)


def shortest(run: Callable[[], object], seconds: float) -> float:
    """Return microseconds of a run: the shortest mean over ``BATCH_S``, of those that fit into ``seconds``.

    A processor is never undisturbed for long: the sum of the shortest moments of many operators is less than the
    shortest moment of a network. Means over the same short time are comparable.
    """
    now = time.perf_counter_ns
    end_ns = now() + int(seconds * 1e9)
    batch, times_ns = 1, [_batch_ns(run, 1)]
    while times_ns[-1] < BATCH_S * 1e9 / 2:
        batch = max(2 * batch, min(8 * batch, int(BATCH_S * 1e9 * batch / max(times_ns[-1], 1))))
        times_ns = [_batch_ns(run, batch)]
    while (len(times_ns) < LEAST_BATCHES or now() < end_ns) and times_ns[-1] < LONGEST_S * 1e9:
        times_ns.append(_batch_ns(run, batch))
    return min(times_ns) / batch / 1e3


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
    """Times a list of probes pass after pass and keeps the shortest time of each.

    Those that do not run here are left out. One thread calls it.
    """

    def __init__(
        self, probes: Sequence[Probe], runtime: Runtime, *, threads: Sequence[int], slowness: Slowness = undisturbed
    ) -> None:
        self._probes, self._runtime, self._threads, self._slowness = probes, runtime, threads, slowness
        self._found: dict[tuple[int, int], Point] = {}
        self._apart: dict[tuple[int, int], float] = {}
        self._left_out: set[int] = set()
        self._following = 0

    @property
    def points(self) -> list[Point]:
        """Return what was measured so far."""
        return list(self._found.values())

    @property
    def noise(self) -> float:
        """Return how far two passes are apart: the median of the logarithm."""
        return float(np.median(list(self._apart.values()))) if self._apart else 0.0

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
                points = list(_time_probe(probe, self._runtime, threads=self._threads, share_s=share_s))
            except EngineError:
                self._left_out.add(index)
                continue
            for point in points:
                self._keep(index, replace(point, us=point.us / self._slowness(point.threads)))

    def _keep(self, index: int, point: Point) -> None:
        seen = self._found.get((index, point.threads))
        if seen:
            self._apart[index, point.threads] = abs(float(np.log(point.us / seen.us)))
            point = replace(point, us=min(point.us, seen.us))
        self._found[index, point.threads] = point


def _time_probe(probe: Probe, runtime: Runtime, *, threads: Iterable[int], share_s: float) -> Iterable[Point]:
    content = probe.make()
    descriptor = describe_probe(probe, content, quantized=runtime.name == "litert")
    for used in threads:
        began_s = time.monotonic()
        sitting = Sitting(runtime, content, threads=used)
        # Building takes its part of the share; what is left of it is for running.
        yield Point(descriptor, used, sitting.shortest_us(max(0.0, share_s - (time.monotonic() - began_s))))
