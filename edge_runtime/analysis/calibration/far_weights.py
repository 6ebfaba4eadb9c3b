"""What weights cost more that come from memory, by how many there are of them in a network.

A large network has pushed its own first weights out of every cache when an inference ends, and a cache that programs
share keeps less the more is asked of it. So chains of the same layer are timed, a megabyte of weights each.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from edge_runtime.analysis.calibration import operators
from edge_runtime.analysis.calibration.context import describe_graph
from edge_runtime.analysis.calibration.networks import chain
from edge_runtime.analysis.calibration.timing import Sitting, Slowness, Timed, undisturbed
from edge_runtime.analysis.calibration.wiring import Network
from edge_runtime.analysis.graph import build_graph
from edge_runtime.analysis.network_cost import Alone, Context, in_context_us
from edge_runtime.interpreter import Runtime
from edge_runtime.model_file import parse_model

LENGTHS: Final = (3, 8, 16, 32, 64, 96)
SIDE: Final = 5
CHANNELS: Final = 512
LAYER_MB: Final = 4 * CHANNELS**2 / 1e6
_MEMORY_SHARE: Final = 1 / 16
"""Of the machine's, that the weights of a chain may be: the interpreter has them twice."""
_RUN_S: Final = 0.15
TAUGHT_MB: Final = 34.0
"""Of weights, as made-up networks have them: what those cost is learnt from them; a chain would add its own error."""


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain that was timed, and one of its layers alone, with one number of threads."""

    length: int
    whole: Timed
    layer: Timed


def time_chains(runtime: Runtime, *, threads: int, memory_mb: float) -> list[Chain]:
    """Time the chains that the machine's memory allows. Raises EngineError."""
    found = []
    layer = Sitting(runtime, operators.convolution("float32", SIDE, (CHANNELS, CHANNELS)), threads=threads)
    for length in LENGTHS:
        if length > LENGTHS[0] and length * LAYER_MB > memory_mb * _MEMORY_SHARE:
            break
        whole = Sitting(runtime, _chain(length).make(), threads=threads)
        took = [
            Timed(sitting.usual_us(seconds), time.monotonic(), threads)
            for sitting, seconds in ((whole, _RUN_S), (layer, _RUN_S / 5))
        ]
        found.append(Chain(length, *took))
    return found


def far_costs(
    chains: Sequence[Chain], context: Context, slowness: Slowness = undisturbed
) -> tuple[tuple[float, float], ...]:
    """Return megabytes of weights and the microseconds that each of them costs more than the context says.

    It begins beyond ``TAUGHT_MB``.
    """
    costs = []
    for one in chains:
        graph = build_graph(parse_model(_chain(one.length).make(), "chain"))
        around = describe_graph(graph, runtime="litert").around
        layer_us = one.layer.at_pace(slowness)
        # Threads share such a layer: one of them would take longer.
        alone = Alone.of([context.threads * layer_us] * one.length, [layer_us] * one.length)
        more_us = one.whole.at_pace(slowness) - in_context_us(context, alone, around)
        weights_mb = around.weights_mb
        cost_us = max(0.0, more_us / weights_mb) if weights_mb > TAUGHT_MB else 0.0
        costs.append((round(weights_mb, 2), round(cost_us, 3)))
    return tuple(costs)


def _chain(length: int) -> Network:
    return chain(length, side=SIDE, channels=CHANNELS)
