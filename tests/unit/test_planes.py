"""Pictures out of buffers with longer rows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.errors import BadFrameError
from edge_runtime.sources._planes import i420, packed

sides = st.integers(1, 12)


@given(sides, sides, st.integers(1, 4), st.integers(0, 9))
def test_packed_pixels_lose_their_padding_and_nothing_else(width, height, channels, padding):
    stride = width * channels + padding
    rows = np.random.default_rng(0).integers(0, 256, (height, stride), np.uint8)
    got = packed(rows.tobytes(), (width, height), stride=stride, channels=channels)
    expected = rows[:, : width * channels].reshape((height, width, channels) if channels > 1 else (height, width))
    np.testing.assert_array_equal(got, expected)
    assert got.flags.owndata or got.base.flags.owndata


@given(sides, sides, st.integers(0, 8))
def test_planes_lose_their_padding_and_nothing_else(half_width, half_height, half_padding):
    width, height, stride = half_width * 2, half_height * 2, half_width * 2 + half_padding * 2
    luma = np.random.default_rng(1).integers(0, 256, (height, stride), np.uint8)
    chroma = np.random.default_rng(2).integers(0, 256, (2, half_height, stride // 2), np.uint8)
    got = i420(luma.tobytes() + chroma.tobytes(), (width, height), stride=stride)
    assert got.shape == (height * 3 // 2, width)
    np.testing.assert_array_equal(got[:height], luma[:, :width])
    np.testing.assert_array_equal(got[height:].reshape(2, half_height, half_width), chroma[:, :, :half_width])


def test_the_last_row_may_lack_its_padding():
    assert packed(b"abcXdef", (3, 2), stride=4, channels=1).tobytes() == b"abcdef"


def test_a_short_buffer_is_a_bad_frame():
    with pytest.raises(BadFrameError, match="6 bytes of 7"):
        packed(b"abcXde", (3, 2), stride=4, channels=1)
    with pytest.raises(BadFrameError, match="5 bytes of 6"):
        i420(b"abcde", (2, 2), stride=2)


def test_an_odd_side_has_no_planes_of_half_the_size():
    with pytest.raises(BadFrameError, match="3x2"):
        i420(bytes(100), (3, 2), stride=4)
