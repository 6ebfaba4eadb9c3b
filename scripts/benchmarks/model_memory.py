"""The memory a model is predicted to take beside what it takes: growth of ``Anonymous`` in a fresh process.

    .venv/bin/python scripts/benchmarks/model_memory.py MODEL.tflite|FOLDER... [--markdown]

Each model runs three times in a process of its own, with XNNPACK and without, one thread, its input written; the
median of seven heaps counts (``memory_growth.py``). A row is wrong (``!``) beyond 5 % and 100 kB without XNNPACK,
beyond 10 % and 100 kB with it. Status 1 when one is. The tests of the estimate measure and judge with ``row``.
"""

import argparse
import re
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from edge_runtime.analysis.graph import read_graph
from edge_runtime.analysis.memory import estimate_memory
from edge_runtime.errors import ModelError
from edge_runtime.model_file import EDGETPU_OPERATOR

GROWTH = Path(__file__).with_name("memory_growth.py")
INT8_LANES = 64 if "amx_int8" in Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace") else 16
ALLOWED_BYTES = 100_000
ALLOWED_SHARE = {"plain": 0.05, "xnnpack": 0.10}


@dataclass(frozen=True)
class Row:
    """One model under one set of kernels."""

    name: str
    kernels: str
    measured: int
    predicted: int

    @property
    def off(self) -> float:
        """Return the error as a share of what was measured."""
        return self.predicted / self.measured - 1

    @property
    def wrong(self) -> bool:
        """Tell whether it is further off than is aimed at."""
        return abs(self.predicted - self.measured) > max(ALLOWED_BYTES, ALLOWED_SHARE[self.kernels] * self.measured)


def measure(path: Path, kernels: str) -> int:
    """Return the median growth in bytes. Raises RuntimeError when the model does not run."""
    words = [sys.executable, str(GROWTH), str(path), kernels]
    ran = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    if ran.returncode:
        raise RuntimeError((ran.stderr.strip().splitlines() or [f"status {ran.returncode}"])[-1])
    return int(statistics.median(int(found) for found in re.findall(r"growth (-?\d+)", ran.stdout)))


def row(path: Path, kernels: str) -> Row:
    """Measure and predict a model. Raises RuntimeError when it does not run, ModelError when it cannot be read."""
    graph = read_graph(path)
    if any(node.name == EDGETPU_OPERATOR for node in graph.nodes):
        raise RuntimeError("compiled for an Edge TPU")
    predicted = estimate_memory(graph, xnnpack=kernels == "xnnpack", int8_lanes=INT8_LANES).total_bytes
    return Row(path.name.removesuffix(".tflite"), kernels, measure(path, kernels), predicted)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--markdown", action="store_true")
    arguments = parser.parse_args()
    paths = [
        found for path in arguments.models for found in (sorted(path.rglob("*.tflite")) if path.is_dir() else [path])
    ]
    wrong = count = 0
    for path in paths:
        try:
            both = [row(path, kernels) for kernels in ALLOWED_SHARE]
        except (RuntimeError, ModelError) as error:
            print(f"{path.name}: {error}", file=sys.stderr)
            continue
        parts = []
        for one in both:
            wrong, count = wrong + one.wrong, count + 1
            mark = "!" if one.wrong else " "
            off = f"{100 * one.off:+.1f} %{mark}({(one.predicted - one.measured) / 1e3:+.0f} kB)"
            parts.append(
                f"{one.measured / 1e6:.2f} MB | {off}" if arguments.markdown else f"{one.measured:>11,} {off:>22}"
            )
        joined = " | ".join(parts)
        print(f"| {both[0].name} | {joined} |" if arguments.markdown else f"{both[0].name:42} {joined}", flush=True)
    print(f"{wrong} of {count} further off than aimed at", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
