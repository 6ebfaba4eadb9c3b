"""Against the slow float reference, from the same decoded pixels: never more than one quantisation step away."""

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import slow_preprocess as slow
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from edge_runtime.errors import InputMismatchError
from edge_runtime.preprocess.average import average_resize, halve
from edge_runtime.preprocess.factory import build
from edge_runtime.preprocess.geometry import Box
from edge_runtime.preprocess.jpeg import decode_jpeg
from edge_runtime.preprocess.tensor import pixel_tables
from edge_runtime.types import Frame, ImageInput, TensorSpec, View

PLAIN = View()
DTYPES = (np.uint8, np.int8, np.int16, np.float32)


def frame(data: Any, kind: Any = "rgb") -> Frame:
    return Frame(data, kind, "camera0", 0, 0, 0)


def prepared(data: Any, target: ImageInput, tensor: TensorSpec, view: View = PLAIN, kind: Any = "rgb") -> NDArray:
    (result,), _ = build(target, tensor=tensor, view=view)(frame(data, kind))
    assert result.shape == tensor.shape
    assert result.dtype == tensor.dtype
    return result


@st.composite
def targets(draw: st.DrawFn, antialias: bool = True, least: int = 1) -> tuple[ImageInput, TensorSpec]:
    """Every kind of input tensor. A step of the quantised ones is at least as large as what 8-bit pixels round away.

    That is one level (half in each of two passes), and half a level more where colours become grey.
    """
    width, height = draw(st.integers(least, 12)), draw(st.integers(least, 12))
    color = draw(st.sampled_from(["RGB", "BGR", "GRAY"]))
    layout = draw(st.sampled_from(["NHWC", "NCHW"]))
    channels = 1 if color == "GRAY" else 3
    per_channel = draw(st.booleans()) and channels == 3
    means = st.floats(0, 255)
    stds = st.floats(1, 128)
    mean = tuple(draw(st.tuples(means, means, means))) if per_channel else (draw(means),)
    std = tuple(draw(st.tuples(stds, stds, stds))) if per_channel else (draw(stds),)
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    scale, zero_point = 0.0, 0
    if dtype != np.float32:
        scale = draw(st.floats(1.5 if color == "GRAY" else 1.0, 4.0)) / min(std)
        zero_point = draw(st.integers(np.iinfo(dtype).min, np.iinfo(dtype).max))
    shapes = [(1, height, width, channels) if layout == "NHWC" else (1, channels, height, width)]
    if color == "GRAY":
        shapes += [(1, height, width), (height, width)]
    target = ImageInput(
        size=(width, height),
        layout=layout,
        color=color,
        mean=mean,
        std=std,
        resize=draw(st.sampled_from(["stretch", "letterbox", "crop"])),
        raw=color != "GRAY" and dtype.itemsize == 1 and draw(st.booleans()),
        antialias=antialias,
    )
    return target, TensorSpec("input", draw(st.sampled_from(shapes)), dtype, scale, zero_point)


@st.composite
def views(draw: st.DrawFn, upright_limit: int = 40) -> View:
    corner, extent = st.integers(0, upright_limit), st.integers(1, upright_limit)
    crop = draw(st.none() | st.tuples(st.just(0), st.just(0), extent, extent))
    return View(
        rotate=draw(st.sampled_from([0, 90, 180, 270])),
        flip=draw(st.sampled_from(["", "h", "v", "hv"])),
        masks=tuple(draw(st.lists(st.tuples(corner, corner, extent, extent), max_size=2))),
        crop=crop,
    )


def pictures(least: int = 1, most: int = 30) -> st.SearchStrategy[NDArray[np.uint8]]:
    sizes = st.integers(least, most)
    return st.builds(
        lambda height, width, seed: np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8),
        sizes, sizes, st.integers(0, 2**32 - 1),
    )  # fmt: skip


def grey(rgb: NDArray) -> NDArray:
    return rgb @ np.array([[0.299], [0.587], [0.114]])


def expected(picture: NDArray, target: ImageInput, tensor: TensorSpec, view: View, *, filtered: bool) -> NDArray:
    pixels = slow.seen(picture, view, target, filtered=filtered)
    if target.color == "GRAY":
        padding = (pixels == 114.0).all(axis=-1, keepdims=True)
        pixels = np.where(padding, 114.0, grey(pixels))
    return slow.tensor_of(pixels, target, tensor)


def steps_apart(result: NDArray, reference: NDArray, target: ImageInput, tensor: TensorSpec) -> float:
    """Return the largest distance in quantisation steps; for float tensors a step is what 8-bit pixels round away."""
    level = 1.5 if target.color == "GRAY" else 1.0
    step = 1.0 if tensor.dtype != np.float32 else level / min(target.std)
    return float(np.abs(result.astype(np.float64) - reference).max() / step)


@settings(max_examples=200, deadline=None)
@given(pictures(), targets(), views())
def test_a_filtered_tensor_is_within_one_step_of_the_slow_reference(
    picture: NDArray, aim: tuple[ImageInput, TensorSpec], view: View
) -> None:
    target, tensor = aim
    result = prepared(picture, target, tensor, view)
    assert steps_apart(result, expected(picture, target, tensor, view, filtered=True), target, tensor) <= 1.001


@settings(max_examples=100, deadline=None)
@given(pictures(12, 16), targets(antialias=False, least=11))
def test_a_classifiers_frame_is_within_one_step_of_the_slow_mean_of_its_decoded_pixels(
    picture: NDArray, aim: tuple[ImageInput, TensorSpec]
) -> None:
    target, tensor = replace(aim[0], resize="stretch"), aim[1]
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG")
    size = (picture.shape[1], picture.shape[0])
    color = "GRAY" if target.color == "GRAY" else "RGB"
    decoded = decode_jpeg(stream.getvalue(), size=size, least=size, color=color, exact=False).astype(np.float64)
    if color == "GRAY":
        pixels = slow.resize(decoded[..., None], (0, 0, *size), target.size, filtered=True)
    else:
        pixels = decoded if size == target.size else slow.average(decoded, target.size)
    result = prepared(stream.getvalue(), target, tensor, kind="jpeg")
    assert steps_apart(result, slow.tensor_of(pixels, target, tensor), target, tensor) <= 1.001


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 20), st.integers(1, 20), st.integers(0, 2**32 - 1))
def test_averages_are_within_half_a_level_of_the_mean_of_four(
    height: int, width: int, out_height: int, out_width: int, seed: int
) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 4), np.uint8)
    result = average_resize(pixels, Box(0.0, 0.0, width, height), (out_width, out_height))
    assert result.shape == (out_height, out_width, 4)
    assert np.abs(result - slow.average(pixels, (out_width, out_height))).max() <= 0.5


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 20), st.integers(1, 20))
def test_halving_stops_at_the_least_size_and_at_odd_ones(height: int, width: int, wide: int, high: int) -> None:
    pixels = np.random.default_rng(height).integers(0, 256, (height, width, 4), np.uint8)
    before = pixels.copy()
    result = halve(pixels, least=(wide, high))
    down, across = height // result.shape[0], width // result.shape[1]
    assert (result.shape[0] * down, result.shape[1] * across) == (height, width)
    for length, least in ((result.shape[0], high), (result.shape[1], wide)):
        assert length >= least or length in (height, width)
        assert length % 2 or length // 2 < least
    blocks = pixels.reshape(result.shape[0], down, result.shape[1], across, 4).mean((1, 3))
    assert np.abs(result - blocks).max() <= max(np.log2(down * across), 0.5)
    np.testing.assert_array_equal(pixels, before)


@settings(max_examples=60, deadline=None)
@given(st.floats(0, 0.6), st.floats(0, 0.6), st.integers(1, 10))
def test_the_average_of_a_box_uses_only_its_pixels(left: float, top: float, size: int) -> None:
    box = Box(left, top, left + 0.3, top + 0.3).scaled((40, 30))
    pixels = np.zeros((30, 40, 4), np.uint8)
    rows, columns = slice(int(box.top), int(box.bottom) + 1), slice(int(box.left), int(box.right) + 1)
    pixels[rows, columns] = 200
    assert (average_resize(pixels, box, (size, size)) == 200).all()


@settings(max_examples=200, deadline=None)
@given(targets())
def test_tables_hold_exactly_the_rounded_saturated_values(aim: tuple[ImageInput, TensorSpec]) -> None:
    target, tensor = aim
    tables = pixel_tables(target, tensor)
    for channel, table in enumerate(tables):
        wanted = np.array([slow.number(float(pixel), channel, target, tensor) for pixel in range(256)])
        np.testing.assert_array_equal(table, wanted.astype(tensor.dtype))


@settings(max_examples=100, deadline=None)
@given(pictures(most=12), targets(), st.booleans())
def test_a_picture_of_the_models_size_is_only_quantised(
    picture: NDArray, aim: tuple[ImageInput, TensorSpec], bgr: bool
) -> None:
    target, tensor = aim
    channels = 1 if target.color == "GRAY" else 3
    height, width, _ = picture.shape
    shape = (1, channels, height, width) if target.layout == "NCHW" else (1, height, width, channels)
    target = ImageInput(
        size=(width, height), layout=target.layout, color=target.color, mean=target.mean, std=target.std, raw=target.raw
    )
    tensor = TensorSpec("input", shape, tensor.dtype, tensor.scale, tensor.zero_point)
    if target.color == "GRAY":
        result = prepared(picture[..., 0], target, tensor, kind="gray")
        wanted = slow.tensor_of(picture[..., :1], target, tensor)
    else:
        result = prepared(picture[..., ::-1] if bgr else picture, target, tensor, kind="bgr" if bgr else "rgb")
        wanted = slow.tensor_of(picture, target, tensor)
    np.testing.assert_array_equal(result, wanted.astype(tensor.dtype))


def test_halves_are_rounded_away_from_zero() -> None:
    target = ImageInput(size=(1, 1), mean=(128.0,), std=(1.0,))
    tensor = TensorSpec("input", (1, 1, 1, 3), np.dtype(np.int16), 2.0, 0)
    table = pixel_tables(target, tensor)[0]
    assert (table[125], table[127], table[129], table[131]) == (-2, -1, 1, 2)


def test_large_unfiltered_shrinks_average_blocks() -> None:
    picture = np.random.default_rng(3).integers(0, 256, (96, 144, 3), np.uint8)
    target = ImageInput(size=(16, 16), raw=True, antialias=False)
    tensor = TensorSpec("input", (1, 16, 16, 3), np.dtype(np.uint8), 1.0, 0)
    blocks = picture.reshape(24, 4, 24, 6, 3).mean((1, 3))
    wanted = slow.resize(blocks, (0, 0, 24, 24), (16, 16), filtered=True)
    assert np.abs(prepared(picture, target, tensor)[0] - wanted).max() <= 2


@pytest.mark.parametrize("kind", ["rgb", "bgr", "gray"])
def test_a_colour_arrives_in_the_models_order(kind: str) -> None:
    color = np.array([200, 100, 50], np.uint8)
    data = np.full((8, 8), 77, np.uint8) if kind == "gray" else np.tile(color, (8, 8, 1))
    red, green, blue = (77, 77, 77) if kind == "gray" else color if kind == "rgb" else color[::-1]
    luma = round(0.299 * red + 0.587 * green + 0.114 * blue)
    for order, wanted in (("RGB", (red, green, blue)), ("BGR", (blue, green, red)), ("GRAY", (luma,))):
        target = ImageInput(size=(4, 4), color=order, raw=True)
        tensor = TensorSpec("input", (1, 4, 4, len(wanted)), np.dtype(np.uint8), 1.0, 0)
        result = prepared(data, target, tensor, kind=kind)
        assert np.abs(result.astype(int) - np.array(wanted)).max() <= 1


def test_a_tensor_that_no_such_picture_fills_is_refused() -> None:
    target = ImageInput(size=(224, 224))
    with pytest.raises(InputMismatchError, match="224x224"):
        build(target, tensor=TensorSpec("input", (1, 192, 192, 3), np.dtype(np.uint8)))
