"""Changes the sample rate of audio: a windowed sinc in polyphase form.

After J. O. Smith, "Digital Audio Resampling", and J. F. Kaiser's window: 32 zero crossings a side and beta 8 keep what
would alias about 80 dB down; what is below 0.84 of the lower Nyquist frequency passes unchanged.
"""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

ZERO_CROSSINGS: Final = 32
KAISER_BETA: Final = 8.0
CUTOFF: Final = 0.92
"""Middle of the transition, as a part of the lower Nyquist frequency."""
MAX_COEFFICIENTS: Final = 4_000_000
_BLOCK: Final = 1024


class Resampler:
    """Makes samples at ``target_hz`` of samples at ``source_hz``; linear phase, without delay.

    Raises ValueError for a pair of rates whose filter would be unreasonably large.
    """

    def __init__(self, *, source_hz: int, target_hz: int) -> None:
        common = math.gcd(source_hz, target_hz)
        self._up, self._down = target_hz // common, source_hz // common
        cutoff = CUTOFF * min(1.0, self._up / self._down)
        self._half = math.ceil(ZERO_CROSSINGS / cutoff)
        if self._up * self._half * 2 > MAX_COEFFICIENTS:
            raise ValueError(f"no reasonable filter from {source_hz} to {target_hz} Hz")
        fraction = np.arange(self._up)[:, np.newaxis] / self._up
        distance = np.arange(-self._half + 1, self._half + 1) - fraction
        window = np.i0(KAISER_BETA * np.sqrt(np.maximum(0.0, 1 - (distance / self._half) ** 2))) / np.i0(KAISER_BETA)
        taps = np.sinc(distance * cutoff) * window
        # Each phase sums to 1, so that a constant stays one.
        self._taps = (taps / taps.sum(axis=1, keepdims=True)).astype(np.float32)

    def length(self, source_length: int) -> int:
        """Return how many samples ``source_length`` become."""
        return source_length * self._up // self._down

    def span(self, start: int, count: int) -> tuple[int, int]:
        """Return first and count of the source samples that the results ``start`` to ``start + count`` are made of.

        They may begin before 0 or end after the last one: silence.
        """
        first = start * self._down // self._up - self._half + 1
        last = (start + count - 1) * self._down // self._up + self._half
        return first, last - first + 1

    def __call__(self, samples: NDArray[np.float32], *, start: int, count: int) -> NDArray[np.float32]:
        """Return results ``start`` to ``start + count`` as (count,); ``samples`` (n,) are those of ``span``."""
        made = np.empty(count, np.float32)
        first, _ = self.span(start, count)
        reach = np.arange(self._taps.shape[1])
        for begin in range(0, count, _BLOCK):
            moment = (start + np.arange(begin, min(begin + _BLOCK, count))) * self._down
            left = moment // self._up - self._half + 1 - first
            gathered = samples[left[:, np.newaxis] + reach]
            made[begin : begin + _BLOCK] = np.einsum("ij,ij->i", gathered, self._taps[moment % self._up])
        return made
