"""How often an operator runs other graphs of its file, as far as the file says: loops with a counter, branches.

Converters write a recurrent layer as a WHILE: its condition compares a counter with a limit (LESS; several are joined
by LOGICAL_AND), its body adds a constant to the counter. Where start, step and limit are stored the number of runs is
known before it is run. Pure functions.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Final

from edge_runtime.analysis.cost import CONTROL, Cost, costs
from edge_runtime.analysis.graph import Graph, Node

MOST_RUNS: Final = 2**31
"""A counter of 32 bits has no more."""
_MOST_CONDITIONS: Final = 16
_WHOLE: Final = frozenset({"int32", "int64", "bool"})

Runs = tuple[tuple[Graph, int], ...]
"""Graphs, and how often each runs."""


def alternatives(graph: Graph, node: Node) -> tuple[Runs, ...] | None:
    """Return what an operator may run in one inference: one entry for a loop, up to two for a branch.

    None where the file does not say how often; an operator that runs nothing has one entry, which is empty.
    """
    if node.name not in CONTROL:
        return ((),)
    called = graph.called.get(node.index, ())
    if not called:
        return None
    if node.name == "IF":
        chosen = _stored(graph, node.inputs[0]) if node.inputs else None
        branches: tuple[Runs, ...] = tuple(((branch, 1),) for branch in called)
        return branches if chosen is None else (branches[0 if chosen else 1],)
    count = loop_count(graph, node)
    return None if count is None else (((called[0], count + 1), (called[1], count)),)


def called_graphs(graph: Graph) -> tuple[Graph, ...]:
    """Return every graph that a graph runs, and those that they run, each once."""
    found: dict[int, Graph] = {}
    for called in graph.called.values():
        for each in called:
            found |= {id(each): each} | {id(inner): inner for inner in called_graphs(each)}
    return tuple(found.values())


def loop_count(graph: Graph, node: Node) -> int | None:
    """Return how often a WHILE runs its body, or None where the file does not say."""
    condition, body = graph.called[node.index]
    if len(condition.model.outputs) != 1:
        return None
    counts = _counts(_Loop(graph, node, condition, body), condition.model.outputs[0])
    return min(counts) if counts else None


def whole_costs(graph: Graph) -> tuple[Cost, ...]:
    """Return the cost of every operator with what it runs: a loop's as often as it runs, of a branch the costlier.

    What is not known to run more often is counted once. Parameters count once however often they are used.
    """
    found = list(costs(graph))
    for number, called in graph.called.items():
        node = graph.nodes[number]
        inner = {id(each): _summed(whole_costs(each)) for each in called}
        runs = alternatives(graph, node) or (tuple((each, 1) for each in called),)
        every = [_summed(_times(inner[id(each)], times) for each, times in one) for one in runs]
        most = max(every, key=lambda cost: (cost.macs, cost.bytes_moved))
        stored = found[number].parameters + sum(cost.parameters for cost in inner.values())
        found[number] = replace(_summed((found[number], most)), parameters=stored)
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Loop:
    """A WHILE, the graph it is in, and its own two graphs."""

    outer: Graph
    node: Node
    condition: Graph
    body: Graph

    def start(self, position: int) -> int | None:
        """Return what a variable begins with."""
        return _stored(self.outer, self.node.inputs[position]) if position < len(self.node.inputs) else None

    def step(self, position: int) -> int | None:
        """Return what a run of the body adds to a variable; 0 when it hands it on."""
        inputs, outputs = self.body.model.inputs, self.body.model.outputs
        if position >= len(inputs) or position >= len(outputs):
            return None
        if inputs[position] == outputs[position]:
            return 0
        writer = _writer(self.body, outputs[position])
        if writer is None or writer.name != "ADD" or inputs[position] not in writer.inputs:
            return None
        added = [index for index in writer.inputs if index != inputs[position]]
        return _stored(self.body, added[0]) if len(added) == 1 else None


def _counts(loop: _Loop, tensor: int) -> list[int]:
    """Return how often each comparison that a tensor of the condition joins by LOGICAL_AND lets the body run.

    Empty where one of them cannot be read: nothing is known then.
    """
    counts, joined = [], [tensor]
    for number, one in enumerate(joined):
        writer = _writer(loop.condition, one)
        if writer is None or len(writer.inputs) != 2 or min(writer.inputs) < 0 or number > _MOST_CONDITIONS:
            return []
        if writer.name == "LOGICAL_AND":
            joined += writer.inputs
            continue
        count = _count(loop, writer)
        if count is None:
            return []
        counts.append(count)
    return counts


def _count(loop: _Loop, comparison: Node) -> int | None:
    left, right = comparison.inputs
    if comparison.name in {"GREATER", "GREATER_EQUAL"}:
        left, right = right, left
    if comparison.name not in {"LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL"}:
        return None
    counter, limit = _variable(loop, left), _limit(loop, right)
    if counter is None or limit is None:
        return None
    start, step = loop.start(counter), loop.step(counter)
    if start is None or step is None or step <= 0:
        return None
    last = limit + 1 if comparison.name.endswith("EQUAL") else limit
    return min(max(0, -(-(last - start) // step)), MOST_RUNS)


def _variable(loop: _Loop, tensor: int) -> int | None:
    inputs = loop.condition.model.inputs
    return inputs.index(tensor) if tensor in inputs else None


def _limit(loop: _Loop, tensor: int) -> int | None:
    """Return a constant of the condition, or a variable that the body hands on and that begins with a constant."""
    stored = _stored(loop.condition, tensor)
    position = _variable(loop, tensor)
    if stored is not None or position is None:
        return stored
    return loop.start(position) if loop.step(position) == 0 else None


def _writer(graph: Graph, tensor: int) -> Node | None:
    return next((node for node in graph.nodes if tensor in node.outputs), None)


def _stored(graph: Graph, tensor: int) -> int | None:
    """Return the whole number that a tensor of one element has in the file."""
    if tensor < 0 or not graph.constant[tensor]:
        return None
    found = graph.tensors[tensor]
    data = graph.model.buffer(found.buffer)
    if found.type.name not in _WHOLE or found.elements != 1 or 8 * len(data) != found.type.bits:
        return None
    return int.from_bytes(data, "little", signed=found.type.name != "bool")


def _summed(every: Iterable[Cost]) -> Cost:
    found = tuple(every)
    return Cost(*(sum(getattr(cost, field.name) for cost in found) for field in fields(Cost)))


def _times(cost: Cost, times: int) -> Cost:
    return Cost(*(times * getattr(cost, field.name) for field in fields(Cost)))
