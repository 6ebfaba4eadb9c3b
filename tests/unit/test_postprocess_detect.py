"""Boxes: overlap, suppression, heads in every form, and the way back to source pixels."""

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from postprocess_parts import Array, letterboxed, prepared, quantize, spec_of, stretched, tensor

from edge_runtime.errors import EngineError, InputMismatchError, ModelError, UsageError
from edge_runtime.postprocess import factory
from edge_runtime.postprocess.nms import Candidates, iou, suppress, to_xyxy
from edge_runtime.types import Detections, ModelSpec, OutputFormat, TensorSpec, Transform, WindowInput

SIZES = st.tuples(st.integers(16, 2000), st.integers(16, 2000))


def slow_iou(a: Array, b: Array) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height
    return float(width * height / union) if union > 0 else 0.0


def slow_suppress(found: Candidates, iou_threshold: float) -> list[int]:
    """The greedy loop as it is written in textbooks."""
    waiting = sorted(range(len(found.scores)), key=lambda i: -found.scores[i])
    kept: list[int] = []
    for i in waiting:
        same = [j for j in kept if found.class_ids[j] == found.class_ids[i]]
        if all(slow_iou(found.boxes[i], found.boxes[j]) <= iou_threshold for j in same):
            kept.append(i)
    return kept


@st.composite
def candidates(draw: st.DrawFn) -> Candidates:
    count = draw(st.integers(0, 30))
    # Whole numbers on a small sheet: many overlaps, exact arithmetic, ties in scores.
    corners = draw(npst.arrays(np.int64, (count, 4), elements=st.integers(0, 12)))
    low, high = corners[:, :2], corners[:, :2] + corners[:, 2:] + 1
    return Candidates(
        np.concatenate([low, high], axis=1).astype(np.float32),
        draw(npst.arrays(np.int64, count, elements=st.integers(0, 2))),
        draw(npst.arrays(np.int64, count, elements=st.integers(0, 20))).astype(np.float32) / 20,
    )


@given(candidates())
def test_iou_is_that_of_the_definition(found: Candidates) -> None:
    overlaps = iou(found.boxes, found.boxes)
    wanted = np.array([[slow_iou(a, b) for b in found.boxes] for a in found.boxes]).reshape(overlaps.shape)
    assert overlaps == pytest.approx(wanted, abs=1e-5)
    assert np.array_equal(overlaps, overlaps.T)


@given(candidates(), st.sampled_from([0.21, 0.45, 0.61]))
def test_suppression_gives_what_the_greedy_loop_gives(found: Candidates, threshold: float) -> None:
    kept = suppress(found, iou_threshold=threshold)
    wanted = slow_suppress(found, threshold)
    assert np.array_equal(kept.boxes, found.boxes[wanted])
    assert kept.class_ids.tolist() == found.class_ids[wanted].tolist()


def test_a_box_comes_back_when_what_would_hide_it_is_hidden_itself() -> None:
    boxes = np.array([[0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10]], dtype=np.float32)
    found = Candidates(boxes, np.zeros(3, np.int64), np.array([0.9, 0.8, 0.7], dtype=np.float32))
    assert suppress(found, iou_threshold=0.4).scores.tolist() == pytest.approx([0.9, 0.7])


@given(SIZES, SIZES, st.booleans(), st.lists(st.floats(0.0, 1.0), min_size=4, max_size=4))
def test_a_box_survives_the_way_to_the_model_and_back(
    input_size: tuple[int, int], frame_size: tuple[int, int], letterbox: bool, fractions: list[float]
) -> None:
    (x1, x2), (y1, y2) = sorted(fractions[:2]), sorted(fractions[2:])
    box = np.array([x1, y1, x2, y2]) * (frame_size * 2)
    assume(box[2] - box[0] > 1.0 and box[3] - box[1] > 1.0)
    transform = (letterboxed if letterbox else stretched)(input_size, frame_size)
    offset, scale = np.array(transform.offset * 2), np.array(transform.scale * 2)
    as_model_says = ((box - offset) / scale / (input_size * 2))[[1, 0, 3, 2]]
    result = detect_ssd([as_model_says], [3], [0.9], size=input_size, transform=transform)
    tolerance = 2e-6 * max(*frame_size, *input_size) * max(transform.scale) + 0.01
    assert result.boxes[0] == pytest.approx(box, abs=tolerance)
    assert result.extras() == {"frame": {"width": frame_size[0], "height": frame_size[1]}}


SSD_NAMES = ["TFLite_Detection_PostProcess"] + [f"TFLite_Detection_PostProcess:{i}" for i in (1, 2, 3)]


def ssd_spec(most: int, *, names: list[str] | None = None, **more: Any) -> ModelSpec:
    boxes, classes, scores, count = names or SSD_NAMES
    return spec_of(
        "detect",
        tensor((1, most, 4), name=boxes),
        tensor((1, most), name=classes),
        tensor((1, most), name=scores),
        tensor((1,), name=count),
        **more,
    )


def ssd_outputs(boxes: Any, classes: Any, scores: Any, *, count: float | None = None) -> list[Array]:
    return [
        np.array(boxes, np.float32).reshape(1, -1, 4),
        np.array([classes], np.float32),
        np.array([scores], np.float32),
        np.array([len(scores) if count is None else count], np.float32),
    ]


def detect_ssd(
    boxes: Any,
    classes: Any,
    scores: Any,
    *,
    transform: Transform | None = None,
    count: float | None = None,
    **more: Any,
) -> Detections:
    how = {"top_k": more.pop("top_k", None), "score_threshold": more.pop("score_threshold", None)}
    read = factory.build(ssd_spec(len(scores), **more), **how)
    result = read(ssd_outputs(boxes, classes, scores, count=count), prepared(transform))
    assert isinstance(result, Detections)
    return result


UNIT = [0.1, 0.2, 0.5, 0.6]


def test_rows_are_best_first_above_one_half_with_labels() -> None:
    result = detect_ssd([UNIT] * 3, [1, 0, 1], [0.6, 0.9, 0.4], labels=["person", "cat"])
    assert list(result) == [
        {"class_id": 0, "label": "person", "score": 0.9, "box": [20.0, 10.0, 60.0, 50.0]},
        {"class_id": 1, "label": "cat", "score": 0.6, "box": [20.0, 10.0, 60.0, 50.0]},
    ]
    assert len(detect_ssd([UNIT] * 3, [1, 0, 1], [0.6, 0.9, 0.4], score_threshold=0.3)) == 3
    assert len(detect_ssd([UNIT] * 3, [1, 0, 1], [0.6, 0.9, 0.4], top_k=1)) == 1


def test_a_label_list_with_a_line_for_the_background_is_shifted() -> None:
    assert detect_ssd([UNIT], [0], [0.9], labels=["???", "person"])[0]["label"] == "person"


def test_boxes_are_clipped_and_those_without_area_are_dropped() -> None:
    boxes = [
        [-0.5, -0.5, 0.5, 1.5],
        [0.2, 1.1, 0.4, 1.3],
        [0.5, 0.5, 0.5, 0.9],
        [0.6, 0.6, 0.4, 0.4],
        [np.nan, 0, 1, 1],
    ]
    boxes += [[0, 0, np.inf, 1]]
    result = detect_ssd(boxes, [0] * 6, [0.9] * 6)
    assert [row["box"] for row in result] == [[0.0, 0.0, 100.0, 50.0]]


def test_boxes_in_the_borders_of_a_letterbox_are_dropped() -> None:
    transform = letterboxed((100, 100), (200, 100))
    result = detect_ssd([[0.0, 0.0, 0.2, 1.0], [0.25, 0.0, 0.75, 1.0]], [0, 0], [0.9, 0.8], transform=transform)
    assert [row["box"] for row in result] == [[0.0, 0.0, 200.0, 100.0]]


@pytest.mark.parametrize(("classes", "scores"), [([np.nan], [0.9]), ([-1], [0.9]), ([1e12], [0.9]), ([0], [np.nan])])
def test_classes_and_scores_that_lie_are_dropped(classes: list[float], scores: list[float]) -> None:
    assert len(detect_ssd([UNIT, UNIT], [*classes, 1], [*scores, 0.8])) == 1


def test_what_lies_beyond_the_count_does_not_count_and_a_count_that_lies_is_limited() -> None:
    assert len(detect_ssd([UNIT] * 3, [0] * 3, [0.9] * 3, count=1)) == 1
    assert len(detect_ssd([UNIT] * 3, [0] * 3, [0.9] * 3, count=-4)) == 0
    assert len(detect_ssd([UNIT] * 3, [0] * 3, [0.9] * 3, count=1e9)) == 3
    assert len(detect_ssd([UNIT] * 3, [0] * 3, [0.9] * 3, count=np.nan)) == 3


NAMINGS = [
    SSD_NAMES,
    [
        "StatefulPartitionedCall:3",
        "StatefulPartitionedCall:2",
        "StatefulPartitionedCall:1",
        "StatefulPartitionedCall:0",
    ],
    [f"StatefulPartitionedCall:{i}" for i in (31, 32, 33, 34)],
    ["Identity", "Identity_1", "Identity_2", "Identity_3"],
    ["detection_boxes", "detection_classes", "detection_scores", "num_detections"],
    ["location", "category", "score", "number of detections"],
]


@given(st.permutations(range(4)), st.sampled_from(NAMINGS))
def test_outputs_are_told_apart_by_name_in_any_order(order: list[int], names: list[str]) -> None:
    """Classes of 0 and 1 and scores of 0 and 1 alone would leave it open."""
    spec = ssd_spec(2, names=names)
    outputs = ssd_outputs([UNIT, UNIT], [0, 1], [1.0, 1.0])
    shuffled = spec_of("detect", *(spec.outputs[i] for i in order))
    result = factory.build(shuffled, top_k=None, score_threshold=None)([outputs[i] for i in order], prepared())
    assert [(row["class_id"], row["score"]) for row in result] == [(0, 1.0), (1, 1.0)]


@given(st.permutations(range(4)), st.sampled_from([[5.0, 0.0], [0.0, 0.0], [1.0, 1.0]]))
def test_outputs_with_misleading_names_are_told_apart_by_what_is_in_them(
    order: list[int], classes: list[float]
) -> None:
    boxes, first, second, count = SSD_NAMES
    spec = ssd_spec(2, names=[boxes, second, first, count])
    outputs = ssd_outputs([UNIT, UNIT], classes, [0.9, 0.75])
    read = factory.build(spec_of("detect", *(spec.outputs[i] for i in order)), top_k=None, score_threshold=None)
    result = read([outputs[i] for i in order], prepared())
    assert [(row["class_id"], row["score"]) for row in result] == [(classes[0], 0.9), (classes[1], 0.75)]
    # Settled for good: a frame that could be read both ways keeps the reading.
    ambiguous = ssd_outputs([UNIT, UNIT], [0.0, 0.0], [1.0, 1.0])
    assert [row["score"] for row in read([ambiguous[i] for i in order], prepared())] == [1.0, 1.0]


def test_an_empty_frame_settles_nothing() -> None:
    boxes, first, second, count = SSD_NAMES
    read = factory.build(ssd_spec(2, names=[boxes, second, first, count]), top_k=None, score_threshold=None)
    assert len(read(ssd_outputs([UNIT] * 2, [0, 0], [0, 0], count=0), prepared())) == 0
    assert read(ssd_outputs([UNIT] * 2, [7, 0], [0.9, 0.2]), prepared())[0]["class_id"] == 7


def test_the_models_own_word_on_the_order_counts() -> None:
    outputs = [tensor((1, 2)), tensor((1, 2)), tensor((1, 2, 4))]
    spec = spec_of("detect", *outputs, output=OutputFormat(order=("scores", "classes", "boxes")))
    boxes, classes, scores, _ = ssd_outputs([UNIT, UNIT], [1.0, 1.0], [1.0, 0.0])
    result = factory.build(spec, top_k=None, score_threshold=None)([scores, classes, boxes], prepared())
    assert [(row["class_id"], row["score"]) for row in result] == [(1, 1.0)]


def test_boxes_in_pixels_and_in_another_form_are_read_as_the_model_says() -> None:
    says = OutputFormat(box_format="xyxy", normalized=False)
    assert detect_ssd([[10, 20, 30, 40]], [0], [0.9], output=says)[0]["box"] == [10.0, 20.0, 30.0, 40.0]


@pytest.mark.parametrize(
    ("outputs", "output"),
    [
        ([tensor((1, 9, 4)), tensor((1, 9))], OutputFormat()),
        ([tensor((1, 9, 3)), tensor((1, 9)), tensor((1, 9)), tensor((1,))], OutputFormat()),
        ([tensor((1, 9, 4)), tensor((1, 9)), tensor((1, 9))], OutputFormat(order=("boxes", "scores"))),
        ([tensor((1, 9, 4)), tensor((1, 9)), tensor((1, 9))], OutputFormat(format="tfjs")),
        ([tensor((1, 80, 80, 255)), tensor((1, 40, 40, 255)), tensor((1, 20, 20, 255))], OutputFormat()),
        ([tensor((1, 300, 6))], OutputFormat()),
        ([tensor((1, 1000))], OutputFormat()),
        ([tensor((1, 3, 1000))], OutputFormat()),
        ([tensor((1, 5, 1000))], OutputFormat(format="yolov5")),
    ],
)
def test_outputs_that_are_no_boxes_are_refused(outputs: list[TensorSpec], output: OutputFormat) -> None:
    with pytest.raises(ModelError, match=r"m\.tflite"):
        factory.build(spec_of("detect", *outputs, output=output), top_k=None, score_threshold=None)


def test_a_model_that_takes_samples_cannot_detect() -> None:
    spec = ssd_spec(3, takes=WindowInput(length=9, channels=1))
    with pytest.raises(InputMismatchError, match="picture"):
        factory.build(spec, top_k=None, score_threshold=None)


def yolo_tensor(boxes: Array, scores: Array, objectness: Array | None) -> Array:
    """Anchors in rows: cx, cy, w, h, (objectness,) scores."""
    columns = [boxes, scores] if objectness is None else [boxes, objectness[:, None], scores]
    return np.concatenate(columns, axis=1).astype(np.float32)


def slow_yolo(rows: Array, *, first: int, threshold: float, pixels: float) -> Candidates:
    """One anchor after the other, with the textbook's suppression; boxes in input pixels."""
    boxes, ids, scores = [], [], []
    for row in rows.astype(np.float64):
        class_id = int(np.argmax(row[first:]))
        score = row[first + class_id] * (row[4] if first == 5 else 1.0)
        if score >= threshold:
            cx, cy, w, h = row[:4] * pixels
            boxes.append([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2])
            ids.append(class_id)
            scores.append(score)
    found = Candidates(
        np.array(boxes, np.float32).reshape(-1, 4), np.array(ids, np.int64), np.array(scores, np.float32)
    )
    return found.take(np.array(slow_suppress(found, 0.45), dtype=np.int64))


@st.composite
def heads(draw: st.DrawFn) -> dict[str, Any]:
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    anchors, classes, version = draw(st.integers(90, 120)), draw(st.integers(1, 5)), draw(st.sampled_from([5, 8]))
    boxes = np.concatenate([rng.uniform(0.2, 0.8, (anchors, 2)), rng.uniform(0.1, 0.35, (anchors, 2))], axis=1)
    scores = rng.uniform(0.0, 1.0, (anchors, classes)) ** 4
    rows = yolo_tensor(boxes, scores, rng.uniform(0.0, 1.0, anchors) if version == 5 else None)
    return {"rows": rows, "first": 5 if version == 5 else 4, "classes": classes}


@given(heads(), st.booleans(), st.booleans(), st.sampled_from(["normalized", "pixels"]), st.booleans())
def test_yolo_heads_of_every_form_give_what_a_slow_reading_gives(
    head: dict[str, Any], quantized: bool, channels_first: bool, units: str, logits: bool
) -> None:
    rows, first = head["rows"].copy(), head["first"]
    quantized = quantized and units == "normalized" and not logits
    output = tensor((1, 1), np.uint8, scale=1 / 255) if quantized else tensor((1, 1))
    if quantized:
        rows = (quantize(rows, output) * np.float32(1 / 255)).astype(np.float32)
    wanted = slow_yolo(rows, first=first, threshold=0.3, pixels=320.0)
    if units == "pixels":
        rows[:, :4] *= 320.0
    if logits:
        with np.errstate(divide="ignore"):
            rows[:, 4:] = np.clip(np.log(rows[:, 4:] / (1.0 - rows[:, 4:])), -30, 30)
    values = rows.T[None] if channels_first else rows[None]
    given_out = tensor(values.shape, output.dtype, scale=output.scale)
    says = OutputFormat(score_activation="sigmoid" if logits else None)
    labels = [f"c{i}" for i in range(head["classes"])]
    spec = spec_of("detect", given_out, size=(320, 320), labels=labels, output=says)
    result = factory.build(spec, top_k=None, score_threshold=0.3)(
        [quantize(values, given_out)], prepared(stretched((320, 320), (640, 320)))
    )
    assert isinstance(result, Detections)
    assert result.scores == pytest.approx(np.sort(wanted.scores)[::-1], abs=1e-4)
    ours = {(row["class_id"], *np.round(row["box"])) for row in result}
    assert len(ours) == len(wanted.scores)
    for class_id, box in zip(wanted.class_ids, wanted.boxes * [2, 1, 2, 1], strict=True):
        near = [
            o for o in ours if o[0] == class_id and np.abs(np.array(o[1:]) - np.clip(box, 0, (640, 320) * 2)).max() < 2
        ]
        assert near, (class_id, box)


@pytest.mark.parametrize(
    ("shape", "format_", "labels", "classes"),
    [
        ((1, 25200, 85), None, None, 80),
        ((1, 84, 8400), None, None, 80),
        ((1, 8400, 84), None, None, 80),
        ((1, 25200, 9), None, None, 4),
        ((1, 9, 8400), None, None, 5),
        ((1, 8400, 9), None, None, 5),
        ((1, 9, 77), None, ["a", "b", "c", "d", "e"], 5),
        ((1, 9, 77), None, ["a", "b", "c", "d"], 4),
        ((1, 9, 77), "yolov5", None, 4),
        ((1, 77, 9), "yolov8", None, 5),
        ((1, 100, 85), None, None, 80),
        ((1, 100, 84), None, None, 80),
        ((1, 100, 12), None, None, 7),
        ((1, 12, 100), None, None, 8),
    ],
)
def test_which_yolo_head_it_is(
    shape: tuple[int, ...], format_: str | None, labels: list[str] | None, classes: int
) -> None:
    """The last class alone is certain; objectness, where there is one, as well."""
    spec = spec_of("detect", tensor(shape), size=(640, 640), labels=labels, output=OutputFormat(format=format_))
    few, many = min(shape[1:]), max(shape[1:])
    rows = np.zeros((many, few), np.float32)
    rows[3] = 1.0
    rows[3, :4] = [0.5, 0.5, 0.2, 0.2]
    rows[3, 5:-1] = 0.1
    values = rows.T[None] if shape[1] == few else rows[None]
    result = factory.build(spec, top_k=None, score_threshold=None)(
        [values], prepared(stretched((640, 640), (640, 640)))
    )
    assert {row["class_id"] for row in result} <= {0, classes - 1}
    offset = 5 if few == classes + 5 else 4
    assert result[0]["class_id"] == (classes - 1 if offset == 5 else 0)
    assert result[0]["box"] == [256.0, 256.0, 384.0, 384.0]


def test_no_more_candidates_than_300_and_the_best_of_them() -> None:
    many = 2000
    centres = np.stack(np.meshgrid(np.arange(50), np.arange(40)), axis=-1).reshape(-1, 2) * 12.0 + 6.0
    rows = np.concatenate([centres, np.full((many, 2), 8.0), np.linspace(0.5, 1.0, many)[:, None]], axis=1)
    spec = spec_of("detect", tensor((1, 5, many)), size=(640, 640), labels=["thing"])
    read = factory.build(spec, top_k=None, score_threshold=0.5)
    result = read([rows.T[None].astype(np.float32)], prepared(stretched((640, 640), (640, 640))))
    assert len(result) == 300
    assert min(row["score"] for row in result) == pytest.approx(np.linspace(0.5, 1.0, many)[-300], abs=1e-3)


def test_anchors_that_are_no_numbers_are_dropped() -> None:
    rows = np.tile(np.array([0.5, 0.5, 0.2, 0.2, 0.9], np.float32), (8, 1))
    rows[0, 4], rows[1, 0], rows[2, 2], rows[3, 4], rows[4, 2] = np.nan, np.inf, np.nan, -np.inf, -0.2
    spec = spec_of("detect", tensor((1, 5, 8)), labels=["thing"])
    read = factory.build(spec, top_k=None, score_threshold=None)
    assert [row["box"] for row in read([rows.T[None]], prepared())] == [[40.0, 40.0, 60.0, 60.0]]
    assert len(read([np.full((1, 5, 8), np.nan, np.float32)], prepared())) == 0
    with pytest.raises(EngineError, match=r"\[1, 5, 8\]"):
        read([np.zeros((1, 5, 9), np.float32)], prepared())


def test_labels_that_do_not_fit_a_head_are_the_users_mistake() -> None:
    spec = spec_of("detect", tensor((1, 84, 8400)), size=(640, 640), labels=["a", "b"])
    with pytest.raises(UsageError, match=r"2 labels.*80 classes"):
        factory.build(spec, top_k=None, score_threshold=None)


@given(
    st.sampled_from(["xyxy", "yxyx", "cxcywh"]), npst.arrays(np.float32, (3, 4), elements=st.floats(0, 99, width=16))
)
def test_box_forms_are_turned_into_corners(form: Any, boxes: Array) -> None:
    first, second, third, fourth = boxes.T
    wanted = {
        "xyxy": (first, second, third, fourth),
        "yxyx": (second, first, fourth, third),
        "cxcywh": (first - third / 2, second - fourth / 2, first + third / 2, second + fourth / 2),
    }[form]
    assert to_xyxy(boxes, form) == pytest.approx(np.stack(wanted, axis=1), abs=1e-3)
