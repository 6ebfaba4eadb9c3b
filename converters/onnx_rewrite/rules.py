"""Every rule by its operator, and the operators that are expanded as ONNX defines them."""

from typing import Final

from converters.onnx_rewrite import (
    activation,
    arithmetic,
    arrangement,
    control,
    linear,
    loss,
    movement,
    normalization,
    pooling,
    recurrent,
    reduction,
    regions,
    resize,
    sampling,
    spectral,
)
from converters.onnx_rewrite.trace import Rule

RULES: Final[dict[str, Rule]] = {
    **activation.RULES,
    **arithmetic.RULES,
    **arrangement.RULES,
    **control.RULES,
    **loss.RULES,
    **normalization.RULES,
    **pooling.RULES,
    **recurrent.RULES,
    **reduction.RULES,
    **regions.RULES,
    **resize.RULES,
    **sampling.RULES,
    **spectral.RULES,
    "AffineGrid": linear.whole,
    "ArrayFeatureExtractor": movement.moved,
    "Binarizer": arithmetic.binarized,
    "CenterCropPad": movement.moved,
    "Col2Im": linear.per_row,
    "Compress": movement.moved,
    "DeformConv": linear.whole,
    "GatherElements": movement.moved,
    "GatherND": movement.moved,
    "MaxUnpool": movement.moved,
    "ReverseSequence": movement.moved,
    "OptionalGetElement": arithmetic.passed_on,
    "Scatter": movement.scattered,
    "ScatterElements": movement.scattered,
    "ScatterND": movement.scattered,
    "TensorScatter": movement.updated,
}
EXPANDED: Final = frozenset({"Attention", "RotaryEmbedding"})
