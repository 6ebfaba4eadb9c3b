"""Clips made by ffmpeg, sources that are closed with their test, a camera on HTTP."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from video_parts import H264, MakeClip, MjpegServer, OpenSource, Source, patches, run_ffmpeg

from edge_runtime.sources.video import VideoFileSource, VideoStreamSource


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> MakeClip:
    """``clip(name, *ffmpeg arguments, frames=10, fps=10)`` makes a clip of the patches; without a name plain H.264."""
    pytest.importorskip("av")
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed")
    folder = tmp_path_factory.mktemp("clips")
    Image.fromarray(patches()).save(folder / "patches.png")

    def make(name: str = "plain.mp4", *arguments: str, frames: int = 10, fps: int = 10) -> Path:
        path = folder / name
        if name == "plain.mp4":
            arguments = H264
        if not path.exists():
            picture = ["-loop", "1", "-framerate", str(fps), "-i", str(folder / "patches.png")]
            run_ffmpeg(*picture, "-frames:v", str(frames), *arguments, str(path))
        return path

    return make


@pytest.fixture
def opened() -> Iterator[OpenSource]:
    """``opened(url, **settings)`` gives an open source, closed with the test."""
    made: list[Source] = []

    def make(url: Path | str, **settings: Any) -> Source:
        kind: Any = VideoStreamSource if "://" in str(url) else VideoFileSource
        source = kind(kind.Config(url=str(url), **settings), stream="video0", wants=None)
        made.append(source)
        source.open()
        return source

    yield make
    for source in made:
        source.close()


@pytest.fixture
def camera() -> Iterator[MjpegServer]:
    server = MjpegServer()
    yield server
    server.close()
