"""Which camera and which mode, and what a person is told when there is none."""

import errno
import getpass
import json
import os
import pty
import subprocess
import sys

import pytest
from fake_v4l2 import JPEG, USUAL, FakeCamera, FakeKernel, Shot, fails
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.cli import cameras as cli
from edge_runtime.sources.v4l2 import _abi, list_cameras
from edge_runtime.sources.v4l2._modes import CameraFormat, FrameSize, choose, interval, rate_hz, sizes_in_range
from edge_runtime.sources.v4l2._sentences import busy, holders, not_permitted, permission_sentence

MJPEG, YUYV = _abi.PIX_FMT_MJPEG, _abi.PIX_FMT_YUYV
STREAMS = _abi.CAP_STREAMING


def offers(fourcc, *sizes):
    return CameraFormat(fourcc, tuple(FrameSize(size, rates) for size, rates in sizes))


def chosen(*formats, size=None, fps=None, name=None):
    mode = choose(formats, size=size, fps=fps, name=name)
    return None if mode is None else (mode.fourcc, mode.size, mode.fps)


def test_jpeg_is_preferred_to_raw_pictures():
    raw, jpeg = offers(YUYV, ((1280, 720), (30.0,))), offers(MJPEG, ((640, 480), (30.0,)))
    assert chosen(raw, jpeg) == (MJPEG, (640, 480), 30.0)


def test_the_nearest_size_and_rate_are_taken():
    jpeg = offers(MJPEG, ((640, 480), (30.0,)), ((1280, 960), (25.0, 10.0)), ((1920, 1080), (30.0,)))
    assert chosen(jpeg) == (MJPEG, (1280, 960), 25.0)
    assert chosen(jpeg, size=(600, 400), fps=5.0) == (MJPEG, (640, 480), 30.0)


def test_a_slow_large_picture_is_no_default_but_may_be_asked_for():
    raw = offers(YUYV, ((640, 480), (30.0,)), ((1280, 720), (10.0, 5.0)))
    assert chosen(raw) == (YUYV, (640, 480), 30.0)
    assert chosen(raw, size=(1280, 720)) == (YUYV, (1280, 720), 10.0)


def test_a_format_by_name():
    both = (offers(MJPEG, ((640, 480), (30.0,))), offers(YUYV, ((640, 480), (15.0,))))
    assert chosen(*both, name="yuyv") == (YUYV, (640, 480), 15.0)
    assert chosen(*both, name="rgb") is None


def test_a_driver_that_lists_no_sizes_is_asked_for_the_one_wanted():
    assert chosen(offers(YUYV)) == (YUYV, (1280, 720), 30.0)


@given(
    low=st.tuples(st.integers(1, 200), st.integers(1, 200)),
    span=st.tuples(st.integers(0, 300), st.integers(0, 300)),
    step=st.tuples(st.integers(0, 16), st.integers(0, 16)),
    wanted=st.tuples(st.integers(1, 5000), st.integers(1, 5000)),
)
def test_sizes_out_of_a_range_are_sizes_the_range_allows(low, span, step, wanted):
    high = tuple(start + max(1, by) * many for start, by, many in zip(low, step, span, strict=True))
    for size in sizes_in_range(low, high, step, wanted=[wanted]):
        for axis in range(2):
            assert low[axis] <= size[axis] <= high[axis]
            assert (size[axis] - low[axis]) % max(1, step[axis]) == 0


@given(st.integers(1, 240) | st.floats(0.5, 240))
def test_a_rate_survives_the_way_to_the_driver(fps):
    assert rate_hz(*interval(float(fps))) == pytest.approx(fps, abs=0.002)


def test_a_frame_interval_of_nothing_is_no_rate():
    assert rate_hz(0, 0) == 0.0


def node(capabilities, **about):
    return FakeCamera(capabilities=capabilities, shots=[Shot()], **about)


def usable(kernel):
    return {camera.device: camera.usable for camera in list_cameras(kernel=kernel)}


def test_codecs_image_processors_and_metadata_are_no_cameras():
    capture = _abi.CAP_VIDEO_CAPTURE | STREAMS
    kernel = FakeKernel(
        video0=node(capture),
        video1=node(0x00800000 | STREAMS),
        video10=node(_abi.CAP_VIDEO_M2M_MPLANE | STREAMS, driver="bcm2835-codec"),
        video14=node(capture, driver="bcm2835-isp", formats={"YUYV": USUAL}),
        video19=node(_abi.CAP_VIDEO_M2M_MPLANE | STREAMS, driver="rpi-hevc-dec"),
        video20=node(_abi.CAP_VIDEO_CAPTURE_MPLANE | STREAMS, driver="pispbe"),
    )
    assert usable(kernel) == {"/dev/video0": True}


@pytest.mark.parametrize(
    ("about", "said"),
    [
        ({"driver": "unicam", "formats": {"pBAA": USUAL}}, "works through picamera2"),
        ({"driver": "rp1-cfe", "extra": _abi.CAP_IO_MC}, "works through picamera2"),
        ({"driver": "imx", "extra": _abi.CAP_IO_MC}, "media controller"),
        ({"formats": {"H264": USUAL}}, "no pixel format that can be used"),
        ({"failing": {"open": fails(errno.EBUSY)}}, "is in use"),
        ({"failing": {_abi.VIDIOC_STREAMON: fails(errno.EBUSY)}}, "is in use"),
        ({"failing": {_abi.VIDIOC_STREAMON: fails(errno.EIO)}}, "Input/output error"),
    ],
)
def test_a_camera_that_cannot_be_used_says_why(about, said):
    extra = about.pop("extra", 0)
    kernel = FakeKernel(video0=node(_abi.CAP_VIDEO_CAPTURE | STREAMS | extra, **about))
    (found,) = list_cameras(kernel=kernel)
    assert not found.usable
    assert said in found.reason


def test_a_hardware_camera_behind_unicam_with_usable_pictures_is_a_camera():
    assert usable(FakeKernel(video0=node(_abi.CAP_VIDEO_CAPTURE | STREAMS, driver="unicam"))) == {"/dev/video0": True}


def test_a_camera_that_delivers_nothing_is_not_usable_unless_it_is_believed():
    kernel = FakeKernel(video0=FakeCamera())
    (tried,) = list_cameras(kernel=kernel)
    (believed,) = list_cameras(kernel=kernel, try_s=None)
    assert (tried.usable, believed.usable) == (False, True)
    assert "delivered no picture" in tried.reason


def test_a_range_of_sizes_is_listed_by_its_ends_and_the_usual_ones_inside():
    grid = ("range", (16, 16), (1280, 960), (16, 16))
    kernel = FakeKernel(video0=FakeCamera(formats={"YUYV": {grid: ()}}, shots=[Shot()]))
    (found,) = list_cameras(kernel=kernel)
    assert [each.size for each in found.formats[0].sizes] == [(16, 16), (640, 480), (1280, 720), (1280, 960)]


def printed(monkeypatch, capsys, kernel, **flags):
    monkeypatch.setattr(cli, "list_cameras", lambda: list_cameras(kernel=kernel))
    status = cli.print_cameras(**({"json": False} | flags))
    return status, capsys.readouterr()


def test_the_list_names_cameras_formats_and_rates(monkeypatch, capsys):
    kernel = FakeKernel(video0=FakeCamera(shots=[Shot()]), video2=FakeCamera())
    status, shown = printed(monkeypatch, capsys, kernel)
    assert status == 0
    assert shown.out.splitlines()[:2] == [
        "/dev/video0  Webcam  (uvcvideo, usb-1)",
        "    mjpeg  640x480@30 1280x720@30",
    ]
    assert "/dev/video2 started, and delivered no picture" in shown.out


def test_the_list_as_json_names_the_default(monkeypatch, capsys):
    kernel = FakeKernel(video0=FakeCamera(), video2=FakeCamera(shots=[Shot(JPEG)]))
    status, shown = printed(monkeypatch, capsys, kernel, json=True)
    document = json.loads(shown.out)
    assert (status, document["default"]) == (0, "/dev/video2")
    assert [camera["usable"] for camera in document["cameras"]] == [False, True]
    assert document["cameras"][1]["formats"][0]["sizes"][0] == {"size": [640, 480], "fps": [30.0, 15.0]}


def test_an_empty_list_is_a_failure_with_advice(monkeypatch, capsys):
    status, shown = printed(monkeypatch, capsys, FakeKernel())
    assert (status, shown.out) == (1, "")
    assert "no camera found" in shown.err


def test_who_is_not_in_the_group_is_told_how_to_join():
    said = permission_sentence(user="ada", group="video", enters=True, listed=False, active=False)
    assert "`sudo usermod -aG video ada`, then log in again" in said


def test_who_joined_the_group_after_logging_in_is_told_to_log_in_again():
    said = permission_sentence(user="ada", group="video", enters=True, listed=True, active=False)
    assert "log out and in again" in said
    assert "usermod" not in said


@pytest.mark.parametrize("case", [{"enters": False}, {"active": True}, {"group": "root"}])
def test_where_a_group_does_not_help_a_rule_is_asked_for(case):
    usual = {"user": "ada", "group": "video", "enters": True, "listed": False, "active": False}
    assert "udev rule" in permission_sentence(**(usual | case))


def test_permissions_of_a_real_file_are_put_into_words(tmp_path):
    device = tmp_path / "video0"
    device.touch(mode=0o600)
    assert f"may not be opened by {getpass.getuser()}" in not_permitted(device)
    assert "may not be opened by this user" in not_permitted(tmp_path / "gone")


def test_the_program_that_holds_a_device_is_named():
    # A pseudo-terminal is a real device, which another process can hold open.
    leader, follower = pty.openpty()
    path = os.ttyname(follower)
    script = "import sys; held = open(sys.argv[1], 'rb'); print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", script, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "held\n"
        os.close(follower)
        found = holders(path)
        other.communicate()
    os.close(leader)
    assert [pid for _, pid in found] == [other.pid]
    assert f"is in use by {found[0][0]} (pid {other.pid}): stop that program" in busy(found)
    assert "python" in found[0][0]


def test_a_device_this_program_holds_itself_is_said_to_be_so():
    assert "another source of this program" in busy([("edge-infer", os.getpid())])


def test_a_holder_that_may_not_be_seen_is_another_users():
    assert "another user" in busy([])


def test_nobody_holds_what_is_not_there(tmp_path):
    assert holders(str(tmp_path / "video0")) == []
