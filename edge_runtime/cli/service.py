"""``edge-infer service install|uninstall|status``: edge-infer as a service of the system."""

from edge_runtime.service.command_line import DESCRIPTION, EXAMPLE, add_arguments, run

__all__ = ["DESCRIPTION", "EXAMPLE", "add_arguments", "run"]
