"""Postprocessing: from output tensors to results."""
