"""How inputs are normalised: given, found in the source, or proven by labelled pictures; never assumed."""

from dataclasses import replace
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from converters.arrays import read_array
from converters.child import Child
from converters.comparison import paired_difference, top1
from converters.embed import embed_metadata
from converters.options import CALIBRATED, PRESETS, Options
from converters.progress import Progress
from converters.readers import open_labelled_pool
from converters.sample_pool import Drawn, Feeder, draw, spread
from converters.source_check import FloatModel
from converters.tensor_model import describe_tensors
from edge_runtime.errors import UsageError
from edge_runtime.manifest import Overrides, resolve
from edge_runtime.manifest_file import BUFFER_NAME, InputFacts, Manifest
from edge_runtime.types import ImageInput, ModelSpec

_TRIED_WITH: Final = 200
_TRIED: Final = ("raw", "tf", "0-1", "imagenet")
"""Presets that differ; ``torch`` is ``imagenet``."""
_ASK: Final = (
    "say how its inputs are normalised: --preset raw (values as they are), --preset imagenet|tf|0-1, or --mean and "
    "--std (pixels of 0..255, or the sensor's unit); labelled pictures can prove it: --eval FOLDER"
)


def settle(options: Options, model: FloatModel, *, folder: Path, progress: Progress) -> tuple[ModelSpec, str]:
    """Return what is known of the float model with its normalisation settled, and where that comes from.

    Raises UsageError when nothing says it, or for flags that do not fit the model.
    """
    if model.tensors:
        return describe_tensors(options, model.file), "none, tensors as they are"
    if options.preprocessing_given:
        return _resolved(options, model, folder), "given"
    if model.normalization is not None:
        raw = replace(options, mean=(0.0,), std=(1.0,))
        spec = _resolved(raw, model, folder)
        takes = "pixels of 0..255" if isinstance(spec.input, ImageInput) else "values as they are"
        return spec, f"layer {model.normalization!r} of the source, which takes {takes}"
    spec = _resolved(options, model, folder)
    if model.takes_anything and options.quantize not in CALIBRATED:
        raw = replace(options, mean=(0.0,), std=(1.0,))
        return _resolved(raw, model, folder), "none said: values as they are"
    if options.evaluation is None or not isinstance(spec.input, ImageInput):
        raise UsageError(f"{options.source.name}: {_ASK}")
    progress("finding the normalisation by the labelled pictures")
    return _prove(options, model, folder)


def _resolved(options: Options, model: FloatModel, folder: Path) -> ModelSpec:
    """Return what the device would say of the float model with these flags."""
    path = model.path
    if options.window is not None or options.sample_rate_hz is not None:
        length, channels = options.window or (None, None)
        facts = InputFacts(length=length, channels=channels, sample_rate_hz=options.sample_rate_hz)
        path = folder / "window.tflite"
        manifest = msgspec.json.encode(Manifest(input=facts))
        path.write_bytes(embed_metadata(model.path.read_bytes(), {BUFFER_NAME: manifest}))
    flags = Overrides(
        labels=options.labels,
        task=options.task,
        name=options.name or options.source.stem,
        mean=options.mean,
        std=options.std,
        color=options.color,
        resize=options.resize,
        layout=options.layout,
    )
    spec = resolve(path, flags)
    return replace(spec, identity=replace(spec.identity, version=options.version))


def _prove(options: Options, model: FloatModel, folder: Path) -> tuple[ModelSpec, str]:
    """Try the presets on labelled pictures; the best must be better than every other beyond the 95 % interval."""
    found: list[tuple[float, str, ModelSpec, np.ndarray]] = []
    assert options.evaluation is not None
    with Child("tflite_model", folder=folder, title="try normalisations") as child:
        for name in _TRIED:
            mean, std = PRESETS[name]
            try:
                spec = _resolved(replace(options, mean=mean, std=std), model, folder)
            except UsageError:
                continue  # three channels of numbers for a grey input
            pool = open_labelled_pool(options.evaluation, Feeder(spec))
            drawn = draw(pool, spread(pool.count, _TRIED_WITH), folder / "tried.npy")
            right = _right(child, model, drawn, folder)
            found.append((float(np.mean(right)), name, spec, right))
    found.sort(key=lambda entry: entry[0], reverse=True)
    share, name, spec, right = found[0]
    for other_share, other, _, other_right in found[1:]:
        if paired_difference(other_right, right).low <= 0.0:
            raise UsageError(
                f"--eval does not tell how inputs are normalised: {name} is right in {share:.1%} and {other} in "
                f"{other_share:.1%} of {len(right)} pictures; give --preset, or --mean and --std"
            )
    proof = f"right in {share:.1%} of {len(right)} pictures, the next in {found[1][0]:.1%} ({found[1][1]})"
    return spec, f"preset {name}, proven by --eval: {proof}"


def _right(child: Child, model: FloatModel, drawn: Drawn, folder: Path) -> np.ndarray:
    reply = child.call("run", model=str(model.path), samples=str(drawn.path), folder=str(folder), stem="tried")
    assert drawn.targets is not None
    return np.asarray(top1(read_array(reply["outputs"][0])) == drawn.targets)
