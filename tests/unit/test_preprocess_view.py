"""Turning, hiding and cutting; the way back to source pixels; buffers and threads; pictures for eyes."""

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from edge_runtime.errors import BadFrameError, ConfigError
from edge_runtime.preprocess.factory import build
from edge_runtime.preprocess.geometry import EXIF, Box, Orientation, orientation_of
from edge_runtime.preprocess.picture import upright
from edge_runtime.types import Frame, ImageInput, Size, TensorSpec, Transform, View

SIZE = (96, 64)
ORIENTATIONS = st.sampled_from(sorted(set(EXIF.values()), key=repr))


def frame(data: Any, kind: Any = "rgb", **more: Any) -> Frame:
    return Frame(data, kind, "camera0", 0, 0, 0, **more)


def preprocessor(view: View, *, size: Size = SIZE, antialias: bool = True, resize: Any = "stretch") -> Any:
    target = ImageInput(size=size, raw=True, antialias=antialias, resize=resize)
    return build(target, tensor=TensorSpec("input", (1, size[1], size[0], 3), np.dtype(np.uint8), 1.0, 0), view=view)


def prepared(data: Any, kind: Any, view: View, **how: Any) -> tuple[NDArray[np.uint8], Transform]:
    (result,), transform = preprocessor(view, **how)(frame(data, kind))
    return result[0], transform


def jpeg(pixels: NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=95, subsampling=0)
    return stream.getvalue()


def as_yuyv(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return grey pixels as YUYV, limited range."""
    luma = np.rint(pixels[..., 0] * 219.0 / 255 + 16).astype(np.uint8)
    return np.stack((luma, np.full_like(luma, 128)), axis=-1)


def as_i420(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    luma = as_yuyv(pixels)[..., 0]
    return np.concatenate([luma, np.full((luma.shape[0] // 2, luma.shape[1]), 128, np.uint8)])


@given(ORIENTATIONS, ORIENTATIONS)
def test_orientations_compose_and_undo(first: Orientation, second: Orientation) -> None:
    pixels = np.arange(6).reshape(2, 3)
    np.testing.assert_array_equal(first.then(second).pixels(pixels), second.pixels(first.pixels(pixels)))
    np.testing.assert_array_equal(first.inverse().pixels(first.pixels(pixels)), pixels)
    marked = np.zeros((10, 20))
    marked[2:5, 12:18] = 1
    left, top, right, bottom = first.box(Box(12 / 20, 2 / 10, 18 / 20, 5 / 10)).scaled(first.size((20, 10)))
    turned = first.pixels(marked)
    assert turned.sum() == turned[round(top) : round(bottom), round(left) : round(right)].sum() == 18


def test_rotation_is_clockwise_and_comes_before_the_flip() -> None:
    pixels = np.arange(6).reshape(2, 3)
    np.testing.assert_array_equal(orientation_of(View(rotate=90)).pixels(pixels), np.rot90(pixels, -1))
    np.testing.assert_array_equal(
        orientation_of(View(rotate=270, flip="h")).pixels(pixels), np.fliplr(np.rot90(pixels, 1))
    )


views = st.builds(
    View,
    rotate=st.sampled_from([0, 90, 180, 270]),
    flip=st.sampled_from(["", "h", "v", "hv"]),
    crop=st.none() | st.just((40, 30, 300, 310)),
)


@settings(max_examples=120, deadline=None)
@given(
    views, st.sampled_from(["stretch", "letterbox", "crop"]), st.booleans(), st.sampled_from(["rgb", "jpeg", "yuyv"])
)
def test_a_spot_is_found_again_in_upright_source_pixels(view: View, resize: str, antialias: bool, kind: str) -> None:
    spot = (190.0, 180.0)  # upright, inside the crop and the centre of every resize
    whole = np.zeros((400, 400, 3), np.uint8)
    whole[int(spot[1]) - 12 : int(spot[1]) + 12, int(spot[0]) - 12 : int(spot[0]) + 12] = 255
    stored = np.ascontiguousarray(orientation_of(view).inverse().pixels(whole))
    data = {"rgb": lambda: stored, "jpeg": lambda: jpeg(stored), "yuyv": lambda: as_yuyv(stored)}[kind]()
    seen, transform = prepared(data, kind, view, antialias=antialias, resize=resize)
    brightness = np.clip(seen[..., 0].astype(float) - 128, 0, None)
    if resize == "letterbox":
        assert (seen[:, 0] == 114).all()
    rows, columns = np.mgrid[0 : SIZE[1], 0 : SIZE[0]] + 0.5
    center = np.array([(columns * brightness).sum(), (rows * brightness).sum()]) / brightness.sum()
    # Half a pixel of the model's input, as the fast path may round a crop to decoded pixels.
    assert np.abs(transform.to_source(center) - spot).max() <= 0.75 * max(transform.scale)
    assert transform.frame_size == (400, 400)
    assert transform.input_size == SIZE


def test_the_corners_of_a_letterbox_map_outside_the_picture() -> None:
    _, transform = prepared(np.zeros((100, 200, 3), np.uint8), "rgb", View(), size=(100, 100), resize="letterbox")
    corners = transform.to_source(np.array([[0.0, 0.0], [0.0, 25.0], [100.0, 75.0]]))
    np.testing.assert_allclose(corners, [[0, -50], [0, 0], [200, 100]])


def test_a_crop_outside_the_picture_is_a_bad_frame() -> None:
    with pytest.raises(BadFrameError, match="640x480"):
        prepared(np.zeros((480, 640, 3), np.uint8), "rgb", View(crop=(700, 0, 10, 10)))


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from(["rgb", "jpeg", "picture", "yuyv", "i420", "gray"]),
    st.sampled_from([0, 90, 180, 270]),
    st.sampled_from(["", "h", "v"]),
    st.tuples(st.integers(0, 200), st.integers(0, 150), st.integers(16, 200), st.integers(16, 200)),
    st.booleans(),
)
def test_nothing_shows_under_a_mask(
    kind: str, rotate: Any, flip: Any, mask: tuple[int, int, int, int], antialias: bool
) -> None:
    view = View(rotate=rotate, flip=flip, masks=(mask,))
    x, y, width, height = mask
    # All that is bright lies under the mask, so that whatever is bright in the result has leaked.
    whole = np.zeros((320, 400, 3), np.uint8)
    whole[y : y + height, x : x + width] = 255
    stored = np.ascontiguousarray(orientation_of(view).inverse().pixels(whole))
    data = {
        "rgb": lambda: stored,
        "gray": lambda: np.ascontiguousarray(stored[..., 0]),
        "jpeg": lambda: jpeg(stored),
        "picture": lambda: jpeg(stored),
        "yuyv": lambda: as_yuyv(stored),
        "i420": lambda: as_i420(stored),
    }[kind]()
    before = data.copy() if isinstance(data, np.ndarray) else data
    limit = 24 if kind in ("jpeg", "picture") else 1  # JPEG rings around an edge
    for seen in (
        prepared(data, kind, view, antialias=antialias)[0],
        upright(frame(data, kind), view),
        upright(frame(data, kind), view, max_size=(120, 120)),
    ):
        assert seen.max() <= limit
    assert prepared(data, kind, View(rotate=rotate, flip=flip), antialias=antialias)[0].max() > 200
    np.testing.assert_array_equal(
        np.asarray(data if isinstance(data, np.ndarray) else 0), before if isinstance(data, np.ndarray) else 0
    )


def test_a_mask_file_is_stretched_over_the_upright_picture(tmp_path: Path) -> None:
    mask = np.full((20, 10), 255, np.uint8)
    mask[:, :5] = 100  # the left half, darker than mid-grey
    Image.fromarray(mask).save(tmp_path / "mask.png")
    view = View(rotate=90, mask_file=str(tmp_path / "mask.png"))
    bright = np.full((200, 300, 3), 250, np.uint8)
    for data, kind in ((bright, "rgb"), (jpeg(bright), "jpeg"), (as_yuyv(bright), "yuyv")):
        for seen in (prepared(data, kind, view)[0], upright(frame(data, kind), view)):
            middle = seen.shape[1] // 2
            assert seen[:, : middle - 2].max() <= 1
            assert seen[:, middle + 2 :].min() >= 245


def test_a_mask_file_that_cannot_be_read_hides_nothing_by_accident(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no picture")
    for name, reason in (("missing.png", "No such file"), ("text.png", "no picture")):
        view = View(mask_file=str(tmp_path / name))
        with pytest.raises(ConfigError, match=reason):
            prepared(np.zeros((8, 8, 3), np.uint8), "rgb", view)
        with pytest.raises(ConfigError, match=reason):
            upright(frame(np.zeros((8, 8, 3), np.uint8)), view)


def test_a_snapshot_is_upright_whole_and_never_enlarged() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (40, 60, 3), np.uint8)
    view = View(rotate=90, crop=(0, 0, 5, 5))
    np.testing.assert_array_equal(upright(frame(pixels), view), np.rot90(pixels, -1))
    assert upright(frame(pixels), view, max_size=(20, 1000)).shape == (30, 20, 3)
    assert upright(frame(pixels), view, max_size=(1000, 1000)).shape == (60, 40, 3)
    assert upright(frame(np.ascontiguousarray(pixels[..., 0]), "gray"), view).shape == (60, 40, 3)


@pytest.mark.parametrize("encode", [lambda pixels: pixels, jpeg])
def test_a_snapshot_uses_the_larger_picture_and_masks_are_in_its_pixels(encode: Any) -> None:
    small = np.full((60, 80), 128, np.uint8)
    view = View(masks=((0, 0, 200, 400),))
    both = frame(small, "i420", full=encode(np.full((400, 800, 3), 200, np.uint8)), nominal_size=(800, 400))
    seen = upright(both, view)
    assert seen.shape == (400, 800, 3)
    assert seen[:400, :200].max() <= 1
    assert seen[:, 202:].min() >= 195


def test_boxes_and_crops_are_in_the_pixels_of_the_larger_picture() -> None:
    small = np.zeros((90, 80), np.uint8)
    (_,), transform = preprocessor(View(crop=(200, 100, 400, 200)))(frame(small, "i420", nominal_size=(800, 600)))
    assert transform.frame_size == (800, 600)
    corners = transform.to_source(np.array([[0.0, 0.0], [float(SIZE[0]), float(SIZE[1])]]))
    np.testing.assert_allclose(corners, [[200, 100], [600, 300]])


def test_buffers_are_used_again_but_never_twice_at_once() -> None:
    prepare = preprocessor(View())
    data = frame(np.zeros((8, 8, 3), np.uint8))
    first, _ = prepare(data)
    second, _ = prepare(data)
    assert first[0] is not second[0]
    prepare.release(first)
    prepare.release(first)
    third, _ = prepare(data)
    fourth, _ = prepare(data)
    assert third[0] is first[0]
    assert fourth[0] is not first[0]


def test_threads_do_not_mix_up_their_frames() -> None:
    prepare = preprocessor(View(), size=(224, 224), antialias=False)
    frames = [frame(jpeg(np.full((720, 1280, 3), level, np.uint8)), "jpeg") for level in range(10, 250, 30)]

    def levels(index: int) -> set[int]:
        inputs, _ = prepare(frames[index % len(frames)])
        seen = set(np.unique(inputs[0]).tolist())
        prepare.release(inputs)
        return seen

    with ThreadPoolExecutor(4) as pool:
        for index, seen in enumerate(pool.map(levels, range(64))):
            assert seen == {10 + 30 * (index % len(frames))}
