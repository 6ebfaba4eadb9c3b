"""Time made-up networks as a whole and each of their operators alone."""

import time
from collections.abc import Callable, Sequence

from edge_runtime.analysis.calibration.context import Whole, parts_of
from edge_runtime.analysis.calibration.networks import NETWORKS, Network, networks
from edge_runtime.analysis.calibration.timing import Point, Sitting, Slowness, undisturbed
from edge_runtime.analysis.graph import build_graph
from edge_runtime.errors import EngineError
from edge_runtime.interpreter import Runtime
from edge_runtime.model_file import parse_model

_PARTS_SHARE = 0.6
"""Of the time goes to the operators alone."""


class NetworkTimer:
    """Times networks pass after pass and keeps the shortest times. One thread calls it."""

    def __init__(self, runtime: Runtime, *, threads: Sequence[int], slowness: Slowness = undisturbed) -> None:
        self._runtime, self._threads, self._slowness = runtime, threads, slowness
        self._whole_us: dict[tuple[int, int], float] = {}
        self._alone: dict[tuple[int, int], list[Point]] = {}

    @property
    def points(self) -> list[Point]:
        """Return the operators that were timed alone."""
        return [point for points in self._alone.values() for point in points]

    @property
    def wholes(self) -> list[Whole]:
        """Return every network that was timed in whole and in parts."""
        found = []
        for number, network in enumerate(networks()):
            _, sums = parts_of(build_graph(parse_model(network.content, "network")), runtime=self._runtime.name)
            for count in self._threads:
                if (us := self._whole_us.get((number, count))) is not None and (number, count) in self._alone:
                    alone_us = sum(point.us for point in self._alone[number, count])
                    found.append(Whole(sums, count, us, alone_us))
        return found

    def run(self, seconds: float, progress: Callable[[int], object] = lambda _done: None) -> None:
        """Time all networks once within ``seconds``, or as many as can be; ``progress`` is told of each."""
        end_s = time.monotonic() + seconds
        for number, network in enumerate(networks()):
            left_s = end_s - time.monotonic()
            if left_s <= 0:
                return
            progress(1)
            share_s = left_s / (NETWORKS - number) / len(self._threads)
            for count in self._threads:
                try:
                    self._time(number, network, count, share_s)
                except EngineError:
                    break

    def _time(self, number: int, network: Network, threads: int, seconds: float) -> None:
        graph = build_graph(parse_model(network.content, "network"))
        descriptors, _ = parts_of(graph, runtime=self._runtime.name)
        whole = Sitting(self._runtime, network.content, threads=threads)
        # Half before and half after the parts: the machine may change meanwhile.
        half_s = seconds * (1 - _PARTS_SHARE) / 2
        us = whole.shortest_us(half_s) / self._slowness(threads)
        part_s = seconds * _PARTS_SHARE / len(network.parts)
        points = []
        for descriptor, part in zip(descriptors, network.parts, strict=True):
            began_s = time.monotonic()
            sitting = Sitting(self._runtime, part(), threads=threads)
            alone_us = sitting.shortest_us(max(0.0, part_s - (time.monotonic() - began_s)))
            points.append(Point(descriptor, threads, alone_us / self._slowness(threads)))
        us = min(us, whole.shortest_us(half_s) / self._slowness(threads))
        self._keep(number, threads, us, points)

    def _keep(self, number: int, threads: int, us: float, points: list[Point]) -> None:
        key = number, threads
        if key in self._alone:
            us = min(us, self._whole_us[key])
            points = [min(pair, key=lambda point: point.us) for pair in zip(points, self._alone[key], strict=True)]
        self._whole_us[key], self._alone[key] = us, points
