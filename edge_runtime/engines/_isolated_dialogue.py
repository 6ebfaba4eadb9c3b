"""What both sides of an isolated engine agree on: the messages, and where the tensors lie in the shared memory.

A packet is a message (``SOCK_SEQPACKET`` keeps them apart). The parent sends ``Opening`` and the child answers
``Opened`` or ``Failed``; the parent sends the shared memory with ``MEMORY``; from then on each ``INVOKE`` is answered
by ``DONE``, a ``Done`` with shapes, or ``Failed``. End of file means that the other side is gone.
"""

import fcntl
import mmap
import os
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_runtime.interpreter import RuntimeName
from edge_runtime.types import TensorSpec

MEMORY: Final = b"memory"
INVOKE: Final = b"invoke"
LONGEST_BYTES: Final = 131072
"""Of a packet: the tensors of a model with many outputs take a few kilobytes."""
ALIGNMENT_BYTES: Final = 64

Shape = tuple[int, ...]


class Opening(msgspec.Struct, frozen=True, kw_only=True):
    """The engine that the child is to open."""

    model: str
    library: str | None = None
    """A delegate's; None is the CPU."""
    threads: int = 1
    runtime: RuntimeName = "auto"
    delegate: str = "cpu"
    """What ``library`` is called: ``cpu``, ``edgetpu`` or the path of the library."""
    delegate_reason: str = "the CPU was asked for"
    allocate_bytes: int | None = None
    """What the process may allocate at most; None is no limit."""


class PlainTensor(msgspec.Struct, frozen=True):
    """A ``TensorSpec`` in words that JSON has."""

    name: str
    shape: Shape
    dtype: str
    scale: float
    zero_point: int

    @classmethod
    def of(cls, tensor: TensorSpec) -> "PlainTensor":
        """Return ``tensor`` in plain words."""
        return cls(tensor.name, tensor.shape, tensor.dtype.str, tensor.scale, tensor.zero_point)

    def spec(self) -> TensorSpec:
        """Return the tensor that this describes. Raises TypeError for a dtype that numpy does not have."""
        return TensorSpec(self.name, self.shape, np.dtype(self.dtype), self.scale, self.zero_point)


class Opened(msgspec.Struct, frozen=True, tag=True):
    """The model has been loaded and invoked once, on zeros."""

    inputs: tuple[PlainTensor, ...]
    outputs: tuple[PlainTensor, ...]
    runtime: str


class Failed(msgspec.Struct, frozen=True, tag=True):
    """An error of the tree in ``errors``: its class's name and its one line."""

    kind: str
    message: str


class Done(msgspec.Struct, frozen=True, tag=True):
    """The outputs are in the shared memory; in these ``shapes`` where they are not the declared ones."""

    shapes: tuple[Shape, ...] | None = None


encode: Final = msgspec.json.encode
decode_answer: Final = msgspec.json.Decoder(Opened | Failed | Done).decode
DONE: Final = encode(Done())


def create_memory(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> int:
    """Return the descriptor of memory for these tensors. Raises OSError.

    It can grow and never shrink: whatever the child does to it, reading it does not end the parent with a SIGBUS.
    """
    descriptor = os.memfd_create("edge-infer-tensors", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, max(1, _end(0, [*_layout(inputs), *_layout(outputs)])))
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    return descriptor


class SharedTensors:
    """Views of the inputs and outputs in shared memory: the inputs first, each tensor on a cache line of its own.

    Owns ``descriptor``. One thread on each side, and only one of the two at a time.
    """

    def __init__(self, descriptor: int, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> None:
        self._descriptor = descriptor
        self._map = mmap.mmap(descriptor, os.fstat(descriptor).st_size)
        self._dtypes = tuple(tensor.dtype for tensor in outputs)
        self._inputs_end = _end(0, _layout(inputs))
        self.inputs = self._views(0, _layout(inputs))
        """Views, in the model's order."""
        self._outputs = self._views(self._inputs_end, _layout(outputs))

    def write(self, inputs: Sequence[NDArray[Any]]) -> None:
        """Copy ``inputs``, which are as the model declares them, into the memory."""
        for view, value in zip(self.inputs, inputs, strict=True):
            view[...] = value

    def read(self, shapes: Sequence[Shape] | None) -> tuple[NDArray[Any], ...]:
        """Return copies of the outputs; ``shapes`` as in ``views_of``. Raises ValueError."""
        return tuple(view.copy() for view in self.views_of(shapes, grow=False))

    def views_of(self, shapes: Sequence[Shape] | None, *, grow: bool) -> tuple[NDArray[Any], ...]:
        """Return views of the outputs, in ``shapes`` where they are not the declared ones.

        ``grow`` makes the memory large enough, which is the child's to do. Raises ValueError for memory that is too
        small or shapes that are none of this model's.
        """
        if shapes is None:
            return self._outputs
        wanted = list(zip(shapes, self._dtypes, strict=True))
        if any(side < 0 for shape, _ in wanted for side in shape):
            raise ValueError("a shape with a negative side")
        end = _end(self._inputs_end, wanted)
        if grow and end > os.fstat(self._descriptor).st_size:
            os.ftruncate(self._descriptor, end)
        if end > len(self._map) and end <= (size_bytes := os.fstat(self._descriptor).st_size):
            self._map = mmap.mmap(
                self._descriptor, size_bytes
            )  # the views above keep the smaller one, of the same pages
        if end > len(self._map):
            raise ValueError("the outputs do not fit into the shared memory")
        return self._views(self._inputs_end, wanted)

    def close(self) -> None:
        """Release the descriptor and all views but those handed out, with the last of which the memory goes."""
        os.close(self._descriptor)
        self.inputs = self._outputs = ()
        del self._map  # closing it would leave numpy's views without their memory

    def _views(self, start: int, wanted: Sequence[tuple[Shape, np.dtype[Any]]]) -> tuple[NDArray[Any], ...]:
        views = []
        for shape, dtype in wanted:
            views.append(np.ndarray(shape, dtype, self._map, start))
            start = _end(start, [(shape, dtype)])
        return tuple(views)


def _layout(tensors: Sequence[TensorSpec]) -> list[tuple[Shape, np.dtype[Any]]]:
    return [(tensor.shape, tensor.dtype) for tensor in tensors]


def _end(start: int, tensors: Sequence[tuple[Shape, np.dtype[Any]]]) -> int:
    """Return where the next tensor begins after these have been placed from ``start``."""
    for shape, dtype in tensors:
        size_bytes = dtype.itemsize
        for side in shape:
            size_bytes *= side
        start += -(-size_bytes // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
    return start
