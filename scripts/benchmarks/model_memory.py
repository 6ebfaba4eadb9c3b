"""The memory a model is predicted to take beside what it takes: growth of ``Anonymous`` in a fresh process.

    .venv/bin/python scripts/benchmarks/model_memory.py MODEL.tflite|FOLDER... [--runs 3] [--markdown]

Each model runs three times in a process of its own, with XNNPACK and without, one thread, its input written; the
median of ``--runs`` processes counts. A row is wrong (``!``) beyond 5 % and 100 kB without XNNPACK, beyond 10 % and
100 kB with it. Status 1 when one is.
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


def measure(path: Path, kernels: str, *, runs: int) -> int:
    """Return the median growth in bytes. Raises RuntimeError when the model does not run."""
    grown = []
    for _ in range(runs):
        ran = subprocess.run(
            [sys.executable, str(GROWTH), str(path), kernels],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        found = re.search(r"growth (-?\d+)", ran.stdout)
        if found is None:
            raise RuntimeError((ran.stderr.strip().splitlines() or [f"status {ran.returncode}"])[-1])
        grown.append(int(found[1]))
    return int(statistics.median(grown))


def rows(path: Path, *, runs: int) -> list[Row]:
    graph = read_graph(path)
    if any(node.name == EDGETPU_OPERATOR for node in graph.nodes):
        raise RuntimeError("compiled for an Edge TPU")
    return [
        Row(
            path.name.removesuffix(".tflite"),
            kernels,
            measure(path, kernels, runs=runs),
            estimate_memory(graph, xnnpack=kernels == "xnnpack", int8_lanes=INT8_LANES).total_bytes,
        )
        for kernels in ("plain", "xnnpack")
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--markdown", action="store_true")
    arguments = parser.parse_args()
    paths = [
        found for path in arguments.models for found in (sorted(path.rglob("*.tflite")) if path.is_dir() else [path])
    ]
    wrong = count = 0
    for path in paths:
        try:
            both = rows(path, runs=arguments.runs)
        except (RuntimeError, ModelError) as error:
            print(f"{path.name}: {error}", file=sys.stderr)
            continue
        parts = []
        for row in both:
            wrong, count = wrong + row.wrong, count + 1
            mark = "!" if row.wrong else " "
            off = f"{100 * row.off:+.1f} %{mark}({(row.predicted - row.measured) / 1e3:+.0f} kB)"
            parts.append(
                f"{row.measured / 1e6:.2f} MB | {off}" if arguments.markdown else f"{row.measured:>11,} {off:>22}"
            )
        joined = " | ".join(parts)
        print(f"| {both[0].name} | {joined} |" if arguments.markdown else f"{both[0].name:42} {joined}", flush=True)
    print(f"{wrong} of {count} further off than aimed at", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
