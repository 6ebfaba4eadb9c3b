"""Pictures with labelled boxes: YOLO text files beside pictures, or a COCO JSON file."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from converters.precision import Boxes
from converters.sample_pool import Feeder, Pool, with_targets
from edge_runtime.errors import UsageError
from edge_runtime.postprocess.factory import build
from edge_runtime.sources.images import PICTURE_SUFFIXES
from edge_runtime.types import Detections, Frame, ModelSpec, Prepared, Transform

Array = NDArray[Any]
LOWEST_SCORE = 0.01
"""Boxes below it are not counted; precision at high recall needs those that a device would not show."""


@dataclass(frozen=True, slots=True)
class LabelledPicture:
    """A picture's file and its true boxes, (n, 4) xyxy as fractions of the upright picture, with class ids (n,)."""

    path: Path
    boxes: Array
    class_ids: Array


class _Category(msgspec.Struct):
    id: int
    name: str = ""


class _Image(msgspec.Struct):
    id: int
    file_name: str
    width: int
    height: int


class _Annotation(msgspec.Struct):
    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]


class _Coco(msgspec.Struct):
    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[_Category]


def open_boxes(where: str | Path, feeder: Feeder) -> Pool:
    """Return labelled pictures: a folder with ``NAME.txt`` beside each picture, or a COCO JSON with paths beside it.

    Raises UsageError where there are no labels, or they cannot be read.
    """
    path = Path(where)
    pictures = _from_coco(path, feeder) if path.suffix.lower() == ".json" else _from_folder(path)
    targets = np.empty(len(pictures), object)
    targets[:] = pictures
    return with_targets(
        Pool(str(path), len(pictures), lambda index: feeder.picture_file(pictures[index].path)), targets
    )


def found_boxes(
    spec: ModelSpec, feeder: Feeder, pictures: Sequence[LabelledPicture], outputs: Sequence[Array]
) -> list[Boxes]:
    """Return what the device's own postprocessing finds in each picture; ``outputs`` (n, ...) are the model's."""
    transforms = (feeder.transform_of(picture.path) for picture in pictures)
    return boxes_of(spec, transforms, outputs, score_threshold=LOWEST_SCORE)


def boxes_of(
    spec: ModelSpec, transforms: Iterable[Transform], outputs: Sequence[Array], *, score_threshold: float
) -> list[Boxes]:
    """Return the boxes of each sample, as fractions of the frame that its transform leads back to."""
    postprocess = build(spec, top_k=None, score_threshold=score_threshold)
    found = []
    for number, transform in enumerate(transforms):
        rows = [np.asarray(output[number], np.float32)[None] for output in outputs]
        prepared = Prepared(Frame(b"", "picture", "samples", 0, 0, 0), (), transform, 0, 0)
        result = postprocess(rows, prepared)
        assert isinstance(result, Detections)
        found.append(Boxes(result.boxes / np.tile(transform.frame_size, 2), result.class_ids, result.scores))
    return found


def _from_folder(folder: Path) -> list[LabelledPicture]:
    if not folder.is_dir():
        raise UsageError(f"{folder}: labelled boxes are a folder of pictures with NAME.txt beside, or a COCO .json")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURE_SUFFIXES)
    pictures = [_yolo(path) for path in files if path.with_suffix(".txt").is_file()]
    if not pictures:
        raise UsageError(
            f"{folder}: no picture with labels in it: NAME.txt beside it, a line 'class x y w h' for each box"
        )
    return pictures


def _yolo(picture: Path) -> LabelledPicture:
    """Read lines of class, centre, width and height as fractions. No line: nothing to find."""
    labels = picture.with_suffix(".txt")
    try:
        rows = [[float(word) for word in line.split()] for line in labels.read_text().splitlines() if line.strip()]
        values = np.array(rows, np.float64).reshape(-1, 5)
    except (ValueError, OSError) as error:
        raise UsageError(f"{labels}: a line holds class, x, y, width and height as fractions of the picture") from error
    if np.any(values[:, 1:] < 0.0) or np.any(values[:, 1:] > 1.0):
        raise UsageError(f"{labels}: coordinates are fractions of the picture's width and height, 0 to 1")
    half = values[:, 3:] / 2.0
    boxes = np.hstack([values[:, 1:3] - half, values[:, 1:3] + half])
    return LabelledPicture(picture, boxes, values[:, 0].astype(np.int64))


def _from_coco(path: Path, feeder: Feeder) -> list[LabelledPicture]:
    try:
        document = msgspec.json.decode(path.read_bytes(), type=_Coco)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise UsageError(f"{path}: no COCO labels (images, annotations, categories): {error}") from error
    ids = _class_ids(document.categories, feeder, path)
    by_image: dict[int, list[_Annotation]] = {}
    for annotation in document.annotations:
        if annotation.category_id not in ids:
            raise UsageError(f"{path}: an annotation is of category {annotation.category_id}, which is not listed")
        by_image.setdefault(annotation.image_id, []).append(annotation)
    pictures = []
    for image in document.images:
        rows = by_image.get(image.id, [])
        corners = np.array([one.bbox for one in rows], np.float64).reshape(-1, 4)
        corners[:, 2:] += corners[:, :2]
        boxes = corners / np.tile([max(image.width, 1), max(image.height, 1)], 2)
        class_ids = np.array([ids[one.category_id] for one in rows], np.int64)
        pictures.append(LabelledPicture(path.parent / image.file_name, boxes, class_ids))
    if not pictures:
        raise UsageError(f"{path}: no pictures in it")
    return pictures


def _class_ids(categories: Sequence[_Category], feeder: Feeder, path: Path) -> dict[int, int]:
    """Return the model's class of each category: by its name among the labels, else by the order of their ids."""
    labels = feeder.spec.labels
    if labels is None:
        return {one.id: place for place, one in enumerate(sorted(categories, key=lambda one: one.id))}
    known = {label.strip().lower(): index for index, label in enumerate(labels)}
    missing = [one.name for one in categories if one.name.strip().lower() not in known]
    if missing:
        raise UsageError(f"{path}: the categories {', '.join(missing[:5])} are no labels of the model; name them alike")
    return {one.id: known[one.name.strip().lower()] for one in categories}
