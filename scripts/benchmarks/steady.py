"""A camera of 30 frames a second: what it costs, how old a frame is when its prediction is handed over, and received.

    python scripts/benchmarks/steady.py [--model FILE ...] [--rate 30] [--seconds 20] [--json]

The real command with a live source that replays 720p JPEG frames from memory; every prediction is published at QoS 1.
The CPU is that of the daemon's process, 100 % being one core. "Handed over" is the prediction's own `latency_ms.total`,
from the frame's arrival to the hand-over for publishing; "received" is from `captured_at` to a subscriber on the same
machine.
"""

import argparse
import json
import statistics
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import stage

MODELS = ("mobilenet_v2_1.0_224_quant.tflite", "mobilenet_v1_0.25_224_quant.tflite")


class Listener:
    """Keeps the ages of what arrives, in ms."""

    def __init__(self, port: int) -> None:
        self.handed_over: list[float] = []
        self.received: list[float] = []
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        self._client.on_message = self._take
        self._client.connect("127.0.0.1", port)
        self._client.subscribe("edge-infer/+/+/prediction", 1)
        self._client.loop_start()

    def _take(self, _client: Any, _userdata: Any, message: Any) -> None:
        now = time.time()
        prediction = json.loads(message.payload)
        self.handed_over.append(prediction["latency_ms"]["total"])
        self.received.append((now - datetime.fromisoformat(prediction["captured_at"]).timestamp()) * 1000)

    def close(self) -> None:
        """Stop listening."""
        self._client.disconnect()
        self._client.loop_stop()


def measure(folder: Path, port: int, model: Path, *, rate: float, seconds: float) -> dict[str, Any]:
    source = {"type": "replay_camera", "measured_s": seconds, "rate": rate}
    config = stage.daemon_config(folder, model=model, port=port, source=source, name="steady")
    listener = Listener(port)
    found = stage.run_daemon(folder, config)
    time.sleep(0.5)
    listener.close()
    return {
        "model": model.name,
        "frames": found["frames"],
        "received": len(listener.received),
        "cpu_percent": 100 * found["cpu_s"] / found["wall_s"],
        "handed_over_ms": percentiles(listener.handed_over),
        "received_ms": percentiles(listener.received),
        "peak_mb": found["peak_mb"],
    }


def percentiles(values: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(values, n=100)
    return {"p50": cuts[49], "p95": cuts[94], "p99": cuts[98]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", type=Path, help="default: MobileNetV2 1.0 224 and V1 0.25 224")
    parser.add_argument("--rate", type=float, default=30.0)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    args = parser.parse_args()
    stage.use_two_cores()
    with stage.workshop(48) as (folder, _), stage.mosquitto(folder) as port:
        models = args.model or [stage.reference_model(name) for name in MODELS]
        found = [measure(folder, port, model, rate=args.rate, seconds=args.seconds) for model in models]
    if args.json:
        print(json.dumps(found, indent=1))
        return
    for row in found:
        ages = "  ".join(
            f"{key} " + " / ".join(f"{row[f'{key}_ms'][p]:.1f}" for p in ("p50", "p95", "p99"))
            for key in ("handed_over", "received")
        )
        print(
            f"{row['model']}: {row['cpu_percent']:.0f} % of a core, {row['peak_mb']:.0f} MiB; "
            f"ms p50 / p95 / p99: {ages}"
        )


if __name__ == "__main__":
    main()
