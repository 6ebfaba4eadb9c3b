#!/usr/bin/env python3
"""How far predicted latency is from measured latency, by family, beside the noise of the measurement.

    edge-infer bench --calibrate -o profile.toml
    scripts/benchmarks/build_latency_models.py
    scripts/benchmarks/latency_error.py measure --into times.json       # again and again: each adds a round
    scripts/benchmarks/latency_error.py report times.json --device profile.toml

A round times every model once with each number of threads: what calls (inputs set, run, outputs read) usually take that
fit into ``--seconds``. After ``--stretch`` seconds it stops; the next one begins with what was measured least. With
``--device`` the references of that profile are timed beside every model, and ``report --same-minute`` compares with
what the model would have taken at the pace of the calibration. What counts is the median of all rounds, or with
``--shortest`` the shortest of them; the noise is how far that of the even rounds is from that of the odd ones.
Models are those of the index that build_latency_models.py writes, or all of a folder without one.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterable
from math import exp, log
from pathlib import Path
from typing import Any

from build_latency_models import DEFAULT

from edge_runtime.analysis.calibration.pace import Pace
from edge_runtime.analysis.calibration.timing import Sitting, Timed
from edge_runtime.analysis.graph import read_graph
from edge_runtime.analysis.latency import predict_latency
from edge_runtime.analysis.profile import Profile, load_profile
from edge_runtime.errors import EngineError
from edge_runtime.interpreter import Runtime, load_runtime, quiet_native_output
from edge_runtime.store.atomic import replace_file

LOOKS = 3
"""At the references, before and after every model."""


def measure(args: argparse.Namespace) -> None:
    runtime = load_runtime()
    times: dict[str, list[float]] = json.loads(args.into.read_text()) if args.into.is_file() else {}
    profile = load_profile(str(args.device)) if args.device else None
    paces = {threads: pace(runtime, profile, threads) for threads in args.threads} if profile else {}
    end_s = time.monotonic() + args.stretch
    wanted = [(path, threads) for path in models(args.models, args.set) for threads in args.threads]
    timed: list[tuple[str, Timed]] = []
    for path, threads in sorted(wanted, key=lambda one: len(times.get(f"{one[0].stem}@{one[1]}", []))):
        if time.monotonic() > end_s:
            break
        try:
            with quiet_native_output():
                if paces:
                    paces[threads].look(LOOKS)
                us = Sitting(runtime, path.read_bytes(), threads=threads).usual_call_us(args.seconds)
                timed.append((f"{path.stem}@{threads}", Timed(us, time.monotonic(), threads)))
                if paces:
                    paces[threads].look(LOOKS)
        except EngineError as error:
            print(f"{path.stem}: {error}", file=sys.stderr)
    courses = {threads: one.course() for threads, one in paces.items()}
    for key, one in timed:
        times.setdefault(key, []).append(one.us)
        if courses:
            times.setdefault(f"{key}@pace", []).append(courses[one.threads].slowness(one.at_s))
    replace_file(args.into, (json.dumps(times) + "\n").encode())


def pace(runtime: Runtime, profile: Profile, threads: int) -> Pace:
    """Return what tells how fast the machine is against the time of the calibration."""
    assert profile.calibration, "only a calibrated profile tells how fast the machine was"
    return Pace(runtime, threads=threads, reference_us=profile.calibration.context(threads).reference_us)


def models(folder: Path, chosen: str | None) -> list[Path]:
    """Return the models of a set of the index, or every model of a folder without one."""
    if not (folder / "index.json").is_file():
        return sorted(folder.glob("**/*.tflite"))
    index = json.loads((folder / "index.json").read_text())
    return [folder / f"{name}.tflite" for name, entry in index.items() if chosen in {None, entry["set"]}]


def report(args: argparse.Namespace) -> None:
    profile = load_profile(str(args.device))
    index = json.loads((args.models / "index.json").read_text()) if (args.models / "index.json").is_file() else {}
    rows: list[dict[str, Any]] = []
    unknown: list[str] = []
    graphs = {path.stem: read_graph(path) for path in models(args.models, args.set)}
    times = json.loads(args.times.read_text())
    for key, raw in times.items():
        name, threads, *kind = key.split("@")
        if name not in graphs or kind:
            continue
        paces = times[f"{key}@pace"] if args.same_minute else [1.0] * len(raw)
        values = [us / slow for us, slow in zip(raw, paces, strict=True)]
        predicted = predict_latency(graphs[name], profile, threads=int(threads))
        if predicted.unknown:
            unknown.append(key)
            continue
        typical = min if args.shortest else statistics.median
        best_ms = typical(values) / 1e3
        halves = typical(values[::2]), typical(values[1::2] or values)
        entry = index.get(name, {"family": "reference", "type": "", "new_family": False})
        rows.append(
            {
                "name": name, "threads": int(threads), **entry,
                "measured_ms": best_ms, "predicted_ms": predicted.ms, "error": predicted.ms / best_ms - 1,
                "inside": predicted.low_ms <= best_ms <= predicted.high_ms,
                "width": predicted.high_ms / predicted.ms, "noise": abs(log(halves[0] / halves[1])),
            }
        )  # fmt: skip
    if args.json:
        print(json.dumps(rows, indent=1))
        return
    if args.each:
        for row in sorted(rows, key=lambda row: -abs(log(1 + row["error"]))):
            print(
                f"{row['name']:34} {row['threads']} {row['measured_ms']:9.4f} {row['predicted_ms']:9.4f} "
                f"{row['error']:+7.1%} {'' if row['inside'] else 'outside'}"
            )
    if unknown:
        print(f"said to be unknown, and not counted below: {', '.join(unknown)}")
    heads = (
        f"{'cases':>6}{'within 10 %':>12}{'20 %':>7}{'median':>8}{'bias':>8}{'interval':>10}{'holds':>7}{'noise':>7}"
    )
    print(f"{'':34}{heads}")
    groups = {
        "all": rows,
        "families of the design set": [row for row in rows if not row["new_family"]],
        "new families": [row for row in rows if row["new_family"]],
        **{kind: [row for row in rows if row["type"] == kind] for kind in ("float32", "int8", "dynamic")},
        **{f"{count} threads": [row for row in rows if row["threads"] == count] for count in sorted(set(args.threads))},
        **{row["family"]: [one for one in rows if one["family"] == row["family"]] for row in rows},
    }
    for name, members in groups.items():
        if members:
            print(f"{name:34}{summary(members)}")


def summary(rows: list[dict[str, Any]]) -> str:
    def share(chosen: Iterable[bool]) -> str:
        return f"{statistics.fmean(chosen):.0%}"

    errors = [abs(row["error"]) for row in rows]
    bias = exp(statistics.fmean(log(1 + row["error"]) for row in rows)) - 1
    return (
        f"{len(rows):>6}{share(error <= 0.1 for error in errors):>12}{share(error <= 0.2 for error in errors):>7}"
        f"{statistics.median(errors):>8.1%}{bias:>+8.1%}{statistics.median(row['width'] for row in rows):>10.2f}"
        f"{share(row['inside'] for row in rows):>7}{statistics.median(row['noise'] for row in rows):>7.1%}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("measure", "report"))
    parser.add_argument("times", type=Path, nargs="?", help="with report: what measure wrote")
    parser.add_argument("--into", type=Path, default=Path("times.json"), help="with measure: added to (times.json)")
    parser.add_argument("--models", type=Path, default=DEFAULT)
    parser.add_argument("--set", choices=("design", "blind", "fresh", "unseen", "last", "new", "recent"))
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seconds", type=float, default=0.25, help="of every model in a round (0.25)")
    parser.add_argument("--stretch", type=float, default=3600.0, help="seconds after which measuring stops (3600)")
    parser.add_argument("--device", type=Path, help="with report: a calibrated profile")
    parser.add_argument("--shortest", action="store_true", help="the shortest of the rounds counts, not the median")
    parser.add_argument("--same-minute", action="store_true", help="with report: divide times by the pace beside them")
    parser.add_argument("--each", action="store_true", help="with report: a line for every model, the worst first")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if args.what == "measure":
        measure(args)
    elif not args.times or not args.device:
        parser.error("report needs what measure wrote, and --device")
    else:
        report(args)


if __name__ == "__main__":
    main()
