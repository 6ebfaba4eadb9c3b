"""A Keras architecture without weights (``model.to_json()``) as a ``.keras`` file with those Keras begins with."""

import json
from pathlib import Path
from typing import Any

from converters.steps.keras_model import reason_of, refuse_code
from edge_runtime.errors import ModelError, UsageError


class Session:
    """Builds one architecture after the other."""

    def build(self, source: str, output: str) -> dict[str, Any]:
        """Write ``output``. Raises ModelError for what is no architecture, UsageError where Keras is not installed."""
        try:
            import keras
        except ImportError as error:
            raise UsageError("Keras models need TensorFlow: pip install 'edge-infer[convert]'") from error
        try:
            text = Path(source).read_text("utf-8")
            config = json.loads(text)
        except (OSError, ValueError) as error:
            raise ModelError(f"{source} is no JSON that can be read: {error}") from error
        if not isinstance(config, dict) or "class_name" not in config:
            raise ModelError(f"{source} is no Keras architecture; write one with model.to_json()")
        refuse_code(config, source)
        try:
            model = keras.models.model_from_json(text)
            model.save(output)
        except (ValueError, TypeError, KeyError, AttributeError, ImportError) as error:
            raise ModelError(f"{source}: Keras does not build it: {reason_of(error)}") from error
        return {}
