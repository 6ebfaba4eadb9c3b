"""Pictures to input tensors."""

from typing import Any

from numpy.typing import NDArray

from edge_runtime.preprocess.geometry import AS_IT_IS, Placement, orientation_of, place
from edge_runtime.preprocess.masks import Masks
from edge_runtime.preprocess.rasters import Raster, open_raster
from edge_runtime.preprocess.resize import resize
from edge_runtime.preprocess.scratch import Scratch, Scratches
from edge_runtime.preprocess.tensor import TensorWriter
from edge_runtime.types import Frame, ImageInput, Size, TensorSpec, Transform, View


class ImagePreprocessor:
    """Decodes, masks, crops, resizes, turns and quantises the pictures of one stream.

    Everything that costs per pixel happens at the smallest size: JPEG is decoded close to the model's input, masks are
    scaled to what was decoded, colours are converted and pictures turned after the resize. Called from prepare
    threads, several at a time. Raises InputMismatchError when ``tensor`` cannot hold a picture of ``input``.
    """

    def __init__(self, *, input: ImageInput, tensor: TensorSpec, view: View = AS_IT_IS) -> None:  # noqa: A002
        self._target = input
        self._view = view
        self._turn = orientation_of(view)
        self._masks = Masks(view)
        self._tensor = TensorWriter(input, tensor)
        self._scratches = Scratches()
        self._last: tuple[Any, Placement] | None = None

    def __call__(self, frame: Frame) -> tuple[tuple[NDArray[Any], ...], Transform]:
        """Return the input tensor, of the model's shape and type, and the way back to upright source pixels.

        Raises BadFrameError, ConfigError for a mask file that cannot be read, InputMismatchError for samples.
        """
        with self._scratches.lent() as scratch:
            return self._written(frame, scratch)

    def release(self, inputs: tuple[NDArray[Any], ...]) -> None:
        """Give buffers back for use again."""
        for buffer in inputs:
            self._tensor.buffers.put(buffer)

    def _written(self, frame: Frame, scratch: Scratch) -> tuple[tuple[NDArray[Any], ...], Transform]:
        color, exact = self._target.color, self._target.antialias
        raster = open_raster(frame.data, frame.format, want=color, exact=exact, scratch=scratch)
        placement = self._placement(raster, frame.nominal_size or raster.size)
        upright = placement.transform.frame_size
        parts = []
        for decoded in raster.planes(placement.least(raster.ratio)):
            plane = self._masks.hide(decoded, upright=upright, orientation=placement.orientation)
            parts.append(resize(plane.pixels, box=placement.box, size=placement.content, exact=raster.exact))
        content = placement.orientation.pixels(raster.colors(parts))
        return (self._tensor.write(content, placement.corner),), placement.transform

    def _placement(self, raster: Raster, size: Size) -> Placement:
        """Return where the model's pixels lie; the pictures of a stream have one size, so the last answer is kept."""
        key = (size, raster.orientation)
        last = self._last
        if last is not None and last[0] == key:
            return last[1]
        placement = place(size, raster.orientation.then(self._turn), view=self._view, target=self._target)
        self._last = (key, placement)
        return placement
