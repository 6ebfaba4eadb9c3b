"""Which preprocessor a model needs."""

from edge_runtime.preprocess.geometry import AS_IT_IS
from edge_runtime.protocols import Preprocessor
from edge_runtime.types import ImageInput, TensorSpec, View, WindowInput


def build(spec_input: ImageInput | WindowInput, *, tensor: TensorSpec, view: View = AS_IT_IS) -> Preprocessor:
    """Return what fills ``tensor`` as ``spec_input`` says; ``view`` is used for pictures only.

    Raises InputMismatchError when the tensor's shape does not fit.
    """
    if isinstance(spec_input, ImageInput):
        from edge_runtime.preprocess.image import ImagePreprocessor  # Pillow: a sensor does without

        return ImagePreprocessor(input=spec_input, tensor=tensor, view=view)
    from edge_runtime.preprocess.window import WindowPreprocessor

    return WindowPreprocessor(input=spec_input, tensor=tensor)
