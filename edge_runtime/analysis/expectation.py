"""What the daemon should expect of its model on this machine, computed in a child so that the daemon stays small.

    python -m edge_runtime.analysis.expectation MODEL STATE --threads N --runtime NAME

prints one JSON document, `Expectation`, or ends with status 1 and a sentence on standard error.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import get_args

import msgspec

from edge_runtime.analysis.boards import this_profile
from edge_runtime.analysis.expected import Expectation
from edge_runtime.analysis.graph import read_graph
from edge_runtime.analysis.latency import predict_latency
from edge_runtime.analysis.profile import Profile
from edge_runtime.analysis.xnnpack import RuntimeName
from edge_runtime.errors import EdgeRuntimeError
from edge_runtime.model_file import EDGETPU_OPERATOR


def expect(model: Path, profile: Profile | None, *, threads: int, runtime: RuntimeName) -> Expectation:
    """Predict a model on a profile's device. Raises ModelError."""
    graph = read_graph(model)
    if profile is None or any(node.name == EDGETPU_OPERATOR for node in graph.nodes):
        return Expectation()
    latency = predict_latency(graph, profile, threads=threads, runtime=runtime)
    if latency.unknown:
        return Expectation()
    plain = predict_latency(graph, profile, threads=threads, runtime=runtime, xnnpack=False)
    return Expectation(
        profile=profile.name,
        predicted_ms=round(latency.ms, 3),
        low_ms=round(latency.low_ms, 3),
        high_ms=round(latency.high_ms, 3),
        plain_ms=round(plain.ms, 3),
    )


def main() -> int:
    """Print the expectation, at the lowest priority: frames come first."""
    os.nice(19)
    parser = argparse.ArgumentParser(prog="edge_runtime.analysis.expectation")
    parser.add_argument("model", type=Path)
    parser.add_argument("state", type=Path)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--runtime", choices=get_args(RuntimeName), required=True)
    args = parser.parse_args()
    try:
        found = expect(args.model, this_profile(args.state), threads=args.threads, runtime=args.runtime)
    except EdgeRuntimeError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
