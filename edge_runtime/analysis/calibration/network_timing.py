"""Time made-up networks as a whole: what is compared with the sum of their operators, which are predicted."""

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from edge_runtime.analysis.calibration.context import Described, Whole, describe_graph
from edge_runtime.analysis.calibration.networks import networks
from edge_runtime.analysis.calibration.probe import Probe
from edge_runtime.analysis.calibration.timing import (
    Meanwhile,
    Slowness,
    Timed,
    nothing,
    time_within,
    together,
    undisturbed,
)
from edge_runtime.analysis.calibration.wiring import Network
from edge_runtime.analysis.graph import build_graph
from edge_runtime.analysis.network_cost import Alone
from edge_runtime.errors import EngineError
from edge_runtime.interpreter import Runtime
from edge_runtime.model_file import parse_model

_SMALL: Final = frozenset({"dense", "tiny", "steps", "rows"})
"""Kinds of networks whose operators are smaller than those that are timed anyway."""
_MOVING: Final = frozenset({"joined", "split", "turned", "reshaped", "pooled", "enlarged"})
"""Steps that are of all shapes in networks."""
_MOST_ALIKE: Final = 45
"""Probes of one step."""
_LARGE_SHARE: Final = 4.0
"""Of the time, that a large network gets, in that of another one: what comes last is not to be left out."""
PARTS: Final = 374
"""How many probes ``NetworkTimer.probes`` returns: told before the networks are made, which takes a while."""
Known = Callable[[Described, int], Sequence[float] | None]
"""Tells what the operators of a graph take alone, with so many threads, in microseconds; None where one is unknown."""


def _some(probes: list[Probe]) -> list[Probe]:
    """Return ``_MOST_ALIKE`` of them at most, spread evenly."""
    step = -(-len(probes) // _MOST_ALIKE)
    return probes[::step]


class NetworkTimer:
    """Times networks pass after pass. One thread calls it."""

    def __init__(self, runtime: Runtime, *, threads: Sequence[int], meanwhile: Meanwhile = nothing) -> None:
        self._runtime, self._threads, self._meanwhile = runtime, threads, meanwhile
        self._networks = [
            (network, describe_graph(build_graph(parse_model(network.make(), "network")), runtime=runtime.name))
            for network in networks()
        ]
        self._took: dict[tuple[int, int], list[Timed]] = {}
        self._left_out: set[int] = set()

    def probes(self) -> list[Probe]:
        """Return the operators of the smallest networks, and of all what moves values about, each once."""
        chosen: dict[str, dict[tuple[Any, ...], Probe]] = {}
        for network, _ in self._networks:
            for part in network.parts:
                if network.kind in _SMALL or part.step in _MOVING:
                    chosen.setdefault(part.step, {})[part.key] = Probe(f"part {part.step}", part.make)
        return [probe for alike in chosen.values() for probe in _some(list(alike.values()))]

    def wholes(self, alone: Known, slowness: Slowness = undisturbed) -> list[Whole]:
        """Return every network that was timed, with what its operators take alone."""
        found = []
        for (number, count), timed in self._took.items():
            network, described = self._networks[number]
            single_us, alone_us = alone(described, min(self._threads)), alone(described, count)
            if single_us and alone_us:
                took = Alone.of(single_us, alone_us)
                found.append(Whole(described.around, count, together(timed, slowness), took, network.kind))
        return found

    def run(self, seconds: float, progress: Callable[[int], object] = lambda _done: None) -> None:
        """Time all networks once within ``seconds``, or as many as can be; ``progress`` is told of each."""
        end_s = time.monotonic() + seconds
        shares = [_LARGE_SHARE if network.kind.startswith("large") else 1.0 for network, _ in self._networks]
        for number, (network, _) in enumerate(self._networks):
            left_s = end_s - time.monotonic()
            if left_s <= 0:
                return
            progress(1)
            share_s = left_s * shares[number] / sum(shares[number:]) / len(self._threads)
            for count in self._threads if number not in self._left_out else ():
                try:
                    self._time(number, network, count, share_s)
                except EngineError:
                    self._left_out.add(number)
                    break

    def _time(self, number: int, network: Network, threads: int, share_s: float) -> None:
        timed = time_within(self._runtime, network.make(), threads=threads, seconds=share_s)
        self._took.setdefault((number, threads), []).append(timed)
        self._meanwhile(threads)
