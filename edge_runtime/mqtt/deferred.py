"""Modules that others import and hardly ever use, imported at the first use instead."""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


def defer(name: str) -> None:
    """Put a stand-in for module ``name`` in its place, which makes way for the real one when something of it is used.

    Not `importlib.util.LazyLoader`: an ``import`` statement already makes that load. May be called from any thread.
    """
    if name in sys.modules:
        return

    def load(attribute: str) -> Any:
        if sys.modules.get(name) is stand_in:
            del sys.modules[name]
        return getattr(import_module(name), attribute)

    stand_in = ModuleType(name)
    stand_in.__getattr__ = load  # type: ignore[method-assign] # PEP 562
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(import_module(parent), child, stand_in)
    sys.modules[name] = stand_in
