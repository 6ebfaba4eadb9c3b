"""A picture with what the model says drawn on it, as a JPEG."""

import io
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from edge_runtime.sinks.answer import answer, name
from edge_runtime.telemetry.labels import Color, color_of, legible
from edge_runtime.types import Detections, Poses, Prediction, RawTensors, Segmentation, Size

QUALITY: Final = 80
MIN_KEYPOINT: Final = 0.3
"""Keypoints with a lower score are guesses, and left out."""
_TINT: Final = 0.45
_LEGEND: Final = 6
_WHITE: Final = (255, 255, 255)
_BACKGROUND: Final = frozenset({"background", "unlabeled", "unlabelled", "void", "__background__"})
_BONES: Final = (
    (0, 1), (0, 2), (1, 3), (2, 4), (5, 6), (5, 7), (7, 9), (6, 8), (8, 10),
    (5, 11), (6, 12), (11, 12), (11, 13), (13, 15), (12, 14), (14, 16),
)  # fmt: skip
"""Which of the 17 COCO keypoints belong together."""


def draw(picture: NDArray[np.uint8], prediction: Prediction) -> bytes:
    """Return ``picture`` (height, width, 3) RGB as JPEG bytes, with boxes, keypoints, areas or the answer drawn on it.

    The picture shows the upright frame, already masked; it may be larger or smaller than the frame the result is in.
    It is not changed. Takes some 20 ms for 1280x720, so it is for the thread that answers commands.
    """
    image = Image.fromarray(picture)
    result = prediction.result
    match result:
        case Segmentation():
            image = _tint(image, result)
            _draw_caption(image, _legend(result))
        case Detections():
            _draw_boxes(image, result)
        case Poses():
            _draw_poses(image, result)
        case RawTensors():
            pass
        case _:
            _draw_caption(image, [(line, _WHITE) for line in answer(result).split(", ")])
    out = io.BytesIO()
    image.save(out, "JPEG", quality=QUALITY)
    return out.getvalue()


def _draw_boxes(image: Image.Image, result: Detections) -> None:
    pen = ImageDraw.Draw(image)
    width = _line_width(image)
    scale = _scale(image, result.frame_size)
    boxes = result.boxes * np.array([*scale, *scale], np.float32)
    # Worst first, so that the best lies on top.
    for index in reversed(range(len(result))):
        class_id = int(result.class_ids[index])
        color = color_of(class_id)
        x1, y1, x2, y2 = (float(v) for v in boxes[index])
        if not np.isfinite((x1, y1, x2, y2)).all():
            continue
        box = (min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2))
        # A dark line around the coloured one is seen on any background.
        pen.rectangle(box, outline=(0, 0, 0), width=width + 2)
        if box[2] - box[0] > 2 and box[3] - box[1] > 2:
            pen.rectangle((box[0] + 1, box[1] + 1, box[2] - 1, box[3] - 1), outline=color, width=width)
        text = f"{name(result.labels[index], class_id)} {100 * result.scores[index]:.0f} %"
        _draw_chip(image, text, at=(box[0], box[1]), color=color, above=True)


def _draw_poses(image: Image.Image, result: Poses) -> None:
    pen = ImageDraw.Draw(image)
    width = _line_width(image)
    scale_x, scale_y = _scale(image, result.frame_size)
    for index, keypoints in enumerate(result.keypoints):
        color = color_of(index)
        points = {
            number: (float(x) * scale_x, float(y) * scale_y)
            for number, (x, y, score) in enumerate(keypoints)
            if score >= MIN_KEYPOINT and np.isfinite(x) and np.isfinite(y)
        }
        if len(keypoints) == 17:
            for start, end in _BONES:
                if start in points and end in points:
                    pen.line((*points[start], *points[end]), fill=color, width=width)
        for x, y in points.values():
            r = 1.5 * width
            pen.ellipse((x - r, y - r, x + r, y + r), fill=color, outline=(0, 0, 0))


def _tint(image: Image.Image, result: Segmentation) -> Image.Image:
    """Lay each class's colour over its area. The mask covers the model's input, which may be more than the picture."""
    colors = np.zeros((int(result.mask.max(initial=0)) + 1, 4), np.uint8)
    for class_id, label in zip(result.class_ids.tolist(), result.labels, strict=True):
        if not _is_background(class_id, label) and 0 <= class_id < len(colors):
            colors[class_id] = (*color_of(class_id), round(255 * _TINT))
    layer = Image.fromarray(colors[result.mask])
    corners = np.array([[0, 0], result.transform.input_size], np.float32)
    scale = np.array(_scale(image, result.transform.frame_size), np.float32)
    (left, top), (right, bottom) = np.rint(result.transform.to_source(corners) * scale).astype(int)
    layer = layer.resize((max(1, int(right - left)), max(1, int(bottom - top))), Image.Resampling.NEAREST)
    over = Image.new("RGBA", image.size)
    over.paste(layer, (int(left), int(top)))
    return Image.alpha_composite(image.convert("RGBA"), over).convert("RGB")


def _legend(result: Segmentation) -> list[tuple[str, Color]]:
    total = max(1, int(result.mask.size))
    rows = zip(result.labels, result.class_ids.tolist(), result.pixels.tolist(), strict=True)
    return [
        (f"{name(label, class_id)} {100 * pixels / total:.0f} %", color_of(class_id))
        for label, class_id, pixels in rows
        if not _is_background(class_id, label)
    ][:_LEGEND]


def _is_background(class_id: int, label: str | None) -> bool:
    return class_id == 0 if label is None else label.casefold() in _BACKGROUND


def _draw_caption(image: Image.Image, lines: Sequence[tuple[str, Color]]) -> None:
    margin = _text_size(image) // 2
    y = float(margin)
    for text, color in lines:
        y = _draw_chip(image, text, at=(margin, y), color=color, above=False) + margin / 2


def _draw_chip(image: Image.Image, text: str, *, at: tuple[float, float], color: Color, above: bool) -> float:
    """Draw text on a plate of ``color`` at a corner, moved so that it stays in the picture; return its lower edge."""
    text, font = legible(text, _text_size(image))
    pen = ImageDraw.Draw(image)
    left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
    pad = max(2, _text_size(image) // 5)
    width, height = right - left + 2 * pad, bottom - top + 2 * pad
    x = max(0.0, min(at[0], image.width - width))
    y = at[1] - height if above else at[1]
    y = max(0.0, min(y, image.height - height))
    pen.rectangle((x, y, x + width, y + height), fill=color)
    pen.text((x + pad - left, y + pad - top), text, font=font, fill=(0, 0, 0))
    return y + height


def _scale(image: Image.Image, frame_size: Size) -> tuple[float, float]:
    return image.width / max(1, frame_size[0]), image.height / max(1, frame_size[1])


def _text_size(image: Image.Image) -> int:
    """Return a letter height that reads the same on a thumbnail of the picture, whatever its size."""
    return max(11, round(min(image.size) / 30))


def _line_width(image: Image.Image) -> int:
    return max(2, round(min(image.size) / 240))
