"""The V4L2 source over a kernel of the test's own making."""

import errno
import time

import msgspec
import numpy as np
import pytest
from fake_v4l2 import JPEG, FakeCamera, FakeKernel, Shot, fails

from edge_runtime.errors import (
    BadFrameError,
    InputMismatchError,
    SourceError,
    SourceTimeoutError,
    SourceUnavailableError,
    UsageError,
)
from edge_runtime.sources.v4l2 import V4L2Config, V4L2Source, _abi
from edge_runtime.types import ImageInput, WindowInput


def opened(kernel, **settings):
    source = V4L2Source(V4L2Config(**settings), stream="camera0", wants=ImageInput((224, 224)), kernel=kernel)
    source.open()
    return source


def camera(*shots, **about):
    made = FakeCamera(**about)
    made.shots.extend(shots or [Shot()])
    return made


def test_jpeg_pictures_arrive_as_the_camera_sent_them():
    source = opened(FakeKernel(video0=camera(Shot(), Shot(JPEG + b"\0\0"))))
    first, second = source.read(1.0), source.read(1.0)
    assert (first.format, first.data, first.stream, first.sequence) == ("jpeg", JPEG, "camera0", 0)
    assert (second.data, second.sequence) == (JPEG + b"\0\0", 1)


def test_the_default_is_jpeg_at_720p_and_30_frames_per_second():
    assert opened(FakeKernel(video0=camera())).describe() == {
        "type": "v4l2",
        "device": "/dev/video0",
        "name": "Webcam",
        "driver": "uvcvideo",
        "bus": "usb-1",
        "size": [1280, 720],
        "fps": 30.0,
        "format": "mjpeg",
    }


def test_rows_of_yuyv_lose_their_padding():
    rows = b"".join(bytes([row * 8 + byte for byte in range(8)]) + b"PAD!" for row in range(2))
    kernel = FakeKernel(video0=camera(Shot(rows), formats={"YUYV": {(4, 2): (30,)}}, padding=4))
    frame = opened(kernel).read(1.0)
    assert frame.format == "yuyv"
    np.testing.assert_array_equal(frame.data, np.arange(16, dtype=np.uint8).reshape(2, 4, 2))


def test_uyvy_becomes_yuyv():
    kernel = FakeKernel(video0=camera(Shot(b"U0V1"), formats={"UYVY": {(2, 1): (30,)}}))
    frame = opened(kernel).read(1.0)
    assert frame.format == "yuyv"
    assert frame.data.tobytes() == b"0U1V"


def test_what_the_driver_grants_counts_and_not_what_was_asked_for():
    kernel = FakeKernel(
        video0=camera(Shot(bytes(8)), formats={"GREY": {}}, sizes_snap_to=(4, 2), takes_rate=False),
    )
    source = opened(kernel, size=(640, 480))
    assert source.read(1.0).data.shape == (2, 4)
    assert (source.describe()["size"], source.describe()["fps"]) == ([4, 2], None)


def test_a_kernel_time_stamp_is_the_moment_of_capture():
    stamp_ns = time.monotonic_ns() // 1000 * 1000 - 5_000_000
    assert opened(FakeKernel(video0=camera(Shot(stamp_ns=stamp_ns)))).read(1.0).captured_ns == stamp_ns


@pytest.mark.parametrize("offset_s", [-3600, +60])
def test_a_time_stamp_that_cannot_be_is_not_believed(offset_s):
    stamp_ns = time.monotonic_ns() + offset_s * 10**9
    frame = opened(FakeKernel(video0=camera(Shot(stamp_ns=max(0, stamp_ns))))).read(1.0)
    assert frame.captured_ns == frame.arrived_ns


def test_without_a_time_stamp_the_moment_of_reading_counts():
    before = time.monotonic_ns()
    frame = opened(FakeKernel(video0=camera(Shot()))).read(1.0)
    assert before <= frame.captured_ns == frame.arrived_ns


@pytest.mark.parametrize(
    ("shot", "said"),
    [
        (Shot(flags=_abi.BUF_FLAG_ERROR), "marked a frame as broken"),
        (Shot(b""), "marked a frame as broken"),
        (Shot(b"\0\0\0\0"), "no JPEG"),
        (Shot(JPEG[:-3]), "cut off"),
    ],
)
def test_a_broken_frame_is_reported_counted_and_the_next_one_is_good(shot, said):
    source = opened(FakeKernel(video0=camera(Shot(), shot, Shot())))
    source.read(1.0)
    with pytest.raises(BadFrameError, match=said):
        source.read(1.0)
    assert source.read(1.0).sequence == 2


def test_a_short_raw_frame_is_broken():
    source = opened(FakeKernel(video0=camera(Shot(bytes(15)), formats={"YUYV": {(4, 2): (30,)}})))
    with pytest.raises(BadFrameError, match="15 bytes of 16"):
        source.read(1.0)


def test_a_camera_that_never_writes_the_end_marker_is_believed():
    unfinished = Shot(b"\xff\xd8 a picture")
    source = opened(FakeKernel(video0=camera(unfinished, unfinished)))
    assert source.read(1.0).data == source.read(1.0).data == unfinished.data


def test_silence_ends_at_the_deadline_and_the_source_stays_open():
    device = camera()
    source = opened(FakeKernel(video0=device))
    source.read(1.0)
    with pytest.raises(SourceTimeoutError, match=r"0\.25 s"):
        source.read(0.25)
    device.shots.append(Shot())
    assert source.read(1.0).data == JPEG


def test_every_buffer_goes_back_to_the_driver():
    device = camera(Shot(), Shot(flags=_abi.BUF_FLAG_ERROR))
    source = opened(FakeKernel(video0=device), buffers=3)
    source.read(1.0)
    with pytest.raises(BadFrameError):
        source.read(1.0)
    assert device.asked.count(_abi.VIDIOC_QBUF) == 3 + 2


def test_closing_stops_the_camera_and_may_be_done_twice():
    device = camera()
    source = opened(FakeKernel(video0=device))
    source.close()
    source.close()
    assert not device.streaming
    assert device.opened == 0
    with pytest.raises(SourceError, match="not open"):
        source.read(1.0)


def test_a_failed_start_leaves_nothing_open():
    device = camera(failing={_abi.VIDIOC_STREAMON: fails(errno.ENOSPC)})
    with pytest.raises(SourceUnavailableError, match="USB bandwidth"):
        opened(FakeKernel(video0=device), device="/dev/video0")
    assert device.opened == 0


def test_an_unplugged_camera_is_found_again_under_another_number():
    kernel = FakeKernel(video0=camera(bus="usb-1", card="A"), video2=camera(bus="usb-2", card="B"))
    source = opened(kernel)
    source.read(1.0)
    kernel.cameras["/dev/video0"].gone = True
    with pytest.raises(SourceError, match="unplugged"):
        source.read(1.0)
    source.close()
    with pytest.raises(SourceUnavailableError, match=r"A \(usb-1\) is not there"):
        source.open()
    kernel.cameras["/dev/video4"] = camera(bus="usb-1", card="A")
    source.open()
    assert source.describe()["device"] == "/dev/video4"


def test_the_same_camera_may_come_back_at_another_usb_port():
    kernel = FakeKernel(video0=camera(bus="usb-1"))
    source = opened(kernel)
    kernel.cameras["/dev/video0"].gone = True
    kernel.cameras["/dev/video1"] = camera(bus="usb-7")
    source.open()
    assert source.describe()["bus"] == "usb-7"


def test_a_twin_that_was_there_all_along_does_not_take_over():
    kernel = FakeKernel(video0=camera(bus="usb-1"), video2=camera(bus="usb-2"))
    source = opened(kernel)
    kernel.cameras["/dev/video0"].gone = True
    with pytest.raises(SourceUnavailableError, match="not there"):
        source.open()


def test_a_device_given_by_path_is_opened_by_path():
    kernel = FakeKernel(video0=camera(), video3=camera(card="Other"))
    assert opened(kernel, device="/dev/video3").describe()["name"] == "Other"
    assert opened(kernel, device="0").describe()["device"] == "/dev/video0"


def test_two_sources_without_a_device_take_two_cameras():
    kernel = FakeKernel(video0=camera(bus="usb-1"), video2=camera(bus="usb-2"))
    assert [opened(kernel).describe()["device"] for _ in range(2)] == ["/dev/video0", "/dev/video2"]


def test_the_first_camera_that_really_captures_is_taken():
    silent = FakeCamera(bus="usb-1")
    kernel = FakeKernel(video0=silent, video1=camera(bus="usb-2"))
    assert opened(kernel).describe()["device"] == "/dev/video1"
    assert (silent.streaming, silent.opened) == (False, 0)


def test_when_no_camera_captures_each_says_why():
    kernel = FakeKernel(video0=FakeCamera(), video1=camera(failing={_abi.VIDIOC_S_FMT: fails(errno.EIO)}))
    with pytest.raises(SourceUnavailableError) as caught:
        opened(kernel)
    assert "/dev/video0 started, and delivered no picture within" in str(caught.value)
    assert "/dev/video1 does not work" in str(caught.value)


def test_no_camera_at_all():
    with pytest.raises(SourceUnavailableError, match="no camera found: plug one in"):
        opened(FakeKernel())


def test_a_path_that_is_not_there():
    with pytest.raises(SourceUnavailableError, match="/dev/video7 is not there"):
        opened(FakeKernel(), device="/dev/video7")


def test_what_is_no_video_device_is_the_users_mistake():
    odd = FakeCamera(failing={_abi.VIDIOC_QUERYCAP: fails(errno.ENOTTY)})
    with pytest.raises(UsageError, match="/dev/null is not a camera"):
        opened(FakeKernel(null=odd), device="/dev/null")


def test_a_node_that_does_not_capture_says_what_it_is():
    metadata = FakeCamera(capabilities=0x00800000 | _abi.CAP_STREAMING)
    with pytest.raises(SourceUnavailableError, match=r"does not capture pictures \(uvcvideo: Webcam\)"):
        opened(FakeKernel(video1=metadata), device="/dev/video1")


def test_a_format_the_camera_lacks_is_named_with_those_it_has():
    with pytest.raises(UsageError, match="does not offer format rgb; it offers mjpeg, yuyv"):
        opened(FakeKernel(video0=camera()), device="/dev/video0", format="rgb")


def test_another_device_in_the_place_of_a_lost_camera_does_not_end_the_run():
    kernel = FakeKernel(video0=camera())
    source = opened(kernel, device="/dev/video0", format="mjpeg")
    kernel.cameras["/dev/video0"] = camera(formats={"YUYV": {(640, 480): (30,)}})
    with pytest.raises(SourceUnavailableError, match="does not offer format mjpeg"):
        source.open()


def test_a_model_for_samples_is_refused():
    source = V4L2Source(V4L2Config(), stream="camera0", wants=WindowInput(128, 3), kernel=FakeKernel(video0=camera()))
    with pytest.raises(InputMismatchError, match="--sensor"):
        source.open()


@pytest.mark.parametrize("values", [{"size": (0, 480)}, {"fps": 0}, {"buffers": 1}, {"format": "h264"}, {"colour": 1}])
def test_settings_that_cannot_be_meant_are_refused(values):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(values, V4L2Config)


def test_the_constructor_touches_no_device():
    device = camera()
    V4L2Source(V4L2Config(), stream="camera0", wants=None, kernel=FakeKernel(video0=device))
    assert device.asked == []
