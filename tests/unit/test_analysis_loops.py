"""Graphs that operators run: how often, what that costs, and what nobody can know; against calculations by hand."""

from pathlib import Path
from typing import Any

import pytest
from analysis_models import ModelBuilder
from loop_models import CELLS, branches, built, loop, nested

from edge_runtime.analysis.cost import costs
from edge_runtime.analysis.document import document
from edge_runtime.analysis.graph import build_graph
from edge_runtime.analysis.inspection import inspect_model
from edge_runtime.analysis.latency import predict_latency
from edge_runtime.analysis.loops import alternatives, called_graphs, loop_count, whole_costs
from edge_runtime.analysis.memory import estimate_memory
from edge_runtime.analysis.profile import load_profile
from edge_runtime.cli import main
from edge_runtime.errors import ModelError
from edge_runtime.model_file import parse_model


@pytest.mark.parametrize(
    ("changes", "count"),
    [
        ({}, 10),
        ({"start": 4}, 6),
        ({"step": 3}, 4),
        ({"start": 20}, 0),
        ({"compare": "LESS_EQUAL"}, 11),
        ({"both": True}, 10),
        ({"limit": None}, 7),
        ({"step": 0}, None),
        ({"step": -1}, None),
        ({"start": None}, None),
        ({"compare": "EQUAL"}, None),
        ({"compare": "EQUAL", "both": True}, None),
    ],
)
def test_a_loop_runs_as_often_as_its_counter_says(changes: dict[str, Any], count: int | None) -> None:
    graph = built(loop(**changes))
    assert loop_count(graph, graph.nodes[0]) == count


def test_a_condition_made_to_keep_us_busy_is_not_read_to_its_end() -> None:
    model = loop()
    condition = model.another()
    condition.graph = model.model.subgraphs[1]
    (going,) = condition.graph.outputs
    for _ in range(60):
        going = condition.op("LOGICAL_AND", [going, going], [], None, "bool")
    condition.graph.outputs = [going]
    graph = built(model)
    assert loop_count(graph, graph.nodes[0]) is None


def test_a_loop_costs_its_body_and_condition_as_often_as_they_run() -> None:
    (cost,) = whole_costs(built(loop()))
    assert cost.macs == 10 * CELLS * CELLS
    assert cost.parameters == CELLS * CELLS + CELLS
    # One product, one addition of a counter, and eleven comparisons.
    assert cost.elements == 10 * (CELLS + 1) + 11 + (1 + CELLS)


def test_a_loop_of_unknown_length_is_counted_once_and_has_no_predicted_time() -> None:
    graph = built(loop(start=None))
    assert whole_costs(graph)[0].macs == CELLS * CELLS
    latency = predict_latency(graph, load_profile("pi-4b-64"))
    assert latency.unknown is not None
    assert latency.high_ms == float("inf")


def test_a_loop_takes_as_many_times_as_long_as_it_runs() -> None:
    profile = load_profile("pi-4b-64")
    short, long = (predict_latency(built(loop(limit=limit)), profile, threads=1) for limit in (10, 1010))
    once = (long.ms - short.ms) / 1000
    assert long.unknown is None
    assert once > 0
    assert short.nodes[0].inside[1][0] == 10
    assert sum(times for times, _ in long.works) == 1 + 1011 + 2 * 1010
    assert long.low_ms < long.ms < long.high_ms


def test_the_memory_of_a_body_is_counted_once_however_often_it_runs() -> None:
    short, long = (estimate_memory(built(loop(limit=limit))) for limit in (10, 1000))
    assert short.called_bytes == long.called_bytes > 0
    assert short.total_bytes == long.total_bytes


@pytest.mark.parametrize(("condition", "units"), [(None, 2 * CELLS), (1, CELLS), (0, 2 * CELLS)])
def test_of_branches_the_one_that_runs_is_counted_and_else_the_costlier(condition: int | None, units: int) -> None:
    graph = branches(condition)
    assert whole_costs(graph)[0].macs == CELLS * units
    assert costs(graph)[0].macs == 0
    assert len(alternatives(graph, graph.nodes[0]) or ()) == (2 if condition is None else 1)


def test_the_interval_of_a_branch_begins_with_the_cheaper_one() -> None:
    profile = load_profile("pi-4b-64")
    first, second, either = (predict_latency(branches(condition), profile) for condition in (1, 0, None))
    # The condition is one byte more to read where it is not stored.
    assert either.low_ms == pytest.approx(first.low_ms, rel=1e-3)
    assert either.high_ms == pytest.approx(second.high_ms, rel=1e-3)
    assert first.low_ms < second.low_ms
    assert first.high_ms < second.high_ms
    assert either.ms == pytest.approx(second.ms, rel=1e-3)


def test_loops_in_loops_multiply_and_are_listed(tmp_path: Path) -> None:
    model = nested()
    graph = built(model)
    (cost,) = whole_costs(graph)
    assert cost.macs == 5 * (CELLS * CELLS + 7 * CELLS * CELLS)
    assert len(called_graphs(graph)) == 4
    path = tmp_path / "nested.tflite"
    path.write_bytes(model.bytes(model.graph.inputs, model.graph.outputs))
    runs = document(inspect_model(path))["graphs"]
    assert [(run["index"], run["role"], run["times"]) for run in runs] == [
        (1, "condition", 6),
        (2, "body", 5),
        (3, "condition", 8),
        (4, "body", 7),
    ]
    assert runs[3]["run_by"] == "2 WHILE of graph 2"


def test_graphs_that_run_each_other_in_a_circle_are_refused() -> None:
    model = loop()
    model.graph.operators[0].builtinOptions.bodySubgraphIndex = 0
    with pytest.raises(ModelError, match="deep"):
        built(model)


def test_a_graph_that_is_not_there_is_refused() -> None:
    model = loop()
    model.graph.operators[0].builtinOptions.bodySubgraphIndex = 9
    with pytest.raises(ModelError, match="no graph 9"):
        built(model)


def test_graphs_that_multiply_beyond_all_bounds_are_refused_at_once() -> None:
    main = ModelBuilder("float32")
    fed = main.tensor([1, CELLS])
    leaf = main.another()
    below = leaf.ends([leaf.tensor([1, CELLS])], [0])
    for _ in range(5):
        middle = main.another()
        inner = middle.tensor([1, CELLS])
        for _ in range(10):
            middle.control("IF", [inner, inner], (below, below), [inner])
        below = middle.ends([inner], [inner])
    main.control("IF", [fed, fed], (below, below), [fed])
    with pytest.raises(ModelError, match="operators; up to"):
        main.build([fed], [fed])


def test_the_report_says_what_runs_how_often(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "loop.tflite"
    model = loop()
    path.write_bytes(model.bytes(model.graph.inputs, model.graph.outputs))
    assert main(["inspect", str(path), "--device", "pi-4b-64", "--html", str(tmp_path / "page.html")]) == 0
    text = capsys.readouterr().out
    assert "graph 2    body of 0 WHILE, runs 10 times: ADD 1, FULLY_CONNECTED 1; 64 MACs" in text
    assert "runs graphs 1 and 2" in text
    assert "not counted" not in text
    (found,) = inspect_model(path).costs
    assert found.macs == 640
    assert len(called_graphs(build_graph(parse_model(path.read_bytes(), "again")))) == 2
