"""The page about a conversion stands alone and shows what was measured."""

from html.parser import HTMLParser
from pathlib import Path

import numpy as np

from converters.child import StepReport
from converters.gate import judge
from converters.html_report import Evidence, page
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
        output=Path("o.tflite"), sha256="", size_bytes=1, source=Path("<b>model.onnx"), source_sha256="", route="r",
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
    assert "b" not in found.tags
    assert "<script>alert(1)</script>" in found.text
    assert "<b>model.onnx" in found.text


def test_it_needs_nothing_from_elsewhere() -> None:
    found = read(right=True)
    assert len(found.links) == 8
    assert all(link.startswith("data:image/png;base64,") for link in found.links)


def test_confusions_are_counted() -> None:
    assert read(right=True).tags.count("td") == 9
    assert read(right=False).text.count("4") >= 3
