"""TensorFlow imported, a traced network converted, and memory given back, at as little cost as can be."""

import ctypes
import gc
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from edge_runtime.errors import UsageError

_LIBC: Final = ctypes.CDLL(None)


def import_tensorflow() -> Any:
    """Import TensorFlow and Keras. Raises UsageError where they are not installed.

    Without the collector, which would look through the growing heap again and again: 2.0 s instead of 2.4.
    """
    _free_at_once()
    gc.disable()
    try:
        import keras  # noqa: F401
        import tensorflow as tf
    except ImportError as error:
        raise UsageError("Keras models need TensorFlow: pip install 'edge-infer[convert]'") from error
    finally:
        gc.enable()
        gc.freeze()
    return tf


def _free_at_once() -> None:
    """Let freed blocks go back to the system at once; what its converter frees TensorFlow would keep."""
    trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of glibc's malloc.h
    with suppress(AttributeError):  # another C library
        for parameter in (trim_threshold, mmap_threshold):
            _LIBC.mallopt(parameter, 256 * 1024)


def give_memory_back() -> None:
    """Let go of what a conversion leaves behind: 20 MB of cycles, and 25 to 50 MB in the arenas of other threads."""
    gc.collect()
    with suppress(AttributeError):
        _LIBC.malloc_trim(0)


def converter(tensorflow: Any, traced: Any) -> Any:
    """Return TensorFlow's converter for a traced function.

    A function without functions of its own has its weights put in as constants here. TensorFlow's own way of freezing
    copies them through three graphs, which costs MobileNetV2 0.9 s and 85 MB more; it is taken for all else.
    """
    graph = _with_constants(tensorflow, traced)
    if graph is None:
        return tensorflow.lite.TFLiteConverter.from_concrete_functions([traced])
    inputs = [entry for entry in traced.inputs if entry.dtype != tensorflow.resource]
    return tensorflow.compat.v1.lite.TFLiteConverter(graph, inputs, traced.outputs)


def _with_constants(tensorflow: Any, traced: Any) -> Any:
    """Return the function as a GraphDef without variables; None for one that does more than read them."""
    graph = traced.graph.as_graph_def()
    held = _captured(traced)
    if held is None or graph.library.function:
        return None
    reads = {}
    for node in graph.node:
        asked = [name.partition(":")[0].lstrip("^") for name in node.input]
        if not any(name in held for name in asked):
            continue
        if node.op != "ReadVariableOp":
            return None
        reads[node.name] = asked[0]
    kept = []
    for node in graph.node:
        if node.name in reads:
            _make_constant(tensorflow, node, held[reads[node.name]])
        if node.name not in held:
            kept.append(node)
    frozen = tensorflow.compat.v1.GraphDef(versions=graph.versions)
    frozen.node.extend(kept)
    return frozen


def _captured(traced: Any) -> Mapping[str, Any] | None:
    """Return the variable behind each placeholder of the graph; None where there is anything else behind one."""
    variables = {id(variable.handle): variable for variable in traced.graph.variables}
    held = {inner.op.name: variables.get(id(outer)) for outer, inner in traced.graph.captures}
    other = traced.graph.deferred_external_captures or any(variable is None for variable in held.values())
    return None if other else held


def _make_constant(tensorflow: Any, node: Any, variable: Any) -> None:
    values = tensorflow.make_tensor_proto(variable.numpy())
    node.op = "Const"
    del node.input[:]
    node.attr.clear()
    node.attr["dtype"].type = values.dtype
    node.attr["value"].tensor.CopyFrom(values)
