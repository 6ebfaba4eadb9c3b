"""Postprocessing: from output tensors to results. ``factory.build`` makes the one a model needs."""
