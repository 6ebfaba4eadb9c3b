"""Models rewritten around the quantiser still compute, and on the plain kernels too."""

from collections.abc import Callable

import numpy as np
import pytest
from model_files import FULLY_CONNECTED, Op, T, build_model  # skips where there is no LiteRT

from converters.steps import integer_kernels, repairs
from edge_runtime.model_file import parse_model

pytest.importorskip("ai_edge_litert.interpreter", reason="converters run LiteRT")
from ai_edge_litert.interpreter import Interpreter, OpResolverType

LOGISTIC, QUANTIZE, DEQUANTIZE, EXP, RELU6, ELU, NEG, MUL = 14, 114, 6, 47, 21, 111, 59, 18


def plain_answer(content: bytes, value: np.ndarray) -> np.ndarray:
    interpreter = Interpreter(
        model_content=content, experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    )
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], value)
    interpreter.invoke()
    return np.asarray(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))


def test_a_kernel_that_insists_on_a_scale_gets_it() -> None:
    content = build_model(
        [T((1, 8), "int8", 0.05, 0, "x")], [T((1, 8), "int8", 0.02, -5, "y")], ops=[Op(LOGISTIC, [0], [1])]
    )
    value = np.arange(-100, 60, 20, dtype=np.int8)[None]
    with pytest.raises(RuntimeError, match="scale"):
        plain_answer(content, value)
    got = (plain_answer(repairs.rewritten(content, repairs.fixed_scales), value).astype(float) + 5) * 0.02
    assert np.allclose(got, 1 / (1 + np.exp(-value * 0.05)), atol=0.02)


def test_a_scale_that_is_right_is_left_alone() -> None:
    content = build_model([T((1, 8), "int8", 0.05)], [T((1, 8), "int8", 1 / 256, -128)], ops=[Op(LOGISTIC, [0], [1])])
    assert repairs.rewritten(content, repairs.fixed_scales) is content


def test_a_step_from_8_to_16_bits_goes_by_way_of_float() -> None:
    content = build_model(
        [T((1, 4), "int8", 0.5, 3, "x")], [T((1, 4), "int16", 0.25, 0, "y")], ops=[Op(QUANTIZE, [0], [1])]
    )
    value = np.array([[3, 5, -7, 100]], np.int8)
    got = plain_answer(repairs.rewritten(content, repairs.wide_steps), value)
    assert np.array_equal(got, [[0, 4, -20, 194]])


def test_names_for_inputs_and_outputs_are_added_once() -> None:
    content = build_model([T((1, 4))], [T((1, 2))], ops=[Op(FULLY_CONNECTED, [0], [1])])
    named = repairs.with_signature(content)
    assert named != content
    assert repairs.with_signature(named) == named
    assert parse_model(named, "m").inputs == (0,)


def surrounded(code: int, *, ends: tuple[float, int] = (0.03, -128)) -> bytes:
    """int8, DEQUANTIZE, an operator in float, QUANTIZE, int8: as the quantiser leaves what it does not know."""
    inner = [T((1, 8), name="f"), T((1, 8), name="answer")]
    ops = [Op(DEQUANTIZE, [0], [2]), Op(code, [2], [3]), Op(QUANTIZE, [3], [1])]
    return build_model([T((1, 8), "int8", 0.02, 0, "x")], [T((1, 8), "int8", *ends, "y")], inner=inner, ops=ops)


@pytest.mark.parametrize(
    ("code", "function"),
    [(EXP, np.exp), (RELU6, lambda x: np.clip(x, 0, 6)), (ELU, lambda x: np.where(x > 0, x, np.expm1(x)))],
)
def test_an_operator_between_floats_is_put_in_int8(code: int, function: Callable[[np.ndarray], np.ndarray]) -> None:
    scale, zero_point = 0.03, -90
    content = surrounded(code, ends=(scale, zero_point))
    whole = integer_kernels.with_integer_kernels(content, {"answer": (-1.0, 6.0)})
    kinds = [operator.code.builtin for operator in parse_model(whole, "m").operators]
    assert DEQUANTIZE not in kinds
    assert code in kinds
    value = np.arange(-120, 40, 20, dtype=np.int8)[None]
    got = (plain_answer(whole, value).astype(float) - zero_point) * scale
    assert np.allclose(got, function(value * 0.02), atol=1.5 * scale)


def test_an_operator_that_shall_stay_in_float_does() -> None:
    content = surrounded(EXP)
    assert integer_kernels.with_integer_kernels(content, {"answer": (0.0, 6.0)}, without=["answer"]) is content


def test_a_negation_becomes_a_product() -> None:
    content = build_model([T((1, 4), name="x")], [T((1, 4), name="y")], ops=[Op(NEG, [0], [1])])
    product = integer_kernels.with_products(content)
    value = np.array([[1.0, -2.0, 0.0, 3.5]], np.float32)
    assert [operator.code.builtin for operator in parse_model(product, "m").operators] == [MUL]
    assert np.array_equal(plain_answer(product, value), -value)
