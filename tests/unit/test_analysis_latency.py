"""Device profiles, predicted latency, Edge TPU mapping, verdicts and advice."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from analysis_models import ModelBuilder, mobilenet_v1, schema

from edge_runtime.analysis.arena import plan_workspace
from edge_runtime.analysis.calibration import operators
from edge_runtime.analysis.edgetpu import edgetpu_ms, map_operators
from edge_runtime.analysis.fit import advise, judge_memory, judge_time, worst
from edge_runtime.analysis.graph import Graph, build_graph, read_graph
from edge_runtime.analysis.latency import predict_latency
from edge_runtime.analysis.memory import estimate_memory
from edge_runtime.analysis.profile import Profile, load_profile, parse_profile, profile_names
from edge_runtime.analysis.work import model_work
from edge_runtime.analysis.xnnpack import delegation, fused_away
from edge_runtime.errors import UsageError
from edge_runtime.model_file import parse_model

BOARDS = {
    "coral-dev-board",
    "coral-usb",
    "pi-3b-plus",
    "pi-4b-32",
    "pi-4b-64",
    "pi-5",
    "pi-zero-2-w",
    "x86-64",
}


@pytest.fixture(scope="module")
def v1() -> dict[str, Graph]:
    models = {name: mobilenet_v1(name) for name in ("int8", "float32")}
    return {name: model.build([0], [len(model.graph.tensors) - 1]) for name, model in models.items()}


@pytest.fixture(scope="module")
def pi_4() -> Profile:
    return load_profile("pi-4b-64")


def test_every_board_has_a_profile() -> None:
    assert set(profile_names()) == BOARDS


@pytest.mark.parametrize("name", sorted(BOARDS))
def test_every_figure_of_a_profile_has_a_source_and_every_speed_is_above_zero(name: str) -> None:
    profile = load_profile(name)
    assert profile.name == name
    figures = (
        profile.cores,
        profile.clock_mhz,
        profile.memory_mb,
        profile.bandwidth_gb_per_s,
        profile.parallel_share,
        profile.interval,
        *profile.xnnpack.values(),
        *profile.plain.values(),
    )
    assert all(len(figure.source) > 10 or figure.source == "assumed" for figure in figures)
    assert profile.interval.low < 1.0 < profile.interval.high
    for kernels in (*profile.xnnpack.values(), *profile.plain.values()):
        for kernel in (kernels.dense, kernels.window, kernels.depthwise):
            assert (kernel.gmacs_per_s or 0) > 0
        assert (kernels.values.mega_values_per_s or 0) > 0


@pytest.mark.parametrize(
    ("board", "kind", "published_ms"),
    [
        # README of github.com/google/XNNPACK, February 2022, all cores
        ("pi-3b-plus", "float32", 114),
        ("pi-3b-plus", "int8", 46),
        ("pi-4b-32", "float32", 72),
        ("pi-4b-32", "int8", 29),
        ("pi-4b-64", "float32", 77),
        ("pi-4b-64", "int8", 24),
    ],
)
def test_a_raspberry_pi_takes_what_was_published(
    v1: dict[str, Graph], board: str, kind: str, published_ms: float
) -> None:
    latency = predict_latency(v1[kind], load_profile(board))
    assert latency.ms == pytest.approx(published_ms, rel=0.10)
    assert latency.low_ms < published_ms < latency.high_ms


def test_threads_beyond_the_cores_add_nothing(v1: dict[str, Graph], pi_4: Profile) -> None:
    times = [predict_latency(v1["int8"], pi_4, threads=threads).ms for threads in (1, 2, 4, 64)]
    assert times[0] > times[1] > times[2] == times[3]


def test_without_xnnpack_everything_runs_on_plain_kernels(v1: dict[str, Graph], pi_4: Profile) -> None:
    fast, slow = (predict_latency(v1["int8"], pi_4, runtime=runtime) for runtime in ("litert", "tflite-runtime"))
    assert slow.ms > 1.2 * fast.ms
    assert slow.undelegated_ms == pytest.approx(slow.ms)
    assert fast.undelegated_ms < 0.1 * fast.ms


def test_an_operator_that_xnnpack_does_not_take_is_counted_as_such() -> None:
    model = ModelBuilder()
    fed = model.tensor([1, 32, 32, 16])
    pool = schema.Pool2DOptionsT()
    pool.strideH = pool.strideW = pool.filterHeight = pool.filterWidth = 2
    graph = model.build([fed], [model.op("AVERAGE_POOL_2D", [model.conv(fed, 16)], [1, 16, 16, 16], pool)])
    assert [work.delegated for work in model_work(graph)] == [True, False]
    assert [work.kind for work in model_work(graph)] == ["dense", "values"]


@pytest.mark.parametrize(("type_name", "fused"), [("int8", True), ("float32", False)])
def test_a_value_times_its_logistic_is_one_look_up_with_8_bits(type_name: str, *, fused: bool) -> None:
    model = ModelBuilder(type_name)
    fed = model.tensor([1, 8, 8, 4])
    first = model.conv(fed, 8)
    gate = model.op("LOGISTIC", [first], [1, 8, 8, 8])
    swish = model.op("MUL", [first, gate], [1, 8, 8, 8])
    graph = model.build([fed], [swish])
    assert fused_away(graph, delegation(graph)) == (frozenset({2}) if fused else frozenset())
    assert fused_away(graph, delegation(graph, enabled=False)) == frozenset()
    graph = model.build([fed], [model.op("MUL", [swish, gate], [1, 8, 8, 8])])
    assert fused_away(graph, delegation(graph)) == frozenset(), "another operator reads what is between"


def half_precision(type_name: str) -> Graph:
    """Two convolutions whose weights are stored as float16 and unpacked, or as float32."""
    model = ModelBuilder("float32")
    fed = last = model.tensor([1, 32, 32, 16])
    for _ in range(2):
        weights = model.weights([32, 3, 3, model.graph.tensors[last].shape[3]], type_name)
        if type_name == "float16":
            weights = model.op("DEQUANTIZE", [weights], model.graph.tensors[weights].shape, None, "float32")
        options = schema.Conv2DOptionsT()
        options.strideH = options.strideW = options.dilationHFactor = options.dilationWFactor = 1
        last = model.op("CONV_2D", [last, weights, model.weights([32])], [1, 32, 32, 32], options)
    return model.build([fed], [last])


def test_weights_in_half_precision_are_unpacked_once_and_run_as_float32(pi_4: Profile) -> None:
    """Measured: 15.5 and 15.6 microseconds for one network, 2.37 and 2.36 ms for another, all of it on XNNPACK."""
    halves, whole = half_precision("float16"), half_precision("float32")
    assert delegation(halves).segments == 1
    assert delegation(halves).taken == 4
    assert predict_latency(halves, pi_4).ms == pytest.approx(predict_latency(whole, pi_4).ms, rel=0.02)
    memory, wanted = estimate_memory(halves), estimate_memory(whole)
    assert memory.packed_bytes == wanted.packed_bytes > 0
    assert memory.arena.persistent_bytes == 0
    unpacked = 4 * (32 * 9 * 16 + 32 * 9 * 32)
    assert estimate_memory(halves, xnnpack=False).arena.persistent_bytes == unpacked


def test_products_of_16_bit_activations_run_on_reference_kernels(pi_4: Profile) -> None:
    """Measured on x86-64: four networks in int16x8 took 3 to 17 times as long as their 8-bit work would."""

    def network(type_name: str) -> Graph:
        model = ModelBuilder(type_name)
        fed = model.tensor([1, 32, 32, 16])
        weights = model.weights([32, 3, 3, 16], "int8")
        options = schema.Conv2DOptionsT()
        options.strideH = options.strideW = options.dilationHFactor = options.dilationWFactor = 1
        return model.build([fed], [model.op("CONV_2D", [fed, weights, -1], [1, 32, 32, 32], options)])

    (wide,), (narrow,) = model_work(network("int16")), model_work(network("int8"))
    assert not wide.delegated
    assert wide.macs == 22 * narrow.macs
    assert predict_latency(network("int16"), pi_4).ms > 10 * predict_latency(network("int8"), pi_4).ms


SIDES = (1, 100, 100, 16)


def with_a_chain(*names: str, again: bool = False) -> Graph:
    """A convolution, floats between 8 bits, another convolution; ``again`` adds what went into the chain to its end."""
    model = ModelBuilder("int8")
    fed = model.tensor(SIDES)
    first = model.conv(fed, 16)
    value = model.op("DEQUANTIZE", [first], SIDES, None, "float32")
    for name in names:
        value = model.op(name, [value], SIDES, None, "float32")
    value = model.op("QUANTIZE", [value], SIDES)
    value = model.op("ADD", [value, first], SIDES) if again else value
    return model.build([fed], [model.conv(value, 16)])


def test_a_chain_from_8_bits_to_8_bits_is_one_look_up_and_writes_nothing_between() -> None:
    for graph, fused in (
        (with_a_chain("GELU"), {2, 3}),
        (with_a_chain("EXP", "LOG"), {2, 3, 4}),
        (with_a_chain("ELU", again=True), {2, 3, 4}),
        (with_a_chain("SOFTMAX"), set()),
    ):
        parts = delegation(graph)
        assert fused_away(graph, parts) == fused
        # Measured: 577,536, 581,632 and 585,728 bytes in all; of floats XNNPACK would hold 640,000 more.
        if fused:
            assert plan_workspace(graph, parts) == 160_000


def one_operator(
    type_name: str, add: Callable[[ModelBuilder, int], int], shape: Sequence[int] = (1, 14, 14, 64)
) -> Graph:
    model = ModelBuilder(type_name)
    fed = model.tensor(shape)
    return model.build([fed], [add(model, fed)])


def predicted_us(graph: Graph, threads: int = 1, board: str = "x86-64") -> float:
    return 1e3 * predict_latency(graph, load_profile(board), threads=threads).ms


def test_windows_beyond_xnnpacks_depthwise_kernels_take_many_times_as_long() -> None:
    for type_name in ("float32", "int8"):
        usual, large = (
            one_operator(type_name, lambda model, fed, side=side: model.depthwise(fed, kernel=side)) for side in (5, 7)
        )
        # 49 taps instead of 25, and a product of one channel each.
        assert predicted_us(large) > 5 * predicted_us(usual)
        assert predicted_us(large, board="pi-4b-64") > 2 * predicted_us(usual, board="pi-4b-64")


@pytest.mark.parametrize(
    ("channels", "per_group", "kind"), [(64, 1, "depthwise"), (64, 16, "window"), (64, 64, "window")]
)
def test_a_convolution_in_groups_is_a_product_for_each(channels: int, per_group: int, kind: str) -> None:
    model = ModelBuilder("float32")
    fed = model.tensor([1, 14, 14, channels])
    kernel = model.weights([channels, 3, 3, per_group])
    options = schema.Conv2DOptionsT()
    options.strideH = options.strideW = options.dilationHFactor = options.dilationWFactor = 1
    made = model.op("CONV_2D", [fed, kernel, model.weights([channels])], [1, 14, 14, channels], options)
    (work,) = model_work(model.build([fed], [made]))
    assert work.kind == kind
    if per_group == 16:
        assert (work.channels, work.depth) == (16, 16)


def test_a_fused_lstm_takes_long_with_8_bits_and_not_with_weights_of_8_bits() -> None:
    """Measured on x86-64, 64 steps of 16 values, 64 cells: 131, 120 and 1132 us."""
    times = {
        kind: predicted_us(build_graph(parse_model(operators.lstm(kind, 64, 16, 64), kind)))
        for kind in ("float32", "dynamic", "int8")
    }
    assert times == {
        "float32": pytest.approx(131, rel=0.1),
        "dynamic": pytest.approx(120, rel=0.1),
        "int8": pytest.approx(1132, rel=0.1),
    }


def test_a_second_thread_is_woken_for_what_is_long_enough_only() -> None:
    tiny, small, large = (
        one_operator("float32", lambda model, fed: model.fully_connected(fed, 8), (1, size))
        for size in (8, 4096, 400_000)
    )
    assert predicted_us(tiny, 2) == predicted_us(tiny, 1)
    assert predicted_us(small, 2) > predicted_us(small, 1)
    assert predicted_us(large, 2) < 0.7 * predicted_us(large, 1)


def test_weights_that_no_cache_keeps_come_from_memory_every_time() -> None:
    kept, gone = (
        one_operator("int8", lambda model, fed: model.fully_connected(fed, 1000), (1, size)) for size in (1900, 2100)
    )
    assert predicted_us(gone) > 2 * predicted_us(kept)
    # Two cores have two caches.
    assert predicted_us(gone, 2) < predicted_us(gone) / 2


def test_a_profile_of_ones_own_is_read_from_a_file(tmp_path: Path) -> None:
    source = Path(__file__).parents[2] / "device_configs/profiles/pi-5.toml"
    (tmp_path / "mine.toml").write_text(source.read_text())
    assert load_profile(str(tmp_path / "mine.toml")).name == "mine"


WHOLE = (Path(__file__).parents[2] / "device_configs/profiles/pi-4b-64.toml").read_text("utf-8")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("= 1", "is not TOML"),
        ("title = 3", "title"),
        ("colour = 1", "missing required field|unknown field"),
        ("", "missing required field"),
        (WHOLE[: len(WHOLE) // 2], "is not TOML|missing required field|need a table"),
        (WHOLE[: WHOLE.rindex("[plain")], "need a table each for|missing required field"),
        (WHOLE.replace("value = 4\n", "value = 0\n", 1).replace("value = 4,", "value = 0,", 1), "cores"),
        (re.sub(r"gmacs_per_s = [\d.]+", "gmacs_per_s = -1", WHOLE, count=1), "gmacs_per_s"),
        (re.sub(r"gmacs_per_s = [\d.]+", "gmacs_per_s = nan", WHOLE, count=1), "gmacs_per_s"),
        (re.sub(r"gmacs_per_s = [\d.]+", "gmacs_per_s = 0.0", WHOLE, count=1), "gmacs_per_s"),
        (re.sub(r'basis = "\w+"', 'basis = "guessed"', WHOLE, count=1), "basis|guessed|Invalid enum"),
        (re.sub(r"low = [\d.]+", "low = 5.0", WHOLE, count=1), "interval has low 5"),
        (WHOLE.replace("parallel_share = { value = 0.93", "parallel_share = { value = 9"), "parallel_share.value is 9"),
        ("a = " + "[" * 5000 + "]" * 5000, "nested too deeply"),
        ("a = " + "9" * 5000, "a number too long"),
    ],
)
def test_a_wrong_profile_is_refused_by_key(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_profile(text, name="x", where="x.toml")


def test_a_profile_that_does_not_exist_names_those_that_do() -> None:
    with pytest.raises(UsageError, match="pi-zero-2-w"):
        load_profile("toaster")
    with pytest.raises(UsageError, match="cannot be read"):
        load_profile("/nowhere/at/all.toml")


def test_a_file_that_is_far_too_large_for_a_profile_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large.toml"
    path.write_bytes(b"a=[" + b"1," * 2_500_000 + b"]")
    with pytest.raises(UsageError, match="this is no profile"):
        load_profile(str(path))


def test_a_quantised_classifier_maps_to_the_edge_tpu_and_takes_about_what_was_published(v1: dict[str, Graph]) -> None:
    mapping = map_operators(v1["int8"])
    assert (mapping.fraction, mapping.blocker) == (1.0, None)
    device = load_profile("coral-usb").edgetpu
    assert device is not None
    assert edgetpu_ms(mapping, device) == pytest.approx(2.4, rel=0.15)  # coral.ai/docs/edgetpu/benchmarks


def test_weights_beyond_the_chip_are_sent_with_every_inference() -> None:
    model = ModelBuilder()
    fed = model.tensor([1, 4096])
    mapping = map_operators(model.build([fed], [model.fully_connected(fed, 4096)]))
    device = load_profile("coral-usb").edgetpu
    assert device is not None
    assert edgetpu_ms(mapping, device) > edgetpu_ms(replace(mapping, weight_bytes=8_000_000), device) + 15


def test_the_first_unsupported_operator_sends_the_rest_to_the_processor() -> None:
    model = ModelBuilder()
    fed = model.tensor([1, 8, 8, 4])
    squared = model.op("SQUARE", [model.conv(fed, 8)], [1, 8, 8, 8])
    mapping = map_operators(model.build([fed], [model.conv(squared, 8)]))
    assert (mapping.mapped, mapping.blocker) == ((True, False, False), 1)
    assert mapping.reason == "SQUARE is not supported"


def test_a_float_model_does_not_map(v1: dict[str, Graph]) -> None:
    mapping = map_operators(v1["float32"])
    assert not any(mapping.mapped)
    assert mapping.reason is not None
    assert "float32" in mapping.reason


def test_a_quantise_operator_in_front_stays_outside() -> None:
    model = ModelBuilder()
    fed = model.tensor([1, 8, 8, 4], "float32")
    quantised = model.op("QUANTIZE", [fed], [1, 8, 8, 4])
    assert map_operators(model.build([fed], [model.conv(quantised, 8)])).mapped == (False, True)


def test_a_compiled_model_is_known_as_such(reference: Path) -> None:
    graph = read_graph(reference / "models/edgetpu/mobilenet_v1_0.25_128_quant_edgetpu.tflite")
    mapping = map_operators(graph)
    assert mapping.compiled
    assert mapping.fraction == 1.0


@pytest.mark.parametrize("name", ["mobilenet_v1_0.25_128_quant", "mobilenet_v1_0.75_192_quant"])
def test_what_the_real_compiler_took_whole_is_predicted_to_map_whole(reference: Path, name: str) -> None:
    compiled = read_graph(reference / f"models/edgetpu/{name}_edgetpu.tflite")
    assert [node.name for node in compiled.nodes] == ["edgetpu-custom-op"]
    mapping = map_operators(read_graph(reference / f"models/classify/{name}.tflite"))
    assert (mapping.fraction, mapping.blocker) == (1.0, None)
    # The compiled file holds the weights in the chip's order, and its program.
    assert mapping.weight_bytes < compiled.model.size_bytes < mapping.weight_bytes + 500_000


def test_verdicts_follow_the_interval() -> None:
    assert [judge_time(20.0, 30.0, fps=fps) for fps in (30, 45, 60)] == ["fits", "tight", "does not fit"]
    assert worst([]) == "fits"
    assert worst(["fits", "does not fit", "tight"]) == "does not fit"


def test_the_memory_budget_is_that_of_the_whole_program(v1: dict[str, Graph]) -> None:
    memory = estimate_memory(v1["int8"])
    needed = memory.process_bytes / 2**20
    assert [judge_memory(memory, needed * share) for share in (1.2, 1.05, 0.9)] == ["fits", "tight", "does not fit"]


def test_advice_is_ordered_by_gain_and_each_has_its_figure(v1: dict[str, Graph], pi_4: Profile) -> None:
    latency = predict_latency(v1["float32"], pi_4, threads=1)
    advice = advise(v1["float32"], latency, pi_4, mapping=map_operators(v1["float32"]))
    gains = [one.gain_ms for one in advice]
    assert gains == sorted(gains, reverse=True)
    changes = {one.change.split()[0]: one for one in advice}
    assert {"quantise", "input", "4", "a"} <= set(changes)
    assert changes["input"].change == "input 224→160: MACs \N{MINUS SIGN}49 %"
    assert changes["4"].after_ms == pytest.approx(predict_latency(v1["float32"], pi_4, threads=4).ms)


def test_quantising_is_predicted_as_the_quantised_model_is(v1: dict[str, Graph], pi_4: Profile) -> None:
    advice = advise(v1["float32"], predict_latency(v1["float32"], pi_4), pi_4, mapping=map_operators(v1["float32"]))
    (quantised,) = [one for one in advice if one.change.startswith("quantise")]
    assert quantised.after_ms == pytest.approx(predict_latency(v1["int8"], pi_4).ms, rel=0.03)


def test_a_smaller_input_is_predicted_as_the_smaller_model_is(v1: dict[str, Graph], pi_4: Profile) -> None:
    advice = advise(v1["int8"], predict_latency(v1["int8"], pi_4), pi_4, mapping=map_operators(v1["int8"]))
    (smaller,) = [one for one in advice if one.change.startswith("input")]
    model = mobilenet_v1(size=160)
    graph = model.build([0], [len(model.graph.tensors) - 1])
    assert smaller.after_ms == pytest.approx(predict_latency(graph, pi_4).ms, rel=0.05)


def test_a_narrower_model_is_predicted_as_the_narrower_model_is(v1: dict[str, Graph], pi_4: Profile) -> None:
    advice = advise(v1["int8"], predict_latency(v1["int8"], pi_4), pi_4, mapping=map_operators(v1["int8"]))
    (narrower,) = [one for one in advice if "0.75 times as wide" in one.change]
    model = mobilenet_v1(width=0.75)
    graph = model.build([0], [len(model.graph.tensors) - 1])
    assert narrower.after_ms == pytest.approx(predict_latency(graph, pi_4).ms, rel=0.05)


def test_per_channel_weights_are_predicted_as_the_int8_model_is(v1: dict[str, Graph], pi_4: Profile) -> None:
    model = mobilenet_v1("uint8")
    graph = model.build([0], [len(model.graph.tensors) - 1])
    advice = advise(graph, predict_latency(graph, pi_4), pi_4, mapping=map_operators(graph))
    (rewritten,) = [one for one in advice if one.change.startswith("per-channel")]
    assert rewritten.after_ms == pytest.approx(predict_latency(v1["int8"], pi_4).ms, rel=0.03)


def sensor_network(channels: int) -> Graph:
    model = ModelBuilder("float32")
    fed = model.tensor([1, 256, channels])
    wide = model.op("RESHAPE", [fed, model.weights([4], "int32")], [1, 1, 256, channels])
    kernel = model.weights([64, 1, 9, channels])
    options = schema.Conv2DOptionsT()
    options.strideH = options.strideW = options.dilationHFactor = options.dilationWFactor = 1
    first = model.op("CONV_2D", [wide, kernel, model.weights([64])], [1, 1, 256, 64], options)
    return model.build([fed], [model.conv(first, 32)])


def test_fewer_sensor_channels_are_predicted_as_the_network_with_fewer_is(pi_4: Profile) -> None:
    graph = sensor_network(32)
    advice = advise(graph, predict_latency(graph, pi_4), pi_4, mapping=map_operators(graph))
    (fewer,) = [one for one in advice if "PCA" in one.change]
    assert fewer.after_ms == pytest.approx(predict_latency(sensor_network(16), pi_4).ms, rel=0.05)


def test_many_sensor_channels_are_advised_to_be_combined(pi_4: Profile) -> None:
    model = ModelBuilder("float32")
    fed = model.tensor([1, 128, 32])
    flat = model.op("RESHAPE", [fed, model.weights([2], "int32")], [1, 4096])
    graph = model.build([fed], [model.fully_connected(flat, 64)])
    changes = [one.change for one in advise(graph, predict_latency(graph, pi_4), pi_4, mapping=map_operators(graph))]
    assert "32→16 sensor channels (PCA)" in changes


def test_a_split_for_the_edge_tpu_is_advised_to_be_mended() -> None:
    model = ModelBuilder()
    fed = model.tensor([1, 128, 128, 32])
    squared = model.op("SQUARE", [model.conv(fed, 64, kernel=3)], [1, 128, 128, 64])
    graph = model.build([fed], [model.conv(squared, 64, kernel=3)])
    coral, mapping = load_profile("coral-usb"), map_operators(graph)
    advice = {one.change: one for one in advise(graph, predict_latency(graph, coral), coral, mapping=mapping)}
    compiled, mended = advice["compile it for the Edge TPU"], advice["mend what splits it for the Edge TPU"]
    assert compiled.note == "1 of 3 operators map"
    assert mended.note == "SQUARE is not supported, operator 1"
    assert compiled.before_ms > compiled.after_ms == mended.before_ms > mended.after_ms
