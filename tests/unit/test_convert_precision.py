"""Mean average precision: what COCO's own evaluation gives, and labels as people have them."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from converters.box_labels import LabelledPicture, found_boxes, open_boxes
from converters.own_boxes import OwnBoxes, doubt, moved
from converters.precision import OVERLAPS, Boxes, compare_precision, mean_average_precision, overlaps
from converters.sample_pool import Feeder
from edge_runtime.errors import UsageError
from edge_runtime.types import ImageInput, ModelIdentity, ModelSpec, TensorSpec

BOX = np.array([[0.1, 0.1, 0.5, 0.5]])


def boxes(corners: object, class_ids: list[int], scores: list[float] | None = None) -> Boxes:
    return Boxes(np.array(corners, float), np.array(class_ids), None if scores is None else np.array(scores))


def spec(labels: tuple[str, ...] | None = ("cat", "dog")) -> ModelSpec:
    tensor = TensorSpec("in", (1, 20, 20, 3), np.dtype(np.float32))
    output = TensorSpec("out", (1, 6, 8), np.dtype(np.float32))  # YOLOv8: x, y, w, h and two classes; eight boxes
    identity = ModelIdentity("m", None, "")
    return ModelSpec("m", identity, "detect", labels, (tensor,), (output,), ImageInput((20, 20)))


def test_overlap_is_intersection_over_union() -> None:
    found = overlaps(np.array([[0.0, 0.0, 2.0, 2.0]]), np.array([[1.0, 1.0, 3.0, 3.0], [5.0, 5.0, 6.0, 6.0]]))
    assert np.allclose(found, [[1 / 7, 0.0]])


def test_right_boxes_have_a_precision_of_one_and_none_of_zero() -> None:
    truth = boxes(BOX, [0])
    assert np.all(mean_average_precision([boxes(BOX, [0], [0.9])], [truth]) == 1.0)
    assert np.all(mean_average_precision([boxes(BOX, [1], [0.9])], [truth]) == 0.0)
    assert np.all(mean_average_precision([boxes(np.zeros((0, 4)), [], [])], [truth]) == 0.0)


def test_a_shifted_box_counts_only_at_the_overlaps_that_it_reaches() -> None:
    shifted = BOX + np.array([0.0, 0.0, 0.1, 0.0])  # 0.8 overlaps
    found = mean_average_precision([boxes(shifted, [0], [0.9])], [boxes(BOX, [0])])
    assert np.array_equal(found > 0, np.array(OVERLAPS) <= 0.8 + 1e-9)


def test_a_second_box_on_the_same_thing_is_wrong() -> None:
    twice = boxes(np.vstack([BOX, BOX]), [0, 0], [0.9, 0.8])
    other = boxes(BOX, [0], [0.7])
    # By score: right, wrong, right of two true ones: 51 recalls at precision 1, 50 at 2/3.
    found = mean_average_precision([twice, other], [boxes(BOX, [0]), boxes(BOX, [0])])
    assert found[0] == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_the_interval_of_a_difference_is_paired() -> None:
    truths = [boxes(BOX, [0])] * 30
    same = [boxes(BOX, [0], [0.9])] * 30
    kept = compare_precision(same, same, truths)
    assert (kept.before, kept.low, kept.high) == (1.0, 0.0, 0.0)
    lost = compare_precision(same, same[:15] + [boxes(BOX, [1], [0.9])] * 15, truths)
    assert lost.low <= lost.after - lost.before <= lost.high < -0.1


def labelled(folder: Path, text: str = "1 0.5 0.5 0.2 0.4\n") -> Path:
    folder.mkdir()
    Image.new("RGB", (40, 20)).save(folder / "a.png")
    (folder / "a.txt").write_text(text)
    Image.new("RGB", (40, 20)).save(folder / "unlabelled.png")
    return folder


def test_yolo_labels_lie_beside_pictures(tmp_path: Path) -> None:
    pool = open_boxes(labelled(tmp_path / "set"), Feeder(spec()))
    assert pool.count == 1
    assert pool.targets is not None
    assert np.allclose(pool.targets[0].boxes, [[0.4, 0.3, 0.6, 0.7]])
    assert pool.load(0).shape == (20, 20, 3)


@pytest.mark.parametrize("text", ["1 0.5 0.5 0.2\n", "1 50 50 20 20\n", "cat 0.5 0.5 0.1 0.1\n"])
def test_labels_that_are_none_are_refused_with_the_file_named(text: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"a\.txt"):
        open_boxes(labelled(tmp_path / "set", text), Feeder(spec()))


def test_a_folder_without_labels_is_refused(tmp_path: Path) -> None:
    folder = labelled(tmp_path / "set")
    (folder / "a.txt").unlink()
    with pytest.raises(UsageError, match="no picture with labels"):
        open_boxes(folder, Feeder(spec()))


def coco(folder: Path, name: str = "Dog") -> Path:
    document = {
        "images": [{"id": 7, "file_name": "a.png", "width": 40, "height": 20}],
        "annotations": [{"id": 1, "image_id": 7, "category_id": 18, "bbox": [16, 6, 8, 8], "iscrowd": 0}],
        "categories": [{"id": 18, "name": name}],
    }
    (folder / "labels.json").write_text(json.dumps(document))
    return folder / "labels.json"


def test_coco_labels_find_their_class_by_name(tmp_path: Path) -> None:
    pool = open_boxes(coco(labelled(tmp_path / "set")), Feeder(spec()))
    assert pool.targets is not None
    assert pool.targets[0].class_ids.tolist() == [1]
    assert np.allclose(pool.targets[0].boxes, [[0.4, 0.3, 0.6, 0.7]])


def test_coco_categories_that_the_model_does_not_know_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Zebra"):
        open_boxes(coco(labelled(tmp_path / "set"), "Zebra"), Feeder(spec()))
    (tmp_path / "none.json").write_text("{}")
    with pytest.raises(UsageError, match="no COCO labels"):
        open_boxes(tmp_path / "none.json", Feeder(spec()))


def test_outputs_become_boxes_as_on_the_device(tmp_path: Path) -> None:
    picture = LabelledPicture(labelled(tmp_path / "set") / "a.png", BOX, np.array([1]))
    output = np.zeros((1, 6, 8), np.float32)
    output[0, :, 0] = [10.0, 10.0, 4.0, 8.0, 0.1, 0.9]  # in pixels of the 20 by 20 input, stretched from 40 by 20
    (found,) = found_boxes(spec(), Feeder(spec()), [picture], [output])
    assert found.class_ids[0] == 1
    assert np.allclose(found.boxes[0], [0.4, 0.3, 0.6, 0.7], atol=0.01)


def yolo_output(*, shift: float = 0.0, pictures: int = 12) -> list[np.ndarray]:
    """Two boxes in each picture, of the 20 by 20 input's pixels; the second is too unsure to be shown."""
    output = np.zeros((pictures, 6, 8), np.float32)
    output[:, :, 0] = [10.0 + shift, 10.0, 4.0, 8.0, 0.1, 0.9]
    output[:, :, 1] = [3.0, 3.0, 4.0, 4.0, 0.3, 0.1]
    return [output]


def test_the_float_model_s_own_boxes_are_a_reference_without_labels() -> None:
    own = OwnBoxes(spec(), yolo_output())
    assert own.count == 12
    kept = own.compare(yolo_output())
    assert kept.after == pytest.approx(1.0)
    assert moved(kept) == ()
    lost = own.compare(yolo_output(shift=0.5))
    assert lost.after_at_half == pytest.approx(1.0)
    assert lost.after == pytest.approx(0.6)  # 0.78 overlaps: 0.5, 0.55 .. 0.75 of ten
    assert "60% of the float model's own boxes" in moved(lost)[0]
    assert doubt(lost.after)
    assert not doubt(kept.after)
