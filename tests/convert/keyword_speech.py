"""Spoken keywords for the MLPerf Tiny network: espeak-ng's voices through the benchmark's own front end, in numpy.

``spoken`` and ``labelled`` are callables for ``--calibration`` and ``--eval``: other voices calibrate than those that
are scored. The front end is that of mlcommons/tiny, benchmark/training/keyword_spotting/get_dataset.py, ``mfcc``: one
second at 16 kHz over its maximum; windows of 30 ms every 20 ms (Hann, 512 points); 40 mel bands from 20 to 4000 Hz;
log; the first 10 cepstral coefficients. The formulas are those of ``tf.signal``, which the benchmark calls.
"""

import io
import shutil
import subprocess
import wave
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
WORDS = ("down", "go", "left", "no", "off", "on", "right", "stop", "up", "yes", "silence", "unknown")
"""The classes, in the network's order."""
OTHERS = ("bed", "happy", "marvin", "seven", "tree", "wow")
RATE_HZ = 16_000
_WINDOW, _STEP, _POINTS, _BANDS, _KEPT = 480, 320, 512, 40, 10
_LOW_HZ, _HIGH_HZ = 20.0, 4000.0
_CALIBRATING = (("en-us", 50, 150), ("en-gb", 65, 130), ("en-us+f3", 50, 160))
_SCORED = (
    ("en-us+m3", 45, 140), ("en-gb+f2", 55, 150), ("en-gb-scotland", 40, 150), ("en-us+f1", 60, 130),
    ("en-us+m7", 50, 170), ("en-gb-x-rp", 60, 145), ("en-us+m1", 30, 140), ("en-us+f4", 70, 150),
)  # fmt: skip
"""Voice, pitch (0 to 99), words per minute."""


def available() -> bool:
    """Whether espeak-ng is installed (Debian package espeak-ng)."""
    return shutil.which("espeak-ng") is not None


def speak(word: str, voice: str, pitch: int, speed: int) -> Array:
    """Return a word spoken by espeak-ng, samples of -1..1 at 16 kHz."""
    command = ["espeak-ng", "--stdout", "-v", voice, "-p", str(pitch), "-s", str(speed), word]
    said = subprocess.run(command, capture_output=True, check=True, timeout=30).stdout
    with wave.open(io.BytesIO(said)) as file:
        rate_hz = file.getframerate()
        # espeak-ng writes to a pipe and cannot say how long it will be: the frames are what is there.
        samples = np.frombuffer(file.readframes(rate_hz * 10), "<i2").astype(np.float32) / 32768
    return resampled(samples, rate_hz)


def resampled(samples: Array, rate_hz: int) -> Array:
    """Return samples at 16 kHz, what is beyond 8 kHz cut off in the spectrum."""
    count = round(len(samples) * RATE_HZ / rate_hz)
    spectrum = np.fft.rfft(samples)[: count // 2 + 1]
    return (np.fft.irfft(spectrum, count) * count / len(samples)).astype(np.float32)


def one_second(samples: Array) -> Array:
    """Return the second around the loudest part, divided by its maximum."""
    loud = np.flatnonzero(np.abs(samples) > 0.02 * max(float(np.abs(samples).max()), 1e-6))
    first, last = (int(loud[0]), int(loud[-1])) if loud.size else (0, len(samples))
    start = max(0, (first + last) // 2 - RATE_HZ // 2)
    part = samples[start : start + RATE_HZ]
    before = max(0, RATE_HZ // 2 - (first + last) // 2)
    placed = np.zeros(RATE_HZ, np.float32)
    placed[before : before + len(part)] = part[: RATE_HZ - before]
    return placed / max(float(placed.max()), 1e-6)


def features(second: Array) -> Array:
    """Return (49, 10) cepstral coefficients of one second at 16 kHz."""
    count = 1 + (RATE_HZ - _WINDOW) // _STEP
    frames = np.stack([second[n * _STEP : n * _STEP + _WINDOW] for n in range(count)])
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_WINDOW) / _WINDOW)
    magnitudes = np.abs(np.fft.rfft(frames * hann, _POINTS))
    logs = np.log(magnitudes @ mel_matrix() + 1e-6)
    angles = np.pi / _BANDS * np.outer(np.arange(_BANDS) + 0.5, np.arange(_KEPT))
    return (2.0 * logs @ np.cos(angles) / np.sqrt(2.0 * _BANDS)).astype(np.float32)


def mel_matrix() -> Array:
    """Return (257, 40): triangles equally wide on the mel scale 1127 ln(1 + f / 700); 0 Hz counts nowhere."""
    mel = lambda hertz: 1127.0 * np.log1p(np.asarray(hertz) / 700.0)  # noqa: E731
    bins = mel(np.linspace(0.0, RATE_HZ / 2, _POINTS // 2 + 1)[1:])[:, None]
    edges = np.linspace(mel(_LOW_HZ), mel(_HIGH_HZ), _BANDS + 2)
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    return np.pad(triangles, ((1, 0), (0, 0))).astype(np.float32)


def spoken() -> Iterator[Array]:
    """Yield features of the voices that calibrate."""
    for sample, _ in _said(_CALIBRATING):
        yield sample


def labelled() -> Iterator[tuple[Array, int]]:
    """Yield features and class of the voices that are scored."""
    yield from _said(_SCORED)


def _said(voices: tuple[tuple[str, int, int], ...]) -> Iterator[tuple[Array, int]]:
    generator = np.random.default_rng(5)
    for voice, pitch, speed in voices:
        for word in (*WORDS[:10], *OTHERS):
            label = WORDS.index(word) if word in WORDS else WORDS.index("unknown")
            yield features(one_second(speak(word, voice, pitch, speed))), label
        hiss = generator.normal(0.0, 1.0, RATE_HZ).astype(np.float32)
        yield features(hiss / hiss.max()), WORDS.index("silence")
