import io
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from real_broker import free_port
from video_parts import (
    H264,
    MakeClip,
    OpenSource,
    color_error,
    read_all,
    read_one,
    read_when_due,
    run_ffmpeg,
)

from edge_runtime.errors import InputMismatchError, SourceError, SourceTimeoutError, UsageError
from edge_runtime.sources._pacer import Pacer
from edge_runtime.sources.video import VideoFileSource
from edge_runtime.types import WindowInput


@pytest.mark.parametrize(
    ("name", "matrix", "full", "codec"),
    [
        ("untagged.mp4", None, False, ("yuv420p",)),
        ("bt709.mp4", "bt709", False, ("yuv420p", "-colorspace", "bt709", "-color_range", "tv")),
        ("bt709-full.mp4", "bt709", True, ("yuv420p", "-colorspace", "bt709", "-color_range", "pc")),
        ("bt601-full.mkv", "bt601", True, ("yuvj420p", "-color_range", "pc")),
        ("bt601-full-444.mkv", "bt601", True, ("yuv444p", "-color_range", "pc")),
        ("bt709-10bit.mkv", "bt709", False, ("yuv420p10le", "-colorspace", "bt709", "-color_range", "tv")),
    ],
)
def test_colors_are_those_that_were_recorded(
    clip: MakeClip, opened: OpenSource, name: str, matrix: str | None, full: bool, codec: tuple[str, ...]
) -> None:
    scale = ("-vf", f"scale=out_color_matrix={matrix}:out_range={'pc' if full else 'tv'}") if matrix else ()
    frame = read_one(opened(clip(name, *scale, "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", *codec)))
    assert frame.format == "rgb"
    assert isinstance(frame.data, np.ndarray)
    assert (frame.data.shape, frame.data.dtype) == ((240, 320, 3), np.uint8)
    assert color_error(frame.data) <= 4


def test_a_gif_is_a_video(clip: MakeClip, opened: OpenSource) -> None:
    frames, _ = read_all(opened(clip("palette.gif")))
    assert len(frames) == 10
    assert color_error(np.asarray(frames[9].data)) <= 4


def test_a_file_gives_every_picture_with_its_position(clip: MakeClip, opened: OpenSource) -> None:
    source = opened(clip())
    frames, bad = read_all(source)
    assert [f.sequence for f in frames] == list(range(10))
    assert [f.origin.position_s for f in frames] == pytest.approx([n / 10 for n in range(10)])
    assert frames[0].origin.path is None
    assert bad == []
    assert source.read(1.0) is None


def test_a_file_describes_itself(clip: MakeClip, opened: OpenSource) -> None:
    path = clip()
    expected = {"type": "video", "url": str(path), "size": [320, 240], "fps": 10.0, "codec": "h264"}
    assert opened(path).describe() == expected


def test_mjpeg_stays_undecoded(clip: MakeClip, opened: OpenSource) -> None:
    frames, _ = read_all(opened(clip("mjpeg.avi", "-c:v", "mjpeg", "-q:v", "2")))
    assert len(frames) == 10
    assert {f.format for f in frames} == {"jpeg"}
    assert isinstance(frames[9].data, bytes)
    with Image.open(io.BytesIO(frames[9].data)) as picture:
        assert color_error(np.asarray(picture)) <= 4
    assert frames[9].origin.position_s == pytest.approx(0.9)


def test_a_phones_rotation_is_honoured(clip: MakeClip, opened: OpenSource) -> None:
    upright = clip()
    turned = upright.with_name("turned.mp4")
    run_ffmpeg("-i", str(upright), "-c", "copy", "-metadata:s:v:0", "rotate=90", str(turned))
    expected = turned.with_name("turned.png")
    run_ffmpeg("-i", str(turned), "-frames:v", "1", str(expected))
    frame = read_one(opened(turned))
    with Image.open(expected) as picture:
        difference = np.abs(np.asarray(picture.convert("RGB")).astype(int) - np.asarray(frame.data))
    assert np.asarray(frame.data).shape == (320, 240, 3)
    assert difference.mean() < 2


def test_a_change_of_size_in_the_middle_is_followed(clip: MakeClip, opened: OpenSource) -> None:
    small = clip("small.ts", *H264, "-vf", "scale=160:120")
    large = clip("large.ts", *H264, "-vf", "scale=640:480")
    both = small.with_name("both.ts")
    both.write_bytes(small.read_bytes() + large.read_bytes())
    frames, _ = read_all(opened(both))
    assert [np.asarray(f.data).shape[:2] for f in frames] == [(120, 160)] * 10 + [(480, 640)] * 10
    assert np.asarray(frames[19].data)[240:].mean() > 20


def test_a_loop_starts_again(clip: MakeClip, opened: OpenSource) -> None:
    source = opened(clip(), loop=True)
    frames = [read_one(source) for _ in range(25)]
    assert [f.sequence for f in frames] == list(range(25))
    assert [f.origin.position_s for f in frames] == pytest.approx([n % 10 / 10 for n in range(25)])


def test_a_paced_file_keeps_its_pictures_until_they_are_due(clip: MakeClip, opened: OpenSource) -> None:
    source = opened(clip("slow.mp4", *H264, frames=3, fps=1), realtime=True)
    first = read_one(source)
    with pytest.raises(SourceTimeoutError):
        source.read(0.05)
    frames = [first]
    while (frame := read_when_due(source)) is not None:
        frames.append(frame)
    assert [f.sequence for f in frames] == [0, 1, 2]
    assert all(b.arrived_ns - a.arrived_ns > 500_000_000 for a, b in pairwise(frames))


def test_the_pace_goes_on_through_a_repetition() -> None:
    pacer = Pacer()
    due = [pacer.due_s(s, number=n, now_s=100.0 + s) for n in range(2) for s in (0.5, 0.6, 0.7)]
    assert due == pytest.approx([100.5, 100.6, 100.7, 100.8, 100.9, 101.0])


@pytest.mark.parametrize(("name", "error", "words"), [
    ("junk.mp4", SourceError, "not a video, or a broken one"),
    ("empty.mp4", SourceError, "not a video, or a broken one"),
    ("list.m3u8", SourceError, "not a video, or a broken one"),
    ("no-index.mp4", SourceError, "not a video, or a broken one"),
    ("sound.mp4", UsageError, "there is no video in it"),
    ("missing.mp4", UsageError, "no such file"),
    (".", UsageError, "no such file"),
])  # fmt: skip
def test_what_cannot_be_opened_is_one_line(
    clip: MakeClip, opened: OpenSource, tmp_path: Path, name: str, error: type[Exception], words: str
) -> None:
    whole = clip()
    (tmp_path / "junk.mp4").write_bytes(bytes(range(256)) * 20)
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "no-index.mp4").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    (tmp_path / "list.m3u8").write_text(f"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:{free_port()}/x.ts\n#EXT-X-ENDLIST\n")
    run_ffmpeg("-f", "lavfi", "-i", "sine=d=0.2", str(tmp_path / "sound.mp4"))
    with pytest.raises(error, match=words) as caught:
        opened(tmp_path / name)
    assert type(caught.value) is error
    assert str(caught.value).startswith(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_truncated_file_gives_what_is_there_and_ends(clip: MakeClip, opened: OpenSource, tmp_path: Path) -> None:
    whole = clip("noise.mkv", "-vf", "noise=alls=40:allf=t", *H264, "-g", "3", frames=30)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    frames, _ = read_all(opened(cut))
    assert 5 < len(frames) < 25


def test_damage_costs_the_pictures_it_hits(clip: MakeClip, opened: OpenSource, tmp_path: Path) -> None:
    whole = clip("noise.mp4", "-vf", "noise=alls=40:allf=t", *H264, "-g", "3", frames=30)
    content = bytearray(whole.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3000] = bytes(3000)
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(content)
    frames, bad = read_all(opened(damaged))
    assert 15 < len(frames) < 30
    assert bad
    assert all("cannot be decoded" in words for words in bad)
    assert frames[-1].sequence >= 28


def test_a_model_of_samples_refuses_video(clip: MakeClip) -> None:
    config = VideoFileSource.Config(url=str(clip()))
    with pytest.raises(InputMismatchError):
        VideoFileSource(config, stream="video0", wants=WindowInput(length=10, channels=1)).open()
