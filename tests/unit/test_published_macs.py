"""MACs and parameters of networks built from the tables of their papers, against the figures those papers give."""

import pytest
from analysis_models import ModelBuilder

from edge_runtime.analysis.cost import costs


def totals(model: ModelBuilder, last: int) -> tuple[int, int]:
    """Return the MACs and the parameters of a network whose input is tensor 0."""
    found = costs(model.build([0], [last]))
    return sum(cost.macs for cost in found), sum(cost.parameters for cost in found)


def classified(model: ModelBuilder, fed: int, *widths: int) -> int:
    """Add the mean over a picture and dense layers."""
    channels = model.graph.tensors[fed].shape[3]
    fed = model.op("MEAN", [fed, model.weights([2], "int32")], [1, channels])
    for width in widths:
        fed = model.fully_connected(fed, width)
    return fed


def gated(model: ModelBuilder, fed: int, squeezed: int) -> int:
    """Add squeeze and excitation (Hu et al. 2017)."""
    shape = model.graph.tensors[fed].shape
    gate = model.op("MEAN", [fed, model.weights([2], "int32")], [1, 1, 1, shape[3]])
    return model.op("MUL", [fed, model.conv(model.conv(gate, squeezed), shape[3])], shape)


def eighth(channels: float) -> int:
    """Return the nearest multiple of 8 that is at most a tenth less, as both papers round."""
    near = max(8, int(channels + 4) // 8 * 8)
    return near + 8 if near < 0.9 * channels else near


def resnet_50() -> tuple[ModelBuilder, int]:
    """He et al. 2015, table 1: the stride is in the first convolution of a block."""
    model = ModelBuilder()
    now = model.conv(model.tensor([1, 224, 224, 3]), 64, kernel=7, stride=2)
    now = model.op("MAX_POOL_2D", [now], [1, 56, 56, 64])
    for stage, count in enumerate((3, 4, 6, 3)):
        for number in range(count):
            width, stride = 64 * 2**stage, 2 if stage and not number else 1
            made = model.conv(model.conv(now, width, stride=stride), width, kernel=3)
            made = model.conv(made, 4 * width)
            kept = now if number else model.conv(now, 4 * width, stride=stride)
            now = model.op("ADD", [made, kept], model.graph.tensors[made].shape)
    return model, classified(model, now, 1000)


V3_LARGE = (
    (3, 16, 16, False, 1), (3, 64, 24, False, 2), (3, 72, 24, False, 1), (5, 72, 40, True, 2), (5, 120, 40, True, 1),
    (5, 120, 40, True, 1), (3, 240, 80, False, 2), (3, 200, 80, False, 1), (3, 184, 80, False, 1),
    (3, 184, 80, False, 1), (3, 480, 112, True, 1), (3, 672, 112, True, 1), (5, 672, 160, True, 2),
    (5, 960, 160, True, 1), (5, 960, 160, True, 1),
)  # fmt: skip
V3_SMALL = (
    (3, 16, 16, True, 2), (3, 72, 24, False, 2), (3, 88, 24, False, 1), (5, 96, 40, True, 2), (5, 240, 40, True, 1),
    (5, 240, 40, True, 1), (5, 120, 48, True, 1), (5, 144, 48, True, 1), (5, 288, 96, True, 2), (5, 576, 96, True, 1),
    (5, 576, 96, True, 1),
)  # fmt: skip


def mobilenet_v3(blocks: tuple[tuple[int, int, int, bool, int], ...], end: int) -> tuple[ModelBuilder, int]:
    """Howard et al. 2019, tables 1 and 2: window, expanded, channels, gate, stride."""
    model = ModelBuilder()
    now = model.conv(model.tensor([1, 224, 224, 3]), 16, kernel=3, stride=2)
    for window, expanded, channels, gate, stride in blocks:
        fed = now if expanded == model.graph.tensors[now].shape[3] else model.conv(now, expanded)
        fed = model.depthwise(fed, kernel=window, stride=stride)
        now = model.conv(gated(model, fed, eighth(expanded / 4)) if gate else fed, channels)
    return model, classified(model, model.conv(now, 6 * blocks[-1][2]), end, 1001)


def efficientnet_b0() -> tuple[ModelBuilder, int]:
    """Tan and Le 2019, table 1: expansion, window, channels, layers, stride; a gate of a quarter of the input."""
    model = ModelBuilder()
    now = model.conv(model.tensor([1, 224, 224, 3]), 32, kernel=3, stride=2)
    stages = [(1, 3, 16, 1, 1), (6, 3, 24, 2, 2), (6, 5, 40, 2, 2), (6, 3, 80, 3, 2), (6, 5, 112, 3, 1),
              (6, 5, 192, 4, 2), (6, 3, 320, 1, 1)]  # fmt: skip
    for wider, window, channels, count, stride in stages:
        for number in range(count):
            before = model.graph.tensors[now].shape[3]
            fed = model.conv(now, wider * before) if wider > 1 else now
            fed = model.depthwise(fed, kernel=window, stride=1 if number else stride)
            now = model.conv(gated(model, fed, before // 4), channels)
    return model, classified(model, model.conv(now, 1280), 1000)


def test_resnet_50_has_the_3_8_billion_macs_of_its_paper_and_every_parameter() -> None:
    macs, parameters = totals(*resnet_50())
    assert macs == pytest.approx(3.8e9, rel=0.02)
    # torchvision has 25,557,032: of the normalisation that is folded in here only one value a channel is left.
    assert parameters == 25_557_032 - 26_560


@pytest.mark.parametrize(
    ("blocks", "end", "macs", "parameters"), [(V3_LARGE, 1280, 219e6, 5.4e6), (V3_SMALL, 1024, 56e6, 2.5e6)]
)
def test_mobilenet_v3_has_the_figures_of_its_paper(
    blocks: tuple[tuple[int, int, int, bool, int], ...], end: int, macs: float, parameters: float
) -> None:
    found = totals(*mobilenet_v3(blocks, end))
    assert found == (pytest.approx(macs, rel=0.03), pytest.approx(parameters, rel=0.03))


def test_efficientnet_b0_has_the_figures_of_its_paper() -> None:
    assert totals(*efficientnet_b0()) == (pytest.approx(0.39e9, rel=0.02), pytest.approx(5.3e6, rel=0.02))
