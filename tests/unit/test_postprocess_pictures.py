"""Masks and keypoints: forms of the output, and the way back to source pixels."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from postprocess_parts import Array, letterboxed, prepared, spec_of, stretched, tensor

from edge_runtime.errors import EngineError, InputMismatchError, ModelError, UsageError
from edge_runtime.postprocess import factory
from edge_runtime.types import ImageInput, OutputFormat, Poses, Segmentation, TensorSpec, Transform, WindowInput


def segment(values: Array, output: TensorSpec, /, *, transform: Transform | None = None, **more: Any) -> Segmentation:
    top_k = more.pop("top_k", None)
    result = factory.build(spec_of("segment", output, **more), top_k=top_k, score_threshold=None)(
        [values], prepared(transform)
    )
    assert isinstance(result, Segmentation)
    return result


@given(npst.arrays(np.int64, st.tuples(st.just(1), st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 20)))
def test_pixels_of_a_class_map_are_counted_largest_area_first(ids: Array) -> None:
    result = segment(ids, tensor(ids.shape, np.int64), labels=[f"c{i}" for i in range(15)])
    wanted = sorted(((int((ids == i).sum()), i) for i in np.unique(ids)), key=lambda pair: (-pair[0], pair[1]))
    assert [(row["pixels"], row["class_id"]) for row in result] == wanted
    assert [row["label"] for row in result] == [f"c{i}" if i < 15 else None for _, i in wanted]
    assert result.mask.dtype == np.uint8
    assert np.array_equal(result.mask, ids[0])


@pytest.mark.parametrize(
    ("shape", "dtype", "scale"),
    [((1, 2, 3), np.int32, 0.0), ((1, 2, 3, 1), np.uint8, 0.0), ((1, 1, 2, 3), np.uint8, 1.0)],
)
def test_class_maps_of_other_types_and_with_an_idle_axis(shape: tuple[int, ...], dtype: Any, scale: float) -> None:
    ids = np.array([[0, 3, 3], [3, 0, 7]])
    result = segment(ids.reshape(shape).astype(dtype), tensor(shape, dtype, scale=scale))
    assert [(row["class_id"], row["pixels"]) for row in result] == [(3, 3), (0, 2), (7, 1)]
    assert result.mask.shape == (2, 3)


@given(st.data(), st.sampled_from(["labels", "aspect", "layout"]), st.booleans(), st.booleans())
def test_scores_per_class_are_read_along_the_right_axis(
    data: st.DataObject, told_by: str, channels_first: bool, quantized: bool
) -> None:
    height, width, classes = {"labels": (4, 6, 3), "aspect": (4, 8, 4), "layout": (5, 5, 5)}[told_by]
    scores = data.draw(npst.arrays(np.int8, (height, width, classes)))
    values = scores.transpose(2, 0, 1)[None] if channels_first else scores[None]
    output = tensor(values.shape, np.int8, scale=0.1, zero_point=3) if quantized else tensor(values.shape)
    size = (width * 10, height * 10)
    result = segment(
        values if quantized else values.astype(np.float32),
        output,
        transform=stretched(size, (640, 480)),
        labels=["a", "b", "c"] if told_by == "labels" else None,
        size=size,
        takes=ImageInput(size=size, layout="NCHW" if channels_first and told_by == "layout" else "NHWC"),
    )
    assert np.array_equal(result.mask, scores.argmax(axis=2))
    assert sum(row["pixels"] for row in result) == height * width
    assert result.extras() == {"frame": {"width": 640, "height": 480}}


def test_one_score_per_pixel_is_a_yes_or_no_mask() -> None:
    probabilities = np.array([[[0.9, 0.2], [0.4, 0.6]]], np.float32)
    assert segment(probabilities[..., None], tensor((1, 2, 2, 1))).mask.tolist() == [[1, 0], [0, 1]]
    assert segment(probabilities, tensor((1, 2, 2))).mask.tolist() == [[1, 0], [0, 1]]
    logits = np.array([[[2.0, -3.0], [0.4, 0.6]]], np.float32)
    assert segment(logits, tensor((1, 2, 2))).mask.tolist() == [[1, 0], [1, 1]]
    steps = np.array([[[200, 20], [100, 160]]], np.uint8)
    assert segment(steps, tensor((1, 2, 2), np.uint8, scale=1 / 256)).mask.tolist() == [[1, 0], [0, 1]]
    says = OutputFormat(score_activation="sigmoid")
    assert segment(probabilities, tensor((1, 2, 2)), output=says).mask.tolist() == [[1, 1], [1, 1]]


def test_letterbox_borders_are_not_counted_but_stay_in_the_mask() -> None:
    ids = np.zeros((1, 20, 20), np.uint8)
    ids[0, :5], ids[0, 5] = 9, 5
    result = segment(ids, tensor(ids.shape, np.uint8), transform=letterboxed((100, 100), (640, 320)))
    assert [(row["class_id"], row["pixels"]) for row in result] == [(0, 180), (5, 20)]
    assert [int(i) for i in np.unique(result.mask)] == [0, 5, 9]


@given(st.tuples(st.integers(8, 900), st.integers(8, 900)), st.integers(1, 40), st.integers(1, 40))
def test_the_counted_share_of_a_letterboxed_mask_is_that_of_the_frame(
    frame_size: tuple[int, int], rows: int, columns: int
) -> None:
    transform = letterboxed((128, 128), frame_size)
    counted = sum(
        row["pixels"]
        for row in segment(
            np.zeros((1, rows, columns), np.uint8), tensor((1, rows, columns), np.uint8), transform=transform
        )
    )
    x = transform.to_source(np.stack([(np.arange(columns) + 0.5) * 128 / columns] * 2, axis=1).astype(np.float64))[:, 0]
    y = transform.to_source(np.stack([(np.arange(rows) + 0.5) * 128 / rows] * 2, axis=1).astype(np.float64))[:, 1]
    inside = lambda values, limit: int(((values >= -1e-3) & (values < limit + 1e-3)).sum())  # noqa: E731
    assert abs(counted - inside(x, frame_size[0]) * inside(y, frame_size[1])) <= max(rows, columns)


def test_rows_are_limited_and_nan_never_wins() -> None:
    scores = np.zeros((1, 4, 4, 3), np.float32)
    scores[..., 1], scores[..., 0] = 1.0, np.nan
    scores[0, 0, 0, 2] = 5.0
    result = segment(scores, tensor(scores.shape), top_k=1)
    assert [(row["class_id"], row["pixels"]) for row in result] == [(1, 15)]
    assert len(segment(np.full((1, 4, 4, 3), np.nan, np.float32), tensor((1, 4, 4, 3)))) == 1


@pytest.mark.parametrize("wrong", [-1, 70000])
def test_ids_that_are_no_classes_are_an_engine_error(wrong: int) -> None:
    with pytest.raises(EngineError, match="no classes"):
        segment(np.full((1, 3, 3), wrong), tensor((1, 3, 3), np.int64))


def test_a_map_that_changes_its_form_is_an_engine_error() -> None:
    with pytest.raises(EngineError, match=r"\[1, 3, 3\]"):
        segment(np.zeros((3, 3), np.int64), tensor((1, 3, 3), np.int64))


def test_outputs_that_are_no_map_are_refused() -> None:
    with pytest.raises(ModelError, match="no map"):
        segment(np.zeros((1, 9)), tensor((1, 9)))
    with pytest.raises(ModelError, match="has 2"):
        factory.build(spec_of("segment", tensor((1, 3, 3)), tensor((1, 3, 3))), top_k=None, score_threshold=None)
    with pytest.raises(UsageError, match="2 labels"):
        segment(np.zeros((1, 8, 8, 5)), tensor((1, 8, 8, 5)), labels=["a", "b"])


def pose(values: Array, **more: Any) -> Poses:
    transform = more.pop("transform", None)
    how = {"top_k": more.pop("top_k", None), "score_threshold": more.pop("score_threshold", None)}
    spec = spec_of("pose", more.pop("tensor", tensor(values.shape)), **more)
    result = factory.build(spec, **how)([values], prepared(transform))
    assert isinstance(result, Poses)
    return result


@given(npst.arrays(np.float32, (17, 3), elements=st.floats(0.25, 1.0, width=32)), st.booleans())
def test_keypoints_of_one_person_lie_in_source_pixels(keypoints: Array, letterbox: bool) -> None:
    transform = (letterboxed if letterbox else stretched)((100, 100), (640, 480))
    result = pose(keypoints.reshape(1, 1, 17, 3), transform=transform)
    x = keypoints[:, 1] * 100 * transform.scale[0] + transform.offset[0]
    y = keypoints[:, 0] * 100 * transform.scale[1] + transform.offset[1]
    assert np.array(result[0]["keypoints"]) == pytest.approx(np.stack([x, y, keypoints[:, 2]], axis=1), abs=0.1)
    assert result[0]["score"] == pytest.approx(float(keypoints[:, 2].mean()), abs=1e-3)
    assert result.extras() == {"frame": {"width": 640, "height": 480}}


def several(*scores: float) -> Array:
    people = np.full((1, len(scores), 56), 0.5, np.float32)
    people[0, :, 55] = scores
    people[0, :, 0] = np.arange(len(scores)) / 10
    return people


def test_people_come_best_first_above_the_threshold() -> None:
    result = pose(several(0.3, 0.9, 0.1))
    assert [row["score"] for row in result] == pytest.approx([0.9, 0.3])
    assert [row["keypoints"][0][1] for row in result] == pytest.approx([10.0, 0.0])
    assert len(pose(several(0.3, 0.9, 0.1), top_k=1)) == 1
    assert len(pose(several(0.3, 0.9, 0.1), score_threshold=0.05)) == 3
    assert len(pose(np.zeros((1, 1, 17, 3), np.float32))) == 0


def test_a_quantised_pose_is_dequantised() -> None:
    values = np.full((1, 17, 3), 128, np.uint8)
    result = pose(values, tensor=tensor((1, 17, 3), np.uint8, scale=1 / 256))
    assert result[0]["keypoints"][0] == [50.0, 50.0, 0.5]


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_a_person_with_a_coordinate_that_is_no_number_is_left_out(wrong: float) -> None:
    people = several(0.9, 0.8)
    people[0, 0, 7] = wrong
    assert [row["score"] for row in pose(people)] == pytest.approx([0.8])


@pytest.mark.parametrize("shape", [(1, 17), (1, 6, 57), (3,), (1, 6, 4)])
def test_outputs_that_are_no_keypoints_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match="MoveNet"):
        pose(np.zeros(shape, np.float32))


def test_keypoints_that_change_their_form_are_an_engine_error() -> None:
    with pytest.raises(EngineError, match=r"\[1, 1, 17, 3\]"):
        pose(np.zeros((1, 6, 56), np.float32), tensor=tensor((1, 1, 17, 3)))


@pytest.mark.parametrize(("task", "shape"), [("pose", (1, 1, 17, 3)), ("segment", (1, 8, 8))])
def test_what_is_placed_in_a_picture_needs_a_picture(task: Any, shape: tuple[int, ...]) -> None:
    spec = spec_of(task, tensor(shape), takes=WindowInput(length=9, channels=1))
    if task == "pose":
        with pytest.raises(InputMismatchError, match="picture"):
            factory.build(spec, top_k=None, score_threshold=None)
    else:
        read = factory.build(spec, top_k=None, score_threshold=None)
        window = prepared()
        window.transform = None
        with pytest.raises(InputMismatchError, match="picture"):
            read([np.zeros(shape, np.float32)], window)
