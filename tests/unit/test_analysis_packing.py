"""What plain matrix products leave behind, against the interpreter's own allocations (traced, ai-edge-litert 2.3.0)."""

from typing import Any

import pytest
from analysis_models import ModelBuilder, schema

from edge_runtime.analysis.heap import Heap
from edge_runtime.analysis.packing import Product, _blocking, _Ruy, packing_bytes
from edge_runtime.analysis.scratch import scratch
from edge_runtime.analysis.xnnpack import delegation, indirection_bytes, packed_bytes


def pointwise(*sides: tuple[int, int, int], type_name: str = "int8") -> Any:
    """Return a model with one convolution for each (pixels of a side, depth, channels); they do not feed each other."""
    model = ModelBuilder(type_name)
    fed, made = [], []
    for side, depth, channels in sides:
        fed.append(model.tensor([1, side, side, depth]))
        made.append(model.conv(fed[-1], channels))
    return model.build(fed, made)


def convolution() -> Any:
    options = schema.Conv2DOptionsT()
    options.strideH = options.strideW = options.dilationHFactor = options.dilationWFactor = 1
    return options


def test_ruys_block_grows_by_what_does_not_fit() -> None:
    ruy, heap = _Ruy(), new_heap()
    # Sides of 16 x 24 and 112 columns: 384 + 1024 and 112 * 24 + 1024, with sums of 4 bytes a line, in lines of 64.
    ruy.multiply(Product(16, 24, 112, is_float=False), heap)
    assert ruy.size == 1408 + 64 + 3712 + 448
    before = ruy.size
    # A larger left side takes the block's place; the right side, which no longer fits, is added.
    ruy.multiply(Product(32, 64, 64, is_float=False), heap)
    left, sums, right = 32 * 64 + 1024, 128, 64 * 64 + 1024
    assert left + sums < before
    assert ruy.size == before + right
    ruy.multiply(Product(16, 24, 112, is_float=False), heap)
    assert ruy.size == before + right


@pytest.mark.parametrize(
    ("rows", "depth", "columns", "left_bytes", "right_bytes"),
    [
        (512, 512, 25, 1_048_576, 51_200),
        (256, 256, 100, 262_144, 102_400),
        (1280, 320, 49, 819_200, 62_720),
        (160, 960, 49, 614_400, 188_160),
        (320, 960, 49, 614_400, 188_160),
        (960, 160, 49, 307_200, 31_360),
        (96, 576, 196, 221_184, 451_584),
        (64, 288, 4096, 73_728, 1_179_648),
        (64, 576, 4096, 147_456, 1_354_752),
        (128, 1152, 256, 299_008, 598_016),
        (40, 360, 2304, 57_600, 1_105_920),
        (160, 1440, 144, 465_920, 419_328),
        (128, 128, 3136, 65_536, 802_816),
        (1024, 1024, 49, 2_129_920, 101_920),
        (32, 432, 1600, 55_296, 1_382_400),
    ],
)
def test_eigens_blocks_are_those_that_the_interpreter_allocates(
    rows: int, depth: int, columns: int, left_bytes: int, right_bytes: int
) -> None:
    block_depth, block_rows, block_columns = _blocking(Product(rows, depth, columns, is_float=True))
    assert 4 * block_depth * block_rows == left_bytes
    assert 4 * block_depth * block_columns == right_bytes


def new_heap(*, threshold: int = 200_000) -> Heap:
    return Heap(threshold=threshold, end=100_000)


def test_a_freed_block_stays_on_the_heap_and_is_used_again() -> None:
    heap = new_heap()
    first = heap.take(100_000)
    second = heap.take(50_000)
    heap.give_back(first, 100_000)
    assert (first, second) == (0, 100_016)
    assert heap.take(80_000) == 0
    assert heap.resident_bytes == 150_000
    assert heap.take(10_000_000) is None, "large blocks are mapped and do not count"


def test_a_large_block_comes_from_the_heap_when_its_end_has_room() -> None:
    heap = new_heap()
    heap.give_back(heap.take(150_000), 150_000)
    # 150 kB and the 128 kB that the heap grows by beside what is asked for.
    assert heap.take(250_000) == 0
    assert heap.take(250_000) is None


def test_a_mapped_block_that_is_given_back_makes_the_next_one_come_from_the_heap() -> None:
    heap = new_heap()
    assert heap.take(1_000_000) is None
    heap.give_back(None, 1_000_000)
    assert heap.take(1_000_000) == 0


def test_the_end_of_the_heap_is_given_back_when_twice_the_threshold_is_free() -> None:
    heap = new_heap()
    blocks = [heap.take(150_000) for _ in range(4)]
    assert heap.resident_bytes == 600_000
    for offset in blocks:
        heap.give_back(offset, 150_000)
    assert heap.resident_bytes < 136 * 1024


def test_a_small_block_that_a_thread_keeps_holds_the_end_of_the_heap() -> None:
    heap = new_heap()
    blocks = [heap.take(150_000) for _ in range(4)]
    heap.give_back(heap.take(100), 100)
    for offset in blocks:
        heap.give_back(offset, 150_000)
    assert heap.resident_bytes > 600_000


def test_what_was_not_written_is_not_resident() -> None:
    heap = new_heap()
    offset = heap.take(100_000, written=0)
    assert heap.resident_bytes == 0
    assert offset is not None
    heap.write(offset, 40_000)
    heap.write(offset + 30_000, 20_000)
    assert heap.resident_bytes == 50_000


def test_only_products_of_several_columns_are_packed() -> None:
    many, single = pointwise((8, 32, 64)), pointwise((1, 32, 64))
    assert packing_bytes(many, many.nodes) > 64 * 32
    assert packing_bytes(single, single.nodes) == 0


def test_dynamic_range_layers_multiply_row_by_row_and_pack_nothing() -> None:
    model = ModelBuilder("float32")
    fed = model.tensor([100, 96])
    inputs = [fed, model.weights([192, 96], "int8"), model.weights([192])]
    graph = model.build([fed], [model.op("FULLY_CONNECTED", inputs, [100, 192], schema.FullyConnectedOptionsT())])
    assert packing_bytes(graph, graph.nodes) == 0


def test_values_of_16_bits_have_reference_kernels_that_pack_nothing() -> None:
    model = ModelBuilder("int16")
    fed = model.tensor([1, 8, 8, 32])
    graph = model.build([fed], [model.op("CONV_2D", [fed, model.weights([64, 3, 3, 32], "int8")], [1, 8, 8, 64])])
    assert packing_bytes(graph, graph.nodes) == 0
    assert scratch(graph, graph.nodes[0]) == ()


def test_groups_pack_nothing() -> None:
    model = ModelBuilder()
    fed = model.tensor([1, 8, 8, 32])
    graph = model.build([fed], [model.op("CONV_2D", [fed, model.weights([64, 1, 1, 8])], [1, 8, 8, 64])])
    assert packing_bytes(graph, graph.nodes) == 0


def test_dynamic_range_depthwise_convolutions_stay_with_the_interpreter() -> None:
    model = ModelBuilder("float32")
    fed = model.tensor([1, 8, 8, 32])
    weights = model.weights([1, 3, 3, 32], "int8")
    graph = model.build([fed], [model.op("DEPTHWISE_CONV_2D", [fed, weights], [1, 8, 8, 32])])
    assert delegation(graph).taken == 0


def test_int8_products_are_padded_to_the_groups_of_the_processor() -> None:
    graph = pointwise((8, 88, 88))
    assert packed_bytes(graph, graph.nodes[0], int8_lanes=64) == 128 * (88 + 8)
    assert packed_bytes(graph, graph.nodes[0]) == 96 * (88 + 8)


def test_a_large_depthwise_window_is_packed_as_products_of_one_channel() -> None:
    model = ModelBuilder()
    fed = model.tensor([1, 16, 16, 22])
    graph = model.build([fed], [model.depthwise(fed, kernel=7)])
    assert packed_bytes(graph, graph.nodes[0], int8_lanes=64) == 287_232


@pytest.mark.parametrize(
    ("type_name", "expected"), [("int8", 48 * 64 * (49 * 4 + 8)), ("float32", 48 * 16 * (49 * 4 + 4))]
)
def test_every_group_of_a_convolution_is_packed_for_itself(type_name: str, expected: int) -> None:
    """A depthwise window written as 48 groups of one channel: each fills its group of lanes, and 8 bits go by fours."""
    model = ModelBuilder(type_name)
    fed = model.tensor([1, 12, 12, 48])
    made = model.op("CONV_2D", [fed, model.weights([48, 7, 7, 1])], [1, 12, 12, 48], convolution())
    graph = model.build([fed], [made])
    assert packed_bytes(graph, graph.nodes[0], int8_lanes=64) == expected


def test_a_transposed_convolution_writes_a_share_of_its_table() -> None:
    model = ModelBuilder("float32")
    fed = model.tensor([1, 4, 4, 8])
    graph = model.build([fed], [model.transpose_conv(fed, 16)])
    assert indirection_bytes(graph, graph.nodes[0]) == 8 * 8 * 9 // 4 * 8


def test_operators_that_wait_for_nobody_join_an_earlier_part() -> None:
    """Two branches that each meet a plain kernel make two parts around it, not four."""
    model = ModelBuilder()
    fed = model.tensor([1, 8, 8, 16])
    branches = []
    for _ in range(2):
        squared = model.op("SQUARE", [model.conv(fed, 16)], [1, 8, 8, 16])
        branches.append(model.conv(squared, 16))
    parts = delegation(model.build([fed], branches)).segment
    assert parts == (0, None, 1, 0, None, 1)


def test_dequantizing_what_was_computed_leaves_a_byte_for_each_value() -> None:
    """Measured: 1,011,712, 1,970,176 and 3,891,200 bytes in all, of which 800,000 for each 16 channels are tensors."""
    for channels in (16, 32, 64):
        model = ModelBuilder()
        sides = [1, 100, 100, channels]
        fed = model.tensor(sides)
        graph = model.build([fed], [model.op("DEQUANTIZE", [fed], sides, None, "float32")])
        assert packing_bytes(graph, graph.nodes) == pytest.approx(10_000 * channels, rel=0.05)
    model = ModelBuilder()
    graph = model.build([], [model.op("DEQUANTIZE", [model.weights(sides)], sides, None, "float32")])
    assert packing_bytes(graph, graph.nodes) == 0
