"""Logging of the commands: plain sentences on standard error; under systemd with the priorities the journal reads."""

import argparse
import logging
import os
import sys
from typing import ClassVar


class _JournalFormatter(logging.Formatter):
    """Prefixes each line with the syslog priority, which journald turns into the message's level."""

    _PRIORITY: ClassVar = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}

    def format(self, record: logging.LogRecord) -> str:
        """Return ``<4>sentence``."""
        return f"<{self._PRIORITY.get(record.levelno, 6)}>{super().format(record)}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--verbose`` and ``--quiet``."""
    level = parser.add_mutually_exclusive_group()
    level.add_argument("-v", "--verbose", action="store_true", help="say more")
    level.add_argument("-q", "--quiet", action="store_true", help="only errors")


def configure(args: argparse.Namespace) -> None:
    """Send the log of the runtime to standard error at the level asked for."""
    level = logging.DEBUG if args.verbose else logging.ERROR if args.quiet else logging.INFO
    handler = logging.StreamHandler(sys.stderr)
    if os.environ.get("JOURNAL_STREAM"):
        handler.setFormatter(_JournalFormatter("%(message)s"))
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S"))
    logger = logging.getLogger("edge_runtime")
    logger.handlers[:] = [handler]
    logger.setLevel(level)
    logger.propagate = False
    if any("@" in word for word in sys.argv):
        from edge_runtime.cli import secrets

        secrets.warn(sys.argv)
