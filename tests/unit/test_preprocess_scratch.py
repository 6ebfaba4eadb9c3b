"""Memory for decoding that is used again: the same pixels as without it, and never two pictures in one place."""

import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from edge_runtime.errors import BadFrameError
from edge_runtime.preprocess import jpeg
from edge_runtime.preprocess.factory import build
from edge_runtime.preprocess.scratch import MOST_KEPT_BYTES, Scratch, Scratches
from edge_runtime.types import Frame, ImageInput, Size, TensorSpec

needs_simplejpeg = pytest.mark.skipif(jpeg.simplejpeg is None, reason="Pillow decodes into memory of its own")


def picture(seed: int, size: Size = (640, 480)) -> bytes:
    coarse = np.random.default_rng(seed).integers(0, 256, (size[1] // 8, size[0] // 8, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(coarse).resize(size).save(stream, "JPEG")
    return stream.getvalue()


@needs_simplejpeg
@pytest.mark.parametrize("color", ["RGB", "BGRX", "GRAY"])
@pytest.mark.parametrize("size", [(640, 480), (641, 479), (33, 17)])
def test_pixels_are_those_of_a_decode_into_memory_of_its_own(color: str, size: Size) -> None:
    data, scratch = picture(1, size), Scratch()
    wanted = {"size": size, "least": (60, 60), "color": color, "exact": False}

    pixels = jpeg.decode_jpeg(data, **wanted, scratch=scratch)  # type: ignore[arg-type]

    np.testing.assert_array_equal(pixels, jpeg.decode_jpeg(data, **wanted))  # type: ignore[arg-type]
    assert np.shares_memory(pixels, scratch.take(pixels.size))


def test_a_smaller_request_takes_the_same_memory() -> None:
    scratch = Scratch()

    assert np.shares_memory(scratch.take(3000), scratch.take(1000))


def test_of_a_very_large_picture_nothing_is_kept() -> None:
    scratch = Scratch()
    usual = scratch.take(1000)

    assert scratch.take(MOST_KEPT_BYTES + 1).size == MOST_KEPT_BYTES + 1
    assert np.shares_memory(scratch.take(1000), usual)


def test_two_at_a_time_get_two_places_and_a_failure_gives_its_place_back() -> None:
    scratches = Scratches()
    with pytest.raises(BadFrameError), scratches.lent() as failed:
        raise BadFrameError("damaged")

    with scratches.lent() as one, scratches.lent() as other:
        assert one is failed
        assert not np.shares_memory(one.take(100), other.take(100))


def test_pictures_of_several_threads_do_not_mix() -> None:
    target = ImageInput(size=(640, 480), raw=True, antialias=False)
    prepare = build(target, tensor=TensorSpec("input", (1, 480, 640, 3), np.dtype(np.uint8), 1.0, 0))
    files = [picture(seed) for seed in range(6)]

    def tensor(data: bytes) -> bytes:
        (pixels,), _ = prepare(Frame(data, "jpeg", "camera0", 0, 0, 0))
        return pixels.tobytes()

    alone = [tensor(data) for data in files]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(tensor, files * 20)) == alone * 20
