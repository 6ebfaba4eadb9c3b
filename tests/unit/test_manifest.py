"""What a model is taken for: precedence, inference from tensors, normalisation, labels, and what is refused."""

import json
import random
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_files import (
    ARG_MAX,
    FULLY_CONNECTED,
    SOFTMAX,
    U32,
    Op,
    T,
    audio_content,
    box_content,
    build_model,
    image_content,
    label_files,
    metadata_buffer,
    normalization,
    write_model,
)

from edge_runtime.errors import InputMismatchError, ModelError, UsageError
from edge_runtime.manifest import Overrides, as_image, as_window, resolve
from edge_runtime.manifest_file import parse_manifest, sidecar_path
from edge_runtime.model_file import parse_model, read_model
from edge_runtime.types import ImageInput, ModelSpec, WindowInput
from edge_runtime.yolo_export import read_export_notes

PICTURE = T((1, 64, 64, 3), "float32")
BYTES = T((1, 64, 64, 3), "uint8", scale=1 / 128, zero_point=128)
SCORES = T((1, 4))


def spec_of(folder: Path, inputs: Sequence[T], outputs: Sequence[T], **parts: Any) -> ModelSpec:
    overrides = parts.pop("overrides", None)
    return resolve(write_model(folder / "m.tflite", inputs, outputs, **parts), overrides)


def write_sidecar(path: Path, **facts: Any) -> None:
    sidecar_path(path).write_text(json.dumps({"schema": 1, "model_sha256": read_model(path).sha256} | facts))


# --- the task, from the tensors alone


@pytest.mark.parametrize(
    ("given", "outputs", "task"),
    [
        ((1, 64, 64, 3), [(1, 1000)], "classify"),
        ((1, 3, 64, 64), [(1, 10)], "classify"),
        ((1, 28, 28), [(1, 10)], "classify"),
        ((1, 40), [(1, 3)], "classify"),
        ((1, 49, 10, 1), [(1, 12)], "classify"),
        ((1, 64, 64, 3), [(1, 1, 1, 5)], "classify"),
        ((1, 300, 300, 3), [(1, 10, 4), (1, 10), (1, 10), (1,)], "detect"),
        ((1, 300, 300, 3), [(1, 25), (1, 25, 4), (1,), (1, 25)], "detect"),
        ((1, 320, 320, 3), [(1, 84, 2100)], "detect"),
        ((1, 320, 320, 3), [(1, 6300, 85)], "detect"),
        ((1, 320, 320, 3), [(1, 40, 40, 255), (1, 20, 20, 255), (1, 10, 10, 255)], "detect"),
        ((1, 192, 192, 3), [(1, 1, 17, 3)], "pose"),
        ((1, 192, 192, 3), [(1, 17, 3)], "pose"),
        ((1, 256, 256, 3), [(1, 6, 56)], "pose"),
        ((1, 64, 64, 3), [(1, 64, 64)], "segment"),
        ((1, 64, 64, 3), [(1, 64, 64, 21)], "segment"),
        ((15600,), [(1, 521)], "audio"),
        ((1, 16000), [(1, 12)], "audio"),
        ((1, 640), [(1, 640)], "anomaly"),
        ((1, 128, 9), [(1, 128, 9)], "anomaly"),
        ((1, 64, 64, 3), [(1, 1)], "regress"),
        ((1, 8), [(1, 1)], "regress"),
        ((1, 64, 64, 3), [(1, 7, 7, 32)], "raw"),
        ((1, 64, 64, 3), [(1, 10), (1, 3)], "raw"),
    ],
)
def test_the_tensors_tell_the_task(tmp_path: Path, given: Any, outputs: list[Any], task: str) -> None:
    spec = spec_of(tmp_path, [T(given)], [T(shape) for shape in outputs])
    assert spec.task == task
    assert any(sentence.startswith(f"task: {task}") for sentence in spec.inferred)


def test_a_detection_operator_tells_the_order_of_its_outputs_whatever_their_names(tmp_path: Path) -> None:
    outputs = [T((), name=name) for name in ("a", "b", "c", "d")]
    post = Op("TFLite_Detection_PostProcess", [0], [3, 2, 4, 1])
    spec = spec_of(tmp_path, [BYTES], outputs, ops=[post])
    assert spec.task == "detect"
    assert spec.output.format == "tflite"
    assert spec.output.order == ("count", "classes", "boxes", "scores")


def test_the_number_of_candidates_tells_the_yolo_version(tmp_path: Path) -> None:
    picture = T((1, 320, 320, 3))
    assert spec_of(tmp_path, [picture], [T((1, 6300, 85))]).output.format == "yolov5"
    assert spec_of(tmp_path, [picture], [T((1, 84, 2100))]).output.format == "yolov8"
    assert spec_of(tmp_path, [picture], [T((1, 2100, 84))]).output.format == "yolov8"


def test_a_yolo_model_without_a_word_on_normalisation_gets_a_hint(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, [T((1, 320, 320, 3))], [T((1, 84, 2100))])
    assert as_image(spec).std == (127.5,)
    assert "--mean 0 --std 255" in spec.inferred[-2]


def test_the_last_operator_tells_logits_from_probabilities(tmp_path: Path) -> None:
    assert spec_of(tmp_path, [PICTURE], [SCORES], ops=[Op(SOFTMAX, [0], [1])]).output.score_activation == "none"
    assert spec_of(tmp_path, [PICTURE], [SCORES], ops=[Op(FULLY_CONNECTED, [0], [1])]).output.score_activation == (
        "softmax"
    )


# --- how the input is fed


@pytest.mark.parametrize(
    ("tensor", "expected"),
    [
        (T((1, 48, 64, 3)), ImageInput((64, 48), mean=(127.5,), std=(127.5,), antialias=False)),
        (T((1, 3, 48, 64)), ImageInput((64, 48), layout="NCHW", antialias=False)),
        (T((1, 48, 64, 1)), ImageInput((64, 48), color="GRAY", antialias=False)),
        (T((1, 64, 64, 3), "uint8", 1 / 128, 128), ImageInput((64, 64), raw=True, antialias=False)),
        (T((1, 64, 64, 3), "uint8", 1 / 128, 127), ImageInput((64, 64), raw=True, antialias=False)),
        (
            T((1, 64, 64, 3), "uint8", 1 / 255, 0),
            ImageInput((64, 64), mean=(0.0,), std=(255.0,), raw=True, antialias=False),
        ),
        (T((1, 64, 64, 3), "uint8"), ImageInput((64, 64), mean=(0.0,), std=(1.0,), raw=True, antialias=False)),
        (T((1, 64, 64, 3), "int8", 1 / 127.5, -1), ImageInput((64, 64), antialias=False)),
        (T((1, 64, 64, 3), "int8", 1.0, -128), ImageInput((64, 64), mean=(0.0,), std=(1.0,), antialias=False)),
        (T((1, 64, 64, 3), "uint8", 0.0187, 114), ImageInput((64, 64), antialias=False)),
    ],
)
def test_pictures_are_normalised_by_the_tensor_where_nothing_says(
    tmp_path: Path, tensor: T, expected: ImageInput
) -> None:
    spec = spec_of(tmp_path, [tensor], [SCORES])
    assert spec.input == expected
    assert any(sentence.startswith("normalisation") for sentence in spec.inferred)


@pytest.mark.parametrize(
    ("mean", "std", "raw"), [([127.5], [127.5], True), ([0.0], [1.0], True), ([0.0], [255.0], False)]
)
def test_metadata_that_comes_out_as_the_byte_itself_takes_raw_bytes(
    tmp_path: Path, mean: list[float], std: list[float], raw: bool
) -> None:
    text = metadata_buffer(inputs=[image_content() | normalization(mean, std)])
    spec = spec_of(tmp_path, [BYTES], [SCORES], metadata={"TFLITE_METADATA": text})
    assert isinstance(spec.input, ImageInput)
    assert (spec.input.mean, spec.input.std, spec.input.raw) == (tuple(mean), tuple(std), raw)
    assert not any(sentence.startswith("normalisation") for sentence in spec.inferred)


def test_only_classification_goes_without_antialiasing(tmp_path: Path) -> None:
    assert as_image(spec_of(tmp_path, [PICTURE], [SCORES])).antialias is False
    assert as_image(spec_of(tmp_path, [PICTURE], [T((1, 64, 64))])).antialias is True


@pytest.mark.parametrize(
    ("shape", "length", "channels"),
    [
        ((1, 640), 640, 1),
        ((15600,), 15600, 1),
        ((1, 128, 9), 128, 9),
        ((1, 49, 10, 1), 49, 10),
        ((1, 1, 128, 6), 128, 6),
    ],
)
def test_samples_are_windows_of_length_and_channels(tmp_path: Path, shape: Any, length: int, channels: int) -> None:
    window = as_window(spec_of(tmp_path, [T(shape)], [SCORES]))
    assert (window.length, window.channels) == (length, channels)
    assert (window.mean, window.std) == ((0.0,), (1.0,))


def test_as_many_means_as_columns_make_a_flat_input_a_table(tmp_path: Path) -> None:
    many = tuple(float(i) for i in range(128))
    spec = spec_of(tmp_path, [T((1, 640))], [T((1, 640))], overrides=Overrides(mean=many, std=(2.0,)))
    assert as_window(spec) == WindowInput(5, 128, mean=many, std=(2.0,))


def test_audio_metadata_gives_the_sample_rate(tmp_path: Path) -> None:
    text = metadata_buffer(inputs=[audio_content(16000, 1)])
    spec = spec_of(tmp_path, [T((1, 2000))], [SCORES], metadata={"TFLITE_METADATA": text})
    assert spec.input == WindowInput(2000, 1, sample_rate_hz=16000.0)


def test_a_picture_model_is_not_fed_samples_and_the_other_way_round(tmp_path: Path) -> None:
    with pytest.raises(InputMismatchError, match="no picture"):
        as_image(spec_of(tmp_path, [T((1, 640))], [T((1, 640))]))
    with pytest.raises(InputMismatchError, match="colour picture"):
        as_window(spec_of(tmp_path, [PICTURE], [SCORES]))
    gray = spec_of(tmp_path, [T((1, 28, 28, 1))], [SCORES])
    assert as_image(gray).size == (28, 28)
    assert as_window(gray) == WindowInput(28, 28)


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (T((1, 1, 1, 3), signature=(1, -1, -1, 3)), "no fixed size"),
        (T((8, 64, 64, 3)), "batch of 8"),
        (T((1, 5), "string"), "string"),
        (T((1, 64, 64, 3), "uint8", scale=float("nan")), "scale"),
    ],
)
def test_inputs_that_nothing_can_feed_are_refused(tmp_path: Path, tensor: T, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        spec_of(tmp_path, [tensor], [SCORES])


def test_a_picture_task_for_a_model_that_takes_none_is_a_wrong_use(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--task: .* no picture"):
        spec_of(tmp_path, [T((1, 640))], [T((1, 640))], overrides=Overrides(task="detect"))


# --- precedence


def test_flags_win_over_the_manifest_beside_which_wins_over_the_embedded_one_and_metadata(tmp_path: Path) -> None:
    text = metadata_buffer(name="from metadata", version="1", inputs=[image_content() | normalization([1.0], [2.0])])
    embedded = {"name": "embedded", "task": "regress", "input": {"mean": [3.0], "resize": "crop"}}
    path = write_model(
        tmp_path / "m.tflite",
        [PICTURE],
        [SCORES],
        metadata={"TFLITE_METADATA": text, "edge_runtime.manifest": json.dumps(embedded).encode()},
    )
    spec = resolve(path)
    assert (spec.identity.name, spec.identity.version, spec.task) == ("embedded", "1", "regress")
    assert isinstance(spec.input, ImageInput)
    assert (spec.input.mean, spec.input.std, spec.input.resize) == ((3.0,), (2.0,), "crop")
    write_sidecar(path, name="beside", input={"mean": 4})
    spec = resolve(path)
    assert (spec.identity.name, spec.task) == ("beside", "regress")
    assert as_image(spec).mean == (4.0,)
    spec = resolve(path, Overrides(mean=(5.0,), task="classify", name="flag"))
    assert (spec.identity.name, spec.task, as_image(spec).mean) == ("flag", "classify", (5.0,))


def test_name_and_place_decide_nothing(tmp_path: Path) -> None:
    path = write_model(tmp_path / "ssd_detect_pose.tflite", [BYTES], [SCORES])
    (tmp_path / "yolo").mkdir()
    moved = Path(shutil.copy(path, tmp_path / "yolo" / "segment"))
    first, second = resolve(path), resolve(moved)
    assert (second.task, second.input, second.output) == (first.task, first.input, first.output)
    assert second.identity.sha256 == first.identity.sha256


def test_a_manifest_can_make_a_window_of_a_picture_shape(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.tflite", [T((1, 49, 10, 1))], [SCORES])
    write_sidecar(path, input={"length": 49, "channels": 10, "sample_rate_hz": 100})
    assert resolve(path).input == WindowInput(49, 10, sample_rate_hz=100.0)


def test_what_a_manifest_says_of_the_output_is_passed_on(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.tflite", [T((1, 640))], [T((1, 640))])
    write_sidecar(path, task="anomaly", output={"threshold": 12.5}, accuracy={"metric": "auc", "int8": 0.9}, later=1)
    spec = resolve(path)
    assert spec.output.threshold == 12.5
    assert spec.accuracy == {"metric": "auc", "int8": 0.9}
    assert spec.inferred == ()


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"model_sha256": "0" * 64}, "model_sha256: expected"),
        ({"model_sha256": None}, "model_sha256: expected .* found nothing"),
        ({"name": 7}, "key name: expected str .*found int"),
        ({"input": {"size": ["a", 1]}}, r"key input.size.*expected int, found str"),
        ({"task": "juggle"}, "key task: invalid enum value 'juggle'"),
        ({"schema": 2}, "key schema: expected 1, found 2"),
        ({"input": {"size": [10, 20]}}, r"input.size: expected \[64, 64\], found \[10, 20\]"),
        ({"input": {"std": 0}}, "input.std: expected finite numbers above 0"),
        ({"input": {"mean": [1, 2]}}, "input.mean: expected one number or 3 of them, found 2"),
        ({"labels": ["a", "b"]}, "2 labels, and the model 4 classes"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(tmp_path: Path, facts: Mapping[str, Any], words: str) -> None:
    path = write_model(tmp_path / "m.tflite", [PICTURE], [SCORES])
    write_sidecar(path, **facts)
    with pytest.raises(ModelError, match=words) as caught:
        resolve(path)
    assert "\n" not in str(caught.value)


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode), st.just(b'{"accuracy":' * 50_000)).filter(
        lambda content: not content.strip().endswith(b"}")
    )
)
def test_a_malformed_manifest_is_a_model_error(content: bytes) -> None:
    with pytest.raises(ModelError, match=r"m\.manifest\.json"):
        parse_manifest(content, "m.manifest.json")


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (Overrides(task="juggle"), "unknown task 'juggle'"),  # type: ignore[arg-type]
        (Overrides(std=(0.0,)), "--std: expected finite numbers above 0"),
        (Overrides(mean=(1.0, 2.0)), "--mean: expected one number or 3"),
        (Overrides(color="GRAY"), "--color"),
        (Overrides(layout="NCHW"), "--layout"),
        (Overrides(labels="absent.txt"), "absent.txt cannot be read"),
    ],
)
def test_a_wrong_flag_is_a_wrong_use(tmp_path: Path, overrides: Overrides, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        spec_of(tmp_path, [PICTURE], [SCORES], overrides=overrides)


def test_mutations_of_a_whole_model_end_in_one_sentence_or_in_a_spec(tmp_path: Path) -> None:
    text = metadata_buffer(inputs=[image_content() | normalization([1.0], [2.0])], outputs=[label_files("l.txt")])
    sound = build_model(
        [BYTES],
        [SCORES],
        ops=[Op(SOFTMAX, [0], [1])],
        metadata={"TFLITE_METADATA": text, "edge_runtime.manifest": b'{"input": {"resize": "crop"}, "name": "n"}'},
        files={"l.txt": b"a\nb\nc\nd"},
    )
    source, path, outcomes = random.Random(2), tmp_path / "m.tflite", []
    for _ in range(1500):
        data = bytearray(sound)
        for _ in range(source.choice((1, 2, 8))):
            data[source.randrange(8, len(data))] = source.randrange(256)
        path.write_bytes(data)
        try:
            outcomes.append(resolve(path).path)
        except ModelError as error:
            outcomes.append(str(error))
    assert 100 < outcomes.count(str(path)) < 1400
    assert not any("\n" in outcome for outcome in outcomes)


# --- labels


def test_labels_come_from_the_flag_else_from_the_file_the_metadata_names(tmp_path: Path) -> None:
    text = metadata_buffer(outputs=[label_files("l.txt")])
    parts: dict[str, Any] = {"metadata": {"TFLITE_METADATA": text}, "files": {"l.txt": b"a\nb\nc\nd\n\n", "z": b"z"}}
    assert spec_of(tmp_path, [PICTURE], [SCORES], **parts).labels == ("a", "b", "c", "d")
    (tmp_path / "own.txt").write_text("1\n2\n3\n4")
    overrides = Overrides(labels=tmp_path / "own.txt")
    assert spec_of(tmp_path, [PICTURE], [SCORES], overrides=overrides, **parts).labels == ("1", "2", "3", "4")


def test_a_packed_label_file_that_is_missing_or_too_short_is_the_models_fault(tmp_path: Path) -> None:
    text = {"TFLITE_METADATA": metadata_buffer(outputs=[label_files("l.txt")])}
    with pytest.raises(ModelError, match="not in it"):
        spec_of(tmp_path, [PICTURE], [SCORES], metadata=text)
    with pytest.raises(ModelError, match="3 labels, and the model 4 classes"):
        spec_of(tmp_path, [PICTURE], [SCORES], metadata=text, files={"l.txt": b"a\nb\nc"})


def with_labels(folder: Path, classes: int, content: bytes) -> ModelSpec:
    (folder / "labels.txt").write_bytes(content)
    return spec_of(folder, [PICTURE], [T((1, classes))], overrides=Overrides(labels=str(folder / "labels.txt")))


def lines(count: int, first: str = "first") -> bytes:
    return "\n".join([first, *(f"label {i}" for i in range(1, count))]).encode()


def test_imagenet_comes_with_and_without_its_background(tmp_path: Path) -> None:
    labels = with_labels(tmp_path, 1001, lines(1000)).labels
    assert labels is not None
    assert labels[:2] == ("background", "first")
    labels = with_labels(tmp_path, 1000, lines(1001, "Background")).labels
    assert labels is not None
    assert labels[0] == "label 1"


@pytest.mark.parametrize(
    ("content", "labels"),
    [
        (b"a\nb\nc", ("a", "b", "c")),
        (b"a\r\nb\r\nc\r\n\r\n\n", ("a", "b", "c")),
        ("\ufeffä\nb\nc".encode(), ("ä", "b", "c")),
        (b"0 a\n1  b b\n2 c\n", ("a", "b b", "c")),
        (b"2: c\n0: a\n", ("a", "", "c")),
        (b'["a", "b", "c"]', ("a", "b", "c")),
        (b'{"0": "a", "2": "c"}', ("a", "", "c")),
        (b'{"c": 2, "a": 0, "b": 1}', ("a", "b", "c")),
        (b"a\nb\nc\n\nand a remark about\nthe file", ("a", "b", "c")),
    ],
)
def test_label_files_of_every_usual_form_are_read(tmp_path: Path, content: bytes, labels: tuple[str, ...]) -> None:
    assert with_labels(tmp_path, 3, content).labels == labels


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a\nb", "2 labels, and the model 3 classes"),
        (b"a\nb\nc\nd", "4 labels, and the model 3 classes"),
        (b"", "is empty"),
        (b"\xff\xfe\x00\x01", "no UTF-8 text"),
        (b"\x00\x01\x02", "no text file"),
        (b'{"a": []}', "JSON"),
    ],
)
def test_a_label_file_that_does_not_fit_is_a_wrong_use(tmp_path: Path, content: bytes, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        with_labels(tmp_path, 3, content)


def test_a_folder_is_no_label_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no file"):
        spec_of(tmp_path, [PICTURE], [SCORES], overrides=Overrides(labels=str(tmp_path)))


def test_detection_labels_may_be_fewer_but_not_more_than_classes(tmp_path: Path) -> None:
    parts: dict[str, Any] = {
        "inner": [T((1, 50, 6))],
        "ops": [Op("TFLite_Detection_PostProcess", [0, 5], [1, 2, 3, 4])],
    }
    path = tmp_path / "labels.txt"
    overrides = Overrides(labels=str(path))
    for count in (2, 5, 6):
        path.write_bytes(lines(count))
        labels = spec_of(tmp_path, [BYTES], [T(())] * 4, overrides=overrides, **parts).labels
        assert labels is not None
        assert len(labels) == count
    path.write_bytes(lines(1000))
    with pytest.raises(UsageError, match="1000 labels"):
        spec_of(tmp_path, [BYTES], [T(())] * 4, overrides=overrides, **parts)


def test_a_class_map_knows_its_classes_from_what_it_is_the_largest_of(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_bytes(lines(5))
    parts: dict[str, Any] = {"inner": [T((1, 64, 64, 4))], "ops": [Op(ARG_MAX, [2], [1])]}
    with pytest.raises(UsageError, match="5 labels, and the model 4 classes"):
        spec_of(
            tmp_path,
            [BYTES],
            [T((1, 64, 64), "int64")],
            overrides=Overrides(labels=tmp_path / "labels.txt"),
            **parts,
        )


def test_box_metadata_makes_a_detector(tmp_path: Path) -> None:
    outputs = [
        {0: "score"},
        {0: "location"} | box_content_of([1, 0, 3, 2]),
        {0: "number of detections"},
        {0: "category"} | label_files(("l.txt", 3, "")),
    ]
    spec = spec_of(
        tmp_path,
        [BYTES],
        [T((1, 9)), T((1, 9, 4)), T((1,)), T((1, 9))],
        metadata={"TFLITE_METADATA": metadata_buffer(outputs=outputs)},
        files={"l.txt": b"person\ncar"},
    )
    assert spec.output.order == ("scores", "boxes", "count", "classes")
    assert (spec.output.box_format, spec.output.normalized) == ("yxyx", True)
    assert spec.labels == ("person", "car")


def box_content_of(index: list[int]) -> dict[int, object]:
    return box_content([U32(i) for i in index], 1)


@pytest.mark.parametrize(
    "note",
    [
        """{'stride': 32, 'names': {0: 'person', 1: "cat's", 2: 'a, b'}}""",
        """{'description': 'a', 'stride': 32, 'task': 'detect', 'names': ['person', "cat's", 'a, b'], 'args': {}}""",
        """{"stride": 32, "task": "detect", "names": {"0": "person", "1": "cat's", "2": "a, b"}}""",
    ],
)
def test_the_note_of_a_yolo_exporter_gives_names_and_feeding(tmp_path: Path, note: str) -> None:
    text = metadata_buffer(inputs=[image_content()], outputs=[label_files("temp_meta.txt")])
    spec = spec_of(
        tmp_path,
        [T((1, 320, 320, 3))],
        [T((1, 7, 2100))],
        metadata={"TFLITE_METADATA": text},
        files={"temp_meta.txt": note.encode()},
    )
    assert spec.labels == ("person", "cat's", "a, b")
    assert isinstance(spec.input, ImageInput)
    assert (spec.input.mean, spec.input.std, spec.input.resize) == ((0.0,), (255.0,), "letterbox")
    assert (spec.task, spec.output.format) == ("detect", "yolov8")


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200))
def test_any_note_is_survived(text: str) -> None:
    model = build_model([PICTURE], [SCORES], files={"meta.txt": b"{'stride': 32, 'names': " + text.encode()})
    notes = read_export_notes(parse_model(model, "m"))
    assert notes is None or all(isinstance(name, str) for name in notes.labels or ())


# --- the reference set

EXPECTED: dict[str, tuple[str, Any, int | None]] = {
    "classify/mobilenet_v1_0.25_128_quant": ("classify", (128, 128), 1001),
    "classify/mobilenet_v1_0.25_224_quant": ("classify", (224, 224), 1001),
    "classify/mobilenet_v1_0.75_192_quant": ("classify", (192, 192), 1001),
    "classify/mobilenet_v2_1.0_224_quant": ("classify", (224, 224), 1001),
    "detect/coco_ssd_mobilenet_v1_1.0_quant_2018_06_29": ("detect", (300, 300), 90),
    "segment/deeplabv3_mnv2_dm05_pascal_quant": ("segment", (513, 513), None),
    "pose/movenet_single_pose_lightning_ptq": ("pose", (192, 192), None),
    "digits/keras_lstm_mnist_ptq": ("classify", (28, 28), None),
    "audio/yamnet_audio_classifier_with_metadata": ("audio", 15600, 521),
    "mlperf_tiny/ad01_fp32": ("anomaly", 640, None),
    "mlperf_tiny/ad01_int8": ("anomaly", 640, None),
    "mlperf_tiny/kws_ref_model": ("classify", (10, 49), None),
    "mlperf_tiny/pretrainedResnet_quant": ("classify", (32, 32), None),
    "edgetpu/mobilenet_v1_0.75_192_quant_edgetpu": ("classify", (192, 192), 1001),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_reference_models_are_taken_for_what_they_are_also_when_renamed(
    reference: Path, tmp_path: Path, name: str
) -> None:
    task, size, labels = EXPECTED[name]
    moved = Path(shutil.copy(reference / "models" / f"{name}.tflite", tmp_path / "x"))
    spec = resolve(moved)
    assert spec.task == task
    assert (spec.input.size if isinstance(spec.input, ImageInput) else spec.input.length) == size
    assert (len(spec.labels) if spec.labels else None) == labels
    assert spec.edgetpu == name.startswith("edgetpu/")
    if isinstance(spec.input, ImageInput) and spec.inputs[0].dtype == "uint8":
        assert spec.input.raw


def test_the_pascal_label_file_ends_before_its_remark(reference: Path) -> None:
    labels = reference / "labels" / "pascal_voc_segmentation_labels.txt"
    model = reference / "models" / "segment" / "deeplabv3_mnv2_dm05_pascal_quant.tflite"
    spec = resolve(model, Overrides(labels=labels))
    assert spec.labels is not None
    assert (len(spec.labels), spec.labels[-1]) == (21, "tvmonitor")


def test_other_labels_than_the_models_are_refused(reference: Path) -> None:
    model = reference / "models" / "classify" / "mobilenet_v2_1.0_224_quant.tflite"
    with pytest.raises(UsageError, match="90 labels, and the model 1001 classes"):
        resolve(model, Overrides(labels=reference / "labels" / "coco_90.txt"))


def test_the_builder_writes_what_the_interpreter_would_read() -> None:
    assert build_model([PICTURE], [SCORES])[4:8] == b"TFL3"
