"""Feed damaged and hostile inputs to the product, seeded: each must be taken, or refused with a typed error.

    scripts/fuzz loader             models through the isolated loader, which invokes them once
    scripts/fuzz pictures           JPEG and PNG through decoding and preprocessing
    scripts/fuzz configurations     TOML through everything that reads a configuration
    scripts/fuzz commands           MQTT payloads through the command handling
    scripts/fuzz_models             models through `edge-infer inspect`

Every case is made from its number and the seed alone, so a failure can be made again: ``KIND 1 --first N``. A case
fails when anything but a typed error comes out, when it takes too much processor time, or when the process grows by
more than 200 MB. Exit status 1 when one did.
"""

import argparse
import importlib
import os
import sys
import tempfile
from pathlib import Path

KINDS = {
    "loader": ("models", "loaded"),
    "pictures": ("pictures", "prepared"),
    "configurations": ("configurations", "checked"),
    "commands": ("commands", "answered"),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("count", nargs="?", type=int, default=20_000)
    parser.add_argument("models", nargs="*", type=Path, help="originals to damage (default: bundled and reference)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, metavar="N", help="number of the first case")
    args = parser.parse_args()
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    import campaign

    module, name = KINDS[args.kind]
    with tempfile.TemporaryDirectory() as folder:
        made = getattr(importlib.import_module(module), name)(Path(folder), args.models)
        return campaign.run(made, count=args.count, first=args.first, seed=args.seed)


if __name__ == "__main__":
    sys.exit(main())
