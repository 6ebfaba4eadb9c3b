"""Class scores: what is applied to them, what is kept, and what is refused."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from postprocess_parts import Array, prepared, spec_of, tensor

from edge_runtime.errors import EngineError, ModelError, UsageError
from edge_runtime.postprocess import factory
from edge_runtime.types import Classifications, Origin, OutputFormat, TensorSpec


def classify(values: Array, output: TensorSpec, /, **options: Any) -> Classifications:
    how = {"top_k": options.pop("top_k", None), "score_threshold": options.pop("score_threshold", None)}
    task = options.pop("task", "classify")
    result = factory.build(spec_of(task, output, **options), **how)([values], prepared())
    assert isinstance(result, Classifications)
    return result


def softmax(logits: Array) -> Array:
    powers = np.exp(np.asarray(logits, dtype=np.float64) - np.max(logits))
    return powers / powers.sum()


@given(npst.arrays(np.uint8, st.integers(1, 40)), st.integers(1, 50))
def test_top_k_of_integers_is_that_of_a_full_sort_and_ties_go_by_class(values: Array, top_k: int) -> None:
    result = classify(values, tensor((1, values.size), np.uint8, scale=1 / 256), top_k=top_k)
    wanted = sorted(range(values.size), key=lambda i: (-int(values[i]), i))[:top_k]
    assert [row["class_id"] for row in result] == wanted
    assert [row["score"] for row in result] == [round(int(values[i]) / 256, 4) for i in wanted]


@given(npst.arrays(np.float32, st.integers(2, 60), elements=st.floats(-30, 30, width=32)), st.integers(1, 10))
def test_float_logits_become_a_softmax(logits: Array, top_k: int) -> None:
    logits = np.append(logits, np.float32(9.0))
    result = classify(logits[None], tensor((1, logits.size)), top_k=top_k)
    scores = softmax(logits)
    assert [row["score"] for row in result] == pytest.approx(np.sort(scores)[::-1][:top_k], abs=1e-3)
    assert len({row["class_id"] for row in result}) == min(top_k, logits.size)


def test_five_classes_are_given_by_default() -> None:
    assert len(classify(np.arange(9, dtype=np.uint8), tensor((1, 9), np.uint8, scale=1 / 256))) == 5


def test_probabilities_stay_as_they_are_float_or_quantised() -> None:
    scores = np.array([[0.1, 0.7, 0.2]], dtype=np.float32)
    assert [row["score"] for row in classify(scores, tensor((1, 3)))] == pytest.approx([0.7, 0.2, 0.1])
    steps = np.array([[-128, 51, -77]], dtype=np.int8)
    rows = classify(steps, tensor((1, 3), np.int8, scale=1 / 256, zero_point=-128))
    assert [row["score"] for row in rows] == pytest.approx([179 / 256, 51 / 256, 0.0], abs=1e-4)


def test_quantised_logits_are_told_by_their_range() -> None:
    steps = np.array([[20, -30, 5]], dtype=np.int8)
    result = classify(steps, tensor((1, 3), np.int8, scale=0.1, zero_point=4))
    assert [row["score"] for row in result] == pytest.approx(np.sort(softmax((steps - 4.0) * 0.1))[0][::-1], abs=1e-4)


def test_a_sigmoid_per_class_is_left_alone_whatever_its_sum() -> None:
    scores = np.array([[0.9, 0.8, 0.1]], dtype=np.float32)
    assert [row["score"] for row in classify(scores, tensor((1, 3)))] == pytest.approx([0.9, 0.8, 0.1])


def test_the_model_says_that_a_sigmoid_is_to_be_applied() -> None:
    says = OutputFormat(score_activation="sigmoid")
    rows = classify(np.array([[0.0, 2.0]], dtype=np.float32), tensor((1, 2)), output=says)
    assert [row["score"] for row in rows] == pytest.approx([0.8808, 0.5], abs=1e-4)
    rows = classify(np.array([[0, 20]], dtype=np.int8), tensor((1, 2), np.int8, scale=0.1), output=says)
    assert [(row["class_id"], row["score"]) for row in rows] == [(1, 0.8808), (0, 0.5)]


def test_once_logits_were_seen_a_frame_within_0_and_1_is_read_as_logits_too() -> None:
    read = factory.build(spec_of("classify", tensor((1, 2))), top_k=None, score_threshold=None)
    read([np.array([[-3.0, 2.0]], dtype=np.float32)], prepared())
    later = read([np.array([[0.25, 0.75]], dtype=np.float32)], prepared())
    assert [row["score"] for row in later] == pytest.approx(np.sort(softmax(np.array([0.25, 0.75])))[::-1], abs=1e-4)


@pytest.mark.parametrize("activation", [None, "softmax", "sigmoid"])
def test_a_single_logit_is_a_sigmoid(activation: Any) -> None:
    says = OutputFormat(score_activation=activation)
    rows = classify(np.array([[2.0]], dtype=np.float32), tensor((1, 1)), labels=["cat", "dog"], output=says)
    assert [(row["label"], row["score"]) for row in rows] == [("dog", 0.8808), ("cat", 0.1192)]


def test_one_quantised_score_and_two_labels_answer_yes_or_no() -> None:
    output = tensor((1, 1), np.uint8, scale=1 / 256)
    rows = classify(np.array([[64]], dtype=np.uint8), output, labels=["cat", "dog"], score_threshold=0.5)
    assert list(rows) == [{"class_id": 0, "label": "cat", "score": 0.75}]


def test_the_threshold_leaves_classes_out() -> None:
    rows = classify(
        np.array([200, 30, 26], dtype=np.uint8), tensor((3,), np.uint8, scale=1 / 256), score_threshold=0.11
    )
    assert [row["class_id"] for row in rows] == [0, 1]


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_left_out(wrong: float) -> None:
    rows = classify(np.array([wrong, 0.6, wrong, 0.4], dtype=np.float32), tensor((4,)))
    assert [(row["class_id"], row["score"]) for row in rows] == [(1, 0.6), (3, 0.4)]
    assert list(classify(np.full(3, wrong, dtype=np.float32), tensor((3,)))) == []
    assert list(classify(np.full(1, wrong, dtype=np.float32), tensor((1,)), labels=["a", "b"])) == []


def test_imagenet_models_and_label_lists_with_and_without_background_fit_each_other() -> None:
    names = [f"n{i}" for i in range(1000)]
    first = np.zeros(1001, dtype=np.uint8)
    first[7] = 255
    output = tensor((1, 1001), np.uint8, scale=1 / 256)
    assert classify(first, output, labels=names)[0]["label"] == "n6"
    assert classify(first, output, labels=["background", *names])[0]["label"] == "n6"
    output = tensor((1, 1000), np.uint8, scale=1 / 256)
    assert classify(first[1:], output, labels=["background", *names])[0]["label"] == "n6"


def test_labels_of_the_wrong_number_are_the_users_mistake() -> None:
    with pytest.raises(UsageError, match=r"90 labels.*1001 classes"):
        classify(np.zeros(1001), tensor((1, 1001)), labels=[f"n{i}" for i in range(90)])


def test_without_labels_and_for_an_empty_name_the_label_is_none() -> None:
    scores = np.array([0.75, 0.25], dtype=np.float32)
    assert [row["label"] for row in classify(scores, tensor((2,)))] == [None, None]
    assert [row["label"] for row in classify(scores, tensor((2,)), labels=["cat", ""])] == ["cat", None]


def test_of_several_outputs_the_one_as_long_as_the_labels_is_read() -> None:
    spec = spec_of("classify", tensor((1, 128)), tensor((1, 2)), labels=["a", "b"])
    read = factory.build(spec, top_k=1, score_threshold=None)
    rows = read([np.ones((1, 128), np.float32), np.array([[0.2, 0.8]], np.float32)], prepared())
    assert [row["label"] for row in rows] == ["b"]


@pytest.mark.parametrize(
    "outputs",
    [[tensor((1, 5)), tensor((1, 5))], [tensor((1, 8, 8, 3))], [tensor((1,), np.int64)], [tensor((1, 9), np.uint8)]],
)
def test_outputs_that_are_no_class_scores_are_refused(outputs: list[TensorSpec]) -> None:
    with pytest.raises(ModelError, match=r"m\.tflite"):
        factory.build(spec_of("classify", *outputs), top_k=None, score_threshold=None)


def test_an_output_that_changes_its_length_is_an_engine_error() -> None:
    with pytest.raises(EngineError, match="promised 4"):
        classify(np.zeros(3, np.float32), tensor((1, 4)))


def test_audio_frames_are_averaged_and_carry_their_time() -> None:
    read = factory.build(spec_of("audio", tensor((2, 3)), labels=["a", "b", "c"]), top_k=2, score_threshold=None)
    scores = np.array([[0.9, 0.5, 0.0], [0.1, 0.7, 0.0]], dtype=np.float32)
    rows = list(read([scores], prepared(origin=Origin(start_s=1.5, end_s=2.475))))
    assert rows == [
        {"class_id": 1, "label": "b", "score": 0.6, "start_s": 1.5, "end_s": 2.475},
        {"class_id": 0, "label": "a", "score": 0.5, "start_s": 1.5, "end_s": 2.475},
    ]


def test_live_audio_has_no_times_and_more_frames_than_promised_will_do() -> None:
    read = factory.build(spec_of("audio", tensor((1, 2))), top_k=1, score_threshold=None)
    assert list(read([np.array([[0.2, 0.8], [0.3, 0.9]], np.float32)], prepared())) == [
        {"class_id": 1, "label": None, "score": 0.85}
    ]
    with pytest.raises(EngineError, match=r"\[1, 2\]"):
        read([np.zeros((1, 5), np.float32)], prepared())
