"""What a conversion is asked to do, checked before anything heavy starts."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, get_args

from edge_runtime.errors import UsageError
from edge_runtime.types import TASKS, Task

Scheme = Literal["int8", "int8-float-io", "int16x8", "dynamic", "float16", "none"]
SCHEMES: Final[tuple[Scheme, ...]] = get_args(Scheme)
CALIBRATED: Final[frozenset[Scheme]] = frozenset({"int8", "int8-float-io", "int16x8"})
"""Schemes that need to see samples: the ranges of activations are measured."""
_FOR_EDGETPU: Final[frozenset[Scheme]] = frozenset({"int8", "int8-float-io"})
RANDOM: Final = "random"

PRESETS: Final[dict[str, tuple[tuple[float, ...], tuple[float, ...]]]] = {
    "imagenet": ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    "torch": ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    "tf": ((127.5,), (127.5,)),
    "0-1": ((0.0,), (255.0,)),
    "raw": ((0.0,), (1.0,)),
}
"""Mean and standard deviation in pixels of 0..255. ``imagenet`` and ``torch`` are torchvision's, times 255."""

SampleSource: TypeAlias = str | Path | Callable[[], Iterable[Any]]
InputShape: TypeAlias = tuple[int, ...] | Mapping[str, tuple[int, ...]] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """One conversion. Raises UsageError for values that cannot be right."""

    source: Path
    output: Path
    quantize: Scheme = "int8"
    calibration: SampleSource | None = None
    """A folder of pictures, a .npy, .npz, .csv or .wav file, ``module:callable``, a callable, or ``random``."""
    evaluation: SampleSource | None = None
    """A folder per class, an .npz with ``x`` and ``y``, ``module:callable``, or a callable."""
    samples: int = 100
    """Calibration samples at most; they are spread evenly over what there is."""
    mean: tuple[float, ...] | None = None
    """Per channel, in pixels of 0..255 or in a sensor's units; with ``std`` it says how inputs are normalised."""
    std: tuple[float, ...] | None = None
    color: Literal["RGB", "BGR", "GRAY"] | None = None
    resize: Literal["stretch", "letterbox", "crop"] | None = None
    layout: Literal["NHWC", "NCHW"] | None = None
    window: tuple[int, int] | None = None
    """Length and channels: the input is a window of samples and no picture."""
    sample_rate_hz: float | None = None
    labels: Path | None = None
    task: Task | None = None
    name: str | None = None
    version: str | None = None
    input_shape: InputShape = None
    """For a model whose shape is open; by the input's name where there are several."""
    edgetpu: bool = False
    """Check the network for an Edge TPU, and compile it where Google's compiler is installed."""
    ranges: Literal["auto", "minmax", "percentile", "mse"] = "auto"
    """How activation ranges come from calibration; ``auto`` tries all three on calibration samples held back for it."""
    runtime: Literal["litert", "tflite-runtime"] = "litert"
    """``tflite-runtime``: the artifact must pass in that one too."""
    rescue: bool = True
    """When the gate refuses: look for what hurts, and try what helps, cheapest first."""
    force: bool = False
    report: Path | None = None
    """Where the page about the conversion is written, for a refused artifact too."""

    def __post_init__(self) -> None:
        """Check what does not need the files' contents."""
        if self.quantize not in SCHEMES:
            raise UsageError(f"unknown --quantize {self.quantize!r}; one of {', '.join(SCHEMES)}")
        if self.task is not None and self.task not in TASKS:
            raise UsageError(f"unknown --task {self.task!r}; one of {', '.join(TASKS)}")
        if self.samples < 2:
            raise UsageError(f"--samples: at least 2 are needed, found {self.samples}")
        if not self.source.exists():
            raise UsageError(f"{self.source}: no such model")
        if self.output.suffix != ".tflite":
            raise UsageError(f"-o {self.output}: the output is a .tflite file; give it that ending")
        if not self.output.parent.is_dir():
            raise UsageError(f"-o {self.output}: there is no folder {self.output.parent}; make it first")
        if self.report is not None and not self.report.parent.is_dir():
            raise UsageError(f"--report {self.report}: there is no folder {self.report.parent}; make it first")
        if self.output.is_dir() or (self.output.exists() and self.output.samefile(self.source)):
            raise UsageError(f"-o {self.output}: is a folder or the source itself; give another name")
        if self.quantize in CALIBRATED and self.calibration is None:
            raise UsageError(
                f"--quantize {self.quantize} needs calibration data: give --calibration FOLDER|FILE with samples like "
                "those of the device (or --calibration random, which marks the model as untested)"
            )

        if self.edgetpu and self.quantize not in _FOR_EDGETPU:
            raise UsageError(f"--edgetpu: an Edge TPU computes in 8 bits; --quantize {self.quantize} is not for it")

    @property
    def preprocessing_given(self) -> bool:
        """Whether somebody said how inputs are normalised."""
        return self.mean is not None or self.std is not None

    @property
    def edgetpu_output(self) -> Path:
        """Return where the model that was compiled for an Edge TPU goes, beside the one for the processor."""
        return self.output.with_name(f"{self.output.stem}_edgetpu.tflite")

    @property
    def calibrated_at_random(self) -> bool:
        """Whether the ranges come from random inputs."""
        return self.quantize in CALIBRATED and self.calibration == RANDOM
