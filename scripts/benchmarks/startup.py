"""From nothing to the first prediction: the start of the process, one picture, and what it takes in memory.

    python scripts/benchmarks/startup.py [--model FILE] [--rounds 15] [--json]

`edge-infer --images one.jpg` is timed to the moment at which a subscriber, another process's client at a real broker,
has the prediction; the bare scripts, which know no broker, to their printed answer. All of them also to their end. In
turns; ratios are to the Pillow + LiteRT script of the same round, to its end. Peak memory is the kernel's count of the
whole process (ru_maxrss); `edge-infer, threaded` is the daemon with 300 replayed frames of 720p.
"""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import stage

SCRIPT = "Pillow + LiteRT script"
ANSWER_S = 30.0


class Listener:
    """A subscriber to predictions in this process."""

    def __init__(self, port: int) -> None:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        self._arrived = threading.Event()
        self._at_s = 0.0
        self._client = Client(CallbackAPIVersion.VERSION2)
        self._client.on_connect = lambda client, *_: client.subscribe("edge-infer/+/+/prediction", 1)
        self._client.on_message = self._on_message
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def _on_message(self, *_: Any) -> None:
        if not self._arrived.is_set():
            self._at_s = time.monotonic()
            self._arrived.set()

    def expect(self) -> None:
        """Get ready for the next process."""
        self._arrived.clear()

    def wait(self) -> float:
        """Return when its first prediction came, on the clock of ``time.monotonic``."""
        if not self._arrived.wait(ANSWER_S):
            raise SystemExit("no prediction arrived at the broker")
        return self._at_s


class Launcher:
    """A small process that starts the others: what forks counts into the peak memory of what it starts."""

    def __init__(self, environment: dict[str, str]) -> None:
        words = [sys.executable, "-S", "-E", str(stage.HERE / "launcher.py")]
        self._process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def timed(self, words: list[str], listener: Listener | None = None) -> dict[str, float]:
        """Run a command; return when its answer and its end came, its CPU time and its peak memory."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if listener is not None:
            listener.expect()
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()
        told = json.loads(self._process.stdout.readline())
        if told["status"] != 0:
            raise SystemExit(f"{words} ended with {told['status']}")
        answered_s = told["wrote_s"] if listener is None else listener.wait()
        return {
            "answer_s": answered_s - told["started_s"],
            "end_s": told["ended_s"] - told["started_s"],
            "cpu_s": told["cpu_s"],
            "peak_mb": told["peak_mb"],
        }


def contenders(folder: Path, model: Path, port: int, others: str | None) -> dict[str, stage.Measure]:
    picture = str(next(iter(sorted((folder / "frames").iterdir()))))
    launcher = Launcher(os.environ | {"XDG_STATE_HOME": str(folder / "state"), "PYTHONPATH": str(folder / "plugins")})
    listener = Listener(port)
    script = str(stage.HERE / "one_picture.py")
    words = ["--images", picture, "--model", str(model), "--threads", "1", "--broker", f"mqtt://127.0.0.1:{port}"]
    words += ["--device-id", "startup", "--quiet"]
    source = {"type": "replay", "warmup_s": 0.0, "measured_frames": 300}
    replay = str(stage.daemon_config(folder, model=model, port=port, source=source))
    found: dict[str, stage.Measure] = {
        SCRIPT: lambda: launcher.timed([sys.executable, script, "pillow", str(model), picture]),
        "edge-infer --images": lambda: launcher.timed([stage.edge_infer(), *words], listener),
        "edge-infer, threaded": lambda: launcher.timed([stage.edge_infer(), "--quiet", "--config", replay], listener),
    }
    if others is not None:
        found["MediaPipe Tasks script"] = lambda: launcher.timed([others, script, "mediapipe", str(model), picture])
    return found


def rows(measured: dict[str, list[dict[str, float]]]) -> list[dict[str, Any]]:
    bare = [run["end_s"] for run in measured[SCRIPT]]
    return [
        {
            "name": name,
            **{key: stage.spread([run[key] for run in runs]) for key in ("answer_s", "end_s", "cpu_s", "peak_mb")},
            "ratio": stage.spread([run["answer_s"] / b for run, b in zip(runs, bare, strict=True)]),
            "foreign": stage.spread([run["foreign"] for run in runs]),
        }
        for name, runs in measured.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="default: MobileNetV2 1.0 224")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--tries", type=int, default=3, help="of each measurement while others use the machine (3)")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="only contenders whose name has it")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    arguments = parser.parse_args()
    stage.use_two_cores()
    model = arguments.model or stage.reference_model("mobilenet_v2_1.0_224_quant.tflite")
    others = None if arguments.only and not any("Media" in word for word in arguments.only) else stage.others_python()
    facts = stage.about(others)
    with stage.workshop(4) as (folder, _), stage.mosquitto(folder) as port:
        found = stage.chosen(contenders(folder, model, port, others), arguments.only, always=SCRIPT)
        measured = stage.in_turns(found, rounds=arguments.rounds, tries=arguments.tries, warm=1)
    table = rows(measured)
    if arguments.json:
        print(json.dumps({"about": facts, "model": model.name, "startup": table}))
        return
    stage.print_about(facts)
    print(f"\n{model.name}, one picture; median [quartiles] of {arguments.rounds} rounds")
    print(f"{'':26}{'answer ms':>20}{'ratio':>20}{'end ms':>9}{'CPU ms':>9}{'peak MiB':>10}{'others':>9}")
    for row in table:
        answer = {key: 1000 * value for key, value in row["answer_s"].items()}
        print(
            f"{row['name']:26}{stage.show(answer, 0):>20}{stage.show(row['ratio']):>20}"
            f"{1000 * row['end_s']['median']:9.0f}{1000 * row['cpu_s']['median']:9.0f}"
            f"{row['peak_mb']['median']:10.1f}{row['foreign']['median']:9.0%}"
        )


if __name__ == "__main__":
    main()
