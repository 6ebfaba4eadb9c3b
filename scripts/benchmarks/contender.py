"""One other way to do the same work, measured in a process of its own; run by the benchmarks, not by hand.

    python contender.py NAME --model FILE --frames FOLDER [--broker HOST:PORT] [--warmup S] [--seconds S]

Prints one JSON document. Imports nothing of this project, so that it also runs in the environment of MediaPipe.
"""

import argparse
import json
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from queue import Queue
from typing import Any

import numpy as np

Step = Callable[[bytes], Any]


def interpreter(model: str) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    made = Interpreter(model_path=model, num_threads=1)
    made.allocate_tensors()
    return made


def classifier(model: str) -> tuple[tuple[int, int], Callable[[Any], list[int]]]:
    """Return the input's (width, height) and what gives the five best classes of a picture of that size."""
    made = interpreter(model)
    given, asked = made.get_input_details()[0], made.get_output_details()[0]["index"]
    _, height, width, _ = given["shape"]

    def classify(pixels: Any) -> list[int]:
        made.set_tensor(given["index"], np.asarray(pixels)[None])
        made.invoke()
        scores = made.get_tensor(asked)[0]
        return [int(i) for i in np.argsort(-scores.astype(np.int32))[:5]]

    return (int(width), int(height)), classify


def bare(model: str) -> Step:
    """Invoke alone: no picture, no result."""
    made = interpreter(model)
    given = made.get_input_details()[0]
    made.set_tensor(given["index"], np.random.default_rng(0).integers(0, 256, given["shape"], np.uint8))
    return lambda _: made.invoke()


def pillow(model: str) -> Step:
    import io

    from PIL import Image

    size, classify = classifier(model)

    def step(jpeg: bytes) -> list[int]:
        with Image.open(io.BytesIO(jpeg)) as picture:
            picture.draft("RGB", size)
            return classify(picture.resize(size, Image.Resampling.BILINEAR))

    return step


def opencv(model: str) -> Step:
    import cv2

    cv2.setNumThreads(1)
    size, classify = classifier(model)

    def step(jpeg: bytes) -> list[int]:
        half = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_REDUCED_COLOR_2)
        return classify(cv2.cvtColor(cv2.resize(half, size, interpolation=cv2.INTER_LINEAR), cv2.COLOR_BGR2RGB))

    return step


def mediapipe(model: str) -> Step:
    """MediaPipe takes pixels; OpenCV, which it brings, decodes for it, at half the size."""
    import cv2
    import mediapipe as mp
    from mediapipe.tasks.python import BaseOptions, vision

    cv2.setNumThreads(1)
    options = vision.ImageClassifierOptions(base_options=BaseOptions(model_asset_path=model), max_results=5)
    made = vision.ImageClassifier.create_from_options(options)

    def step(jpeg: bytes) -> Any:
        half = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_REDUCED_COLOR_2)
        picture = mp.Image(image_format=mp.ImageFormat.SRGB, data=cv2.cvtColor(half, cv2.COLOR_BGR2RGB))
        return made.classify(picture).classifications[0].categories

    return step


def two_threads(model: str, frames: Iterator[bytes], broker: str) -> Iterator[None]:
    """A plain loop of two threads: one decodes, the other invokes and publishes each answer at QoS 1."""
    import simplejpeg
    from paho.mqtt.client import Client
    from paho.mqtt.enums import CallbackAPIVersion
    from PIL import Image

    host, _, port = broker.partition(":")
    client = Client(CallbackAPIVersion.VERSION2)
    client.connect(host, int(port))
    client.loop_start()
    size, classify = classifier(model)
    ready: Queue[Any] = Queue(2)

    def decode() -> None:
        for jpeg in frames:
            half = simplejpeg.decode_jpeg(jpeg, "RGB", True, True, min_width=640, min_height=360)
            ready.put(np.asarray(Image.fromarray(half).resize(size, Image.Resampling.BILINEAR)))

    threading.Thread(target=decode, daemon=True).start()
    while True:
        best = classify(ready.get())
        client.publish("benchmark/plain", json.dumps({"at": time.time(), "classes": best}), qos=1)
        yield


def peak_mb() -> float:
    """Return the peak of resident memory since this program was loaded (proc(5), VmHWM), in MiB."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def usage() -> tuple[float, float, int]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return time.perf_counter(), used.ru_utime + used.ru_stime, used.ru_nvcsw + used.ru_nivcsw


def measure(advance: Callable[[], Any], *, warmup_s: float, seconds: float) -> dict[str, float]:
    started = time.perf_counter()
    while time.perf_counter() - started < warmup_s:
        advance()
    wall_s, cpu_s, switches = usage()
    count = 0
    while time.perf_counter() - wall_s < seconds:
        advance()
        count += 1
    wall, cpu, switched = usage()
    return {
        "frames": count,
        "wall_s": wall - wall_s,
        "cpu_s": cpu - cpu_s,
        "switches": switched - switches,
        "peak_mb": peak_mb(),
    }


SERIAL = {"bare": bare, "pillow": pillow, "opencv": opencv, "mediapipe": mediapipe}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=(*SERIAL, "two-threads"))
    parser.add_argument("--model", required=True)
    parser.add_argument("--frames", required=True, type=Path)
    parser.add_argument("--broker", default="")
    parser.add_argument("--warmup", type=float, default=0.7)
    parser.add_argument("--seconds", type=float, default=2.5)
    arguments = parser.parse_args()
    frames = cycle([path.read_bytes() for path in sorted(arguments.frames.iterdir())])
    if arguments.name == "two-threads":
        steps = two_threads(arguments.model, frames, arguments.broker)
        measured = measure(lambda: next(steps), warmup_s=arguments.warmup, seconds=arguments.seconds)
    else:
        step = SERIAL[arguments.name](arguments.model)
        measured = measure(lambda: step(next(frames)), warmup_s=arguments.warmup, seconds=arguments.seconds)
    sys.stdout.write(json.dumps(measured) + "\n")


if __name__ == "__main__":
    main()
