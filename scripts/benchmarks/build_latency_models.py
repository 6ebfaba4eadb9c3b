#!/usr/bin/env python3
"""Build the networks of latency_*architectures.py as float32 and int8 ``.tflite``, each in a child process.

Those of the set ``unseen`` also with weights of 8 bits only.
Needs TensorFlow (the extra ``[convert]``). Weights are random; calibration is noise: for timing that is enough. Written
into ``--into`` (default ``~/.cache/edge-infer/latency-models``), with an ``index.json`` of name, family, set and type;
what is there already is kept. A network that a converter cannot turn into int8 is listed as such.

    scripts/benchmarks/build_latency_models.py --set blind
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

DEFAULT = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edge-infer" / "latency-models"
SETS = {"design": ("DESIGN",), "blind": ("BLIND_SEEN", "BLIND_NEW")}
SETS |= {name.lower(): (name,) for name in ("FRESH", "UNSEEN", "LAST", "NEW", "RECENT")}
MODULES = {name: f"latency_{name.lower()}_architectures" for name in ("FRESH", "UNSEEN", "LAST", "NEW", "RECENT")}
NEW_FAMILIES = frozenset({"BLIND_NEW", *MODULES})
LONGEST_S = 1800
SAMPLES = 4


def architectures(table: str) -> dict[str, Any]:
    """Return the networks of a table by family and name."""
    return getattr(import_module(MODULES.get(table, "latency_architectures")), table)


def kinds(table: str) -> tuple[str, ...]:
    """Return the element types that the networks of a table are built in; dynamic: float32 with weights of 8 bits."""
    return ("float32", "int8", "dynamic") if table == "UNSEEN" else ("float32", "int8")


def build(table: str, family: str, name: str, into: Path) -> None:
    """Write ``NAME_float32.tflite`` and ``NAME_int8.tflite``; called in the child process."""
    import numpy as np
    import tensorflow as tf

    model = architectures(table)[family][name]()
    shape = model.input_shape

    def samples() -> object:
        random = np.random.default_rng(1)
        for _ in range(SAMPLES):
            yield [random.uniform(-1, 1, shape).astype(np.float32)]

    def convert(kind: str) -> bytes:
        converter = tf.lite.TFLiteConverter.from_keras_model(model)
        if kind != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if kind == "int8":
            converter.representative_dataset = samples
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type = converter.inference_output_type = tf.int8
        return converter.convert()

    for kind in kinds(table):
        target = into / f"{name}_{kind}.tflite"
        if not target.is_file():
            target.with_suffix(".part").write_bytes(convert(kind))
            target.with_suffix(".part").rename(target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--into", type=Path, default=DEFAULT)
    parser.add_argument("--set", choices=SETS, action="append", dest="sets")
    parser.add_argument("--one", nargs=3, metavar=("TABLE", "FAMILY", "NAME"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.into.mkdir(parents=True, exist_ok=True)
    if args.one:
        build(*args.one, args.into)
        return
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    for chosen in args.sets or SETS:
        for table in SETS[chosen]:
            for family, members in architectures(table).items():
                for name in members:
                    _child(table, family, name, args.into)
                    _note(args.into, chosen, table, family, name)


def _child(table: str, family: str, name: str, into: Path) -> None:
    if all((into / f"{name}_{kind}.tflite").is_file() for kind in kinds(table)):
        return
    command = [sys.executable, __file__, "--into", str(into), "--one", table, family, name]
    try:
        done = subprocess.run(command, timeout=LONGEST_S, capture_output=True, text=True, check=False)
    except subprocess.TimeoutExpired:
        print(f"{name}: not done after {LONGEST_S} s", flush=True)
        return
    reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1][:200]
    print(f"{name}: {'built' if done.returncode == 0 else f'status {done.returncode}: {reason}'}", flush=True)


def _note(into: Path, chosen: str, table: str, family: str, name: str) -> None:
    """Enter what there is of a network into the index."""
    path = into / "index.json"
    index = json.loads(path.read_text()) if path.is_file() else {}
    for kind in kinds(table):
        if (into / f"{name}_{kind}.tflite").is_file():
            new = table in NEW_FAMILIES
            index[f"{name}_{kind}"] = {"set": chosen, "family": family, "type": kind, "new_family": new}
    path.write_text(json.dumps(index, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
