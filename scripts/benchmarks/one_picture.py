"""The least that tells what is on one picture, as one would write it by hand; run by startup.py, not by hand.

python one_picture.py pillow|mediapipe MODEL PICTURE
"""

import sys


def with_pillow(model: str, picture: str) -> list[tuple[int, int]]:
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter
    from PIL import Image

    interpreter = Interpreter(model_path=model, num_threads=1)
    interpreter.allocate_tensors()
    given, asked = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    height, width = given["shape"][1:3]
    with Image.open(picture) as opened:
        opened.draft("RGB", (int(width), int(height)))
        pixels = np.asarray(opened.resize((int(width), int(height)), Image.Resampling.BILINEAR))
    interpreter.set_tensor(given["index"], pixels[None])
    interpreter.invoke()
    scores = interpreter.get_tensor(asked["index"])[0]
    return [(int(i), int(scores[i])) for i in np.argsort(-scores.astype(int))[:5]]


def with_mediapipe(model: str, picture: str) -> list[tuple[int, float]]:
    import mediapipe as mp
    from mediapipe.tasks.python import BaseOptions, vision

    options = vision.ImageClassifierOptions(base_options=BaseOptions(model_asset_path=model), max_results=5)
    with vision.ImageClassifier.create_from_options(options) as classifier:
        result = classifier.classify(mp.Image.create_from_file(picture))
        return [(category.index, category.score) for category in result.classifications[0].categories]


if __name__ == "__main__":
    way = {"pillow": with_pillow, "mediapipe": with_mediapipe}[sys.argv[1]]
    print(way(sys.argv[2], sys.argv[3]), flush=True)
