"""Reads ``--sensor`` as a person types it: which source, and of what."""

from typing import Any, Final

from edge_runtime.errors import UsageError

_SUBJECT: Final = {"csv": "path", "wav": "path", "mqtt": "topic"}
"""Source name to the key of its ``Config`` that the text after the colon fills."""


def parse_sensor_spec(text: str) -> tuple[str, dict[str, Any]]:
    """Return the source's name and its settings for ``csv:FILE``, ``wav:FILE`` or ``mqtt:TOPIC``.

    Only the first colon divides; the rest is taken as it is. Raises UsageError for anything else.
    """
    kind, colon, subject = text.partition(":")
    if kind not in _SUBJECT or not colon:
        raise UsageError(f"--sensor {text}: expected csv:FILE, wav:FILE or mqtt:TOPIC")
    if not subject:
        raise UsageError(f"--sensor {text}: say which {_SUBJECT[kind]} after {kind}:")
    return kind, {_SUBJECT[kind]: subject}
