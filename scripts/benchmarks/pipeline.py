"""The headline: 720p JPEG frames to predictions at a broker, beside other ways to do it, in turns.

    python scripts/benchmarks/pipeline.py [--model FILE ...] [--rounds 7] [--seconds 2.5] [--only NAME ...] [--json]

Interpreter on one thread, two cores. Each measurement is a process of its own; its CPU is that of the whole process,
all threads together, from the end of a warm-up on. The broker's CPU (mosquitto, another process on the same two cores)
is not counted. A round runs every contender once; ratios are to the bare invoke of the same round, and the table has
their medians and quartiles. `edge-infer` is the real command with a source that replays frames from memory, and like
the plain loop of two threads it publishes every prediction at QoS 1; the serial loops publish nothing. A measurement in
which other processes had more than 5 % of the cores is tried again; "others" is what they had in those that were kept.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import stage

MODELS = ("mobilenet_v2_1.0_224_quant.tflite", "mobilenet_v1_0.25_224_quant.tflite")
BARE = "bare invoke"


def contenders(folder: Path, model: Path, port: int, others: str | None, seconds: float) -> dict[str, stage.Measure]:
    import sys

    options = ("--model", str(model), "--frames", str(folder / "frames"), "--broker", f"127.0.0.1:{port}")
    options += ("--seconds", str(seconds))

    def child(name: str, python: str = sys.executable) -> stage.Measure:
        return lambda: json.loads(stage.finish(stage.start_contender(python, name, *options)))

    def both() -> dict[str, float]:
        """Two bare loops at once; the mean of the two is what one process gets while the other core is busy."""
        started = [stage.start_contender(sys.executable, "bare", *options) for _ in range(2)]
        measured = [json.loads(stage.finish(process)) for process in started]
        return {key: sum(one[key] for one in measured) / 2 for key in measured[0]}

    def daemon(kind: str, rate: float = 0.0) -> stage.Measure:
        source = {"type": kind, "measured_s": seconds, "rate": rate}
        config = stage.daemon_config(folder, model=model, port=port, source=source, name=kind)
        return lambda: stage.run_daemon(folder, config)

    found: dict[str, stage.Measure] = {
        BARE: child("bare"),
        "edge-infer": daemon("replay"),
        "two threads, simplejpeg, paho": child("two-threads"),
        "Pillow draft + LiteRT": child("pillow"),
    }
    if others is not None:
        found["OpenCV + LiteRT"] = child("opencv", others)
        found["MediaPipe Tasks"] = child("mediapipe", others)
    found["two bare invokes at once (each)"] = both
    return found


def rows(measured: dict[str, list[dict[str, float]]]) -> list[dict[str, Any]]:
    bare = measured[BARE]
    result = []
    for name, runs in measured.items():
        rate = [run["frames"] / run["wall_s"] for run in runs]
        cpu_ms = [1000 * run["cpu_s"] / run["frames"] for run in runs]
        result.append(
            {
                "name": name,
                "frames_per_s": stage.spread(rate),
                "cpu_ms": stage.spread(cpu_ms),
                "throughput_ratio": stage.spread(
                    [r / (b["frames"] / b["wall_s"]) for r, b in zip(rate, bare, strict=True)]
                ),
                "cpu_ratio": stage.spread(
                    [c / (1000 * b["cpu_s"] / b["frames"]) for c, b in zip(cpu_ms, bare, strict=True)]
                ),
                "switches_per_frame": stage.spread([run["switches"] / run["frames"] for run in runs]),
                "peak_mb": stage.spread([run["peak_mb"] for run in runs]),
                "foreign": stage.spread([run["foreign"] for run in runs]),
            }
        )
    return result


def print_rows(found: list[dict[str, Any]]) -> None:
    heads = ("frames/s", "CPU ms/frame", "throughput", "CPU", "switches", "peak MiB", "others")
    print(f"{'':32}{heads[0]:>10}{heads[1]:>14}{heads[2]:>19}{heads[3]:>19}{heads[4]:>10}{heads[5]:>10}{heads[6]:>9}")
    for row in found:
        print(
            f"{row['name']:32}{row['frames_per_s']['median']:10.1f}{row['cpu_ms']['median']:14.2f}"
            f"{stage.show(row['throughput_ratio']):>19}{stage.show(row['cpu_ratio']):>19}"
            f"{row['switches_per_frame']['median']:10.1f}{row['peak_mb']['median']:10.0f}"
            f"{row['foreign']['median']:9.0%}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", type=Path, help="default: MobileNetV2 1.0 224 and V1 0.25 224")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.5, help="of each measurement, after 0.7 s of warm-up")
    parser.add_argument("--tries", type=int, default=3, help="of each measurement while others use the machine (3)")
    parser.add_argument("--frames", type=int, default=48, help="how many different frames are replayed")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="only contenders whose name has it")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    arguments = parser.parse_args()
    stage.use_two_cores()
    models = arguments.model or [stage.reference_model(name) for name in MODELS]
    others = None if arguments.only and "edge-infer" in arguments.only else stage.others_python()
    facts = stage.about(others)
    document: dict[str, Any] = {"about": facts, "models": {}}
    with stage.workshop(arguments.frames) as (folder, sizes), stage.mosquitto(folder) as port:
        document["frame"] = {"size": [1280, 720], "mean_bytes": round(sum(sizes) / len(sizes)), "different": len(sizes)}
        for model in models:
            found = contenders(folder, model, port, others, arguments.seconds)
            chosen = stage.chosen(found, arguments.only, always=BARE)
            measured = stage.in_turns(chosen, rounds=arguments.rounds, tries=arguments.tries)
            document["models"][model.name] = rows(measured)
    if arguments.json:
        print(json.dumps(document))
        return
    stage.print_about(facts)
    frame = document["frame"]
    print(f"{frame['different']} frames of 1280x720, {frame['mean_bytes'] / 1000:.0f} kB on average")
    for name, table in document["models"].items():
        print(f"\n{name}; ratios to bare invoke: median [quartiles] of {arguments.rounds} rounds")
        print_rows(table)


if __name__ == "__main__":
    main()
