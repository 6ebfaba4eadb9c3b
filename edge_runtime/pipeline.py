"""The path of one frame, without threads: prepare, invoke, read the outputs."""

from collections.abc import Callable, Mapping

from edge_runtime.clock import monotonic_ns
from edge_runtime.protocols import Engine, Postprocessor, Preprocessor
from edge_runtime.types import Frame, Latency, ModelSpec, Prediction, Prepared, View

NS_PER_MS = 1_000_000
PreprocessorFactory = Callable[[View], Preprocessor]


class Pipeline:
    """A model ready to be used: one engine, one postprocessor, one preprocessor per stream.

    The daemon, ``batch``, ``bench`` and the Python API all run this. ``prepare`` may be called from several threads,
    ``infer`` from one at a time.
    """

    def __init__(
        self,
        *,
        spec: ModelSpec,
        engine: Engine,
        postprocessor: Postprocessor,
        preprocessor_for: PreprocessorFactory,
        views: Mapping[str, View] | None = None,
    ) -> None:
        self.spec = spec
        self.engine = engine
        self._postprocess = postprocessor
        self._preprocessors = {stream: preprocessor_for(view) for stream, view in (views or {}).items()}
        self._default = preprocessor_for(View())

    def prepare(self, frame: Frame) -> Prepared:
        """Decode, resize and quantise a frame. Raises BadFrameError, InputMismatchError."""
        started_ns = monotonic_ns()
        inputs, transform = self._preprocessor(frame)(frame)
        return Prepared(frame, inputs, transform, started_ns, monotonic_ns())

    def infer(self, prepared: Prepared) -> Prediction:
        """Run the model on a prepared frame; its buffers go back for use again. Raises EngineError."""
        frame = prepared.frame
        invoke_ns = monotonic_ns()
        try:
            outputs = self.engine.invoke(prepared.inputs)
            outputs_ns = monotonic_ns()
            result = self._postprocess(outputs, prepared)
        finally:
            self.discard(prepared)
        latency = Latency(
            queue=_ms(prepared.started_ns - frame.arrived_ns),
            prepare=_ms(prepared.ready_ns - prepared.started_ns),
            wait=_ms(invoke_ns - prepared.ready_ns),
            invoke=_ms(outputs_ns - invoke_ns),
            postprocess=_ms(monotonic_ns() - outputs_ns),
        )
        return Prediction(
            stream=frame.stream,
            sequence=frame.sequence,
            captured_ns=frame.captured_ns,
            origin=frame.origin,
            model=self.spec.identity,
            task=self.spec.task,
            result=result,
            latency=latency,
            frame=frame,
        )

    def discard(self, prepared: Prepared) -> None:
        """Give the buffers of a tensor back that will not be inferred."""
        self._preprocessor(prepared.frame).release(prepared.inputs)

    def process(self, frame: Frame) -> Prediction:
        """Prepare and infer in the calling thread."""
        return self.infer(self.prepare(frame))

    def abort(self) -> None:
        """End an invoke that is under way, where the engine can; from any thread. Nothing is inferred any more."""
        self.engine.abort()

    def close(self) -> None:
        """Release the engine."""
        self.engine.close()

    def _preprocessor(self, frame: Frame) -> Preprocessor:
        return self._preprocessors.get(frame.stream, self._default)


def _ms(duration_ns: int) -> float:
    return round(duration_ns / NS_PER_MS, 3)
