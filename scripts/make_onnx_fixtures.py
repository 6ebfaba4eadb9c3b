"""Export small networks of many kinds from torch to ONNX, for the tests of the converters. Run once, by hand.

The CPU build of torch is for Python 3.11 here, and is needed for nothing else:

    python3.11 -m venv /tmp/torch && /tmp/torch/bin/pip install torch==2.13.0 onnx onnxscript
    /tmp/torch/bin/python scripts/make_onnx_fixtures.py tests/convert/fixtures

Weights are random with a fixed seed. So that answers mean something, batch normalisation gets the statistics of smooth
random pictures, and the last layer is scaled until every class is the best one now and then.
"""

import argparse
import copy
from collections.abc import Callable
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional

LARGEST_BYTES = 300_000
CLASSES = 10


class Cnn(nn.Module):
    """Convolutions, batch normalisation, pooling, a dense head."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(*block(3, 16), nn.MaxPool2d(2), *block(16, 32), nn.MaxPool2d(2), *block(32, 32))
        self.head = nn.Linear(32 * 16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(functional.avg_pool2d(self.features(x), 2).flatten(1))


class SqueezeExcite(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, channels // 4, 1), nn.ReLU(),
            nn.Conv2d(channels // 4, channels, 1), nn.Hardsigmoid(),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x)


class Inverted(nn.Module):
    """Expand, depthwise, squeeze and excite, project, and the sum with the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        wide = channels * 3
        self.body = nn.Sequential(
            nn.Conv2d(channels, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.Hardswish(),
            nn.Conv2d(wide, wide, 3, padding=1, groups=wide, bias=False), nn.BatchNorm2d(wide), nn.Hardswish(),
            SqueezeExcite(wide), nn.Conv2d(wide, channels, 1, bias=False), nn.BatchNorm2d(channels),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(*block(3, 16, stride=2), Inverted(16), *block(16, 32, stride=2), Inverted(32))
        self.head = nn.Linear(32 * 16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(functional.adaptive_avg_pool2d(self.features(x), 4).flatten(1))


class Detector(nn.Module):
    """Two scales, upsampling and joining, and decoded boxes: (1, 4 + classes, places) as YOLOv8 gives it."""

    def __init__(self, side: int = 64, classes: int = 4) -> None:
        super().__init__()
        self.classes = classes
        self.fine = nn.Sequential(*block(3, 16, 2, nn.SiLU), *block(16, 24, 2, nn.SiLU), *block(24, 32, 2, nn.SiLU))
        self.coarse = nn.Sequential(*block(32, 48, 2, nn.SiLU))
        self.joined = nn.Sequential(*block(80, 32, 1, nn.SiLU))
        self.heads = nn.ModuleList([nn.Conv2d(32, 4 + classes, 1), nn.Conv2d(48, 4 + classes, 1)])
        places, strides = [], []
        for stride in (8, 16):
            count = side // stride
            y, x = torch.meshgrid(torch.arange(count) + 0.5, torch.arange(count) + 0.5, indexing="ij")
            places.append(torch.stack([x.flatten(), y.flatten()]) * stride)
            strides.append(torch.full((1, count * count), float(stride)))
        self.register_buffer("places", torch.cat(places, 1))
        self.register_buffer("strides", torch.cat(strides, 1))

    def forward(self, x: Tensor) -> Tensor:
        fine = self.fine(x)
        coarse = self.coarse(fine)
        joined = self.joined(torch.cat([functional.interpolate(coarse, scale_factor=2.0, mode="nearest"), fine], 1))
        raw = torch.cat([head(part).flatten(2) for head, part in zip(self.heads, (joined, coarse), strict=True)], 2)
        ends, scores = raw[:, :4], raw[:, 4:]
        near, far = functional.softplus(ends[:, :2]) * self.strides, functional.softplus(ends[:, 2:]) * self.strides
        centre = self.places + (far - near) / 2
        return torch.cat([centre / 64.0, (near + far) / 64.0, scores.sigmoid()], 1)


class Windowed(nn.Module):
    """One-dimensional convolutions over a window of samples, (1, channels, length)."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv1d(3, 16, 5, padding=2), nn.BatchNorm1d(16), nn.ReLU(), nn.MaxPool1d(2),
            nn.Conv1d(16, 32, 5, padding=4, dilation=2), nn.BatchNorm1d(32), nn.ReLU(), nn.MaxPool1d(2),
        )  # fmt: skip
        self.head = nn.Linear(32 * 8, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(functional.avg_pool1d(self.body(x), 4).flatten(1))


class Recurrent(nn.Module):
    def __init__(self, kind: Callable[..., nn.Module]) -> None:
        super().__init__()
        self.cell = kind(6, 32, batch_first=True)
        self.head = nn.Linear(32, 6)

    def forward(self, x: Tensor) -> Tensor:
        outputs, _ = self.cell(x)
        return self.head(outputs[:, -1])


class Transformer(nn.Module):
    """Two encoder layers with four heads over 16 tokens of 32 numbers."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, activation="gelu", batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.places = nn.Parameter(torch.randn(1, 16, 32) * 0.2)
        self.head = nn.Linear(32, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(x + self.places).mean(1))


def block(channels: int, out: int, stride: int = 1, activation: type[nn.Module] = nn.ReLU) -> list[nn.Module]:
    return [nn.Conv2d(channels, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), activation()]


def pictures(count: int, side: int) -> Tensor:
    """Smooth random pictures, normalised to -1..1."""
    coarse = torch.rand(count, 3, 6, 6)
    fine = torch.rand(count, 3, side, side)
    smooth = functional.interpolate(coarse, (side, side), mode="bicubic", align_corners=False)
    return ((smooth * 1.2 - 0.1) * 0.85 + fine * 0.15).clamp(0, 1) * 2 - 1


def settle(model: nn.Module, samples: Tensor) -> nn.Module:
    """Give batch normalisation its statistics, and the head a spread of answers."""
    model.train()
    with torch.no_grad():
        for _ in range(30):
            model(samples)
        model.eval()
        head = getattr(model, "head", None)
        if head is not None:
            answers = model(samples)
            scale = 2.0 / answers.std(0)
            head.weight.mul_(scale[:, None])
            head.bias.sub_(answers.mean(0)).mul_(scale)
    return model


def networks() -> dict[str, tuple[nn.Module, Tensor]]:
    windows = torch.randn(128, 3, 128).cumsum(2) * 0.3
    series = torch.randn(128, 20, 6).cumsum(1) * 0.4
    return {
        "cnn": (Cnn(), pictures(128, 32)),
        "residual_se": (Residual(), pictures(128, 32)),
        "yolo_head": (Detector(), pictures(128, 64)),
        "conv1d": (Windowed(), windows),
        "lstm": (Recurrent(nn.LSTM), series),
        "gru": (Recurrent(nn.GRU), series),
        "transformer": (Transformer(), torch.randn(128, 16, 32)),
    }


def export(name: str, model: nn.Module, sample: Tensor, folder: Path) -> None:
    path = folder / f"torch_{name}.onnx"
    torch.onnx.export(
        copy.deepcopy(model), (sample,), str(path), input_names=["input"], output_names=["output"],
        opset_version=18, dynamo=True, external_data=False, verbose=False,
    )  # fmt: skip
    exported = onnx.load(path)
    for node in exported.graph.node:  # where in the source each node came from: the paths of whoever exports
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*exported.graph.value_info, *exported.graph.input, *exported.graph.output):
        del value.metadata_props[:]
    del exported.metadata_props[:], exported.graph.metadata_props[:]
    onnx.save(exported, path)
    size = path.stat().st_size
    if size > LARGEST_BYTES:
        raise SystemExit(f"{path} has {size} bytes, more than {LARGEST_BYTES}")
    print(f"{path}: {size} bytes, {len(exported.graph.node)} nodes, torch {torch.__version__}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(7)
    torch.backends.mha.set_fastpath_enabled(False)
    for name, (model, samples) in networks().items():
        export(name, settle(model, samples), samples[:1], folder)


if __name__ == "__main__":
    main()
