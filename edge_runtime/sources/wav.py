"""A sound file as windows of samples, at the rate and with the channels the model takes."""

import logging
from pathlib import Path
from typing import Annotated, Any, BinaryIO, ClassVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_runtime.clock import monotonic_ns
from edge_runtime.errors import BadFrameError, InputMismatchError, SourceError, UsageError
from edge_runtime.protocols import WantedInput
from edge_runtime.sources._resample import Resampler
from edge_runtime.sources._wav_file import WavFile
from edge_runtime.sources._windows import rows_per_window
from edge_runtime.types import Frame, Origin, WindowInput

logger = logging.getLogger(__name__)


class WavSource:
    """Reads ``wav:FILE`` window by window: PCM and float, any rate; memory does not grow with the file.

    A model of one channel gets the mean of all. The last window is filled up with silence when at least half of it is
    sound, or when it is the only one.
    """

    class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """Settings of one ``wav`` source."""

        path: str
        window: Annotated[int, msgspec.Meta(ge=1)] | None = None
        """Samples per window, at the model's rate; by default as many as the model takes, without a model a second."""
        stride: Annotated[int, msgspec.Meta(ge=1)] | None = None
        """Samples from the start of one window to the start of the next; by default the window's length."""

    live: ClassVar[bool] = False
    stall_after_s: ClassVar[float | None] = None

    def __init__(self, config: Config, *, stream: str, wants: WantedInput) -> None:
        self._config = config
        self._stream = stream
        self._wants = wants
        self._file: BinaryIO | None = None
        self._wav: WavFile | None = None
        self._resampler: Resampler | None = None
        self._rate_hz = 0
        self._channels = 0
        self._total = 0
        self._window = 0
        self._stride = 0
        self._sequence = 0

    def open(self) -> None:
        """Read the header. Raises UsageError for no such file or no WAV, InputMismatchError."""
        self.close()
        path = self._config.path
        if not Path(path).is_file():
            raise UsageError(f"{path}: no such file")
        try:
            self._file = open(path, "rb")  # noqa: PTH123, SIM115 - held open until close
            self._wav = WavFile(self._file)
            self._plan(self._wav)
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror or error}") from error
        except (UsageError, ValueError) as error:
            raise UsageError(f"{path}: {error}") from error
        if self._wav.truncated:
            logger.warning("%s is cut off: its header promises more than its %d samples", path, self._wav.length)

    def _plan(self, wav: WavFile) -> None:
        wants = self._wants
        self._rate_hz, self._channels = wav.rate_hz, 1
        if isinstance(wants, WindowInput):
            self._rate_hz = round(wants.sample_rate_hz or wav.rate_hz)
            if wants.channels > 1:
                self._channels = wav.channels
            if wants.channels not in {1, wav.channels}:
                raise InputMismatchError(
                    f"{self._config.path}: the model takes {wants.channels} channels and the file has {wav.channels}"
                )
        default = self._rate_hz if wants is None else None
        self._window = rows_per_window(wants, channels=self._channels, window=self._config.window or default)
        self._stride = self._config.stride or self._window
        self._resampler = None
        self._total = wav.length
        if self._rate_hz != wav.rate_hz:
            self._resampler = Resampler(source_hz=wav.rate_hz, target_hz=self._rate_hz)
            self._total = max(1, self._resampler.length(wav.length))
        self._sequence = 0

    def read(self, timeout_s: float) -> Frame | None:  # noqa: ARG002 - a file does not wait
        """Return the next window, None at the end. Raises BadFrameError for one with values that are no numbers."""
        start = self._sequence * self._stride
        if self._wav is None or not self._has(start):
            return None
        sequence = self._sequence
        self._sequence += 1
        try:
            samples = self._samples(self._wav, start)
        except OSError as error:
            raise SourceError(f"{self._config.path}: {error.strerror or error}") from error
        start_s = start / self._rate_hz
        if not np.isfinite(samples).all():
            raise BadFrameError(f"{self._config.path}: a sample after {start_s:.3f} s is not a number")
        now = monotonic_ns()
        end_s = min(start + self._window, self._total) / self._rate_hz
        return Frame(
            data=samples,
            format="window",
            stream=self._stream,
            sequence=sequence,
            captured_ns=now,
            arrived_ns=now,
            origin=Origin(path=self._config.path, start_s=start_s, end_s=end_s),
        )

    def close(self) -> None:
        """Close the file."""
        self._wav = None
        if self._file is not None:
            self._file.close()
            self._file = None

    def describe(self) -> dict[str, Any]:
        """Return the path, what is in the file and what is made of it."""
        found: dict[str, Any] = {"type": "wav", "path": self._config.path}
        if self._wav is not None:
            found |= {"file_rate_hz": self._wav.rate_hz, "file_channels": self._wav.channels}
            found |= {"sample_rate_hz": self._rate_hz, "channels": self._channels}
            found |= {"window": self._window, "stride": self._stride, "truncated": self._wav.truncated}
        return found

    def _has(self, start: int) -> bool:
        """Whether a window begins at ``start``: a whole one, the only one, or one last half-filled one."""
        if start + self._window <= self._total or start == 0:
            return True
        is_first_partial = start - self._stride + self._window < self._total
        return is_first_partial and (self._total - start) * 2 >= self._window

    def _samples(self, wav: WavFile, start: int) -> NDArray[np.float32]:
        """Return the window from ``start`` on as (length, channels), with silence after the end."""
        first, count = (start, self._window)
        if self._resampler is not None:
            first, count = self._resampler.span(start, self._window)
        samples = wav.read(first, count)
        if self._channels == 1:
            samples = samples.mean(axis=1, keepdims=True)
        if self._resampler is None:
            return samples
        made = [self._resampler(channel, start=start, count=self._window) for channel in samples.T]
        window = np.stack(made, axis=1)
        window[max(0, self._total - start) :] = 0.0
        return window
