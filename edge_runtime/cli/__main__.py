"""``python -m edge_runtime.cli`` is ``edge-infer``."""

import sys

from edge_runtime.cli import main

sys.exit(main())
