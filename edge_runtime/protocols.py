"""The seams between the parts. A plugin implements one of these and imports nothing of the upper layers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from numpy.typing import NDArray

from edge_runtime.types import (
    Frame,
    ImageInput,
    ModelSpec,
    Prediction,
    Prepared,
    Result,
    TensorSpec,
    Transform,
    WindowInput,
)


class Source(Protocol):
    """Delivers frames. Constructed as ``Class(config, stream=..., wants=...)``; the constructor does no I/O.

    All methods are called from one capture thread. ``wants`` is the model's input (None for a preview), so that a
    camera can choose a size and a sensor its window length.
    """

    live: ClassVar[bool]
    """Live sources drop the oldest frame when inference is slower; the others block and lose none."""
    stall_after_s: ClassVar[float | None]
    """After this long without a frame a source counts as stalled and is reopened; None where waiting is normal."""

    def open(self) -> None:
        """Open the device or file. Raises UsageError for what is not there to be read, SourceError for the rest."""
        ...

    def read(self, timeout_s: float) -> Frame | None:
        """Return the next frame, or None at the end of the source.

        Raises SourceTimeoutError when nothing arrived within ``timeout_s`` (call again), BadFrameError for one broken
        frame (call again), any other SourceError when it must be closed and opened anew. Never blocks much longer
        than ``timeout_s``.
        """
        ...

    def close(self) -> None:
        """Release everything; may be called twice, and after a failed ``open``."""
        ...

    def describe(self) -> dict[str, Any]:
        """Return what ``info`` says of it: at least ``type``; for a camera ``device, name, size, fps, format``."""
        ...


class Preprocessor(Protocol):
    """Turns a frame into the engine's input tensors. Called from prepare threads, several at a time."""

    def __call__(self, frame: Frame) -> tuple[tuple[NDArray[Any], ...], Transform | None]:
        """Return the inputs and the way back to source pixels (None for windows). Raises BadFrameError."""
        ...

    def release(self, inputs: tuple[NDArray[Any], ...]) -> None:
        """Give buffers back for use again, once the engine has copied them."""
        ...


class Engine(Protocol):
    """An interpreter with a model in it. ``invoke`` is called from one inference thread at a time."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    delegate: str
    """``cpu``, ``edgetpu`` or the delegate library's path."""
    delegate_reason: str
    """Why this delegate and no other, one sentence for the log and for ``info``."""
    threads: int
    """Interpreter threads."""
    restarts: int
    """How often its process was started again; 0 for an engine in this process."""
    restart_reason: str | None
    """Why it last was; one line."""

    @property
    def runtime(self) -> str:
        """Return the interpreter's package and version, ``ai-edge-litert 2.3.0``."""
        ...

    def invoke(self, inputs: Sequence[NDArray[Any]]) -> tuple[NDArray[Any], ...]:
        """Run the model once and return copies of its outputs. Raises EngineError.

        The arrays given have the dtypes and shapes of ``inputs``.
        """
        ...

    def abort(self) -> None:
        """End an invoke that is under way, where that is possible; from any thread. Nothing but ``close`` follows."""
        ...

    def close(self) -> None:
        """Release the interpreter and the delegate; may be called twice."""
        ...


class Postprocessor(Protocol):
    """Reads output tensors. Constructed as ``Class(spec, top_k=..., score_threshold=...)``."""

    def __call__(self, outputs: Sequence[NDArray[Any]], prepared: Prepared) -> Result:
        """Return the result of one frame; ``outputs`` are as the engine gave them (still quantised)."""
        ...


@dataclass(frozen=True, slots=True)
class Handed:
    """A prediction on its way to the sinks. ``seq`` is None when the publish policy keeps it back."""

    prediction: Prediction
    seq: int | None
    seq_start: int


class Sink(Protocol):
    """Takes predictions somewhere. All methods are called from the sink's own thread."""

    def open(self) -> None:
        """Get ready. Raises UsageError or SourceError-like errors of the tree; never blocks on a peer that is away."""
        ...

    def write(self, batch: Sequence[Handed]) -> None:
        """Take predictions in order. Must not raise for a peer that is away."""
        ...

    def close(self) -> None:
        """Flush and release."""
        ...


class Bus(Protocol):
    """The connection to the broker as the rest sees it; thread-safe, never blocks on the network."""

    @property
    def connected(self) -> bool:
        """Whether the broker has accepted this client now."""
        ...

    def publish(self, topic: str, payload: bytes | str, *, qos: int = 0, retain: bool = False) -> None:
        """Queue a message on an absolute topic. QoS 1 is kept until acknowledged; QoS 0 is dropped while disconnected.

        A retained message is remembered by topic and sent again after every reconnection.
        """
        ...

    def subscribe(self, topic: str, handler: Callable[[str, bytes], None], *, retained: bool = True) -> None:
        """Call ``handler(topic, payload)`` from the connection's thread for each message; lasts over reconnections.

        ``retained`` False leaves out what the broker had kept from before: a command is for now.
        """
        ...

    def unsubscribe(self, topic: str, handler: Callable[[str, bytes], None]) -> None:
        """Call ``handler`` no more."""
        ...


WantedInput = ImageInput | WindowInput | None
PostprocessorFactory = Callable[[ModelSpec], Postprocessor]
