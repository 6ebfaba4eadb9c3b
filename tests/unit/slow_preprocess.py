"""What preprocessing means, in float64 and plain loops, in the order in which it is documented: nothing is fused."""

import math

import numpy as np
from numpy.typing import NDArray

from edge_runtime.types import ImageInput, TensorSpec, View


def upright(picture: NDArray, view: View) -> NDArray:
    """Rotate, flip and paint rectangular masks at full size."""
    turned = np.rot90(picture, -view.rotate // 90).astype(np.float64)
    if "h" in view.flip:
        turned = np.fliplr(turned)
    if "v" in view.flip:
        turned = np.flipud(turned)
    turned = turned.copy()
    for x, y, width, height in view.masks:
        turned[y : y + height, x : x + width] = 0
    return turned


def resize(
    picture: NDArray, box: tuple[float, float, float, float], size: tuple[int, int], *, filtered: bool
) -> NDArray:
    """Bilinear: a triangle as wide as the shrink (``filtered``) or one input pixel wide; weights are normalised."""
    left, top, right, bottom = box
    rows = _weights(top, bottom, picture.shape[0], size[1], filtered=filtered)
    columns = _weights(left, right, picture.shape[1], size[0], filtered=filtered)
    return np.einsum("yi,ijc,xj->yxc", rows, picture, columns)


def _weights(start: float, end: float, length: int, size: int, *, filtered: bool) -> NDArray:
    scale = (end - start) / size
    support = max(scale, 1.0) if filtered else 1.0
    table = np.zeros((size, length))
    for out in range(size):
        center = start + (out + 0.5) * scale
        if not filtered:
            center = min(max(center, 0.5), length - 0.5)
        for index in range(length):
            table[out, index] = max(1 - abs(index + 0.5 - center) / support, 0.0)
        table[out] /= table[out].sum()
    return table


def average(picture: NDArray, size: tuple[int, int]) -> NDArray:
    """Return the means of the four pixels a quarter of an output pixel's width and height from its centre."""
    height, width, channels = picture.shape
    result = np.zeros((size[1], size[0], channels))
    down, across = height / size[1], width / size[0]
    for y, x in np.ndindex(size[1], size[0]):
        for side_y in (-1, 1):
            for side_x in (-1, 1):
                row = math.floor((y + 0.5) * down + side_y * down / 4)
                column = math.floor((x + 0.5) * across + side_x * across / 4)
                result[y, x] += picture[min(max(row, 0), height - 1), min(max(column, 0), width - 1)] / 4.0
    return result


def seen(picture: NDArray, view: View, target: ImageInput, *, filtered: bool) -> NDArray:
    """Return the model's picture as float pixels in RGB or grey, (height, width, channels), padded with 114."""
    whole = upright(picture, view)
    x, y, width, height = view.crop or (0, 0, whole.shape[1], whole.shape[0])
    left, top, right, bottom = max(x, 0), max(y, 0), min(x + width, whole.shape[1]), min(y + height, whole.shape[0])
    wide, high = target.size
    if target.resize == "crop":
        factor = min((right - left) / wide, (bottom - top) / high)
        middle_x, middle_y = (left + right) / 2, (top + bottom) / 2
        left, right = middle_x - factor * wide / 2, middle_x + factor * wide / 2
        top, bottom = middle_y - factor * high / 2, middle_y + factor * high / 2
    if target.resize != "letterbox":
        return resize(whole, (left, top, right, bottom), target.size, filtered=filtered)
    shrink = min(wide / (right - left), high / (bottom - top))
    inner = (min(max(round((right - left) * shrink), 1), wide), min(max(round((bottom - top) * shrink), 1), high))
    result = np.full((high, wide, whole.shape[2]), 114.0)
    at_x, at_y = (wide - inner[0]) // 2, (high - inner[1]) // 2
    part = resize(whole, (left, top, right, bottom), inner, filtered=filtered)
    result[at_y : at_y + inner[1], at_x : at_x + inner[0]] = part
    return result


def number(pixel: float, channel: int, target: ImageInput, tensor: TensorSpec) -> float:
    """Return what the tensor holds for one pixel value of one channel (in the model's order)."""
    if target.raw:
        return pixel - 128 if tensor.dtype == np.int8 else pixel
    mean = target.mean[channel if len(target.mean) > 1 else 0]
    std = target.std[channel if len(target.std) > 1 else 0]
    value = (pixel - mean) / std
    if not tensor.quantized:
        return value
    steps = value / tensor.scale
    rounded = math.floor(abs(steps) + 0.5) * (1 if steps >= 0 else -1) + tensor.zero_point
    limits = np.iinfo(tensor.dtype)
    return min(max(rounded, int(limits.min)), int(limits.max))


def tensor_of(pixels: NDArray, target: ImageInput, tensor: TensorSpec) -> NDArray:
    """Return float pixels, (height, width, 3) RGB or (height, width, 1), as the tensor's numbers, in its shape."""
    ordered = pixels[..., ::-1] if target.color == "BGR" else pixels
    numbers = np.empty(ordered.shape)
    for place in np.ndindex(*ordered.shape):
        numbers[place] = number(float(ordered[place]), place[2], target, tensor)
    if target.layout == "NCHW":
        numbers = numbers.transpose(2, 0, 1)
    return numbers.reshape(tensor.shape)


def yuv_to_rgb(luma: NDArray, blue: NDArray, red: NDArray) -> NDArray:
    """BT.601 limited range to full-range RGB (ITU-R BT.601-7), float64, clipped to 0..255."""
    y, u, v = (1.164383 * (luma.astype(float) - 16)), blue.astype(float) - 128, red.astype(float) - 128
    rgb = np.stack([y + 1.596027 * v, y - 0.391762 * u - 0.812968 * v, y + 2.017232 * u], axis=-1)
    return np.clip(rgb, 0, 255)
