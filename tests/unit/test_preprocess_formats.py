"""What frames hold: camera JPEG, picture files, YUV; broken and hostile ones."""

import contextlib
import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
import slow_preprocess as slow
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageOps

from edge_runtime.errors import BadFrameError, InputMismatchError
from edge_runtime.preprocess import jpeg
from edge_runtime.preprocess.factory import build
from edge_runtime.preprocess.picture import upright
from edge_runtime.preprocess.window import WindowPreprocessor
from edge_runtime.types import Frame, ImageInput, TensorSpec, View, WindowInput

PLAIN = View()


def frame(data: Any, kind: Any) -> Frame:
    return Frame(data, kind, "camera0", 0, 0, 0)


def prepared(
    data: Any, kind: Any, *, size: tuple[int, int] = (64, 48), antialias: bool = True, color: Any = "RGB"
) -> NDArray[np.uint8]:
    """Return the pixels, (height, width, channels), that a model would see."""
    channels = 1 if color == "GRAY" else 3
    target = ImageInput(size=size, raw=True, antialias=antialias, color=color)
    tensor = TensorSpec("input", (1, size[1], size[0], channels), np.dtype(np.uint8), 1.0, 0)
    (result,), _ = build(target, tensor=tensor)(frame(data, kind))
    return result[0]


def photo(width: int = 1280, height: int = 720, seed: int = 1) -> Image.Image:
    """Return something like a photograph: large shapes, edges, grain."""
    random = np.random.default_rng(seed)
    small = Image.fromarray(random.integers(0, 256, (height // 40 + 2, width // 40 + 2, 3), np.uint8))
    shapes = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    shapes[height // 3 : height // 2, width // 4 : width // 2] = (220, 40, 30)
    return Image.fromarray(np.clip(shapes + random.normal(0, 6, shapes.shape), 0, 255).astype(np.uint8))


def encoded(picture: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def careful(data: bytes, size: tuple[int, int], mode: str = "RGB") -> NDArray[np.uint8]:
    """Return what the reference results were made with: full decode, Pillow's filtered bilinear."""
    with Image.open(io.BytesIO(data)) as picture:
        resized = np.asarray(picture.convert(mode).resize(size, Image.Resampling.BILINEAR))
    return resized if mode == "RGB" else resized[..., None]


def difference(first: NDArray, second: NDArray) -> NDArray:
    return np.abs(first.astype(int) - second.astype(int))


@pytest.mark.parametrize("size", [(224, 224), (300, 300), (128, 96), (640, 640)])
@pytest.mark.parametrize("color", ["RGB", "GRAY"])
def test_a_scaled_decode_stays_near_the_full_one(size: tuple[int, int], color: str) -> None:
    data = encoded(photo(), quality=88)
    full = careful(data, size, "L" if color == "GRAY" else "RGB")
    filtered = difference(prepared(data, "jpeg", size=size, color=color), full)
    fast = difference(prepared(data, "jpeg", size=size, color=color, antialias=False), full)
    assert filtered.mean() < 1.2
    assert np.quantile(filtered, 0.99) <= 8
    assert fast.mean() < 4
    assert np.quantile(fast, 0.99) <= 24


def test_a_file_of_ordinary_size_is_decoded_in_full() -> None:
    for data in (encoded(photo(500, 400), quality=90), encoded(photo(200, 300), "PNG")):
        assert difference(prepared(data, "picture", size=(224, 224)), careful(data, (224, 224))).max() == 0


def test_a_large_file_stays_near_the_full_decode() -> None:
    data = encoded(photo(2560, 1440), quality=90)
    assert difference(prepared(data, "picture", size=(224, 224)), careful(data, (224, 224))).mean() < 1


@pytest.mark.parametrize(
    ("size", "least", "factor"),
    [
        ((1280, 720), (180, 180), 4),
        ((1280, 720), (224, 224), 2),
        ((1280, 720), (640, 361), 1),
        ((8, 8), (1, 1), 8),
        ((7, 7), (1, 1), 8),
        ((7, 7), (2, 1), 4),
        ((64, 64), (65, 65), 1),
    ],
)
def test_the_decode_shrinks_by_powers_of_two_as_far_as_it_may(
    size: tuple[int, int], least: tuple[int, int], factor: int
) -> None:
    assert jpeg.shrink_factor(size, least) == factor
    pixels = jpeg.decode_jpeg(encoded(photo(*size)), size=size, least=least, color="RGB", exact=False)
    assert pixels.shape == (-(-size[1] // factor), -(-size[0] // factor), 3)


@pytest.mark.parametrize("color", ["RGB", "BGR", "GRAY"])
@pytest.mark.parametrize("antialias", [True, False])
def test_without_simplejpeg_pillow_does_the_same(monkeypatch: pytest.MonkeyPatch, color: str, antialias: bool) -> None:
    data = encoded(photo(), quality=88)
    usual = prepared(data, "jpeg", size=(224, 224), color=color, antialias=antialias)
    monkeypatch.setattr(jpeg, "simplejpeg", None)
    fallback = prepared(data, "jpeg", size=(224, 224), color=color, antialias=antialias)
    assert difference(usual, fallback).mean() < (1 if antialias else 4)
    with pytest.raises(BadFrameError):
        prepared(data[:20_000], "jpeg")


def without_huffman_tables(data: bytes) -> bytes:
    """Return a JPEG as many USB cameras send it: without the standard Huffman tables."""
    result, position = bytearray(data[:2]), 2
    while data[position + 1] != 0xDA:
        length = 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        if data[position + 1] != 0xC4:
            result += data[position : position + length]
        position += length
    return bytes(result + data[position:])


def test_every_kind_of_jpeg_of_a_camera_is_read() -> None:
    picture = photo(320, 240)
    plain = encoded(picture, quality=90)
    wanted = prepared(plain, "jpeg")
    for data in (
        without_huffman_tables(plain),
        plain + bytes(512),
        plain[:-2] + b"\0\0" + plain[-2:],
        encoded(picture, quality=90, progressive=True),
        encoded(picture, quality=90, subsampling=0),
        encoded(picture.convert("CMYK"), quality=90),
    ):
        assert difference(prepared(data, "jpeg"), wanted).mean() < 4
        assert difference(prepared(memoryview(data), "jpeg"), wanted).mean() < 4
    grey = encoded(picture.convert("L"), quality=90)
    assert difference(prepared(grey, "jpeg"), careful(grey, (64, 48))).mean() < 1


@pytest.mark.parametrize("kind", ["jpeg", "picture"])
@pytest.mark.parametrize(
    "data", [b"", b"\xff\xd8", b"hello", b"\xff\xd8\xff\xe0" + bytes(100), encoded(photo(320, 240))[:6000]]
)
def test_broken_and_truncated_pictures_are_bad_frames_of_one_line(kind: str, data: bytes) -> None:
    with pytest.raises(BadFrameError) as caught:
        prepared(data, kind)
    assert "\n" not in str(caught.value)


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


def with_jpeg_size(data: bytes, width: int, height: int) -> bytes:
    start = data.index(b"\xff\xc0") + 5
    return data[:start] + struct.pack(">HH", height, width) + data[start + 4 :]


@pytest.mark.parametrize(("width", "height"), [(10_000, 10_000), (12_000, 12_000), (60_000, 60_000)])
def test_a_decompression_bomb_is_refused_by_its_header(width: int, height: int) -> None:
    with pytest.raises(BadFrameError, match=f"{width}x{height}|damaged|cannot be read"):
        prepared(png_header(width, height), "picture")
    huge = with_jpeg_size(encoded(photo(64, 64)), width, height)
    for kind in ("jpeg", "picture"):
        with pytest.raises(BadFrameError, match=f"{width}x{height}|exceeds"):
            prepared(huge, kind)


def test_a_progressive_jpeg_of_countless_scans_is_refused() -> None:
    data = encoded(photo(64, 64), progressive=True)
    scan = data[data.rindex(b"\xff\xda") : -2]
    assert prepared(data, "picture").shape == (48, 64, 3)
    with pytest.raises(BadFrameError, match="scans"):
        prepared(data[:-2] + 200 * scan + data[-2:], "picture")


SMALL_FILES = {
    kind: encoded(photo(48, 40).convert(mode), kind)
    for kind, mode in (
        ("JPEG", "RGB"), ("PNG", "P"), ("GIF", "P"), ("BMP", "RGB"), ("WEBP", "RGB"), ("TIFF", "RGB"), ("PPM", "RGB"),
        ("TGA", "RGB"), ("ICO", "RGBA"), ("PCX", "RGB"), ("SGI", "RGB"), ("JPEG2000", "RGB"),
    )
}  # fmt: skip


@pytest.mark.parametrize("kind", SMALL_FILES)
def test_picture_files_of_every_kind_are_read(kind: str) -> None:
    assert difference(prepared(SMALL_FILES[kind], "picture"), careful(SMALL_FILES[kind], (64, 48))).max() <= 1


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_damaged_pictures_never_crash(data: st.DataObject) -> None:
    damaged = bytearray(SMALL_FILES[data.draw(st.sampled_from(sorted(SMALL_FILES)))])
    for _ in range(data.draw(st.integers(1, 6))):
        start = data.draw(st.integers(0, len(damaged)))
        # Headers are where it hurts.
        start = start % 80 if data.draw(st.booleans()) else start
        patch = data.draw(st.binary(max_size=6))
        damaged[start : start + data.draw(st.integers(0, 6))] = patch
    for kind in ("picture", "jpeg"):
        with contextlib.suppress(BadFrameError):
            assert prepared(bytes(damaged), kind).shape == (48, 64, 3)


@pytest.mark.parametrize("tag", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_exif_orientation_of_a_file_is_honoured(tag: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = tag
    options = {"quality": 95} if kind == "JPEG" else {}
    data = encoded(photo(96, 72), kind, exif=exif, **options)
    with Image.open(io.BytesIO(data)) as picture:
        turned = ImageOps.exif_transpose(picture).convert("RGB")
    wanted = np.asarray(turned.resize((40, 60), Image.Resampling.BILINEAR))
    assert difference(prepared(data, "picture", size=(40, 60)), wanted).max() <= 1
    assert difference(upright(frame(data, "picture"), PLAIN), np.asarray(turned)).max() == 0
    if kind == "JPEG":
        with Image.open(io.BytesIO(data)) as picture:
            assert upright(frame(data, "jpeg"), PLAIN).shape[1::-1] == picture.size


def test_odd_modes_become_eight_bit_colours() -> None:
    deep = encoded(Image.fromarray(np.full((8, 8), 0x8040, np.uint16)), "PNG")
    assert (prepared(deep, "picture") == 0x80).all()
    see_through = encoded(Image.new("RGBA", (8, 8), (10, 20, 30, 0)), "PNG")
    assert (prepared(see_through, "picture") == (10, 20, 30)).all()
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([0, 0, 0, 90, 80, 70])
    assert (prepared(encoded(palette, "PNG", transparency=b"\x00\x10"), "picture") == (90, 80, 70)).all()


def yuv_planes(picture: Image.Image) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
    """Return limited-range Y, U, V of a picture, all at full size."""
    full = np.asarray(picture.convert("YCbCr")).astype(float)
    luma = np.rint(full[..., 0] * 219 / 255 + 16)
    blue, red = (np.rint((full[..., channel] - 128) * 224 / 255 + 128) for channel in (1, 2))
    return luma.astype(np.uint8), blue.astype(np.uint8), red.astype(np.uint8)


def yuyv(luma: NDArray, blue: NDArray, red: NDArray) -> NDArray[np.uint8]:
    chroma = np.empty_like(luma)
    pairs = [plane.reshape(plane.shape[0], -1, 2).mean(2) for plane in (blue, red)]
    chroma[:, 0::2], chroma[:, 1::2] = np.rint(pairs)
    return np.ascontiguousarray(np.stack((luma, chroma), axis=-1))


def i420(luma: NDArray, blue: NDArray, red: NDArray) -> NDArray[np.uint8]:
    height, width = luma.shape
    blocks = [plane.reshape(height // 2, 2, width // 2, 2).mean((1, 3)) for plane in (blue, red)]
    return np.concatenate([luma, *(np.rint(block).astype(np.uint8).reshape(-1, width) for block in blocks)])


@settings(max_examples=60, deadline=None)
@given(
    st.integers(16, 235), st.integers(16, 240), st.integers(16, 240), st.sampled_from([(16, 8), (64, 48), (300, 200)])
)
def test_yuv_colours_are_those_of_bt601_limited_range(y: int, u: int, v: int, size: tuple[int, int]) -> None:
    width, height = size
    planes = [np.full((height, width), value, np.uint8) for value in (y, u, v)]
    wanted = slow.yuv_to_rgb(*planes)[0, 0]
    for data, kind in ((yuyv(*planes), "yuyv"), (i420(*planes), "i420")):
        for antialias in (True, False):
            result = prepared(data, kind, antialias=antialias)
            assert np.abs(result - wanted).max() <= 3
            assert np.abs(prepared(data, kind, color="BGR", antialias=antialias) - wanted[::-1]).max() <= 3
            grey = prepared(data, kind, color="GRAY", antialias=antialias)
            assert np.abs(grey.astype(float) - np.clip((y - 16) * 255 / 219, 0, 255)).max() <= 1


@pytest.mark.parametrize("size", [(1280, 720), (640, 480), (320, 240), (96, 80)])
@pytest.mark.parametrize("antialias", [True, False])
def test_yuv_pictures_look_like_the_slow_conversion(size: tuple[int, int], antialias: bool) -> None:
    planes = yuv_planes(photo(*size))
    rgb = Image.fromarray(np.rint(slow.yuv_to_rgb(*planes)).astype(np.uint8))
    seen = (224, 168) if size[0] >= 640 else (64, 48)
    wanted = np.asarray(rgb.resize(seen, Image.Resampling.BILINEAR))
    for data, kind in ((yuyv(*planes), "yuyv"), (i420(*planes), "i420")):
        result = prepared(data, kind, size=seen, antialias=antialias)
        assert difference(result, wanted).mean() < (1.5 if antialias else 4)
        # No cast: what is left is noise, blur and what the full size clips, not a colour that is off.
        assert np.abs((result.astype(float) - wanted).mean(axis=(0, 1))).max() < 1.5


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (np.zeros((4, 4), np.uint8), "rgb"),
        (np.zeros((4, 4, 4), np.uint8), "bgr"),
        (np.zeros((4, 4, 3), np.float32), "rgb"),
        (np.zeros((0, 4, 3), np.uint8), "rgb"),
        (np.zeros((4, 4, 3), np.uint8), "gray"),
        (np.zeros((4, 5, 2), np.uint8), "yuyv"),
        (np.zeros((4, 4), np.uint8), "i420"),
        (np.zeros((6, 5), np.uint8), "i420"),
        (np.zeros((4, 4, 3), np.uint8), "jpeg"),
        (b"12", "rgb"),
    ],
)
def test_arrays_that_are_no_such_picture_are_bad_frames(data: Any, kind: str) -> None:
    with pytest.raises(BadFrameError):
        prepared(data, kind)


def test_pictures_and_samples_are_not_mistaken_for_each_other() -> None:
    with pytest.raises(InputMismatchError, match="samples"):
        prepared(np.zeros((10, 1), np.float32), "window")
    window = WindowPreprocessor(input=WindowInput(4, 1), tensor=TensorSpec("input", (1, 4), np.dtype(np.float32)))
    with pytest.raises(InputMismatchError, match="picture"):
        window(frame(encoded(photo(64, 64)), "jpeg"))


def test_a_camera_jpeg_of_thousands_of_scans_is_refused_before_it_is_decoded() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), (200, 10, 10)).save(buffer, "JPEG", progressive=True)
    good = buffer.getvalue()
    assert jpeg.jpeg_size(good) == (64, 64)
    scan = good.rindex(b"\xff\xda")
    bomb = good[:scan] + good[scan:-2] * 5000 + good[-2:]
    with pytest.raises(BadFrameError, match="100 scans"):
        jpeg.jpeg_size(bomb)
    # Fill bytes and long comments before the frame header hide nothing.
    padded = bomb[:2] + (b"\xff\xff\xfe\xff\xff" + bytes(65533)) * 3 + bomb[2:]
    with pytest.raises(BadFrameError, match="100 scans"):
        jpeg.jpeg_size(padded)
