"""``python3 -m edge_runtime.service install``: the installer without an installation, from the wheel."""

import argparse
import os
import sys

from edge_runtime.errors import EdgeRuntimeError
from edge_runtime.service import command_line


def main() -> int:
    """Return the exit status."""
    # It brought this code from the wheel; the programs that are started shall see what is installed for them.
    os.environ.pop("PYTHONPATH", None)
    parser = argparse.ArgumentParser(
        prog="python3 -m edge_runtime.service",
        description=command_line.DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command_line.add_arguments(parser)
    try:
        return command_line.run(parser.parse_args())
    except EdgeRuntimeError as error:
        sys.stderr.write(f"edge-infer: error: {error}\n")
        return error.exit_status


if __name__ == "__main__":
    sys.exit(main())
