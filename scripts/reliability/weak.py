"""The command with an outbox that synchronises less than it should: ``weak.py OFF|NORMAL WORD...``.

A test of power cuts that does not notice it proves nothing.
"""

import re
import sqlite3
import sys
from typing import Any


class WeakConnection(sqlite3.Connection):
    """Turns every demand for safety into its opposite."""

    def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
        return super().execute(re.sub(r"synchronous=\w+", LEVEL, statement), *values)


def connect(*place: Any, **options: Any) -> sqlite3.Connection:
    connection = CONNECT(*place, factory=WeakConnection, **options)
    connection.execute(f"PRAGMA {LEVEL}")
    return connection


CONNECT = sqlite3.connect
LEVEL = f"synchronous={sys.argv[1]}"

if __name__ == "__main__":
    from edge_runtime.cli import main

    sqlite3.connect = connect
    sys.exit(main(sys.argv[2:]))
