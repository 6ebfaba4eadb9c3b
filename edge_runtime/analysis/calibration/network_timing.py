"""Time made-up networks as a whole and each of their operators alone."""

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from edge_runtime.analysis.calibration.context import Whole, describe_graph
from edge_runtime.analysis.calibration.networks import NETWORKS, networks
from edge_runtime.analysis.calibration.timing import Point, Sitting, Slowness, undisturbed
from edge_runtime.analysis.calibration.wiring import Network
from edge_runtime.analysis.graph import build_graph
from edge_runtime.errors import EngineError
from edge_runtime.interpreter import Runtime
from edge_runtime.model_file import parse_model

_PARTS_SHARE: Final = 0.6
"""Of the time goes to the operators alone."""


class NetworkTimer:
    """Times networks pass after pass and keeps the shortest times. One thread calls it.

    Their operators are timed in the first pass only, those that do the same work once in each network: of many, the
    errors even out.
    """

    def __init__(self, runtime: Runtime, *, threads: Sequence[int], slowness: Slowness = undisturbed) -> None:
        self._runtime, self._threads, self._slowness = runtime, threads, slowness
        self._networks = [
            (network, describe_graph(build_graph(parse_model(network.content, "network")), runtime=runtime.name))
            for network in networks()
        ]
        self._whole_us: dict[tuple[int, int], float] = {}
        self._alone_us: dict[tuple[int, int], dict[tuple[Any, ...], float]] = {}
        self._left_out: set[int] = set()

    @property
    def points(self) -> list[Point]:
        """Return the operators that were timed alone."""
        return [
            Point(descriptor, count, us)
            for number, count in self._alone_us
            for descriptor, us in zip(self._networks[number][1].descriptors, self._times(number, count), strict=True)
        ]

    @property
    def wholes(self) -> list[Whole]:
        """Return every network that was timed in whole and in parts."""
        found = []
        for (number, count), us in self._whole_us.items():
            network, described = self._networks[number]
            times = self._times(number, count)
            alone_us = tuple(times[index] for index in described.alone)
            found.append(Whole(described.around, count, us, alone_us, network.kind))
        return found

    def run(self, seconds: float, progress: Callable[[int], object] = lambda _done: None) -> None:
        """Time all networks once within ``seconds``, or as many as can be; ``progress`` is told of each."""
        end_s = time.monotonic() + seconds
        for number, (network, _) in enumerate(self._networks):
            left_s = end_s - time.monotonic()
            if left_s <= 0:
                return
            progress(1)
            share_s = left_s / (NETWORKS - number) / len(self._threads)
            for count in self._threads if number not in self._left_out else ():
                try:
                    self._time(number, network, count, share_s)
                except EngineError:
                    self._left_out.add(number)
                    break

    def _times(self, number: int, threads: int) -> list[float]:
        alone_us = self._alone_us[number, threads]
        return [alone_us[part.key] for part in self._networks[number][0].parts]

    def _time(self, number: int, network: Network, threads: int, seconds: float) -> None:
        whole = Sitting(self._runtime, network.content, threads=threads)
        if (number, threads) in self._alone_us:
            us = whole.shortest_us(seconds) / self._slowness(threads)
            self._whole_us[number, threads] = min(us, self._whole_us[number, threads])
            return
        # Half before and half after the parts: the machine may change meanwhile.
        half_s = seconds * (1 - _PARTS_SHARE) / 2
        us = whole.shortest_us(half_s) / self._slowness(threads)
        parts = {part.key: part for part in network.parts}
        part_s = seconds * _PARTS_SHARE / len(parts)
        alone_us = {}
        for key, part in parts.items():
            began_s = time.monotonic()
            sitting = Sitting(self._runtime, part.make(), threads=threads)
            took_us = sitting.shortest_us(max(0.0, part_s - (time.monotonic() - began_s)))
            alone_us[key] = took_us / self._slowness(threads)
        self._whole_us[number, threads] = min(us, whole.shortest_us(half_s) / self._slowness(threads))
        self._alone_us[number, threads] = alone_us
