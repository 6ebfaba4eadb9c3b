#!/usr/bin/env python3
"""Fit the speeds of the Raspberry Pi profiles to XNNPACK's published table, and say how far off such a fit is.

The table: README of github.com/google/XNNPACK, February 2022, all cores, milliseconds. One speed per board and element
type is fitted, and one ratio of depthwise to dense speed per element type for all boards. Leave-one-out: each figure is
predicted by a fit that has not seen it. Prints both; the profiles in device_configs/profiles carry the result.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

TABLE_MS = {
    ("float32", "pi-3"): {"v1": 114, "v2": 79, "v3-large": 67, "v3-small": 22},
    ("float32", "pi-4-32"): {"v1": 72, "v2": 41, "v3-large": 38, "v3-small": 13},
    ("float32", "pi-4-64"): {"v1": 77, "v2": 46, "v3-large": 40, "v3-small": 15},
    ("float32", "pi-2"): {"v1": 302, "v2": 191},
    ("int8", "pi-3"): {"v1": 46, "v2": 30},
    ("int8", "pi-4-32"): {"v1": 29, "v2": 20},
    ("int8", "pi-4-64"): {"v1": 24, "v2": 17},
    ("int8", "pi-2"): {"v1": 128, "v2": 82},
}
BANDWIDTH_GB_PER_S = {"pi-2": 2.2, "pi-3": 2.2, "pi-4-32": 7.7, "pi-4-64": 7.7}
"""What kernels get of the memory: 60 % of its peak (3.6 and 12.8); shares of 45 to 80 % fit about as well."""
OVERHEAD_MS = 0.010


@dataclass
class Sum:
    """What a network asks for: millions of MACs by kind, megabytes moved (in elements), operators."""

    dense: float = 0.0
    depthwise: float = 0.0
    elements: float = 0.0
    operators: int = 0


class Network:
    """Adds up layers from a picture of 224 by 224."""

    def __init__(self) -> None:
        self.side, self.channels, self.sum = 224, 3, Sum()

    def conv(self, channels: int, kernel: int = 1, stride: int = 1) -> None:
        """Add a convolution."""
        self._step(channels, stride, self.channels * kernel * kernel)

    def depthwise(self, kernel: int, stride: int) -> None:
        """Add a depthwise convolution."""
        self._step(self.channels, stride, kernel * kernel, depthwise=True)

    def _step(self, channels: int, stride: int, depth: int, *, depthwise: bool = False) -> None:
        before = self.side**2 * self.channels
        self.side = -(-self.side // stride)
        after = self.side**2 * channels
        if depthwise:
            self.sum.depthwise += after * depth / 1e6
        else:
            self.sum.dense += after * depth / 1e6
        self.sum.elements += (before + after + channels * depth) / 1e6
        self.sum.operators += 1
        self.channels = channels

    def elementwise(self, count: int = 1) -> None:
        """Add operators that read and write every value."""
        self.sum.elements += 2 * count * self.side**2 * self.channels / 1e6
        self.sum.operators += count

    def dense(self, inputs: int, outputs: int) -> None:
        """Add a fully connected layer."""
        self.sum.dense += inputs * outputs / 1e6
        self.sum.elements += inputs * outputs / 1e6
        self.sum.operators += 1

    def bottleneck(
        self, kernel: int, expanded: int, out: int, stride: int, *, squeeze: bool = False, swish: bool = False
    ) -> None:
        """An inverted residual; squeeze-and-excite and hard-swish as MobileNetV3 has them."""
        fed, same = self.channels, stride == 1 and self.channels == out
        if expanded != fed:
            self.conv(expanded)
            self.elementwise(1 if swish else 0)
        self.depthwise(kernel, stride)
        self.elementwise((1 if swish else 0) + (2 if squeeze else 0))
        if squeeze:
            self.dense(expanded, expanded // 4)
            self.dense(expanded // 4, expanded)
        self.conv(out)
        self.elementwise(1 if same else 0)


def mobilenet_v1() -> Sum:
    net = Network()
    net.conv(32, 3, 2)
    for channels, stride in [
        (64, 1),
        (128, 2),
        (128, 1),
        (256, 2),
        (256, 1),
        (512, 2),
        *[(512, 1)] * 5,
        (1024, 2),
        (1024, 1),
    ]:
        net.depthwise(3, stride)
        net.conv(channels)
    net.dense(1024, 1001)
    return net.sum


def mobilenet_v2() -> Sum:
    net = Network()
    net.conv(32, 3, 2)
    for factor, out, count, stride in [
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ]:
        for number in range(count):
            net.bottleneck(3, net.channels * factor, out, stride if number == 0 else 1)
    net.conv(1280)
    net.dense(1280, 1001)
    return net.sum


def mobilenet_v3(*, large: bool) -> Sum:
    net = Network()
    net.conv(16, 3, 2)
    net.elementwise()
    for kernel, expanded, out, squeeze, swish, stride in V3_LARGE if large else V3_SMALL:
        net.bottleneck(kernel, expanded, out, stride, squeeze=bool(squeeze), swish=bool(swish))
    net.conv(960 if large else 576)
    net.elementwise(2)
    net.dense(net.channels, 1280 if large else 1024)
    net.dense(1280 if large else 1024, 1001)
    return net.sum


V3_LARGE = [
    (3, 16, 16, 0, 0, 1), (3, 64, 24, 0, 0, 2), (3, 72, 24, 0, 0, 1), (5, 72, 40, 1, 0, 2), (5, 120, 40, 1, 0, 1),
    (5, 120, 40, 1, 0, 1), (3, 240, 80, 0, 1, 2), (3, 200, 80, 0, 1, 1), (3, 184, 80, 0, 1, 1), (3, 184, 80, 0, 1, 1),
    (3, 480, 112, 1, 1, 1), (3, 672, 112, 1, 1, 1), (5, 672, 160, 1, 1, 2), (5, 960, 160, 1, 1, 1),
    (5, 960, 160, 1, 1, 1),
]  # fmt: skip
V3_SMALL = [
    (3, 16, 16, 1, 0, 2), (3, 72, 24, 0, 0, 2), (3, 88, 24, 0, 0, 1), (5, 96, 40, 1, 1, 2), (5, 240, 40, 1, 1, 1),
    (5, 240, 40, 1, 1, 1), (5, 120, 48, 1, 1, 1), (5, 144, 48, 1, 1, 1), (5, 288, 96, 1, 1, 2), (5, 576, 96, 1, 1, 1),
    (5, 576, 96, 1, 1, 1),
]  # fmt: skip
"""Window, expanded channels, output channels, squeeze-and-excite, hard-swish, stride: tables 1 and 2 of its paper."""
NETWORKS = {
    "v1": mobilenet_v1(),
    "v2": mobilenet_v2(),
    "v3-large": mobilenet_v3(large=True),
    "v3-small": mobilenet_v3(large=False),
}
Entry = tuple[str, str, str, float]
"""Element type, board, network, milliseconds."""


def predict(entry: Entry, speed: float, ratio: float) -> float:
    """Return milliseconds; ``speed`` in millions of MACs per ms, ``ratio`` that of depthwise to dense speed."""
    element, board, network, _ = entry
    work = NETWORKS[network]
    size = 4 if element == "float32" else 1
    moved_ms = work.elements * size / BANDWIDTH_GB_PER_S[board]
    return (work.dense + work.depthwise / ratio) / speed + moved_ms + OVERHEAD_MS * work.operators


def best_speed(entries: list[Entry], ratio: float) -> tuple[float, float]:
    """Return the speed with the least squares of log errors over entries of one board, and those squares."""
    found = (1.0, math.inf)
    for step in range(400):
        speed = 0.3 * 1.0125**step
        error = sum(math.log(predict(entry, speed, ratio) / entry[3]) ** 2 for entry in entries)
        found = min(found, (speed, error), key=lambda pair: pair[1])
    return found


def fit(entries: list[Entry]) -> tuple[float, dict[str, float]]:
    """Return the common ratio and the speed of each board."""
    boards = sorted({entry[1] for entry in entries})
    ratios = [0.05 * 1.08**step for step in range(40)]
    by_board = {board: [entry for entry in entries if entry[1] == board] for board in boards}
    ratio = min(ratios, key=lambda ratio: sum(best_speed(by_board[board], ratio)[1] for board in boards))
    return ratio, {board: best_speed(by_board[board], ratio)[0] for board in boards}


def all_entries(element: str) -> Iterator[Entry]:
    for (kind, board), row in TABLE_MS.items():
        if kind == element:
            for network, ms in row.items():
                yield element, board, network, float(ms)


def main() -> None:
    left_out: list[float] = []
    for element in ("float32", "int8"):
        entries = list(all_entries(element))
        ratio, speeds = fit(entries)
        listed = ", ".join(f"{board} {speed:.2f}" for board, speed in speeds.items())
        print(f"{element}: depthwise/dense {ratio:.3f}; GMAC/s with all cores: {listed}")
        for entry in entries:
            seen_ratio, seen = fit([other for other in entries if other != entry])
            fitted = predict(entry, speeds[entry[1]], ratio)
            guess = predict(entry, seen[entry[1]], seen_ratio)
            left_out.append(guess / entry[3] - 1)
            print(
                f"  {entry[1]:8} {entry[2]:8} {entry[3]:4.0f} ms  fit {fitted:5.1f} ({fitted / entry[3] - 1:+.0%})"
                f"  left out {guess:5.1f} ({left_out[-1]:+.0%})"
            )
    sizes = sorted(abs(error) for error in left_out)
    close = sum(size <= 0.2 for size in sizes)
    median = sizes[len(sizes) // 2]
    print(f"left out: median {median:.0%}, worst {sizes[-1]:.0%}, within 20 %: {close} of {len(sizes)}")


if __name__ == "__main__":
    main()
