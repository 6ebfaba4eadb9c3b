"""What runs in child processes: one module per heavy library, each with a ``Session`` whose methods are called."""
