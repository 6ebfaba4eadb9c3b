#!/usr/bin/env python3
"""Fit the speeds of device_configs/profiles/x86-64.toml to times of this machine, and say how far off they are.

    edge-infer bench --calibrate -o calibration.toml                    # single operators
    scripts/benchmarks/build_latency_models.py                          # networks
    scripts/benchmarks/latency_error.py measure --into times.json --device calibration.toml
    scripts/fit_x86_profile.py calibration.toml times.json --models FOLDER

Operators alone (less an inference's call) and whole networks of one half of the families, one thread, decide together:
least squares of relative errors, large ones counted less, nothing below zero. Families are halved by a hash of their
names; the other half has no part in it. What it costs to wake a thread is read off the operators, the share that
threads speed up is chosen on the same half. Prints the kernels as TOML and the error of both halves, before and after.
Groups, caches and the interpreter's own products are not fitted: they are taken from the profile.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import msgspec
import numpy as np

from edge_runtime.analysis.calibration.fitting import least_squares_above_zero
from edge_runtime.analysis.calibration.probes import all_probes
from edge_runtime.analysis.calibration.timing import describe_probe
from edge_runtime.analysis.graph import Graph, build_graph, read_graph
from edge_runtime.analysis.latency import amounts, predict_latency
from edge_runtime.analysis.prediction import Work
from edge_runtime.analysis.profile import Figure, Kernel, Profile, load_profile
from edge_runtime.analysis.work import model_work
from edge_runtime.model_file import parse_model

CALL_US = 0.31
"""Of an inference of one operator on this machine: the least that any takes."""
LEAST_US = 0.03
LONG_US = 10.0
SMALL_ERRORS = {"operators": 0.1, "networks": 0.05}
"""Below these relative errors count by their square, above by themselves."""
SHARES = [share / 100 for share in range(80, 101)]
KINDS = ("dense", "window", "transposed", "depthwise", "values")
Term = tuple[str, str, str, str]
"""Who runs it, type, kind of kernel, and which of its speeds."""
FAR: Term = ("", "", "", "far")


@dataclass
class Operator:
    work: Work
    us: dict[int, float]
    """By threads."""


@dataclass
class Case:
    name: str
    family: str
    threads: int
    us: float
    graph: Graph

    @property
    def fitted(self) -> bool:
        return int(hashlib.sha256(self.family.encode()).hexdigest(), 16) % 2 == 0


def operators(calibration: Path) -> list[Operator]:
    """Return the probes with what they took alone."""
    profile = load_profile(str(calibration))
    assert profile.calibration, "a profile of bench --calibrate is needed"
    took = {
        (table.kernel, tuple(int(size) for size in line.split()[:-1]), table.threads): float(line.split()[-1])
        for table in profile.calibration.kernels
        for line in table.points.splitlines()
    }
    found = []
    for probe in all_probes():
        content = probe.make()
        described = describe_probe(probe, content, quantized=True)
        (work,) = model_work(build_graph(parse_model(content, probe.group)))
        times = {count: took.get((described.kernel, described.sizes, count)) for count in (1, 2)}
        known = {count: us for count, us in times.items() if us is not None}
        if 1 in known and work.kind != "nothing":
            found.append(Operator(work, known))
    return found


def cases(times: Iterable[Path], models: Path) -> list[Case]:
    """Return the networks with the shortest that they took over all files."""
    index = json.loads((models / "index.json").read_text())
    best: dict[tuple[str, int], float] = {}
    for path in times:
        for key, values in json.loads(path.read_text()).items():
            name, threads, *kind = key.split("@")
            if name in index and not kind:
                best[name, int(threads)] = min(*values, best.get((name, int(threads)), values[0]))
    graphs = {name: read_graph(models / f"{name}.tflite") for name, _ in best}
    return [Case(name, index[name]["family"], count, us, graphs[name]) for (name, count), us in best.items()]


def terms(works: Iterable[Work], profile: Profile) -> dict[Term, float]:
    """Return what one thread has to do, by who does it."""
    found: dict[Term, float] = defaultdict(float)
    for work in works:
        if work.kind == "nothing":
            continue
        who = "xnnpack" if work.delegated else "plain"
        asked = amounts(work, profile, threads=1)
        kind = work.kind if getattr(getattr(profile, who)[work.type], work.kind) else "window"
        parts = {"values": asked.values, "overhead": asked.overheads}
        if work.kind != "values":
            parts["macs"] = asked.macs
        if work.kind in {"dense", "window", "transposed"}:
            parts["bytes"] = asked.bytes_moved
        for name, amount in parts.items():
            found[who, work.type, kind, name] += amount
        found[FAR] += asked.far_bytes
    return found


def fit(alone: list[Operator], whole: list[Case], profile: Profile) -> dict[Term, float]:
    """Return microseconds for one of each term."""
    rows = [terms([one.work], profile) for one in alone] + [terms(model_work(one.graph), profile) for one in whole]
    took = np.array([max(one.us[1] - CALL_US, LEAST_US) for one in alone] + [one.us for one in whole])
    names = sorted({name for row in rows for name, amount in row.items() if amount})
    matrix = np.array([[row.get(name, 0.0) for name in names] for row in rows]) / took[:, None]
    small = np.repeat([SMALL_ERRORS["operators"], SMALL_ERRORS["networks"]], [len(alone), len(whole)])
    # Both count the same, however many there are.
    fair = np.repeat([1.0, (len(alone) / len(whole)) ** 0.5], [len(alone), len(whole)])
    scale, weights = matrix.max(axis=0), fair.copy()
    costs = np.zeros(len(names))
    for _ in range(12):
        costs = least_squares_above_zero(matrix / scale * weights[:, None], weights) / scale
        weights = fair / np.sqrt(np.maximum(np.abs(matrix @ costs - 1), small))
    return dict(zip(names, costs.tolist(), strict=True))


def waking_us(alone: list[Operator]) -> float:
    """Return what it takes to wake a second thread: with it operators take half as long, and this."""
    return median(
        one.us[2] - one.us[1] / 2 for one in alone if one.work.delegated and 2 in one.us and one.us[1] > LONG_US
    )


def with_share(profile: Profile, whole: list[Case]) -> Profile:
    """Return the profile with the share of the work that makes two threads least wrong."""
    choices = [
        msgspec.structs.replace(profile, parallel_share=Figure(value=share, basis="measured", source="networks"))
        for share in SHARES
    ]
    return min(choices, key=lambda one: median(abs(off) for off in errors(whole, one)))


def with_speeds(profile: Profile, costs: dict[Term, float], wake_us: float) -> Profile:
    """Return the profile with fitted speeds."""
    tables = {"xnnpack": dict(profile.xnnpack), "plain": dict(profile.plain)}
    for type_name, kernels in profile.xnnpack.items():
        olds = {kind: old for kind in KINDS if (old := getattr(kernels, kind))}
        changed = {kind: kernel(old, costs, ("xnnpack", type_name, kind)) for kind, old in olds.items()}
        tables["xnnpack"][type_name] = msgspec.structs.replace(kernels, **changed)
    # Of the interpreter's own kernels the calibration times enough of one kind only.
    values = kernel(profile.plain["int8"].values, costs, ("plain", "int8", "values"))
    tables["plain"]["int8"] = msgspec.structs.replace(profile.plain["int8"], values=values)
    changes: dict[str, object] = dict(tables)
    changes["wake_us"] = Figure(value=round(wake_us, 1), basis="measured", source="operators")
    if costs.get(FAR):
        figure = f"{1e-3 / costs[FAR]:.3g}"
        changes["bandwidth_gb_per_s"] = Figure(value=float(figure), basis="measured", source="networks")
    return msgspec.structs.replace(profile, **changes)


def kernel(old: Kernel, costs: dict[Term, float], key: tuple[str, str, str]) -> Kernel:
    """Return a kernel's fitted speeds; the old ones where nothing was measured."""
    found = {name: costs.get((*key, name)) for name in ("macs", "values", "bytes", "overhead")}
    if found["overhead"] is None:
        return old

    def speed(name: str, unit: float) -> float | None:
        return float(f"{1 / (unit * cost):.3g}") if (cost := found[name]) and cost > 1e-12 else None

    return Kernel(
        gmacs_per_s=speed("macs", 1e3),
        mega_values_per_s=speed("values", 1.0),
        gb_per_s=speed("bytes", 1e3),
        overhead_us=round(found["overhead"], 3),
        channel_group=old.channel_group,
    )


def errors(whole: list[Case], profile: Profile) -> list[float]:
    """Return by which share of it each measured time is missed."""
    return [predict_latency(one.graph, profile, threads=one.threads).ms * 1e3 / one.us - 1 for one in whole]


def error(whole: list[Case], profile: Profile) -> str:
    """Return how far predictions are off."""
    if not whole:
        return "none"
    off = errors(whole, profile)
    sizes = [abs(one) for one in off]
    shares = [sum(size <= limit for size in sizes) / len(sizes) for limit in (0.1, 0.2)]
    return (
        f"{len(whole):4} cases: within 10 % {shares[0]:.0%}, 20 % {shares[1]:.0%}, median {median(sizes):.1%}, "
        f"bias {median(off):+.1%}, {min(off):+.0%} to {max(off):+.0%}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("calibration", type=Path)
    parser.add_argument("times", type=Path, nargs="+", help="what latency_error.py measured")
    parser.add_argument("--models", type=Path, required=True, help="the folder of the networks, with its index")
    parser.add_argument("--each", action="store_true", help="a line for every network that was held back")
    args = parser.parse_args()
    shipped, alone, whole = load_profile("x86-64"), operators(args.calibration), cases(args.times, args.models)
    shown = [one for one in whole if one.fitted and one.threads == 1]
    fitted = with_speeds(shipped, fit(alone, shown, shipped), waking_us(alone))
    fitted = with_share(fitted, [one for one in whole if one.fitted and one.threads == 2])
    print(f"{len(alone)} operators, {len(shown)} networks of {len({one.family for one in shown})} families")
    for name in ("parallel_share", "wake_us", "bandwidth_gb_per_s"):
        print(f"{name} = {getattr(fitted, name).value}")
    for who in ("xnnpack", "plain"):
        for type_name, kernels in getattr(fitted, who).items():
            print(f"\n[{who}.{type_name}]")
            for kind in KINDS:
                if not getattr(kernels, kind):
                    continue
                speeds = msgspec.structs.asdict(getattr(kernels, kind))
                inner = ", ".join(f"{key} = {value:g}" for key, value in speeds.items() if value is not None)
                print(f"{kind} = {{ {inner} }}")
    print()
    for title, profile in (("shipped", shipped), ("fitted", fitted)):
        for half, of in ((True, "fitted to"), (False, "held back")):
            for threads in ((1,), (2,), (1, 2)):
                chosen = [one for one in whole if one.fitted is half and one.threads in threads]
                print(f"{title:8} {of}  {threads!s:7} threads  {error(chosen, profile)}")
    if args.each:
        for one in whole:
            if not one.fitted:
                print(f"{one.family:24} {one.name}@{one.threads} {error([one], fitted)}")


if __name__ == "__main__":
    main()
