"""``--edgetpu``: what of a network an Edge TPU would run, and Google's compiler where it is installed.

The compiler (x86-64 Linux, not on the package index) writes ``NAME_edgetpu.tflite``, drops all metadata, and says on
standard output what it mapped; its exit status says little, the file does. Shown with a stand-in that behaves as its
published logs do; not yet shown with the real one.
"""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge_runtime.analysis.cost import costs
from edge_runtime.analysis.edgetpu import map_operators
from edge_runtime.analysis.graph import Graph, build_graph
from edge_runtime.errors import EdgeRuntimeError, ModelError
from edge_runtime.model_file import EDGETPU_OPERATOR, ModelFile, parse_model

COMPILER: Final = "edgetpu_compiler"
MAPPED: Final = "Mapped to Edge TPU"
"""The compiler's own word for an operator that runs there."""
DEADLINE_S: Final = 300.0
"""The compiler gives up by itself after 180 s unless it is told otherwise."""
_ROW: Final = re.compile(r"^(\S+)\s+(\d+)\s+(\S.*)$")
_CACHED, _STREAMED = "On-chip memory used for caching", "Off-chip memory used for streaming"
_FACT: Final = re.compile(rf"^({_CACHED}|{_STREAMED})[^:]*: ([\d.]+)([KMG]i)?B$", re.MULTILINE)
_VERSION: Final = re.compile(r"Edge TPU Compiler version (\S+)")
_UNITS: Final = {"": 1, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
_TELLING: Final = ("ERROR:", "Internal compiler error", "Invalid model", "Model not quantized", "Compilation failed")


@dataclass(frozen=True, slots=True)
class Left:
    """An operator that cannot run on an Edge TPU."""

    operator: int
    name: str
    tensor: str
    """Of its output: where in the network it is."""
    reason: str


@dataclass(frozen=True, slots=True)
class Prediction:
    """What maps by the published rules."""

    operators: int
    mapped: int
    processor_macs: float
    """The share of multiply-accumulates that would run on the processor."""
    left: tuple[Left, ...]
    """Every operator that cannot map; the first one after the mapped part sends all that follow to the processor."""

    def sentence(self) -> str:
        """Return the prediction for a terminal."""
        if not self.left:
            return f"all {self.operators} operators map"
        first = self.left[0]
        return (
            f"{self.mapped} of {self.operators} operators map; the rest ({self.processor_macs:.0%} of the MACs) runs "
            f"on the processor: {first.reason} (operator {first.operator}, {first.tensor!r})"
        )


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the compiler's own table."""

    operator: str
    count: int
    status: str


@dataclass(frozen=True, slots=True)
class Compiled:
    """What the compiler made and said."""

    content: bytes
    version: str
    rows: tuple[Row, ...]
    cached_bytes: int | None
    """Weights that stay on the chip."""
    streamed_bytes: int | None
    """Weights that are sent with every inference."""


@dataclass(frozen=True, slots=True)
class EdgeTpu:
    """What is known of a conversion for an Edge TPU."""

    before: Prediction
    """Of the float network: what quantising will not change."""
    after: Prediction
    output: Path | None = None
    """The compiled model, with metadata and manifest; None where the compiler is not installed or mapped nothing."""
    compiler: str | None = None
    rows: tuple[Row, ...] = ()
    cached_bytes: int | None = None
    streamed_bytes: int | None = None


def predict(model: ModelFile, *, quantized: bool) -> Prediction:
    """Return what of a network maps by the published rules."""
    graph = build_graph(model)
    mapping = map_operators(graph, quantized=quantized)
    macs = [cost.macs for cost in costs(graph)]
    outside = sum(count for count, inside in zip(macs, mapping.mapped, strict=True) if not inside)
    return Prediction(
        operators=len(graph.nodes),
        mapped=sum(mapping.mapped),
        processor_macs=outside / sum(macs) if sum(macs) else 0.0,
        left=_left(graph, mapping.obstacles, first=mapping.blocker),
    )


def _left(graph: Graph, obstacles: Sequence[str | None], *, first: int | None) -> tuple[Left, ...]:
    """Return the operators that cannot map, the one that ends the mapped part first."""
    order = sorted(range(len(obstacles)), key=lambda index: (index != first, index))
    return tuple(
        Left(index, graph.nodes[index].name, graph.tensors[graph.nodes[index].outputs[0]].name.split(";")[0], reason)
        for index in order
        if (reason := obstacles[index]) is not None
    )


def compiler() -> str | None:
    """Return the compiler's path, or None where it is not installed."""
    return shutil.which(COMPILER)


def compile_network(network: bytes, *, program: str, folder: Path, deadline_s: float = DEADLINE_S) -> Compiled | None:
    """Compile an int8 network; None when the compiler mapped nothing of it.

    Raises ModelError when the compiler does not take the model, EdgeRuntimeError when it hangs or cannot be started.
    """
    source = folder / "network.tflite"
    source.write_bytes(network)
    log = folder / f"{COMPILER}.log"
    status = _run([program, "-s", "-o", str(folder), str(source)], log=log, deadline_s=deadline_s)
    said = log.read_text("utf-8", "replace")
    found = folder / "network_edgetpu.tflite"
    if not found.is_file():
        raise ModelError(
            f"{COMPILER} did not take the model (status {status}): {_complaint(said)}; "
            "nothing was written: without --edgetpu it is written for the processor"
        )
    content = found.read_bytes()
    codes = parse_model(content, f"what {COMPILER} wrote").operator_codes
    if not any(code.custom == EDGETPU_OPERATOR for code in codes):
        return None
    facts = {name: round(float(size) * _UNITS[unit]) for name, size, unit in _FACT.findall(said)}
    version = _VERSION.search(said)
    return Compiled(
        content=content,
        version=version[1] if version else "unknown",
        rows=read_rows(said),
        cached_bytes=facts.get(_CACHED),
        streamed_bytes=facts.get(_STREAMED),
    )


def _run(command: list[str], *, log: Path, deadline_s: float) -> int:
    """Run in a session of its own, so that a child of it that hangs is ended too."""
    try:
        with log.open("wb") as file:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
            )
    except OSError as error:
        raise EdgeRuntimeError(f"{command[0]} cannot be started: {error.strerror}; install it again") from error
    try:
        return process.wait(timeout=deadline_s)
    except subprocess.TimeoutExpired:
        raise EdgeRuntimeError(
            f"{COMPILER} was still busy after {deadline_s:g} s and was ended; nothing was written: "
            "try a smaller input or network, or leave --edgetpu out"
        ) from None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def read_rows(said: str) -> tuple[Row, ...]:
    """Return the table of operators in what the compiler said."""
    _, _, table = said.partition("\nOperator ")
    rows = (_ROW.match(line.strip()) for line in table.splitlines()[1:])
    return tuple(Row(match[1], int(match[2]), match[3]) for match in rows if match)


def _complaint(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    telling = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith(_TELLING)]
    return " ".join((telling or lines[-1:] or ["it said nothing"])[0].split())[:300]
