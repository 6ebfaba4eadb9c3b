"""Models rewritten around the quantiser still compute, and on the plain kernels too."""

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from model_files import FULLY_CONNECTED, Op, T, build_model

from converters.steps import repairs
from edge_runtime.model_file import parse_model

LOGISTIC, QUANTIZE = 14, 114


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
    got = (plain_answer(repairs.with_fixed_scales(content), value).astype(float) + 5) * 0.02
    assert np.allclose(got, 1 / (1 + np.exp(-value * 0.05)), atol=0.02)


def test_a_scale_that_is_right_is_left_alone() -> None:
    content = build_model([T((1, 8), "int8", 0.05)], [T((1, 8), "int8", 1 / 256, -128)], ops=[Op(LOGISTIC, [0], [1])])
    assert repairs.with_fixed_scales(content) is content


def test_a_step_from_8_to_16_bits_goes_by_way_of_float() -> None:
    content = build_model(
        [T((1, 4), "int8", 0.5, 3, "x")], [T((1, 4), "int16", 0.25, 0, "y")], ops=[Op(QUANTIZE, [0], [1])]
    )
    value = np.array([[3, 5, -7, 100]], np.int8)
    got = plain_answer(repairs.with_wide_steps(content), value)
    assert np.array_equal(got, [[0, 4, -20, 194]])


def test_names_for_inputs_and_outputs_are_added_once() -> None:
    content = build_model([T((1, 4))], [T((1, 2))], ops=[Op(FULLY_CONNECTED, [0], [1])])
    named = repairs.with_signature(content)
    assert named != content
    assert repairs.with_signature(named) == named
    assert parse_model(named, "m").inputs == (0,)
