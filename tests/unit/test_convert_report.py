"""The page about a conversion stands alone and shows what was measured."""

from html.parser import HTMLParser
from pathlib import Path

import numpy as np

from converters.child import StepReport
from converters.gate import judge
from converters.report import charts
from converters.report.evidence import Evidence
from converters.report.page import page
from converters.rescue.recipe import LayerError, TensorRange
from converters.result import ConversionResult
from edge_runtime.types import ImageInput, ModelIdentity, ModelSpec, TensorSpec

LABELS = ("<script>alert(1)</script>", "cat", "dog & co")


class Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in {"src", "href"}]

    def handle_data(self, data: str) -> None:
        self.text += data


def read(*, right: bool) -> Reader:
    tensor = TensorSpec("in", (1, 4, 4, 3), np.dtype(np.float32))
    fed = ImageInput((4, 4), mean=(0.0,), std=(255.0,))
    spec = ModelSpec("m", ModelIdentity("m", None, ""), "classify", LABELS, (tensor,), (tensor,), fed)
    source = np.eye(3, dtype=np.float32)[[0, 1, 2] * 4]
    artifact = source + 0.01 if right else np.roll(source, 1, axis=1)
    targets = np.array([0, 1, 2] * 4)
    verdict = judge(["scores"], [source], [artifact], classifier=True, targets=targets)
    result = ConversionResult(
        output=Path("o.tflite"), sha256="", size_bytes=1, source=Path("<u>model.onnx"), source_sha256="", route="r",
        quantize="int8", preprocessing="given", layout={}, compared_with="here", verdict=verdict, float_sqnr_db=120.0,
        calibration=None, float_operators=0, steps=(StepReport("s", 1.0, 2.0),),
    )  # fmt: skip
    samples = np.random.default_rng(0).random((12, 4, 4, 3), np.float32)
    reader = Reader()
    reader.feed(page(result, Evidence(spec, samples, ["scores"], [source], [artifact], targets)))
    return reader


def test_the_verdict_is_at_the_top() -> None:
    assert "int8: passed" in read(right=True).text[:2000]
    assert "int8: failed" in read(right=False).text


def test_names_from_files_are_text_and_nothing_else() -> None:
    found = read(right=True)
    assert "script" not in found.tags
    assert "u" not in found.tags
    assert "<script>alert(1)</script>" in found.text
    assert "<u>model.onnx" in found.text


def test_it_needs_nothing_from_elsewhere() -> None:
    found = read(right=True)
    assert len(found.links) == 8
    assert all(link.startswith("data:image/png;base64,") for link in found.links)


def test_confusions_are_counted() -> None:
    assert read(right=True).tags.count("td") == 9 + 1 + 3  # the corner of the table, and the one step
    assert read(right=False).text.count("4") >= 3


def test_layers_are_drawn_in_order_and_the_worst_are_marked() -> None:
    layers = [LayerError(f"layer<{n}>", "CONV_2D", 30.0 - n) for n in range(8)]
    drawn = charts.layer_errors(layers)
    assert drawn.count("class=bad") == 3
    assert drawn.index("layer&lt;0&gt;") < drawn.index("layer&lt;7&gt;")
    assert drawn.rfind("class=bad") > drawn.index("layer&lt;7&gt;")


def test_a_long_network_shows_the_layers_that_lose_most() -> None:
    drawn = charts.layer_errors([LayerError(f"layer{n}", "ADD", float(n)) for n in range(200)])
    assert "layer0<" in drawn
    assert "layer199<" not in drawn


def test_what_a_range_leaves_out_is_red() -> None:
    drawn = charts.activations([TensorRange("relu", 0.0, 5.0, (0.0, 10.0), 0.02, (9, 8, 7, 6, 5, 4, 3, 2, 1, 1))])
    assert drawn.count("class=bad") == 5
    assert "2.00% clipped" in drawn


def test_both_speeds_are_bars_of_one_scale() -> None:
    drawn = charts.pair_bars([("here", 10.0, 5.0, "10 → 5 ms"), ("<board>", 20.0, 1.0, "20 → 1 ms")])
    assert "width=480.0" in drawn
    assert "width=120.0" in drawn
    assert "<board>" not in drawn
