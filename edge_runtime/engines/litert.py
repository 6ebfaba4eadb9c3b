"""The interpreter with a model in it, in this process."""

import os
from collections.abc import Sequence
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_runtime.errors import DelegateError, EngineError, ModelError
from edge_runtime.interpreter import NATIVE_ERRORS, RuntimeName, load_runtime, one_line, quiet_native_output
from edge_runtime.types import TensorSpec


class EngineConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Section ``[engine]``."""

    delegate: str = "auto"
    """``auto``, ``cpu``, ``edgetpu`` or the path of a delegate library."""
    threads: int | Literal["auto"] | None = None
    """Interpreter threads; None leaves one core to everything else, ``auto`` measures."""
    runtime: RuntimeName = "auto"
    """Which interpreter, where both are installed; the environment variable EDGE_INFER_RUNTIME wins."""
    isolate: bool | Literal["auto"] = "auto"
    """Whether the engine runs in a child process; ``auto``: with a delegate, whose library may crash or hang."""
    invoke_timeout_s: float | None = None
    """For an isolated engine: after how long an invoke counts as hung; None is 20 medians, at least 2 s."""
    memory_mb: float | None = None
    """For an isolated engine: what its process may hold before it is started anew; None is three times what it held at
    first, at least 256 MiB."""
    fallback_model: str | None = None
    """For an isolated engine with a delegate: a model for the CPU that takes over while the delegate does not work."""


def default_threads() -> int:
    """Return one thread fewer than the cores this process may use, at least 1 and at most 4.

    Decoding and preparing the next frame run beside the interpreter; with all cores taken both get slower.
    """
    return max(1, min(4, len(os.sched_getaffinity(0)) - 1))


class LiteRtEngine:
    """An ``Engine`` over a LiteRT or tflite-runtime ``Interpreter``. One thread at a time may call it.

    Raises ModelError for a model that the interpreter does not run, DelegateError when the delegate
    ``delegate_library`` (see ``delegates.load_delegate``) does not take it, UsageError without an interpreter.
    """

    def __init__(
        self,
        model_path: str,
        *,
        threads: int = 1,
        runtime: RuntimeName = "auto",
        delegate_library: Any = None,
        delegate: str = "cpu",
        delegate_reason: str = "the CPU was asked for",
    ) -> None:
        self.delegate = delegate
        self.delegate_reason = delegate_reason
        self.threads = threads
        self.restarts = 0
        self.restart_reason: str | None = None
        self._runtime = load_runtime(runtime)
        self._library = delegate_library
        try:
            with quiet_native_output():
                self._interpreter = self._runtime.interpreter(
                    model_path=model_path,
                    num_threads=threads,
                    experimental_delegates=None if delegate_library is None else [delegate_library],
                )
                self._interpreter.allocate_tensors()
            # A tensor's name that is not UTF-8 shows only here.
            inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        except NATIVE_ERRORS as error:
            reason = one_line(error)
            if delegate_library is not None:
                raise DelegateError(f"the delegate {delegate} does not take {model_path}: {reason}") from error
            raise ModelError(f"{model_path}: {self._runtime.distribution} does not run this model: {reason}") from error
        self.inputs = tuple(_spec(detail) for detail in inputs)
        self.outputs = tuple(_spec(detail) for detail in outputs)
        self._input_indices = tuple(detail["index"] for detail in inputs)
        self._output_indices = tuple(detail["index"] for detail in outputs)

    @property
    def runtime(self) -> str:
        """Return the interpreter's package and version."""
        return self._runtime.version

    def invoke(self, inputs: Sequence[NDArray[Any]]) -> tuple[NDArray[Any], ...]:
        """Run the model once and return copies of its outputs. Raises EngineError, DelegateError with a delegate."""
        interpreter = self._interpreter
        try:
            for index, value in zip(self._input_indices, inputs, strict=True):
                interpreter.set_tensor(index, value)
            interpreter.invoke()
            return tuple(interpreter.get_tensor(index) for index in self._output_indices)
        except NATIVE_ERRORS as error:
            if self._library is not None:
                raise DelegateError(f"invoke failed on the delegate {self.delegate}: {one_line(error)}") from error
            raise EngineError(f"invoke failed: {one_line(error)}") from error

    def abort(self) -> None:
        """Do nothing: native code in this process cannot be ended."""

    def close(self) -> None:
        """Release the interpreter and its memory, then the delegate that it used."""
        self._interpreter = None
        self._library = None


def _spec(detail: dict[str, Any]) -> TensorSpec:
    scale, zero_point = detail["quantization"]
    return TensorSpec(
        name=detail["name"],
        shape=tuple(int(n) for n in detail["shape"]),
        dtype=np.dtype(detail["dtype"]),
        scale=float(scale),
        zero_point=int(zero_point),
    )
