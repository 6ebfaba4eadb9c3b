"""The demo: a scene that is the same for the same seed, paced like a camera, and read right by the bundled model."""

import hashlib
import io
import json
import sys
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image
from postprocess_parts import Array, Bare, prepared

import edge_runtime
from edge_runtime import registry
from edge_runtime.errors import SourceTimeoutError, SourceUnavailableError
from edge_runtime.manifest import resolve
from edge_runtime.postprocess import factory
from edge_runtime.sources import demo
from edge_runtime.sources._demo_scene import CROSSING_S, SLOT_S, Scene
from edge_runtime.sources.demo import DATA, DemoSource
from edge_runtime.types import Frame, ImageInput

MODEL = DATA / "digits.tflite"


class Clock:
    """Time that passes only in ``sleep``."""

    def __init__(self) -> None:
        self.now_ns = 1_000_000_000

    def __call__(self) -> int:
        return self.now_ns

    def sleep(self, seconds: float) -> None:
        self.now_ns += round(seconds * 1e9)


def opened(**settings: Any) -> tuple[DemoSource, Clock]:
    clock = Clock()
    source = DemoSource(DemoSource.Config(**settings), stream="demo0", wants=None, clock=clock, sleep=clock.sleep)
    source.open()
    return source, clock


def read(source: DemoSource) -> Frame:
    frame = source.read(1.0)
    assert frame is not None
    return frame


def pixels(frame: Frame) -> Array:
    if frame.format == "rgb":
        return np.asarray(frame.data)
    return np.asarray(Image.open(io.BytesIO(bytes(frame.data))).convert("RGB"))


def test_frames_come_at_their_moments_in_order() -> None:
    source, clock = opened(fps=10.0)
    start_ns = clock.now_ns
    frames = [read(source) for _ in range(3)]
    assert [frame.sequence for frame in frames] == [0, 1, 2]
    assert [frame.captured_ns - start_ns for frame in frames] == [0, 100_000_000, 200_000_000]
    assert all(frame.arrived_ns >= frame.captured_ns and frame.stream == "demo0" for frame in frames)


def test_a_slow_reader_gets_the_frame_of_now() -> None:
    source, clock = opened(fps=10.0)
    read(source)
    clock.sleep(1.05)
    assert read(source).sequence == 10
    assert read(source).sequence == 11


def test_a_frame_that_is_too_far_off_is_a_timeout_and_comes_later() -> None:
    source, clock = opened(fps=0.5)
    read(source)
    before_ns = clock.now_ns
    with pytest.raises(SourceTimeoutError):
        source.read(0.5)
    assert clock.now_ns - before_ns == 500_000_000
    assert source.read(5.0).sequence == 1  # type: ignore[union-attr]


@pytest.mark.parametrize("size", [(640, 480), (320, 240), (32, 32), (48, 640)])
def test_both_formats_have_the_size_asked_for(size: tuple[int, int]) -> None:
    for format_ in ("rgb", "jpeg"):
        source, _ = opened(size=size, format=format_)
        frame = read(source)
        assert frame.format == format_
        assert pixels(frame).shape == (size[1], size[0], 3)
        assert source.describe() == {"type": "demo", "size": list(size), "fps": 15.0, "format": format_}


def test_without_simplejpeg_pillow_encodes(monkeypatch: pytest.MonkeyPatch) -> None:
    source, _ = opened()
    fast = pixels(read(source)).astype(int)
    monkeypatch.setitem(sys.modules, "simplejpeg", None)
    source, _ = opened()
    assert np.abs(pixels(read(source)).astype(int) - fast).max() < 40


def test_a_seed_gives_the_same_scene_again_and_another_seed_another() -> None:
    def scene(seed: int) -> list[bytes]:
        source, _ = opened(seed=seed, size=(64, 48), fps=4.0)
        return [bytes(read(source).data) for _ in range(12)]

    assert scene(3) == scene(3)
    assert scene(3) != scene(4)
    assert len(set(scene(3))) == 12


def test_a_closed_source_can_be_opened_again() -> None:
    source, _ = opened()
    source.close()
    source.close()
    with pytest.raises(SourceUnavailableError):
        source.read(0.1)
    source.open()
    assert read(source).sequence == 0


def test_an_installation_without_the_digits_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setattr(demo, "DATA", tmp_path)
    with pytest.raises(SourceUnavailableError, match=r"digits\.npz is missing"):
        opened()
    (tmp_path / "digits.npz").write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(SourceUnavailableError, match="install edge-infer anew"):
        opened()


@pytest.mark.parametrize("settings", [{"size": [8, 8]}, {"fps": 0}, {"format": "png"}, {"colour": "red"}])
def test_settings_that_make_no_scene_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(settings, DemoSource.Config)


def scene_of(seed: int, *, size: tuple[int, int] = (640, 480), fps: float = 15.0) -> Scene:
    with np.load(DATA / "digits.npz") as digits:
        return Scene(digits["images"], digits["labels"], size=size, fps=fps, seed=seed)


def test_all_ten_digits_come_in_every_round_and_cross_in_between() -> None:
    scene = scene_of(5)
    shown = [scene.label(number) for number in range(int(15 * SLOT_S * 10))]
    assert set(shown) == {*"0123456789", None}
    assert shown.count(None) / len(shown) == pytest.approx(CROSSING_S / SLOT_S, abs=0.03)


def test_the_digit_stays_within_the_frame() -> None:
    scene = scene_of(1, size=(160, 120))
    for number in range(0, 400, 7):
        ink = np.asarray(scene.render(number).convert("L")) < 150
        assert ink.any()
        assert not np.concatenate([ink[0], ink[-1], ink[:, 0], ink[:, -1]]).any(), number


def test_the_manifest_belongs_to_the_model_and_describes_it() -> None:
    manifest = json.loads((DATA / "digits.manifest.json").read_text())
    assert manifest["model_sha256"] == hashlib.sha256(MODEL.read_bytes()).hexdigest()
    assert MODEL.stat().st_size < 64 * 1024
    spec = resolve(MODEL)
    assert spec.task == "classify"
    assert spec.labels == (*"0123456789", "none")
    assert isinstance(spec.input, ImageInput)
    assert (spec.input.size, spec.input.color, spec.input.raw, spec.input.resize) == ((32, 32), "GRAY", True, "stretch")
    assert spec.accuracy is not None
    assert abs(spec.accuracy["float"] - spec.accuracy["int8"]) < 0.01
    assert spec.provenance is not None
    assert spec.provenance["data_licence"] == "CC BY 4.0"


@pytest.mark.parametrize(("size", "seed"), [((640, 480), 0), ((640, 480), 1), ((640, 480), 7), ((1280, 720), 2)])
def test_the_model_reads_nine_of_ten_frames_right(size: tuple[int, int], seed: int) -> None:
    """Whole frames stretched to the model's square, away from the crossings, through the int8 model."""
    model, scene = Bare(MODEL), scene_of(seed, size=size)
    classify = factory.build(resolve(MODEL), top_k=1, score_threshold=None)
    right = total = 0
    for number in range(0, 1200, 7):
        label = scene.label(number)
        if label is not None:
            gray = scene.render(number).convert("L").resize((32, 32), Image.Resampling.BILINEAR)
            tensor = np.asarray(gray)[None, :, :, None]
            result = classify(model.invoke(tensor), prepared(None, tensor))
            right += result[0]["label"] == label
            total += 1
    assert total > 100
    assert right / total >= 0.9


@pytest.mark.parametrize("format_", ["jpeg", "rgb"])
def test_the_real_path_reads_the_frames_of_the_source_right(format_: str) -> None:
    """The runtime's own decoding and resizing instead of Pillow's."""
    source, _ = opened(format=format_, seed=1, fps=3.0)
    scene = scene_of(1, fps=3.0)
    right = total = 0
    with edge_runtime.load(str(MODEL)) as model:
        for frame in (read(source) for _ in range(120)):
            label = scene.label(frame.sequence)
            if label is not None:
                right += model(frame.data).result[0]["label"] == label
                total += 1
    assert total > 90
    assert right / total >= 0.9


@pytest.mark.parametrize("level", [40, 128, 235])
def test_an_empty_sheet_is_no_digit(level: int) -> None:
    model = Bare(MODEL)
    sheet = np.full((1, 32, 32, 1), level, np.uint8)
    classify = factory.build(resolve(MODEL), top_k=1, score_threshold=None)
    assert classify(model.invoke(sheet), prepared(None, sheet))[0]["label"] == "none"


def test_the_demo_is_registered() -> None:
    assert registry.plugin("sources", "demo") is DemoSource
