from pathlib import Path

import numpy as np
import pytest
from real_broker import free_port
from rtsp_server import RtspServer
from video_parts import (
    H264,
    MakeClip,
    MjpegServer,
    OpenSource,
    color_error,
    errors_until_given_up,
    jpeg,
    patches,
    pid_of,
    read_all,
    read_one,
    read_when_due,
)

from edge_runtime.errors import SourceError, SourceUnavailableError, UsageError
from edge_runtime.sources.video import redacted


def test_an_http_cameras_jpegs_arrive_byte_for_byte(camera: MjpegServer, opened: OpenSource) -> None:
    camera.pictures = [jpeg(np.full((48, 64, 3), level, np.uint8)) for level in range(0, 250, 10)]
    camera.password_wanted = True
    source = opened(f"http://me:hunter2@{camera.address}/video?token=secret")
    frame = read_one(source)
    assert frame.format == "jpeg"
    assert frame.data in camera.pictures
    assert frame.origin.position_s is None
    assert frame.captured_ns <= frame.arrived_ns
    assert source.describe()["url"] == f"http://{camera.address}/video?..."
    command_line = Path(f"/proc/{pid_of(source)}/cmdline").read_bytes()
    assert b"hunter2" not in command_line
    assert b"secret" not in command_line
    with pytest.raises(SourceUnavailableError, match="401"):
        opened(f"http://me:wrong@{camera.address}/video")


def test_a_stream_drops_to_the_newest(camera: MjpegServer, opened: OpenSource) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (240, 320, 3), np.uint8)
    camera.pictures = [jpeg(noise)] * 300  # 100 kB each: more than the sockets buffer
    source = opened(f"http://{camera.address}/video")
    assert camera.sent_all.wait(20)  # nobody has read yet: the decoder took them by itself
    sequences = [read_one(source).sequence]
    while sequences[-1] < 298:  # the last is complete only with the boundary after it
        sequences.append(read_one(source).sequence)
    assert sequences == sorted(set(sequences))
    assert len(sequences) < 150


def test_a_stream_that_changes_its_size_is_followed(camera: MjpegServer, opened: OpenSource) -> None:
    camera.pictures = [jpeg(np.zeros((48, 64, 3), np.uint8))] * 5 + [jpeg(np.zeros((480, 640, 3), np.uint8))] * 5
    source = opened(f"http://{camera.address}/video")
    assert camera.sent_all.wait(20)
    data = read_one(source).data
    while len(data) < 2000:
        data = read_one(source).data
    assert data == camera.pictures[9]


def test_a_finite_file_behind_http_runs_at_its_own_pace_and_ends(
    camera: MjpegServer, clip: MakeClip, opened: OpenSource
) -> None:
    camera.file = clip("web.mp4", *H264, "-movflags", "faststart").read_bytes()
    source = opened(f"http://{camera.address}/file")
    frames = list(iter(lambda: read_when_due(source), None))
    assert [f.origin.position_s for f in frames] == pytest.approx([n / 10 for n in range(10)])
    assert frames[9].arrived_ns - frames[0].arrived_ns > 500_000_000


def test_a_stream_that_ends_is_to_be_opened_anew(camera: MjpegServer, opened: OpenSource) -> None:
    camera.pictures = [jpeg(patches())] * 3
    source = opened(f"http://{camera.address}/video")
    camera.go_on.set()
    with pytest.raises(SourceError, match="broke off") as caught:
        read_all(source)
    assert caught.value.retryable


def test_a_quiet_stream_times_out_and_is_given_up(camera: MjpegServer, opened: OpenSource) -> None:
    camera.pictures = [jpeg(patches())] * 3
    source = opened(f"http://{camera.address}/video", timeout_s=1.0)
    errors = errors_until_given_up(source)
    assert len(errors) > 1
    assert "no answer within 1 s" in str(errors[-1])


@pytest.mark.parametrize(("path", "words"), [("/wrong", "404"), ("/silent", "no answer within 1 s")])
def test_a_server_that_does_not_serve_is_unavailable(
    camera: MjpegServer, opened: OpenSource, path: str, words: str
) -> None:
    with pytest.raises(SourceUnavailableError, match=words) as caught:
        opened(f"http://me:hunter2@{camera.address}{path}", timeout_s=1.0)
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["http", "rtsp"])
def test_nobody_there_is_unavailable(opened: OpenSource, scheme: str) -> None:
    with pytest.raises(SourceUnavailableError, match=r"127\.0\.0\.1.*refused"):
        opened(f"{scheme}://me:hunter2@127.0.0.1:{free_port()}/x")


@pytest.mark.parametrize("url", ["ftp://camera/x", "rtsp://", "http:///x", "rtsp://[::1/x"])
def test_an_address_that_is_none_is_wrong_usage(opened: OpenSource, url: str) -> None:
    with pytest.raises(UsageError, match="expected an address like rtsp://"):
        opened(url)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://u:p@cam:554/s", "rtsp://cam:554/s"),
        ("http://cam/v?key=1", "http://cam/v?..."),
        ("rtsp://u:p@ss@cam/s", "rtsp://cam/s"),
        ("rtsp://[::1/x", "rtsp://..."),
    ],
)
def test_addresses_are_shown_without_secrets(url: str, shown: str) -> None:
    assert redacted(url) == shown


def test_an_rtsp_camera_with_a_password_is_read_over_tcp(clip: MakeClip, opened: OpenSource) -> None:
    path = clip("live.mp4", *H264, "-g", "5", frames=100)
    with RtspServer(path, user="me", password="hunter2") as server:
        with pytest.raises(SourceUnavailableError, match="401") as caught:
            opened(f"rtsp://me:wrong@127.0.0.1:{server.port}/live")
        assert "wrong" not in str(caught.value)
        source = opened(f"rtsp://me:hunter2@127.0.0.1:{server.port}/live")
        frames = [read_one(source) for _ in range(5)]
        assert [f.format for f in frames] == ["rgb"] * 5
        assert color_error(np.asarray(frames[4].data)) <= 4
        assert source.describe()["codec"] == "h264"
        assert source.describe()["url"] == f"rtsp://127.0.0.1:{server.port}/live"
        server.hang_up()
        assert errors_until_given_up(source, 20.0)[-1].retryable
