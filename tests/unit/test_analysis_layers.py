"""Cutting a model into single operators, and timing each under the real interpreter."""

import json
from pathlib import Path

import pytest
from analysis_models import ModelBuilder, mobilenet_v1
from loop_models import branches, built, loop, nested

from edge_runtime.analysis import operator_cache
from edge_runtime.analysis.cost import costs
from edge_runtime.analysis.graph import build_graph, read_graph
from edge_runtime.analysis.layers import Cutter, time_layers, time_model
from edge_runtime.analysis.operator_cache import OperatorCache, signature
from edge_runtime.cli import bench, bench_layers, bench_layers_text, main
from edge_runtime.errors import EngineError
from edge_runtime.model_file import parse_model


@pytest.mark.parametrize("type_name", ["int8", "float32"])
def test_the_parts_are_the_operators_of_the_whole(type_name: str) -> None:
    model = mobilenet_v1(type_name, size=64, width=0.25)
    graph = model.build([0], [len(model.graph.tensors) - 1])
    cutter = Cutter(graph)
    for node, cost in zip(graph.nodes, costs(graph), strict=True):
        part = build_graph(parse_model(cutter.cut(node), "part.tflite"))
        (alone,) = part.nodes
        assert (alone.name, alone.options) == (node.name, node.options)
        assert costs(part) == (cost,)
        first, original = part.operand(alone, 0), graph.operand(node, 0)
        assert first is not None
        assert original is not None
        assert (first.shape, first.type, first.scales.tolist()) == (
            original.shape,
            original.type,
            original.scales.tolist(),
        )


def test_every_layer_of_real_models_can_be_timed_by_itself(reference: Path) -> None:
    for name in ("mlperf_tiny/pretrainedResnet_quant", "mlperf_tiny/kws_ref_model", "digits/keras_lstm_mnist_ptq"):
        graph = read_graph(reference / "models" / f"{name}.tflite")
        timed = list(time_layers(graph, budget_s=0.2))
        assert [layer.reason for layer in timed] == [None] * len(graph.nodes), name
        assert all(layer.usual_ms is not None and layer.usual_ms > 0 for layer in timed)


def test_an_operator_that_cannot_run_alone_says_why() -> None:
    model = ModelBuilder()
    fed = model.tensor([1, 4, 4, 3])
    graph = model.build([fed], [model.op("CONV_2D", [fed, model.weights([8, 1, 1, 3])], [1, 4, 4, 8])])
    (layer,) = time_layers(graph, budget_s=0.05)
    assert layer.usual_ms is None
    assert layer.reason is not None
    assert "does not run by itself" in layer.reason
    with pytest.raises(EngineError, match="does not run by itself"):
        time_model(graph.model.data, threads=1, seconds=0.01)


def test_a_loop_is_timed_as_it_is_and_what_it_runs_as_often_as_it_runs() -> None:
    (layer,) = time_layers(built(nested()), budget_s=0.3)
    condition, body = layer.inside
    assert [(each.number, each.times) for each in layer.inside] == [(1, 6), (2, 5)]
    assert [inner.node.name for inner in condition.layers] == ["LESS"]
    assert [inner.node.name for inner in body.layers] == ["ADD", "FULLY_CONNECTED", "WHILE"]
    inner = body.layers[2]
    assert [(each.number, each.times) for each in inner.inside] == [(3, 8), (4, 7)]
    assert all(each.usual_ms is not None for each in (layer, *condition.layers, *body.layers))
    assert body.total_ms == pytest.approx(5 * sum(each.usual_ms or 0.0 for each in body.layers))
    # In a loop an operator does not call the interpreter anew.
    product = body.layers[1]
    assert product.alone_ms is not None
    assert product.usual_ms is not None
    assert product.usual_ms < product.alone_ms
    assert layer.alone_ms is None


def test_of_branches_that_data_chooses_the_costlier_is_shown_and_of_stored_ones_the_one_that_runs() -> None:
    (open_one,) = time_layers(branches(None), budget_s=0.2)
    assert open_one.usual_ms == pytest.approx(sum(each.total_ms for each in open_one.inside))
    (stored,) = time_layers(branches(1), budget_s=0.2)
    assert [each.number for each in stored.inside] == [1]


def test_a_loop_that_data_ends_is_not_measured_and_said_to_be_missing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(bench, "LAYERS_SECONDS", 0.3)
    monkeypatch.setenv("EDGE_INFER_STATE_DIR", str(tmp_path / "state"))
    model = loop(start=None)
    path = tmp_path / "open.tflite"
    path.write_bytes(model.bytes(model.graph.inputs, model.graph.outputs))
    assert main(["bench", str(path), "--layers", "--threads", "1"]) == 0
    text = capsys.readouterr().out
    assert "not measured: how often it runs depends on data" in text
    assert "without WHILE, not measured" in text


def test_what_a_loop_runs_is_printed_below_it_and_remembered_as_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(bench, "LAYERS_SECONDS", 0.3)
    monkeypatch.setenv("EDGE_INFER_STATE_DIR", str(tmp_path / "state"))
    model = loop(limit=10)
    path, page = tmp_path / "loop.tflite", tmp_path / "layers.html"
    path.write_bytes(model.bytes(model.graph.inputs, model.graph.outputs))
    words = ["bench", str(path), "--layers", "--threads", "1", "--device", "x86-64", "--html", str(page), "--json"]
    assert main(words) == 0
    document = json.loads(capsys.readouterr().out)
    (row,) = document["layers"]
    condition, body = row["inside"]
    assert (condition["times"], body["times"]) == (11, 10)
    assert body["measured_ms"] == pytest.approx(sum(inner["measured_ms"] for inner in body["layers"]))
    assert document["predicted_ms"] == pytest.approx(row["predicted_ms"])
    inside_ms = sum(inner["predicted_ms"] for graph in row["inside"] for inner in graph["layers"])
    assert 0 < inside_ms <= row["predicted_ms"]
    assert document["remembered"] == 3
    text = bench_layers_text.table(document)
    assert " 2:1    FULLY_CONNECTED x10" in text
    assert page.read_text().count("<svg") == 4


def test_layers_are_printed_beside_their_prediction(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(bench, "LAYERS_SECONDS", 0.3)
    built = mobilenet_v1(size=64, width=0.25)
    path = tmp_path / "small.tflite"
    path.write_bytes(built.bytes([0], [len(built.graph.tensors) - 1]))
    monkeypatch.setenv("EDGE_INFER_STATE_DIR", str(tmp_path / "state"))
    page = tmp_path / "layers.html"
    words = ["bench", str(path), "--layers", "--threads", "1", "--device", "x86-64", "--html", str(page)]
    assert main([*words, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["layers_ms"] == pytest.approx(sum(row["measured_ms"] for row in document["layers"]))
    assert document["predicted_ms"] == pytest.approx(sum(row["predicted_ms"] for row in document["layers"]))
    text = bench_layers_text.table(document)
    assert "whole" in text
    assert "predicted for x86-64" in text
    assert page.read_text().count("<svg") == len(document["layers"])
    assert "script" not in page.read_text()


def test_measured_layers_are_remembered_for_models_of_the_same_operators(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(bench, "LAYERS_SECONDS", 0.3)
    monkeypatch.setenv("EDGE_INFER_STATE_DIR", str(tmp_path / "state"))
    built = mobilenet_v1(size=64, width=0.25)
    path = tmp_path / "small.tflite"
    path.write_bytes(built.bytes([0], [len(built.graph.tensors) - 1]))
    assert main(["bench", str(path), "--layers", "--threads", "1", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    graph = read_graph(path)
    assert document["remembered"] == len({signature(graph, node) for node in graph.nodes})
    cache = bench_layers.this_cache(tmp_path / "state")
    known = cache.known(threads=1)
    assert all(known(graph, node) for node in graph.nodes)
    assert not any(cache.known(threads=2)(graph, node) for node in graph.nodes)


def test_only_what_is_the_same_work_has_the_same_signature() -> None:
    def signatures(stride: int, type_name: str = "int8") -> list[str]:
        model = ModelBuilder(type_name)
        fed = model.tensor([1, 8, 8, 4])
        graph = model.build([fed], [model.conv(model.conv(fed, 4, stride=stride), 4)])
        return [signature(graph, node) for node in graph.nodes]

    first, second = signatures(1)
    assert first == second
    assert first not in signatures(2)[:1] + signatures(1, "float32")


def test_a_file_of_operators_that_is_not_of_this_device_or_damaged_counts_as_empty(tmp_path: Path) -> None:
    path = tmp_path / "operators.json"
    cache = OperatorCache(runtime="r 1", machine="m")
    model = ModelBuilder()
    fed = model.tensor([1, 8, 8, 4])
    graph = model.build([fed], [model.conv(fed, 4)])
    cache.add(graph, graph.nodes[0], threads=1, us=3.0)
    path.write_bytes(cache.content())
    assert len(OperatorCache.read(path, runtime="r 1", machine="m")) == 1
    assert len(OperatorCache.read(path, runtime="r 2", machine="m")) == 0
    assert len(OperatorCache.read(path, runtime="r 1", machine="other")) == 0
    for damaged in (b"", b"{", b"[1]", b'{"schema": 1, "runtime": "r 1", "machine": "m", "operators": 3}'):
        path.write_bytes(damaged)
        assert len(OperatorCache.read(path, runtime="r 1", machine="m")) == 0
    assert len(OperatorCache.read(tmp_path / "none.json", runtime="r 1", machine="m")) == 0


def test_the_oldest_operators_are_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operator_cache, "MOST_OPERATORS", 2)
    cache = OperatorCache(runtime="r", machine="m")
    model = ModelBuilder()
    fed = model.tensor([1, 8, 8, 4])
    graph = model.build([fed], [model.conv(model.conv(model.conv(fed, 5), 6), 7)])
    for node in graph.nodes:
        cache.add(graph, node, threads=1, us=1.0)
    assert [cache.known(threads=1)(graph, node) for node in graph.nodes] == [None, 1.0, 1.0]


@pytest.mark.parametrize("words", [["--layers", "--threads", "many"], ["--device", "pi-5"]])
def test_wrong_usage_of_layers_ends_with_status_2(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, words: list[str]
) -> None:
    built = mobilenet_v1(size=64, width=0.25)
    path = tmp_path / "small.tflite"
    path.write_bytes(built.bytes([0], [len(built.graph.tensors) - 1]))
    assert main(["bench", str(path), *words]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_model_that_does_not_run_here_says_why(
    capsys: pytest.CaptureFixture[str], reference: Path, tmp_path: Path
) -> None:
    compiled = next((reference / "models/edgetpu").glob("*.tflite"))
    assert main(["bench", str(compiled), "--layers"]) == 1
    err = capsys.readouterr().err
    assert "does not run here: it is compiled for an Edge TPU" in err
    assert "inspect the model it was compiled from" in err
    empty = ModelBuilder()
    fed = empty.tensor([1, 4])
    path = tmp_path / "empty.tflite"
    path.write_bytes(empty.bytes([fed], [fed]))
    assert main(["bench", str(path), "--layers"]) == 2
    assert "has no operators, so there is nothing to measure" in capsys.readouterr().err
