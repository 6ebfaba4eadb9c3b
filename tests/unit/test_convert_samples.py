"""Where samples come from, and that none is used twice."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from converters import artifact, calibration
from converters.options import Options
from converters.readers import open_labelled_pool, open_pool
from converters.sample_pool import Feeder, Pool, draw, spread
from edge_runtime.errors import UsageError
from edge_runtime.types import ImageInput, ModelIdentity, ModelSpec, TensorSpec, WindowInput

PICTURE = ImageInput((8, 6), mean=(0.0,), std=(255.0,))


def feeder(fed: ImageInput | WindowInput = PICTURE, *, labels: tuple[str, ...] | None = None) -> Feeder:
    shape = (1, 6, 8, 3) if isinstance(fed, ImageInput) else (1, fed.length, fed.channels)
    tensor = TensorSpec("in", shape, np.dtype(np.float32))
    output = TensorSpec("out", (1, 2), np.dtype(np.float32))
    return Feeder(ModelSpec("m", ModelIdentity("m", None, ""), "classify", labels, (tensor,), (output,), fed))


def paint(path: Path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 6), (value, value, value)).save(path)


@given(st.integers(1, 500), st.integers(1, 500))
def test_a_spread_is_even_and_never_repeats(count: int, wanted: int) -> None:
    indices = spread(count, wanted)
    assert len(indices) == len(set(indices)) == min(count, wanted)
    assert all(0 <= index < count for index in indices)


@given(st.integers(2, 500), st.integers(2, 500))
def test_calibration_always_leaves_something_to_compare_with(count: int, wanted: int) -> None:
    chosen, rest = calibration.split(count, wanted, hold_back=True)
    assert chosen
    assert rest
    assert sorted([*chosen, *rest]) == list(range(count))


def test_pictures_become_inputs_as_on_the_device(tmp_path: Path) -> None:
    for value in (0, 51, 255):
        paint(tmp_path / f"{value:03}.png", value)
    pool = open_pool(tmp_path, feeder())
    drawn = draw(pool, range(pool.count), tmp_path / "x.npy")
    assert np.allclose(np.load(drawn.path)[:, 0, 0, 0], [0.0, 0.2, 1.0])
    assert (drawn.low, drawn.high) == (0.0, 1.0)


def test_the_same_picture_under_another_name_is_not_scored(tmp_path: Path) -> None:
    paint(tmp_path / "calibration" / "a.png", 10)
    paint(tmp_path / "labelled" / "cat" / "copy_of_a.png", 10)
    paint(tmp_path / "labelled" / "dog" / "b.png", 20)
    pool = open_pool(tmp_path / "calibration", feeder())
    used = draw(pool, [0], tmp_path / "c.npy").keys
    labelled = open_labelled_pool(tmp_path / "labelled", feeder(labels=("dog", "cat")))
    drawn = draw(labelled, range(labelled.count), tmp_path / "e.npy", without=used)
    assert drawn.count == 1
    assert drawn.targets is not None
    assert drawn.targets.tolist() == [0]


def test_when_every_labelled_picture_was_used_that_is_said(tmp_path: Path) -> None:
    pool = Pool("here", 2, lambda index: np.full((6, 8, 3), index, np.float32))
    used = draw(pool, [0, 1], tmp_path / "c.npy").keys
    with pytest.raises(UsageError, match="used for calibration"):
        draw(pool, [0, 1], tmp_path / "e.npy", without=used)


def test_a_broken_picture_is_left_out_and_counted(tmp_path: Path) -> None:
    paint(tmp_path / "a.png", 1)
    (tmp_path / "b.png").write_bytes(b"no picture")
    pool = open_pool(tmp_path, feeder())
    drawn = draw(pool, range(pool.count), tmp_path / "x.npy")
    assert (drawn.count, drawn.skipped) == (1, 1)


def test_folders_are_matched_to_labels_by_name(tmp_path: Path) -> None:
    paint(tmp_path / "Zebra" / "a.png", 1)
    paint(tmp_path / "bird" / "a.png", 2)
    pool = open_labelled_pool(tmp_path, feeder(labels=("zebra", "bird")))
    assert pool.targets is not None
    assert sorted(pool.targets.tolist()) == [0, 1]
    assert pool.targets[0] == 0
    with pytest.raises(UsageError, match="Zebra"):
        open_labelled_pool(tmp_path, feeder(labels=("cat", "bird")))


def test_folders_without_labels_must_be_all_classes(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        paint(tmp_path / name / "x.png", 1)
    with pytest.raises(UsageError, match="3 folders for 2 classes"):
        open_labelled_pool(tmp_path, feeder())


def test_a_class_that_the_model_does_not_have_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.zeros((2, 6, 8, 3), np.uint8), y=[0, 2])
    pool = open_labelled_pool(tmp_path / "x.npz", feeder())
    with pytest.raises(UsageError, match="labels from 0 to 2, the model's classes are 0 to 1"):
        calibration.check_labels(draw(pool, [0, 1], tmp_path / "x.npy"), feeder())


def test_arrays_of_pixels_and_of_inputs_are_told_apart(tmp_path: Path) -> None:
    pixels = np.full((2, 6, 8, 3), 51, np.uint8)
    inputs = np.stack([np.zeros((6, 8, 3), np.float32), np.full((6, 8, 3), 0.2, np.float32)])
    np.savez(tmp_path / "pixels.npz", x=pixels, y=[0, 1])
    np.save(tmp_path / "inputs.npy", inputs)
    assert np.allclose(open_pool(tmp_path / "pixels.npz", feeder()).load(1), 0.2)
    assert np.allclose(open_pool(tmp_path / "inputs.npy", feeder()).load(1), 0.2)


@pytest.mark.parametrize(
    ("made", "said"),
    [((0.0, 255.0), (0.0, 1.0)), ((0.0, 1.0), (0.0, 255.0)), ((-1.0, 1.0), (0.0, 1.0))],
    ids=["pixels against 0..1", "0..1 against pixels", "-1..1 against 0..1"],
)
def test_inputs_in_another_range_than_was_said_are_refused(
    tmp_path: Path, made: tuple[float, float], said: tuple[float, float]
) -> None:
    np.save(tmp_path / "x.npy", np.linspace(*made, 2 * 6 * 8 * 3, dtype=np.float32).reshape(2, 6, 8, 3))
    std = 255.0 / (said[1] - said[0])
    with pytest.raises(UsageError, match=r"its values lie in .* give the --preset"):
        open_pool(tmp_path / "x.npy", feeder(ImageInput((8, 6), mean=(0.0,), std=(std,))))


def test_windows_are_normalised_like_on_the_device(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.full((3, 4, 2), 7.0, np.float32))
    window = WindowInput(4, 2, mean=(1.0, 5.0), std=(2.0, 4.0))
    assert np.allclose(open_pool(tmp_path / "x.npy", feeder(window)).load(0), [[3.0, 0.5]] * 4)


def test_a_recording_is_cut_into_windows(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("a,b\n" + "".join(f"{n},{-n}\n" for n in range(8)))
    pool = open_pool(tmp_path / "r.csv", feeder(WindowInput(4, 2)))
    assert pool.count >= 2
    assert np.allclose(pool.load(0), [[n, -n] for n in range(4)])


def test_a_function_gives_samples_and_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_samples.py").write_text(
        "import numpy as np\n"
        "def pairs():\n    yield from ((np.full((6, 8, 3), n, np.uint8), n % 2) for n in range(4))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    pool = open_labelled_pool("my_samples:pairs", feeder())
    assert pool.targets is not None
    assert pool.targets.tolist() == [0, 1, 0, 1]
    assert np.allclose(pool.load(3), 3 / 255)


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda p: p.mkdir(), "no pictures in this folder"),
        (lambda p: None, "no such file or folder"),
        (lambda p: p.with_suffix(".npy").write_bytes(b"nonsense"), "cannot be read as arrays"),
        (lambda p: np.save(p.with_suffix(".npy"), np.zeros((2, 5, 5, 3), np.float32)), r"\[5, 5, 3\].*\[6, 8, 3\]"),
        (lambda p: np.save(p.with_suffix(".npy"), np.zeros((0, 6, 8, 3), np.float32)), "no samples"),
        (lambda p: np.savez(p.with_suffix(".npz"), x=np.zeros((2, 6, 8, 3), np.uint8), y=[1]), "2 samples in x and 1"),
    ],
    ids=["empty folder", "missing", "nonsense", "shape", "no rows", "too few labels"],
)
def test_what_cannot_be_used_is_a_sentence(tmp_path: Path, make: object, complaint: str) -> None:
    place = tmp_path / "data"
    make(place)  # type: ignore[operator]
    found = next((path for path in tmp_path.iterdir()), place)
    with pytest.raises(UsageError, match=complaint):
        open_pool(found, feeder())


def test_samples_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    pool = Pool("here", 1, lambda _: np.full((6, 8, 3), np.nan, np.float32))
    with pytest.raises(UsageError, match="no numbers"):
        draw(pool, [0], tmp_path / "x.npy")


def test_no_labels_for_scoring_is_said(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((2, 6, 8, 3), np.uint8))
    with pytest.raises(UsageError, match="no labels"):
        open_labelled_pool(tmp_path / "x.npy", feeder())


def test_int8_without_calibration_data_is_refused(tmp_path: Path) -> None:
    model = tmp_path / "m.onnx"
    model.touch()
    with pytest.raises(UsageError, match="needs calibration data"):
        Options(source=model, output=tmp_path / "m.tflite")


def test_random_inputs_reach_over_the_whole_range(tmp_path: Path) -> None:
    pool = open_pool("random", feeder())
    drawn = draw(pool, range(pool.count), tmp_path / "x.npy")
    assert drawn.low == pytest.approx(0.0, abs=0.02)
    assert drawn.high == pytest.approx(1.0, abs=0.02)


def test_the_statistics_of_samples_are_those_of_all_their_values_at_once() -> None:
    values = np.random.default_rng(5).normal(3.0, 2.0, (7, 4, 4, 3)).astype(np.float32)
    values[2, 0, 0, 0] = np.nan
    kept = values[np.isfinite(values)].astype(np.float64)
    found = artifact.statistics("x", values)
    assert (found["min"], found["max"]) == (kept.min(), kept.max())
    assert (found["mean"], found["std"]) == pytest.approx((kept.mean(), kept.std()))
    assert artifact.statistics("x", np.full((2, 3), np.nan)) == {"name": "x"}


@pytest.mark.parametrize("count", [100, 120, 1000])
def test_samples_that_come_class_by_class_in_turn_calibrate_with_all_classes(count: int) -> None:
    classes = np.arange(count) % 10
    chosen, rest = calibration.split(count, 60, hold_back=True, classes=classes)
    calibrate, trial = calibration.hold_back_trial(chosen, classes)
    assert len(set(classes[calibrate])) == 10
    assert len(set(classes[trial])) >= 5
    assert not set(calibrate) & set(trial)
    assert not set(chosen) & set(rest)
    in_order = np.sort(classes)
    assert calibration.split(count, 60, hold_back=True, classes=in_order) == calibration.split(
        count, 60, hold_back=True
    )


def test_a_callable_that_raises_is_named_with_what_it_said() -> None:
    def broken() -> Iterator[np.ndarray]:
        yield np.zeros((6, 8, 3), np.uint8)
        raise RuntimeError("the disk\nis gone")

    with pytest.raises(UsageError, match="broken: raised RuntimeError: the disk is gone"):
        open_pool(broken, feeder())


def test_a_recording_of_other_channels_is_named(tmp_path: Path) -> None:
    (tmp_path / "three.csv").write_text("1,2,3\n" * 20)
    with pytest.raises(UsageError, match=r"three\.csv: the model takes 2 channels"):
        open_pool(tmp_path / "three.csv", feeder(WindowInput(4, 2)))


@pytest.mark.parametrize(("shape", "hinted"), [((4, 3, 6, 8), True), ((4, 3, 8, 6), False), ((4,), False)])
def test_samples_with_colours_first_are_told_how_to_turn(tmp_path: Path, shape: tuple[int, ...], hinted: bool) -> None:
    np.save(tmp_path / "x.npy", np.zeros(shape, np.float32))
    with pytest.raises(UsageError, match="the model takes") as refused:
        open_pool(tmp_path / "x.npy", feeder())
    assert ("moveaxis" in str(refused.value)) is hinted
