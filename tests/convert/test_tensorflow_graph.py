"""What a network of TensorFlow computes stays the same, whichever way its weights become constants."""

from typing import Any

import numpy as np
import pytest

from converters.steps import tensorflow_graph

pytestmark = [pytest.mark.convert, pytest.mark.usefixtures("convertible"), pytest.mark.filterwarnings("ignore")]


def answer(content: bytes, value: np.ndarray) -> np.ndarray:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], value)
    interpreter.invoke()
    return np.asarray(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))


def traced(tensorflow: Any, function: Any) -> Any:
    entry = tensorflow.TensorSpec([1, 4], tensorflow.float32, name="input")
    return tensorflow.function(function, input_signature=[entry], autograph=False).get_concrete_function()


@pytest.mark.parametrize("kind", ["reads", "gathers", "calls"])
def test_a_network_with_variables_answers_alike(kind: str) -> None:
    tensorflow = tensorflow_graph.import_tensorflow()
    generator = np.random.default_rng(2)
    weights = tensorflow.Variable(generator.normal(size=(4, 5)).astype(np.float32))
    inner = tensorflow.function(lambda value: tensorflow.linalg.matmul(value, weights))
    functions = {
        "reads": lambda value: tensorflow.nn.relu(tensorflow.linalg.matmul(value, weights) + weights[0]),
        "gathers": lambda value: value + tensorflow.reduce_sum(tensorflow.gather(weights, [2, 0]), axis=1)[:1],
        "calls": lambda value: inner(value) * 2.0,
    }
    one = traced(tensorflow, functions[kind])
    assert (tensorflow_graph._with_constants(tensorflow, one) is not None) is (kind == "reads")
    value = generator.normal(size=(1, 4)).astype(np.float32)
    content = tensorflow_graph.converter(tensorflow, one).convert()
    np.testing.assert_allclose(answer(content, value), np.asarray(one(tensorflow.constant(value))), atol=1e-5)
