"""The source as a float ``.tflite``, and the proof that it is the same network."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from converters.arrays import Array, read_array
from converters.child import Child, StepReport
from converters.comparison import Arrangement, arrange, arranged, axes_between, sqnr_db
from converters.litert import LiteRt, Ran
from converters.options import CALIBRATED, Options
from converters.rounding import DRAWS, SAME_NETWORK_DB, disturbed, explains
from converters.sample_pool import Drawn, sample_shape
from converters.source_kind import MODULES
from converters.tensor_model import fed_as_tensors
from edge_runtime.errors import EngineError, ModelError, UsageError
from edge_runtime.model_file import ModelFile, read_model

_PROBES: Final = 8
_PROBE: Final = "probe.npy"


@dataclass(frozen=True, slots=True)
class _Turned:
    """How the converter turned the input and the outputs, as the values themselves say."""

    axes: tuple[int, ...]
    outputs: tuple[Arrangement, ...]
    ratios_db: tuple[float, ...]
    """Of each output against the source's."""

    @property
    def worst_db(self) -> float:
        """Return the ratio of the output that differs most."""
        return min(self.ratios_db)

    @property
    def worst(self) -> int:
        """Return the place of that output among the source's."""
        return self.outputs[self.ratios_db.index(self.worst_db)].source


class FloatModel:
    """A source that was converted, in the child process that can still run it. One thread at a time."""

    def __init__(self, child: Child, *, path: Path, folder: Path, facts: dict[str, Any]) -> None:
        self._child = child
        self._folder = folder
        self.path = path
        self.file: ModelFile = read_model(path)
        self.names: list[str] = facts["names"]
        """The source's outputs, in its own order."""
        self.normalization: str | None = facts["normalization"]
        """The layer at the entry that normalises pixels, if the source has one."""
        self.input_shapes = [self.file.tensors[index].shape for index in self.file.inputs]
        self.tensors = fed_as_tensors(self.input_shapes)
        """Whether a sample is the inputs as they are, flattened, and not a picture or a window."""
        self._large: bool = facts.get("large", False)
        """Whether the source's process takes so much memory that LiteRT runs before it and not beside it."""
        self._names_operators: bool = facts.get("names_operators", False)
        self.takes_anything: bool = facts.get("takes_anything", False)
        """Whether a model that is no picture's and of which nobody says more takes its values as they are."""
        shape = self.input_shapes[0]
        self._shape = tuple(facts.get("shape") or shape)
        self._axes_choices = axes_between(self._shape, shape) if self._shape != shape else [tuple(range(len(shape)))]
        self._turned: _Turned | None = None
        self._outputs: list[Array] = []
        self.warnings: tuple[str, ...] = ()
        """What ``check`` found worth saying."""

    @property
    def report(self) -> StepReport:
        """Return what converting and running the source cost."""
        return self._child.report

    @property
    def sqnr_db(self) -> float:
        """Return the worst output of the float ``.tflite`` against the source; after ``check``."""
        assert self._turned is not None
        return round(self._turned.worst_db, 1)

    @property
    def outputs(self) -> list[Array]:
        """Return the source's outputs for the samples of ``check``, in its own order and layout."""
        return self._outputs

    def check(self, samples: Drawn, *, litert: LiteRt) -> tuple[Arrangement, ...]:
        """Run source and float ``.tflite`` on the samples and find out how the layout was turned.

        Raises ModelError when they differ by more than rounding.
        """
        probe = self._write_probe()
        first = cache(litert.begin(self.path, samples.path, stem="float"))
        second = cache(partial(litert.run, self.path, probe, stem="probe"))
        if self._large:
            first()
            with suppress(ModelError, EngineError):  # asked again where the source has an answer
                second()
            litert.end()
        best = self._arranged(samples, first)
        probed = self._probed(probe, second, best)
        self._turned = probed if probed.worst_db < best.worst_db else best
        for turned, where in ((best, samples.path), (probed, probe)):
            self._refuse_another_network(turned, where)
        return best.outputs

    def _refuse_another_network(self, turned: _Turned, samples: Path) -> None:
        """Raise ModelError where an output differs by more than the rounding of the source itself."""
        if turned.worst_db >= SAME_NETWORK_DB:
            return
        own_db = self._own_rounding_db(turned, samples)
        if all(explains(found, own) for found, own in zip(turned.ratios_db, own_db, strict=True)):
            magnified = (
                f"the source magnifies rounding: with other last bits in its weights it is {min(own_db):.1f} dB from "
                f"itself, and the float model is {turned.worst_db:.1f} dB from it"
            )
            self.warnings = (magnified,)
            return
        name, wanted_db = self.names[turned.worst], SAME_NETWORK_DB
        own = own_db[turned.ratios_db.index(turned.worst_db)]
        raise ModelError(
            f"the converted float model is not the same network: output {name!r} differs from the source's "
            f"({turned.worst_db:.1f} dB, {wanted_db:g} dB are wanted, and rounding alone leaves {own:.1f} dB)"
            f"{self._blamed(turned, samples)}; it is not handed over"
        )

    def _own_rounding_db(self, turned: _Turned, samples: Path) -> list[float]:
        """Return for each output how far the source is from itself when the last bits of its numbers differ."""
        exact = arranged(self._source_outputs(samples, turned.axes), turned.outputs)
        inputs, path = read_array(samples), self._folder / "disturbed.npy"
        draws = []
        for seed in range(DRAWS):
            np.save(path, disturbed(inputs, np.random.default_rng(seed)))
            other = arranged(self._source_outputs(path, turned.axes, seed=seed), turned.outputs)
            draws.append([sqnr_db(one, two) for one, two in zip(exact, other, strict=True)])
        return [min(ratios) for ratios in zip(*draws, strict=True)]

    def _blamed(self, turned: _Turned, samples: Path) -> str:
        """Return a clause that names the first operator that differs, where the source can tell."""
        if not self._names_operators:
            return ""
        reply = self._child.call("blame", samples=str(samples), axes=list(turned.axes))
        return f"; the first operator that differs: {reply['operator']}"

    def _arranged(self, samples: Drawn, converted: Callable[[], Ran]) -> _Turned:
        """Find the order of the input's axes with which source and converted model, which runs now, agree best."""
        best: _Turned | None = None
        got: list[Array] | None = None
        for axes in self._axes_choices:
            outputs = self._source_outputs(samples.path, axes)
            got = got or [np.array(one) for one in converted().outputs]
            turned = _compare(outputs, got, axes)
            if best is None or turned.worst_db > best.worst_db:
                best, self._outputs = turned, outputs
        if best is None:
            raise ModelError(
                f"the input {list(self._shape)} was converted into another shape, which cannot be compared"
            )
        return best

    def _write_probe(self) -> Path:
        """Write small random numbers, which reach parts of functions that pixels do not."""
        shape = sample_shape(self.input_shapes[0])
        if self.tensors:
            shape = (sum(math.prod(one) for one in self.input_shapes),)
        path = self._folder / _PROBE
        np.save(path, np.random.default_rng(1).standard_normal((_PROBES, *shape)).astype(np.float32))
        return path

    def _probed(self, probe: Path, converted: Callable[[], Ran], turned: _Turned) -> _Turned:
        """Compare once more on the probe; where the source gives no numbers for it there is nothing to compare."""
        try:
            source = self._source_outputs(probe, turned.axes)
        except ModelError:
            return turned
        return _same_arrangement(source, converted().outputs, turned)

    def layout(self, arrangement: Sequence[Arrangement]) -> dict[str, Any]:
        """Return names, shapes and layout of all inputs and outputs, for the manifest's provenance.

        ``axes`` are those of the source's tensor, in the order that the artifact has them in.
        """
        assert self._turned is not None
        return {
            "input": list(self._turned.axes),
            "inputs": [self._input_facts(index) for index in self.file.inputs],
            "outputs": [
                self._output_facts(index, one) for index, one in zip(self.file.outputs, arrangement, strict=True)
            ],
        }

    def _output_facts(self, index: int, one: Arrangement) -> dict[str, Any]:
        shape = self.file.tensors[index].shape
        # Outputs without a batch of their own were compared with one in front.
        axes = one.axes if len(one.axes) == len(shape) else [axis - 1 for axis in one.axes[1:]]
        return {"source": self.names[one.source], "shape": list(shape), "axes": list(axes)}

    def _input_facts(self, index: int) -> dict[str, Any]:
        assert self._turned is not None
        tensor = self.file.tensors[index]
        axes = range(len(tensor.shape)) if self.tensors else self._turned.axes
        return {"source": tensor.name, "shape": list(tensor.shape), "axes": list(axes)}

    def _source_outputs(self, samples: Path, axes: tuple[int, ...], *, seed: int | None = None) -> list[Array]:
        more = {} if seed is None else {"seed": seed}
        reply = self._child.call("run", samples=str(samples), folder=str(self._folder), axes=list(axes), **more)
        return [np.array(read_array(path)) for path in reply["outputs"]]


def _compare(source: list[Array], converted: list[Array], axes: tuple[int, ...]) -> _Turned:
    try:
        outputs = arrange(source, converted)
    except ValueError as error:
        raise ModelError(f"the converted float model is not the same network: {error}") from error
    if len(source) != len(converted):
        raise ModelError(f"the source has {len(source)} outputs and the converted model {len(converted)}")
    return _same_arrangement(source, converted, _Turned(axes, outputs, ()))


def _same_arrangement(source: list[Array], converted: list[Array], turned: _Turned) -> _Turned:
    """Return how far each output is under an arrangement that is known."""
    outputs = turned.outputs
    ratios = [sqnr_db(wanted, got) for wanted, got in zip(arranged(source, outputs), converted, strict=True)]
    return _Turned(turned.axes, outputs, tuple(ratios))


def _speaks_of_pictures(options: Options) -> bool:
    """Whether a flag makes a picture of an input that is too small to look like one."""
    flags = (options.color, options.resize, options.layout, options.evaluation)
    return options.preprocessing_given or options.quantize in CALIBRATED or any(flag is not None for flag in flags)


@contextmanager
def convert_source(options: Options, *, kind: str, folder: Path) -> Iterator[FloatModel]:
    """Convert the source in a child process that stays until the block ends. Raises ModelError, UsageError."""
    path = folder / "float.tflite"
    given = options.input_shape
    shape = dict(given) if isinstance(given, Mapping) else list(given) if given else None
    more = {"window": list(options.window) if options.window else None, "said": _speaks_of_pictures(options)}
    if isinstance(shape, dict) and kind != "onnx":
        raise UsageError(f"--input-shape NAME:...: {options.source.name} has one input; give its sizes alone")
    with Child(MODULES[kind], folder=folder, title=f"convert {kind}") as child:
        unroll = options.quantize in CALIBRATED
        facts = child.call(
            "convert",
            source=str(options.source),
            output=str(path),
            input_shape=shape,
            unroll=unroll,
            **(more if kind == "onnx" else {}),
        )
        yield FloatModel(child, path=path, folder=folder, facts=facts)
