"""Preprocessing: from a frame to the input tensor of a model."""
