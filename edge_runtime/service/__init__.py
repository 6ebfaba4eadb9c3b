"""The service: an environment of its own in /usr/lib/edge-infer, a locked user, a hardened unit; in and out again.

Nothing here imports a package that is not Python's own: the installer runs from the wheel, under the system's Python,
before anything is installed (``python3 -m edge_runtime.service`` with the wheel on ``PYTHONPATH``).
"""
