"""Operators that were timed on this device, by their signature: networks made of known operators are predicted by them.

A signature is everything the interpreter is told of an operator but the values of its constants. What was measured
holds for one machine, one version of the runtime and one number of threads. The file is bounded; what was measured
longest ago goes first. Reading never fails: a file that is not understood counts as empty.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from edge_runtime.analysis.graph import Graph, Node

FILE_NAME: Final = "operators.json"
MOST_OPERATORS: Final = 20_000
_MOST_BYTES: Final = 4_000_000
_SCHEMA: Final = 1


def signature(graph: Graph, node: Node) -> str:
    """Return 24 hexadecimal digits that two operators share when the interpreter does the same work for both."""
    parts = [node.name, str(node.version), repr(node.options)]
    for index in (*node.inputs, -2, *node.outputs):
        if index < 0:
            parts.append("-" if index == -1 else ">")
            continue
        tensor = graph.tensors[index]
        kept = "constant" if graph.constant[index] else "variable" if tensor.is_variable else "computed"
        scales = f"{tensor.scales.size}@{tensor.quantized_dimension}" if tensor.scales.size else ""
        values = _small(graph, index) if kept == "constant" else ""
        parts.append(f"{tensor.type.name}{list(tensor.shape)}{kept}{scales}{values}")
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:24]


def _small(graph: Graph, index: int) -> str:
    """Return the values of axes, shapes and paddings, which decide what is done; not those of weights."""
    tensor = graph.tensors[index]
    if tensor.type.name not in {"int32", "int64"} or tensor.elements > 16:
        return ""
    return bytes(graph.model.buffer(tensor.buffer)).hex()


class OperatorCache:
    """Microseconds by signature and threads. One thread at a time may use it."""

    def __init__(self, *, runtime: str, machine: str, entries: dict[str, float] | None = None) -> None:
        self._runtime, self._machine = runtime, machine
        self._entries = entries or {}

    @classmethod
    def read(cls, path: Path, *, runtime: str, machine: str) -> "OperatorCache":
        """Read a file; nothing in it counts when it is of another machine or runtime, or damaged."""
        empty = cls(runtime=runtime, machine=machine)
        try:
            if path.stat().st_size > _MOST_BYTES:
                return empty
            document: Any = json.loads(path.read_bytes())
        except (OSError, ValueError, RecursionError):
            return empty
        if not isinstance(document, dict) or document.get("schema") != _SCHEMA:
            return empty
        if (document.get("runtime"), document.get("machine")) != (runtime, machine):
            return empty
        found = document.get("operators")
        if not isinstance(found, dict):
            return empty
        entries = {key: float(us) for key, us in found.items() if isinstance(us, int | float) and 0 < us < 1e9}
        return cls(runtime=runtime, machine=machine, entries=entries)

    def __len__(self) -> int:
        """Return how many operators are known."""
        return len(self._entries)

    def add(self, graph: Graph, node: Node, *, threads: int, us: float) -> None:
        """Enter a measured operator in place of an older measurement."""
        key = f"{signature(graph, node)}@{threads}"
        self._entries.pop(key, None)
        self._entries[key] = round(us, 3)
        while len(self._entries) > MOST_OPERATORS:
            del self._entries[next(iter(self._entries))]

    def known(self, *, threads: int) -> Callable[[Graph, Node], float | None]:
        """Return what ``predict_latency`` asks of operators."""
        return lambda graph, node: self._entries.get(f"{signature(graph, node)}@{threads}")

    def content(self) -> bytes:
        """Return the file."""
        document = {"schema": _SCHEMA, "runtime": self._runtime, "machine": self._machine, "operators": self._entries}
        return (json.dumps(document, indent=0) + "\n").encode()
