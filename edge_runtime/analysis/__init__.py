"""Static inference: what a model will cost on a device, from its file alone."""
