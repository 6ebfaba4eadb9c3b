"""What the interpreter's own kernels take beside the arena: packed sides and blocks of products, and other blocks.

8-bit products go to ruy, which packs both sides into one block that only grows (``ruy/allocator.cc``): a product that
does not fit adds what is missing, so the block may get larger than any product needs. Float products go to Eigen on
x86-64, which allocates blocks for each product and gives them back (``evaluateProductBlockingSizesHeuristic``). Either
way the C library keeps some of what was given back (``heap``).
"""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import prod
from typing import Final

from edge_runtime.analysis.graph import Graph, Node
from edge_runtime.analysis.heap import Heap, round_up
from edge_runtime.tensor_types import TYPES_OF_8_BITS

_RUNS: Final = 3
"""Inferences until nothing more grows."""
_LANES: Final = 16
_DEPTH_GROUP: Final = 4
_SPARE_BYTES: Final = 1024
_LINE_BYTES: Final = 64
_MMAP_THRESHOLD_BYTES: Final = 217_088 if sys.version_info < (3, 12) else 208_896
"""128 kB at first; Python has raised it by then, each version to what it gave back while it started (traced)."""
_TOP_BYTES: Final = 132 * 1024
"""By which the heap grows for small objects."""
_LIST_BYTES: Final = 80
"""Ruy's list of what did not fit: it stays, so that what lies before it is not given back at the heap's end."""
_STACK_LIMIT_BYTES: Final = 128 * 1024
"""Eigen takes smaller blocks from the stack."""
_STACK_SEEN_BYTES: Final = 60_000
"""Of the stack, touched before."""
_ROW_STEP: Final = 8
_COLUMN_STEP: Final = 4
_L1_BYTES: Final = 48 * 1024
_SHARED_BYTES: Final = 3 * 2**20
"""Of the outer cache for one core: with the two above, what Eigen in the x86-64 wheel was seen to work with."""


@dataclass(frozen=True, slots=True)
class Product:
    """A matrix product: ``rows`` of weights, ``columns`` of pixels or batch, summed over ``depth``."""

    rows: int
    depth: int
    columns: int
    is_float: bool


def packing_bytes(graph: Graph, nodes: Iterable[Node], *, arena_bytes: int = 0, objects_bytes: int = 0) -> int:
    """Return the resident memory that plain kernels leave behind on the heap after a few inferences.

    ``arena_bytes`` and ``objects_bytes`` are the interpreter's: a small arena lies in the same heap, and what of it
    was free after the last of its objects is filled first.
    """
    blocks: list[Product | int] = []
    for node in nodes:
        blocks += [*_products(graph, node), *_others(graph, node)]
    heap = Heap(threshold=_MMAP_THRESHOLD_BYTES, end=_TOP_BYTES - objects_bytes % _TOP_BYTES)
    heap.take(arena_bytes, written=0, aligned=True)
    ruy = _Ruy()
    stack = 0
    for _ in range(_RUNS if blocks else 0):
        for block in blocks:
            if isinstance(block, int):
                heap.give_back(heap.take(block), block)
            elif block.is_float:
                stack = max(stack, _eigen(block, heap))
            else:
                ruy.multiply(block, heap)
    return heap.resident_bytes + ruy.mapped_bytes + max(stack - _STACK_SEEN_BYTES, 0)


@dataclass(slots=True)
class _Ruy:
    """The one block of ruy's allocator."""

    size: int = 0
    used: int = 0
    """Of it, at most so far; the rest was never touched."""
    offset: int | None = None

    def multiply(self, product: Product, heap: Heap) -> None:
        """Follow the allocations of one product."""
        current, missing = 0, []
        for size_bytes in _packed_sides(product):
            if current + size_bytes <= self.size:
                current += size_bytes
            else:
                missing.append((heap.take(size_bytes, aligned=True), size_bytes))
        self.used = max(self.used, current)
        if self.offset is not None:
            heap.write(self.offset, self.used)
        if not missing:
            return
        if self.size:
            heap.give_back(self.offset, self.size)
        else:
            heap.take(_LIST_BYTES)
        self.size += sum(size_bytes for _, size_bytes in missing)
        self.offset, self.used = heap.take(self.size, written=0, aligned=True), 0
        for offset, size_bytes in missing:
            heap.give_back(offset, size_bytes)

    @property
    def mapped_bytes(self) -> int:
        """Return what of it lies outside the heap and was written."""
        return self.used if self.offset is None else 0


def _packed_sides(product: Product) -> Iterator[int]:
    depth = round_up(product.depth, _DEPTH_GROUP)
    for lines in (product.rows, product.columns):
        padded = round_up(lines, _LANES)
        yield round_up(depth * padded + _SPARE_BYTES, _LINE_BYTES)
        yield round_up(4 * padded, _LINE_BYTES)


def _eigen(product: Product, heap: Heap) -> int:
    """Follow the blocks of one float product; return what it takes of the stack."""
    depth, rows, columns = _blocking(product)
    sizes = (4 * depth * rows, 4 * depth * columns)
    taken = [(heap.take(size), size) for size in sizes if size > _STACK_LIMIT_BYTES]
    for offset, size in taken:
        heap.give_back(offset, size)
    return sum(size for size in sizes if size <= _STACK_LIMIT_BYTES)


def _blocking(product: Product) -> tuple[int, int, int]:
    """Return the depth, rows and columns of Eigen's blocks for a product in one thread."""
    rows, columns = product.rows, product.columns
    if max(product.depth, rows, columns) < 48:
        return product.depth, rows, columns
    kept = 4 * _ROW_STEP * _COLUMN_STEP
    most_depth = (_L1_BYTES - kept) // (4 * (_ROW_STEP + _COLUMN_STEP)) // 8 * 8
    depth = _evened(product.depth, most_depth, 8, less=1) if product.depth > most_depth else product.depth
    left = _L1_BYTES - kept - 4 * rows * depth
    fits_l1 = left >= 4 * _COLUMN_STEP * depth
    widest = _SHARED_BYTES // (8 * depth)
    if fits_l1:
        widest = min(left // (4 * depth), widest)
    widest = max(widest // _COLUMN_STEP, 1) * _COLUMN_STEP
    if columns > widest:
        return depth, rows, _evened(columns, widest, _COLUMN_STEP)
    if depth < product.depth:
        return depth, rows, columns
    room, most_rows = _SHARED_BYTES, rows
    if 4 * depth * columns <= 1024:
        room = _L1_BYTES
    elif 4 * depth * columns <= 32768:
        most_rows = min(576, rows)
    tallest = min(room // (12 * depth), most_rows)
    if tallest > _ROW_STEP:
        tallest -= tallest % _ROW_STEP
    return depth, _evened(rows, tallest, _ROW_STEP) if tallest else rows, columns


def _evened(size: int, most: int, step: int, *, less: int = 0) -> int:
    """Return the length of blocks of at most ``most`` such that the last is not much shorter."""
    rest = size % most
    return most if rest == 0 else most - step * ((most - less - rest) // (step * (size // most + 1)))


def _others(graph: Graph, node: Node) -> Iterator[int]:
    """Yield blocks that a kernel takes and gives back in every inference.

    DEQUANTIZE has room for 4-bit values to be unpacked, whatever it is given (``kernels/dequantize.h``; measured: a
    byte for each value).
    """
    fed = graph.operand(node, 0)
    if (
        node.name == "DEQUANTIZE"
        and fed is not None
        and fed.type.name in TYPES_OF_8_BITS
        and not graph.constant[fed.index]
    ):
        yield max(fed.elements, 1)


def _products(graph: Graph, node: Node) -> Iterator[Product]:
    fed, weights, result = graph.operand(node, 0), graph.operand(node, 1), graph.result(node)
    if node.name == "TRANSPOSE_CONV":
        fed = graph.operand(node, 2)
    if fed is None or weights is None or result is None or min((*fed.shape, *weights.shape, 1)) < 1:
        return
    if fed.type.name == "int16":
        return  # Reference kernels, which pack nothing.
    hybrid = fed.type.name == "float32" and weights.type.name in {"int8", "uint8"}
    if node.name == "CONV_2D" and len(weights.shape) == len(result.shape) == len(fed.shape) == 4:
        if weights.shape[3] != fed.shape[-1]:
            return  # Groups are computed by a reference kernel.
        rows, depth, columns = weights.shape[0], prod(weights.shape[1:]), prod(result.shape[:3])
    elif node.name == "TRANSPOSE_CONV" and len(weights.shape) == len(fed.shape) == 4:
        rows, depth, columns = prod(weights.shape[:3]), weights.shape[3], prod(fed.shape[1:3])
    elif node.name == "FULLY_CONNECTED" and len(weights.shape) == 2 and not hybrid:
        rows, depth = weights.shape
        columns = fed.elements // depth
    elif node.name == "BATCH_MATMUL" and len(fed.shape) >= 2 and len(weights.shape) >= 2 and fed.type == weights.type:
        depth = fed.shape[-2 if node.options.transpose_a else -1]
        rows, columns = (
            weights.elements // prod(weights.shape[:-2]) // depth,
            fed.elements // prod(fed.shape[:-2]) // depth,
        )
    else:
        return
    # A single column has kernels that need no packing, except in dynamic-range convolutions.
    if columns > 1 or (hybrid and node.name == "CONV_2D" and rows % 4 == 0):
        yield Product(rows, depth, columns, fed.type.name == "float32" and not hybrid)
