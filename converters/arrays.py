"""Arrays that travel between processes as files."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def write_arrays(folder: Path, stem: str, arrays: Iterable[Array]) -> list[str]:
    """Write ``stem0.npy`` and so on; return the paths."""
    paths = []
    for index, array in enumerate(arrays):
        path = folder / f"{stem}{index}.npy"
        np.save(path, array, allow_pickle=False)
        paths.append(str(path))
    return paths


def read_array(path: str | Path) -> Array:
    """Return an array, mapped and not loaded where it is large."""
    array: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    return array


def split_sample(row: Array, shapes: Sequence[tuple[int, ...]]) -> list[Array]:
    """Return the inputs of one sample, which is all of them flattened, one after the other."""
    flat = np.asarray(row).reshape(-1)
    inputs, start = [], 0
    for shape in shapes:
        size = math.prod(shape)
        inputs.append(flat[start : start + size].reshape(shape))
        start += size
    return inputs
