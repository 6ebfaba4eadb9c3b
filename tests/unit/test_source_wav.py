import logging
import struct
import wave
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.errors import BadFrameError, InputMismatchError, UsageError
from edge_runtime.protocols import WantedInput
from edge_runtime.sources._resample import Resampler
from edge_runtime.sources._wav_file import WavFile
from edge_runtime.sources.wav import WavSource
from edge_runtime.types import Frame, ImageInput, WindowInput

PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE


def encode(samples: np.ndarray, *, bits: int, kind: int = PCM) -> bytes:
    """Return samples in -1..1 as the bytes a WAV file holds."""
    if kind == FLOAT:
        return samples.astype(f"<f{bits // 8}").tobytes()
    if bits == 8:
        return (np.round(samples * 127) + 128).astype("u1").tobytes()
    wide = np.round(samples * (2.0 ** (bits - 1) - 1)).astype("<i8")
    return wide[..., np.newaxis].view("u1")[..., : bits // 8].tobytes()


def wav_bytes(
    samples: np.ndarray,
    *,
    rate: int = 16000,
    bits: int = 16,
    kind: int = PCM,
    extensible: bool = False,
    before: bytes = b"",
    data_size: int | None = None,
) -> bytes:
    channels = samples.shape[1]
    data = encode(samples, bits=bits, kind=kind)
    block = channels * bits // 8
    form = struct.pack("<HHIIHH", EXTENSIBLE if extensible else kind, channels, rate, rate * block % 2**32, block, bits)
    if extensible:
        guid = struct.pack("<H", kind) + bytes.fromhex("000000001000800000aa00389b71")
        form += struct.pack("<HHI", 22, bits, 0) + guid
    body = b"WAVE" + before + b"fmt " + struct.pack("<I", len(form)) + form
    body += b"data" + struct.pack("<I", len(data) if data_size is None else data_size) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def tone(count: int, *, hz: float = 1000.0, rate: int = 16000, channels: int = 1) -> np.ndarray:
    one = 0.5 * np.sin(2 * np.pi * hz * np.arange(count) / rate)
    return np.repeat(one[:, np.newaxis], channels, axis=1)


def mono(length: int, rate: float | None = 16000.0) -> WindowInput:
    return WindowInput(length=length, channels=1, sample_rate_hz=rate)


def windows(path: Path, wants: WantedInput, **settings: int) -> list[Frame]:
    source = WavSource(WavSource.Config(path=str(path), **settings), stream="wav0", wants=wants)
    try:
        source.open()
        return list(iter(lambda: source.read(1.0), None))
    finally:
        source.close()
        source.close()


@pytest.fixture
def wav(tmp_path: Path):  # type: ignore[no-untyped-def]
    def write(content: bytes) -> Path:
        path = tmp_path / "sound.wav"
        path.write_bytes(content)
        return path

    return write


@pytest.mark.parametrize("extensible", [False, True])
@pytest.mark.parametrize(
    ("bits", "kind", "step"),
    [(8, PCM, 1 / 127), (16, PCM, 2**-15), (24, PCM, 2**-22), (32, PCM, 2**-22), (32, FLOAT, 1e-7), (64, FLOAT, 1e-7)],
)
def test_every_sample_format_gives_the_same_sound(wav, bits: int, kind: int, step: float, extensible: bool) -> None:  # type: ignore[no-untyped-def]
    samples = tone(100, channels=2)
    path = wav(wav_bytes(samples, bits=bits, kind=kind, extensible=extensible))
    (frame,) = windows(path, WindowInput(length=100, channels=2, sample_rate_hz=16000))
    data = np.asarray(frame.data)
    assert (frame.format, data.dtype, data.shape) == ("window", np.float32, (100, 2))
    np.testing.assert_allclose(data, samples, atol=1.5 * step)


def test_the_standard_librarys_reader_agrees(wav) -> None:  # type: ignore[no-untyped-def]
    path = wav(wav_bytes(tone(500), before=b"LIST" + struct.pack("<I", 3) + b"abc\0"))
    with wave.open(str(path)) as other:
        expected = np.frombuffer(other.readframes(500), "<i2") / 32768
    (frame,) = windows(path, mono(500))
    np.testing.assert_allclose(np.asarray(frame.data)[:, 0], expected, atol=1e-7)


def test_channels_are_mixed_for_a_model_of_one(wav) -> None:  # type: ignore[no-untyped-def]
    samples = np.stack([np.full(10, 0.5), np.full(10, -0.25)], axis=1)
    (frame,) = windows(wav(wav_bytes(samples)), mono(10))
    np.testing.assert_allclose(np.asarray(frame.data), np.full((10, 1), 0.125), atol=1e-4)


def test_windows_say_when_they_are(wav) -> None:  # type: ignore[no-untyped-def]
    path = wav(wav_bytes(tone(16000)))
    found = windows(path, mono(4000), stride=2000)
    assert [(f.origin.start_s, f.origin.end_s) for f in found] == [
        (n / 8, pytest.approx(min(n / 8 + 0.25, 1.0))) for n in range(7)
    ]
    assert {f.origin.path for f in found} == {str(path)}
    assert [f.sequence for f in found] == list(range(7))


@pytest.mark.parametrize(
    ("samples", "stride", "expected_ends"),
    [
        (30, None, [30]),  # shorter than one window: one, filled up
        (100, None, [100]),
        (149, None, [100]),  # less than half a window left over
        (150, None, [100, 150]),
        (200, None, [100, 200]),
        (260, 50, [100, 150, 200, 250, 260]),
        (250, 50, [100, 150, 200, 250]),  # everything was heard: no half-empty repetition
        (270, 200, [100, 270]),
    ],
)
def test_the_last_window_is_filled_up_when_at_least_half_full(  # type: ignore[no-untyped-def]
    wav, samples: int, stride: int | None, expected_ends: list[int]
) -> None:
    path = wav(wav_bytes(np.full((samples, 1), 0.5)))
    found = windows(path, mono(100), **({"stride": stride} if stride else {}))
    assert [round((f.origin.end_s or 0) * 16000) for f in found] == expected_ends
    for frame, end in zip(found, expected_ends, strict=True):
        start = round((frame.origin.start_s or 0) * 16000)
        data = np.asarray(frame.data)[:, 0]
        assert np.count_nonzero(data[: end - start]) == end - start
        assert not data[end - start :].any()


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000])
def test_another_rate_is_resampled(wav, rate: int) -> None:  # type: ignore[no-untyped-def]
    path = wav(wav_bytes(tone(rate, rate=rate), rate=rate))
    found = windows(path, mono(4000))
    assert len(found) == 4
    heard = np.concatenate([np.asarray(f.data)[:, 0] for f in found])
    expected = tone(16000)[:, 0]
    np.testing.assert_allclose(heard[500:-500], expected[500:-500], atol=2e-3)


def test_what_would_alias_is_filtered_out(wav) -> None:  # type: ignore[no-untyped-def]
    path = wav(wav_bytes(tone(44100, hz=9000.0, rate=44100), rate=44100, bits=32))
    (frame,) = windows(path, mono(16000))
    assert np.abs(np.asarray(frame.data)[500:-500]).max() < 0.5 * 10 ** (-60 / 20)


@given(
    source_hz=st.sampled_from([8000, 11025, 16000, 44100, 96000]),
    target_hz=st.sampled_from([8000, 16000, 22050]),
    start=st.integers(0, 3000),
    count=st.integers(1, 300),
)
def test_a_part_is_resampled_as_in_the_whole(source_hz: int, target_hz: int, start: int, count: int) -> None:
    noise = np.random.default_rng(1).standard_normal(60_000).astype(np.float32)
    resampler = Resampler(source_hz=source_hz, target_hz=target_hz)
    offset = 2000  # far enough from the ends for every filter here

    def part(begin: int, length: int) -> np.ndarray:
        first, needed = resampler.span(begin, length)
        return resampler(noise[first + offset : first + offset + needed], start=begin, count=length)

    np.testing.assert_allclose(part(start, count), part(0, start + count)[start:], atol=1e-5)


def test_without_a_model_a_window_is_a_second(wav) -> None:  # type: ignore[no-untyped-def]
    found = windows(wav(wav_bytes(tone(16000, rate=8000), rate=8000)), None)
    assert [np.asarray(f.data).shape for f in found] == [(8000, 1), (8000, 1)]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a WAV file"),
        (b"ID3\x04 an mp3 perhaps", "not a WAV file"),
        (b"RIFF\x04\0\0\0AVI ", "not a WAV file"),
        (b"RIFF\x04\0\0\0WAVE", "ends before its samples"),
        (wav_bytes(tone(10))[:30], "ends before its samples|format is cut off"),
        (wav_bytes(tone(10))[:44], "no samples"),
        (wav_bytes(tone(10)).replace(b"fmt ", b"fnt "), "no format before the samples"),
        (wav_bytes(tone(10)).replace(struct.pack("<HHI", 1, 1, 16000), struct.pack("<HHI", 2, 1, 16000)), "0x0002"),
        (wav_bytes(tone(10)).replace(struct.pack("<HHI", 1, 1, 16000), struct.pack("<HHI", 1, 0, 16000)), "0 channels"),
        (wav_bytes(tone(10)).replace(struct.pack("<HHI", 1, 1, 16000), struct.pack("<HHI", 1, 1, 0)), "at 0 Hz"),
        (wav_bytes(tone(10)).replace(struct.pack("<HH", 2, 16), struct.pack("<HH", 7, 16)), "7 bytes per sample"),
        (wav_bytes(tone(10), rate=767_999), "no reasonable filter"),
    ],
)  # fmt: skip
def test_what_is_no_wav_is_wrong_usage(wav, content: bytes, words: str) -> None:  # type: ignore[no-untyped-def]
    path = wav(content)
    with pytest.raises(UsageError, match=words) as caught:
        windows(path, mono(10))
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        windows(tmp_path / "gone.wav", mono(10))


def test_a_cut_off_file_gives_what_is_there_and_says_so(wav, caplog: pytest.LogCaptureFixture) -> None:  # type: ignore[no-untyped-def]
    whole = wav_bytes(tone(1000))
    with caplog.at_level(logging.WARNING):
        found = windows(wav(whole[: 44 + 401]), mono(100))
    assert len(found) == 2
    assert "is cut off" in caplog.text


def test_a_header_written_before_the_end_was_known_is_no_fault(wav, caplog: pytest.LogCaptureFixture) -> None:  # type: ignore[no-untyped-def]
    with caplog.at_level(logging.WARNING):
        found = windows(wav(wav_bytes(tone(1000), data_size=0xFFFFFFFF)), mono(100))
    assert len(found) == 10
    assert caplog.text == ""


def test_values_that_are_no_numbers_break_their_window_only(wav) -> None:  # type: ignore[no-untyped-def]
    samples = tone(300)
    samples[150] = np.nan
    source = WavSource(
        WavSource.Config(path=str(wav(wav_bytes(samples, bits=32, kind=FLOAT)))), stream="wav0", wants=mono(100)
    )
    source.open()
    first = source.read(1.0)
    with pytest.raises(BadFrameError, match="not a number"):
        source.read(1.0)
    last = source.read(1.0)
    assert first is not None
    assert last is not None
    assert (first.sequence, last.sequence) == (0, 2)
    assert source.read(1.0) is None
    source.close()


def test_what_does_not_fit_the_model_is_refused(wav) -> None:  # type: ignore[no-untyped-def]
    path = wav(wav_bytes(tone(100)))
    with pytest.raises(InputMismatchError, match="takes 2 channels and the file has 1"):
        windows(path, WindowInput(length=10, channels=2))
    with pytest.raises(InputMismatchError, match="use window = 10"):
        windows(path, mono(10), window=20)
    with pytest.raises(InputMismatchError, match="pictures"):
        windows(path, ImageInput(size=(8, 8)))


@given(changes=st.lists(st.tuples(st.integers(12, 60), st.integers(0, 255)), max_size=6), length=st.integers(12, 100))
def test_no_header_breaks_the_parser(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]], length: int
) -> None:
    content = bytearray(wav_bytes(tone(20), extensible=True))
    for at, value in changes:
        content[at] = value
    path = tmp_path_factory.getbasetemp() / "fuzz.wav"
    path.write_bytes(content[:length])
    with path.open("rb") as file:
        try:
            found = WavFile(file)
        except UsageError:
            return
        assert found.read(-5, 20).shape == (20, found.channels)


def test_the_reference_sounds_are_read(reference: Path) -> None:
    for name in ("speech.wav", "meow_16k.wav"):
        path = reference / "audio" / name
        with wave.open(str(path)) as other:
            seconds = other.getnframes() / other.getframerate()
        found = windows(path, mono(15600))
        assert found[-1].origin.end_s == pytest.approx(seconds, abs=0.5)
        assert max(np.abs(np.asarray(f.data)).max() for f in found) > 0.05
