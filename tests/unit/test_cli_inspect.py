"""``edge-infer inspect`` as it is typed: text, JSON, the page, comparison, budgets and refusals."""

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from analysis_models import ModelBuilder, mobilenet_v1, schema

from edge_runtime.analysis.compared import Row
from edge_runtime.analysis.profile import THIS_DEVICE
from edge_runtime.cli import main
from edge_runtime.store.speeds import Speed, keep_speed

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    built = mobilenet_v1(size=96, width=0.25)
    path = tmp_path_factory.mktemp("models") / "narrow.tflite"
    path.write_bytes(built.bytes([0], [len(built.graph.tensors) - 1]))
    return path


def inspect(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    status = main(["inspect", *map(str, words)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def inspect_json(capsys: pytest.CaptureFixture[str], *words: object) -> Any:
    status, out, err = inspect(capsys, *words, "--json")
    assert (status, err) == (0, "")
    return json.loads(out)


def test_without_a_device_every_board_is_listed(capsys: pytest.CaptureFixture[str], model: Path) -> None:
    result = inspect_json(capsys, model)
    assert {"pi-zero-2-w", "pi-5", "coral-usb"} <= {device["device"] for device in result["devices"]}
    assert result["verdict"] is None
    assert result["use"]["task"] == "classify"
    assert result["operators"]["CONV_2D"] == 15


def test_the_layers_add_up_to_the_totals(capsys: pytest.CaptureFixture[str], model: Path) -> None:
    result = inspect_json(capsys, model, "--device", "pi-4b-64")
    layers, totals = result["layers"], result["totals"]
    assert result["layers_device"] == "pi-4b-64"
    assert sum(layer["macs"] for layer in layers) == totals["macs"]
    assert sum(layer["parameters"] for layer in layers) == totals["parameters"]
    predicted = result["devices"][0]["latency_ms"]["predicted"]
    assert sum(layer["predicted_ms"] for layer in layers) == pytest.approx(predicted, rel=0.01)


def test_the_text_ends_with_the_summary_and_the_device(capsys: pytest.CaptureFixture[str], model: Path) -> None:
    status, out, _ = inspect(capsys, model, "--device", "pi-zero-2-w", "--fps", "1", "--memory-mb", "512")
    assert status == 0
    for expected in (
        "input      tensor0 (1, 96, 96, 3) int8",
        "peak ",
        "verdict    time: fits",
        "verdict    memory: fits",
    ):
        assert expected in out, expected
    assert re.search(r"^pi-zero-2-w +4 +\d", out, re.MULTILINE)


def test_a_verdict_says_what_was_asked_and_what_was_found(capsys: pytest.CaptureFixture[str], model: Path) -> None:
    status, out, _ = inspect(capsys, model, "--device", "pi-4b-64", "--fps", "10", "--memory-mb", "32")
    assert status == 3
    assert re.search(
        r"^verdict    time: fits, up to [\d.]+ of 100 ms an inference, for 10 a second$", out, re.MULTILINE
    )
    assert re.search(r"^verdict    memory: does not fit, about \d+ of 32 MiB$", out, re.MULTILINE)


def test_without_a_device_a_budget_is_judged_on_every_board(
    capsys: pytest.CaptureFixture[str], model: Path, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    status, out, _ = inspect(capsys, model, "--fps", "700", "--html", page)
    assert status == 0
    assert re.search(r"^verdict    fits on .*pi-5", out, re.MULTILINE)
    assert re.search(r"^verdict    does not fit on .*pi-zero-2-w", out, re.MULTILINE)
    assert "does not fit on" in page.read_text()
    status, out, _ = inspect(capsys, model, "--memory-mb", "8")
    assert status == 3
    assert "verdict    does not fit on coral-dev-board" in out
    assert re.search(r"^verdict    memory: does not fit, about \d+ of 8 MiB$", out, re.MULTILINE)


def test_a_model_compiled_for_an_edge_tpu_has_no_time(capsys: pytest.CaptureFixture[str], reference: Path) -> None:
    (path,) = (reference / "models").rglob("mobilenet_v1_0.25_128_quant_edgetpu.tflite")
    (device,) = inspect_json(capsys, path, "--device", "coral-usb")["devices"]
    assert device["latency_ms"] == {"predicted": None, "low": 0.0, "high": None}
    assert "compiled for an Edge TPU" in device["latency_unknown"]
    assert device["advice"] == []


def test_an_input_without_a_fixed_size_has_no_time_but_an_open_batch_has(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "open.tflite"
    for signature, known in (([-1, 8, 8, 3], True), ([1, -1, -1, 3], False)):
        built = ModelBuilder("float32")
        fed = built.tensor([1, 8, 8, 3])
        built.graph.tensors[fed].shapeSignature = signature
        path.write_bytes(built.bytes([fed], [built.conv(fed, 4)]))
        (device,) = inspect_json(capsys, path, "--device", "pi-5")["devices"]
        assert (device["latency_unknown"] is None) == known, signature


def test_a_foreign_operator_has_no_time_and_is_named_once(capsys: pytest.CaptureFixture[str], reference: Path) -> None:
    path = reference / "models/refused/model_invoking_error.tflite"
    status, out, _ = inspect(capsys, path)
    assert status == 0
    assert out.count("interpreters know no fake-op-double") == 1
    assert "Infinity" not in out


def test_times_per_layer_are_those_of_one_device(capsys: pytest.CaptureFixture[str], model: Path) -> None:
    every, one = inspect(capsys, model)[1], inspect(capsys, model, "--device", "pi-5")[1]
    assert not every.splitlines()[0].endswith("ms")
    assert "--device NAME shows the time of every layer" in every
    assert one.splitlines()[0].endswith("moved      ms")


def test_the_line_of_an_edge_tpu_is_in_the_columns_of_its_board(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    built = mobilenet_v1()
    path = tmp_path / "large.tflite"
    path.write_bytes(built.bytes([0], [len(built.graph.tensors) - 1]))
    lines = inspect(capsys, path, "--device", "coral-usb")[1].splitlines()
    (number,) = (number for number, line in enumerate(lines) if line.startswith("  with Edge TPU"))
    assert len({len(line) for line in lines[number - 2 : number + 1]}) == 1


def test_a_network_that_an_edge_tpu_would_slow_down_is_judged_on_the_processor(
    capsys: pytest.CaptureFixture[str], model: Path
) -> None:
    (device,) = inspect_json(capsys, model, "--device", "coral-usb", "--fps", "700")["devices"]
    assert device["edgetpu_ms"] is None
    assert device["verdict"] == "fits"


def test_the_task_is_said_once_with_where_it_comes_from(capsys: pytest.CaptureFixture[str], model: Path) -> None:
    used = [line for line in inspect(capsys, model, "--device", "pi-5")[1].splitlines() if line.startswith("used as")]
    assert used[0].startswith("used as    classify (from an input")
    assert not any("task:" in line for line in used)


def test_a_file_to_convert_is_named_as_a_shell_wants_it(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "my net.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    status, _, err = inspect(capsys, path)
    assert status == 3
    assert f"edge-convert '{path}' -o model.tflite" in err


def test_a_name_is_one_of_the_store(
    capsys: pytest.CaptureFixture[str], model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EDGE_INFER_STATE_DIR", str(tmp_path))
    (tmp_path / "models").mkdir()
    for name in ("mobilenet_v2", "mobilenet_v1_0.25_128"):
        (tmp_path / f"models/{name}.tflite").write_bytes(model.read_bytes())
        assert "tensor0" in inspect(capsys, name, "--device", "pi-5")[1]
    status, _, err = inspect(capsys, "nosuch", "--device", "pi-5")
    assert status == 2
    assert "neither a file nor a model of the catalogue" in err


def test_two_models_that_call_themselves_the_same_are_told_apart_on_the_page(
    capsys: pytest.CaptureFixture[str], model: Path, tmp_path: Path
) -> None:
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        folder.mkdir()
        (folder / "same.tflite").write_bytes(model.read_bytes())
    page = tmp_path / "page.html"
    assert inspect(capsys, "--compare", *(folder / "same.tflite" for folder in folders), "--html", page)[0] == 0
    assert "<h1>a/same.tflite and b/same.tflite</h1>" in page.read_text()


def test_a_second_entry_of_a_file_is_named_and_said_not_to_be_counted(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    built = ModelBuilder("float32")
    fed = built.tensor([1, 8])
    other = built.another()
    other.ends([other.tensor([1, 8])], [other.op("TANH", [0], [1, 8])])
    built.model.signatureDefs = []
    for number, name in enumerate(("encode", "decode")):
        signature = schema.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = name, number
        signature.inputs, signature.outputs = [], []
        built.model.signatureDefs.append(signature)
    path = tmp_path / "two.tflite"
    path.write_bytes(built.bytes([fed], [built.op("LOGISTIC", [fed], [1, 8])]))
    _, out, _ = inspect(capsys, path, "--device", "pi-5")
    assert (
        "1 more graph is in the file (signature decode) and not counted; an interpreter runs the first, encode" in out
    )


def test_the_manifest_and_how_weights_are_held_are_said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = REPOSITORY / "edge_runtime/demo/digits.tflite"
    model = inspect_json(capsys, path)["model"]
    assert model["weights"] == {"int8 per channel with int8 activations": 5}
    assert model["manifest"]["found"].endswith("digits.manifest.json")
    assert (model["manifest"]["name"], model["manifest"]["labels"]) == ("digits", 11)
    page = tmp_path / "digits.html"
    status, out, _ = inspect(capsys, path, "--html", page)
    assert status == 0
    assert re.search(r"^manifest .*digits.manifest.json: digits 1, classify, top-1 .*, int8 0.9\d+", out, re.MULTILINE)
    text = page.read_text("utf-8")
    assert "scale 0.00392157, zero point 0" in text
    assert "operators: CONV_2D 4" in text
    assert "weights: int8 per channel with int8 activations (5 operators)" in text
    alone = tmp_path / "alone.tflite"
    alone.write_bytes(path.read_bytes())
    assert inspect_json(capsys, alone)["model"]["manifest"] is None


def test_weights_in_halves_and_of_dynamic_range_are_told_apart(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    built = ModelBuilder("float32")
    fed = built.tensor([1, 16])
    halves = built.op("DEQUANTIZE", [built.weights([8, 16], "float16")], [8, 16])
    first = built.op("FULLY_CONNECTED", [fed, halves, -1], [1, 8], schema.FullyConnectedOptionsT())
    weights = built.weights([4, 8], "int8")
    last = built.op("FULLY_CONNECTED", [first, weights, -1], [1, 4], schema.FullyConnectedOptionsT())
    path = tmp_path / "net.tflite"
    path.write_bytes(built.bytes([fed], [last]))
    assert inspect_json(capsys, path)["model"]["weights"] == {
        "float16 with float32 activations": 1,
        "int8 with float32 activations": 1,
    }


@pytest.mark.parametrize("budget", [("--fps", "100000"), ("--memory-mb", "8")])
def test_what_does_not_fit_ends_with_status_3(
    capsys: pytest.CaptureFixture[str], model: Path, budget: tuple[str, str]
) -> None:
    status, out, _ = inspect(capsys, model, "--device", "pi-5", *budget)
    assert status == 3
    assert "does not fit" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--device", "toaster"], "pi-zero-2-w"),
        (["--compare", "a.tflite", "b.tflite"], "one MODEL, or --compare"),
    ],
)
def test_wrong_usage_ends_with_status_2(
    capsys: pytest.CaptureFixture[str], model: Path, words: list[str], message: str
) -> None:
    status, out, err = inspect(capsys, model, *words)
    assert (status, out) == (2, "")
    assert message in err


@pytest.mark.parametrize("budget", ["0", "-1", "nan", "fast"])
def test_a_budget_that_is_no_number_is_wrong_usage(
    capsys: pytest.CaptureFixture[str], model: Path, budget: str
) -> None:
    assert inspect(capsys, model, "--device", "pi-5", f"--fps={budget}")[0] == 2


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGE_INFER_STATE_DIR", str(tmp_path))
    return tmp_path


def test_this_machine_says_what_to_run_when_nothing_is_known(
    capsys: pytest.CaptureFixture[str], model: Path, state: Path
) -> None:
    status, _, err = inspect(capsys, model, "--device", "this")
    assert (status, err.count("\n")) == (2, 1)
    assert "bench --calibrate" in err


def test_this_machine_uses_its_own_profile(capsys: pytest.CaptureFixture[str], model: Path, state: Path) -> None:
    shipped = (REPOSITORY / "device_configs/profiles/pi-5.toml").read_text("utf-8")
    (state / THIS_DEVICE).write_text(shipped)
    (device,) = inspect_json(capsys, model, "--device", "this")["devices"]
    (board,) = inspect_json(capsys, model, "--device", "pi-5")["devices"]
    assert device["device"] == "this"
    assert device["latency_ms"] == board["latency_ms"]
    assert device["correction"] is None


def test_this_machine_corrects_a_model_that_it_has_run(
    capsys: pytest.CaptureFixture[str], model: Path, state: Path
) -> None:
    (state / THIS_DEVICE).write_text((REPOSITORY / "device_configs/profiles/pi-5.toml").read_text("utf-8"))
    sha256 = hashlib.sha256(model.read_bytes()).hexdigest()
    plain = inspect_json(capsys, model, "--device", "this", "--threads", "2")
    figures = {"sha256": sha256, "profile": "this", "predicted_ms": 4.0, "measured_ms": 6.0, "at": ""}
    keep_speed(state, Speed(setup="ai-edge-litert 2.3.0, 2 threads, cpu", **figures))
    corrected = inspect_json(capsys, model, "--device", "this")
    before, after = plain["devices"][0], corrected["devices"][0]
    assert (after["threads"], after["correction"]["ratio"]) == (2, 1.5)
    assert after["latency_ms"]["predicted"] == pytest.approx(1.5 * before["latency_ms"]["predicted"], rel=0.01)
    assert after["advice"][0]["after_ms"] == pytest.approx(1.5 * before["advice"][0]["after_ms"], rel=0.01)
    assert inspect_json(capsys, model, "--device", "this", "--threads", "3")["devices"][0]["correction"] is None


def test_what_is_no_model_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "page.tflite").write_text("<!doctype html><html>")
    status, _, err = inspect(capsys, tmp_path / "page.tflite")
    assert status == 3
    assert err.count("\n") == 1
    assert inspect(capsys, tmp_path / "none.tflite")[0] == 2


def test_two_models_are_compared(capsys: pytest.CaptureFixture[str], model: Path, tmp_path: Path) -> None:
    wider = mobilenet_v1(size=96, width=0.5)
    other = tmp_path / "wide.tflite"
    other.write_bytes(wider.bytes([0], [len(wider.graph.tensors) - 1]))
    status, out, _ = inspect(capsys, "--compare", model, other, "--device", "pi-5")
    assert status == 0
    ratio = re.search(r"^MACs .* ([\d.]+)$", out, re.MULTILINE)
    assert ratio is not None
    assert float(ratio[1]) > 2.5
    page = tmp_path / "compared.html"
    both = inspect_json(capsys, "--compare", model, other, "--html", page)["models"]
    assert page.read_text("utf-8").count("<h2>") == 4
    assert [Path(one["model"]["path"]).name for one in both] == ["narrow.tflite", "wide.tflite"]


def test_a_comparison_gives_both_verdicts_and_why_a_time_is_missing(
    capsys: pytest.CaptureFixture[str], model: Path, reference: Path, tmp_path: Path
) -> None:
    foreign, page = reference / "models/refused/model_invoking_error.tflite", tmp_path / "both.html"
    flags = ("--device", "pi-zero-2-w", "--fps", "100000", "--html", page)
    status, out, _ = inspect(capsys, "--compare", model, foreign, *flags)
    assert status == 3
    assert "verdict    A: time: does not fit, up to " in out
    assert "verdict    B: time: tight, no time is predicted" in out
    assert "unknown    B: interpreters know no fake-op-double" in out
    assert re.search(r"^pi-zero-2-w +[\d.]+ ms +\? +-$", out, re.MULTILINE)
    text = page.read_text("utf-8")
    assert text.count("does not fit, up to") == 1
    assert "No time is predicted: interpreters know no fake-op-double" in text


@pytest.mark.parametrize(
    ("before", "after", "shown"),
    [(2.0, 3.0, "1.50"), (8e5, 512, "0.0006"), (5.0, 0.0, "0.00"), (0.0, 5.0, "-"), (5.0, None, "-")],
)
def test_a_ratio_is_never_shown_as_nothing_where_there_is_something(
    before: float, after: float | None, shown: str
) -> None:
    assert Row("memory", before, after, "B").shown_ratio == shown


def test_a_comparison_has_the_time_with_an_edge_tpu(capsys: pytest.CaptureFixture[str], reference: Path) -> None:
    first, second = (next((reference / "models").rglob(name)) for name in ("mobilenet_v1_0.75*", "mobilenet_v2*"))
    _, out, _ = inspect(capsys, "--compare", first, second, "--device", "coral-usb")
    assert re.search(r"^coral-usb with Edge TPU +[\d.]+ ms +[\d.]+ ms +[\d.]+$", out, re.MULTILINE)


def test_what_a_model_says_of_itself_moves_no_cursor(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    built = ModelBuilder()
    fed = built.tensor([1, 32, 32, 3])
    last = built.op("CUSTOM", [built.conv(fed, 8)], [1, 32, 32, 8])
    built.model.operatorCodes[-1].customCode = b"\x1b[2J\n" + b"long" * 99
    for tensor in built.graph.tensors:
        tensor.name = "\x1b[31mred\r\n\u202edark".encode()
    path, page = tmp_path / "hostile.tflite", tmp_path / "page.html"
    path.write_bytes(built.bytes([fed], [last]))
    for words in ((path, "--device", "pi-5"), ("--compare", path, path)):
        _, out, _ = inspect(capsys, *words, "--html", page)
        assert out.replace("\n", "").isprintable()
        assert "\u202e" not in page.read_text("utf-8")
    layers = inspect(capsys, path, "--device", "pi-5")[1].split("\n\n")[0].splitlines()
    assert len(layers) == 3
    assert max(map(len, layers)) <= 120
    assert layers[2].endswith("no kernel")


def test_an_operator_that_a_chip_runs_is_no_plain_kernel(capsys: pytest.CaptureFixture[str], reference: Path) -> None:
    (path,) = (reference / "models").rglob("mobilenet_v1_0.25_128_quant_edgetpu.tflite")
    result = inspect_json(capsys, path, "--device", "coral-usb")
    assert [(layer["kernel"], layer["predicted_ms"]) for layer in result["layers"]] == [("Edge TPU", None)]
    assert result["xnnpack"]["left"] == []
    assert inspect(capsys, path)[1].splitlines()[1].endswith("Edge TPU")


def test_less_than_a_microsecond_is_not_said_to_take_no_time(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    built = ModelBuilder()
    fed = built.tensor([1, 1, 1, 4])
    path = tmp_path / "tiny.tflite"
    path.write_bytes(built.bytes([fed], [built.conv(fed, 2)]))
    (device,) = inspect_json(capsys, path, "--device", "x86-64")["devices"]
    assert 0 < device["latency_ms"]["low"] < device["latency_ms"]["predicted"] < 0.001


def test_the_page_is_self_contained_and_escapes_what_the_model_says(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    built = ModelBuilder()
    fed = built.tensor([1, 32, 32, 3])
    last = built.conv(fed, 8)
    for tensor in built.graph.tensors:
        tensor.name = b"<script>alert(1)</script>\"'"
    path, page = tmp_path / "hostile.tflite", tmp_path / "report.html"
    path.write_bytes(built.bytes([fed], [last]))
    assert inspect(capsys, path, "--device", "pi-5", "--html", page)[0] == 0
    text = page.read_text("utf-8")
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert not re.search(r"""(src|href)=|url\(|@import|https?://""", text)
    assert "default-src 'none'" in text
    assert text.count("<svg") == text.count("</svg>") == 3


def test_the_page_draws_the_graph_with_its_links_and_lists_every_layer(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    built = ModelBuilder()
    fed = built.tensor([1, 32, 32, 8])
    first = built.conv(fed, 8)
    last = built.op("ADD", [first, built.conv(built.conv(first, 8), 8)], [1, 32, 32, 8])
    path, page = tmp_path / "net.tflite", tmp_path / "report.html"
    path.write_bytes(built.bytes([fed], [last]))
    assert inspect(capsys, path, "--device", "pi-5", "--fps", "30", "--html", page)[0] == 0
    text = page.read_text("utf-8")
    assert text.count('<path class="link"') == 1, "the addition reads past two convolutions"
    assert text.count('<line class="link"') == 3
    assert text.count("<circle") == 4 + 1
    assert "All figures of 4 layers" in text
    assert ">30 per second<" in text
    assert ">fits</small>" in text


def test_a_model_without_operators_has_a_page_too(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    built = ModelBuilder()
    fed = built.tensor([1, 32, 32, 8])
    path, page = tmp_path / "empty.tflite", tmp_path / "report.html"
    path.write_bytes(built.bytes([fed], [fed]))
    assert inspect(capsys, path, "--html", page)[0] == 0
    assert "No tensors to place" in page.read_text("utf-8")
    assert inspect(capsys, path)[1].startswith("model ")


def test_a_page_that_cannot_be_written_is_wrong_usage(capsys: pytest.CaptureFixture[str], model: Path) -> None:
    status, _, err = inspect(capsys, model, "--html", "/nowhere/report.html")
    assert status == 2
    assert "cannot write" in err


def test_the_interpreter_is_not_loaded(model: Path) -> None:
    program = (
        "import sys; from edge_runtime.cli import main; main(['inspect', sys.argv[1], '--json']);"
        "heavy = {'ai_edge_litert', 'tflite_runtime', 'PIL', 'paho', 'av', 'simplejpeg', 'typing_extensions'};"
        "heavy &= set(sys.modules);"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    ran = subprocess.run([sys.executable, "-c", program, str(model)], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr


def test_the_graph_its_costs_and_where_it_runs_need_no_numpy(model: Path) -> None:
    program = (
        "import sys; sys.modules['numpy'] = None; from pathlib import Path;"
        "from edge_runtime.analysis import cost, edgetpu_rules, graph, loops, xnnpack;"
        "found = graph.read_graph(Path(sys.argv[1])); print(sum(one.macs for one in cost.costs(found)));"
        "assert xnnpack.delegation(found).taken; [edgetpu_rules.obstacle(found, node) for node in found.nodes]"
    )
    ran = subprocess.run([sys.executable, "-c", program, model], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) > 1_000_000


def test_every_reference_model_is_read(capsys: pytest.CaptureFixture[str], reference: Path) -> None:
    paths = sorted((reference / "models").rglob("*.tflite"))
    assert paths
    for path in paths:
        assert inspect_json(capsys, path)["totals"]["operators"] > 0, path


def test_damaged_models_are_refused_or_read_quickly_and_in_little_memory() -> None:
    """The short form of scripts/fuzz_models, which runs 20,000."""
    script = REPOSITORY / "scripts/fuzz_models.py"
    ran = subprocess.run(
        [sys.executable, script, "400", "--seed", "7"], capture_output=True, text=True, timeout=110, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert "0 failures" in ran.stdout
    assert int(re.search(r"refused (\d+)", ran.stdout)[1]) > 100  # type: ignore[index]
    assert int(re.search(r"read (\d+)", ran.stdout)[1]) > 50  # type: ignore[index]
