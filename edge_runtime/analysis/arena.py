"""The tensor arena as the interpreter plans it, and the workspace of what XNNPACK takes.

The method is that of ``tflite/simple_memory_arena.cc``: tensors that live through the whole run come first, then all
others by size, largest first; each takes the smallest gap that fits between those it overlaps in time, at a multiple
of 64 bytes. From when to when each is needed is found by ``lifetimes``.
"""

from dataclasses import dataclass
from math import isqrt
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge_runtime.analysis.graph import Graph
from edge_runtime.analysis.lifetimes import ALIGNMENT, FOREVER, Need, aligned, inside, outside, tensors
from edge_runtime.analysis.scratch import scratch
from edge_runtime.analysis.xnnpack import Delegation
from edge_runtime.errors import ModelError

_MOST_BYTES: Final = 2**60
MOST_PAIRS: Final = 25_000_000
"""Of tensors, each of which is compared with the others: 5,000 tensors take 0.2 s. More are made to keep us busy."""
Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Allocation:
    """A place in the arena for as long as it is needed: bytes ``offset`` to ``offset + size_bytes``."""

    name: str
    first: int
    """Index of the operator that writes it."""
    last: int
    """Index of the last that reads it."""
    offset: int
    size_bytes: int
    tensor: int | None
    """None for a kernel's temporary."""
    written: bool = True


@dataclass(frozen=True, slots=True)
class Arena:
    """The plan. ``live_bytes`` has one number per operator: what is needed while it runs."""

    size_bytes: int
    persistent_bytes: int
    """Variables, and what kernels keep between runs."""
    allocations: tuple[Allocation, ...]
    live_bytes: tuple[int, ...]
    untouched_bytes: int
    """Of ``size_bytes``, what nothing is ever written to."""
    peak: int | None
    """The operator while which most is needed; None for a model without operators."""


def plan_arena(graph: Graph, delegation: Delegation | None = None, *, share: int = 1) -> Arena:
    """Return the arena's plan; what lies inside a part that a delegate takes is not in it.

    ``share`` is of how many graphs of a file it is one. Raises ModelError for one whose planning would take too long.
    """
    end = max(len(graph.nodes) - 1, 0)
    needs, persistent = tensors(graph)
    if delegation is not None:
        needs = outside(graph, needs, delegation)
        # XNNPACK packs halves as float32 and gives back what it unpacked for that.
        given_back = (index for index, number in graph.unpacked.items() if delegation.segment[number] is not None)
        persistent -= sum(aligned(graph.tensors[index].size_bytes) for index in given_back)
    for node in graph.nodes:
        if delegation is not None and delegation.segment[node.index] is not None:
            continue
        for part in scratch(graph, node):
            if part.persistent:
                persistent += aligned(part.size_bytes)
            else:
                needs.append(Need(part.name, part.size_bytes, node.index, node.index, written=part.written))
    allocations = _place(needs, end, graph.model.path, most_pairs=MOST_PAIRS // share)
    live = _live(allocations, len(graph.nodes))
    size_bytes = max((one.offset + one.size_bytes for one in allocations), default=0)
    return Arena(
        size_bytes=size_bytes,
        persistent_bytes=persistent,
        allocations=tuple(allocations),
        live_bytes=tuple(live),
        untouched_bytes=size_bytes - _written(allocations),
        peak=max(range(len(live)), key=live.__getitem__) if live else None,
    )


def plan_workspace(graph: Graph, delegation: Delegation, *, share: int = 1) -> int:
    """Return the bytes that XNNPACK wants for tensors that never leave it; its parts share one workspace."""
    end = max(2 * len(graph.nodes) - 1, 0)
    allocations = _place(inside(graph, delegation), end, graph.model.path, most_pairs=MOST_PAIRS // share)
    return max((one.offset + one.size_bytes for one in allocations), default=0)


def _written(allocations: list[Allocation]) -> int:
    """Return how much of the arena is written to at some time."""
    total, end = 0, 0
    for one in sorted(allocations, key=lambda one: one.offset):
        if one.written and one.offset + one.size_bytes > end:
            total += one.offset + one.size_bytes - max(one.offset, end)
            end = one.offset + one.size_bytes
    return total


def _live(allocations: list[Allocation], count: int) -> list[int]:
    live = [0] * count
    for one in allocations:
        if one.first < count:
            live[one.first] += one.size_bytes
        if one.last + 1 < count:
            live[one.last + 1] -= one.size_bytes
    for index in range(1, count):
        live[index] += live[index - 1]
    return live


def _place(needs: list[Need], end: int, path: str, *, most_pairs: int) -> list[Allocation]:
    needs = [need for need in needs if need.size_bytes > 0]
    if sum(need.size_bytes for need in needs) > _MOST_BYTES:
        raise ModelError(f"{path} claims tensors of more bytes than any machine has; fetch or convert it again")
    always = sorted(
        (need for need in needs if need.first == 0 and need.last == FOREVER), key=lambda need: need.tensor or 0
    )
    others = [need for need in needs if not (need.first == 0 and need.last == FOREVER)]
    others.sort(key=lambda need: (-need.size_bytes, need.first))
    placed: list[Allocation] = []
    floor = 0
    for need in always:
        offset = aligned(floor)
        placed.append(_allocation(need, offset, end))
        floor = offset + need.size_bytes
    # First and last operator, offset and end of what is placed, sorted by offset.
    table = np.zeros((4, len(others)), np.int64)
    if len(others) ** 2 > most_pairs:
        raise ModelError(f"{path} has {len(others)} tensors to find a place for; up to {isqrt(most_pairs)} are planned")
    for number, need in enumerate(others):
        firsts, lasts, offsets, ends = table[:, :number]
        last = min(need.last, end)
        beside = (firsts <= last) & (lasts >= need.first)
        offset = _gap(offsets[beside], ends[beside], floor, need.size_bytes)
        placed.append(_allocation(need, offset, end))
        at = int(np.searchsorted(offsets, offset))
        table[:, at + 1 : number + 1] = table[:, at:number]
        table[:, at] = (need.first, last, offset, offset + need.size_bytes)
    return placed


def _gap(offsets: Integers, ends: Integers, floor: int, size_bytes: int) -> int:
    """Return the offset of the tightest gap between neighbours (sorted by offset) that fits, else behind the last."""
    if not len(offsets):
        return aligned(floor)
    behind = np.maximum(np.maximum.accumulate(ends), floor)
    before = np.concatenate(([floor], behind[:-1]))
    starts = -(-before // ALIGNMENT) * ALIGNMENT
    best, best_slack = -1, FOREVER * FOREVER
    for index in np.flatnonzero(starts + size_bytes <= offsets).tolist():
        if offsets[index] - starts[index] < best_slack:
            best, best_slack = int(starts[index]), int(offsets[index] - before[index])
        if best_slack == 0:
            break
    return best if best >= 0 else aligned(int(behind[-1]))


def _allocation(need: Need, offset: int, end: int) -> Allocation:
    return Allocation(need.name, need.first, min(need.last, end), offset, need.size_bytes, need.tensor, need.written)
