"""What int8 costs a face detector, from end to end: edge-convert --eval on labelled pictures, mAP before and after.

    .venv-convert/bin/python scripts/detector_precision.py version-RFB-320.onnx PICTURES FOLDER

RFB-320 gives scores and corners as two outputs; here they become one output of YOLOv8's form (centre, size, score), as
an export for a device would have it. There are no labels of faces at hand: the float model's own detections (score 0.5
or more, made by ``edge-infer`` with the float ``.tflite``) are the labels, so the float model's mAP is 100 % by
definition and only the difference says something. FOLDER keeps the network, the labelled pictures and both artifacts.
"""

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper
from PIL import Image

FLAGS = ["--mean", "127", "--std", "128", "--task", "detect"]
ANCHORS = 4420


def with_one_output(source: Path, target: Path) -> None:
    """Append what turns (scores, corners) into rows of centre, size and the face's score."""
    model = onnx.load(source)
    graph = model.graph
    corners = next(one.name for one in graph.output if one.type.tensor_type.shape.dim[2].dim_value == 4)
    scores = next(one.name for one in graph.output if one.name != corners)
    turn = np.array([[0.5, 0, -1, 0], [0, 0.5, 0, -1], [0.5, 0, 1, 0], [0, 0.5, 0, 1]], np.float32)
    pick = np.array([[0.0], [1.0]], np.float32)
    graph.initializer.extend([numpy_helper.from_array(turn, "turn"), numpy_helper.from_array(pick, "pick")])
    graph.node.extend(
        [
            helper.make_node("MatMul", [corners, "turn"], ["centred"]),
            helper.make_node("MatMul", [scores, "pick"], ["face"]),
            helper.make_node("Concat", ["centred", "face"], ["detections"], axis=2),
        ]
    )
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info("detections", onnx.TensorProto.FLOAT, [1, ANCHORS, 5]))
    onnx.save(model, target)


def run(*command: object) -> str:
    done = subprocess.run([sys.executable, "-m", *map(str, command)], capture_output=True, text=True, check=False)
    if done.returncode and not done.stdout:
        sys.exit(done.stderr)
    return done.stdout


def label(model: Path, pictures: Path, folder: Path) -> int:
    """Copy the pictures with a text file of the float model's detections beside each; return how many faces."""
    found = folder / "found.jsonl"
    found.unlink(missing_ok=True)
    run("edge_runtime", "--model", model, "--images", pictures, "--broker", "none", "--jsonl", found)
    target = folder / "labelled"
    target.mkdir(exist_ok=True)
    faces = 0
    for line in found.read_text("utf-8").splitlines():
        answer = json.loads(line)
        path = Path(answer["path"])
        shutil.copy(path, target / path.name)
        width, height = Image.open(path).size
        rows = []
        for face in answer["result"]:
            left, top, right, bottom = face["box"]
            box = (
                (left + right) / 2 / width,
                (top + bottom) / 2 / height,
                (right - left) / width,
                (bottom - top) / height,
            )
            rows.append(f"0 {' '.join(f'{value:.6f}' for value in box)}\n")
        (target / path.with_suffix(".txt").name).write_text("".join(rows))
        faces += len(rows)
    return faces


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("model", "pictures", "folder"):
        parser.add_argument(name, type=Path)
    args = parser.parse_args()
    args.folder.mkdir(exist_ok=True)
    labels = args.folder / "labels.txt"
    labels.write_text("face\n")
    network, plain = args.folder / "faces.onnx", args.folder / "faces_float.tflite"
    with_one_output(args.model, network)
    run("converters.cli", network, "-o", plain, "--quantize", "none", "--labels", labels, *FLAGS, "-q")
    print(f"{label(plain, args.pictures, args.folder)} faces found by the float model", flush=True)
    print(run("converters.cli", network, "-o", args.folder / "faces.tflite", "--labels", labels, *FLAGS, "-q",
              "--calibration", args.pictures, "--samples", "60", "--eval", args.folder / "labelled"))  # fmt: skip


if __name__ == "__main__":
    main()
