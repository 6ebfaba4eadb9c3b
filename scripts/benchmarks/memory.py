"""Whether memory stays flat: resident memory of the real command over 100,000 frames, as a slope with its interval.

    python scripts/benchmarks/memory.py [--model FILE] [--frames 100000] [--json]

JPEG frames from memory, every prediction published at QoS 1. The first tenth of the run, in which pools fill, is left
out. The slope is a least-squares fit; its 95 % interval comes from the residuals.
"""

import argparse
import json
import math
from pathlib import Path

import stage

MODEL = "mobilenet_v1_0.25_128_quant.tflite"
NOTES = 400


def slope(points: list[list[float]]) -> tuple[float, float]:
    """Return bytes per frame and the half width of the 95 % interval (normal approximation)."""
    count = len(points)
    mean_x, mean_y = (sum(point[axis] for point in points) / count for axis in (0, 1))
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    steepness = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
    residual = sum((y - mean_y - steepness * (x - mean_x)) ** 2 for x, y in points) / (count - 2)
    return steepness, 1.96 * math.sqrt(residual / spread)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help=f"default: {MODEL}")
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    args = parser.parse_args()
    stage.use_two_cores()
    with stage.workshop(16) as (folder, _), stage.mosquitto(folder) as port:
        every = max(1, args.frames // NOTES)
        source = {"type": "replay", "measured_frames": args.frames, "memory_every": every}
        model = args.model or stage.reference_model(MODEL)
        found = stage.run_daemon(folder, stage.daemon_config(folder, model=model, port=port, source=source))
    points = found["memory"][len(found["memory"]) // 10 :]
    steepness, half = slope(points)
    result = {
        "frames": found["frames"],
        "seconds": found["wall_s"],
        "first_mb": points[0][1] / 2**20,
        "last_mb": points[-1][1] / 2**20,
        "bytes_per_frame": steepness,
        "interval": [steepness - half, steepness + half],
        "peak_mb": found["peak_mb"],
    }
    if args.json:
        print(json.dumps(result, indent=1))
        return
    print(f"{result['frames']:.0f} frames in {result['seconds']:.0f} s, peak {result['peak_mb']:.0f} MiB")
    print(f"{result['first_mb']:.1f} MiB after a tenth, {result['last_mb']:.1f} MiB at the end")
    print(f"{steepness:+.3f} bytes per frame (95 %: {steepness - half:+.3f} to {steepness + half:+.3f})")


if __name__ == "__main__":
    main()
