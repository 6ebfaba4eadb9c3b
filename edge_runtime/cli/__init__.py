"""The command line: one dispatcher, one module per command, imported when it is used."""

import gc
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Final

from edge_runtime.errors import EdgeRuntimeError

COMMANDS: Final = {
    "run": "run",
    "demo": "demo",
    "dashboard": "dashboard",
    "batch": "batch",
    "inspect": "inspect",
    "bench": "bench",
    "models": "models",
    "doctor": "doctor",
    "config": "config",
    "service": "service",
    "flash-prep": "flash_prep",
}
"""Command name to module in this package; each has ``DESCRIPTION``, ``EXAMPLE``, ``add_arguments`` and ``run``."""
COLLECTED_LATER: Final = ("run", "demo", "inspect")
"""The daemon begins to collect garbage once it is loaded; what ends in a moment never does."""
INTERRUPTED: Final = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``edge-infer`` and return its exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    # No matrices are multiplied here: without this numpy's BLAS starts threads that spin for 70 ms of CPU at once.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if words[:1] in (["-h"], ["--help"]):
        sys.stdout.write(overview())
        return 0
    if words[:1] == ["--version"]:
        from edge_runtime._version import __version__

        sys.stdout.write(f"edge-infer {__version__}\n")
        return 0
    if any("@" in word for word in words):
        from edge_runtime.cli import secrets

        if secrets.found_in(words):
            secrets.hide()
    command = words.pop(0) if words and words[0] in COMMANDS else "run"
    if command == "run" and words and not words[0].startswith("-"):
        sys.stderr.write(f"edge-infer: error: unknown command {words[0]!r}; known: {', '.join(COMMANDS)}\n")
        return 2
    collected = gc.isenabled()
    gc.disable()  # looking for garbage while modules are loaded takes a fifteenth of a start and finds none
    try:
        return _run(command, words)
    except EdgeRuntimeError as error:
        sys.stderr.write(f"edge-infer: error: {error}\n")
        return error.exit_status
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output (`| head`) has left: nothing more to say, and nothing to complain about at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    finally:
        if collected:
            gc.enable()


def _run(command: str, words: list[str]) -> int:
    import argparse
    from functools import partial

    _import_msgspec()
    # Without a width argparse imports shutil and what compresses archives, to ask the terminal, for each flag's errors.
    width = None if {"-h", "--help"} & set(words) else 100
    module = importlib.import_module(f"edge_runtime.cli.{COMMANDS[command]}")
    parser = argparse.ArgumentParser(
        prog=f"edge-infer {command}",
        description=module.DESCRIPTION,
        epilog=f"example:\n{module.EXAMPLE}",
        formatter_class=partial(argparse.RawDescriptionHelpFormatter, width=width),
        allow_abbrev=False,
    )
    module.add_arguments(parser)
    try:
        arguments = parser.parse_args(words)
    except SystemExit as end:
        return int(end.code or 0)
    if command not in COLLECTED_LATER:
        gc.enable()
    return int(module.run(arguments))


def _import_msgspec() -> None:
    """Import what every command needs, without ``typing_extensions``: a fifth of the time of a short one.

    Where that is not installed msgspec takes the same from Python's own ``typing``; others may still import it.
    """
    if {"msgspec", "typing_extensions"} & sys.modules.keys():
        return
    sys.modules["typing_extensions"] = None  # type: ignore[assignment]
    try:
        importlib.import_module("msgspec")
    finally:
        del sys.modules["typing_extensions"]


def overview() -> str:
    """Return the text of ``edge-infer --help``."""
    lines = [
        "usage: edge-infer [run] [--camera [DEVICE]] [--model FILE|NAME] [--broker URL] ...",
        "       edge-infer COMMAND --help",
        "",
        "Camera or sensor frames through a TFLite model to MQTT. All flags: edge-infer run --help",
        "",
        "commands:",
        "  run        the daemon (may be left out)",
        "  demo       broker, sample source, bundled model and dashboard, nothing to configure",
        "  dashboard  the dashboard alone, for every device on a broker",
        "  batch      score many files to JSONL or CSV",
        "  inspect    what a model will cost on a device, without running it",
        "  bench      measure a model on this device",
        "  models     list and pull models",
        "  doctor     what this device has and what is missing",
        "  config     check or show a configuration",
        "  flash-prep prepare a card that installs edge-infer by itself",
        "  service    install, upgrade or remove the system's service",
        "",
        "example:",
        "  edge-infer --camera --model mobilenet_v2 --broker mqtt://localhost --dashboard",
        "",
    ]
    return "\n".join(lines)
