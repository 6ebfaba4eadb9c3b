"""The note that YOLO exporters pack into a model: class names, and thereby how such a model is fed.

YOLOv5 and Ultralytics append a text file with a dictionary (a Python literal, later JSON as ``metadata.json``) that has
at least ``names`` and ``stride``. Their training feeds pixels as px / 255, letterboxed, classifiers centre-cropped.
"""

import re
from typing import Any, Final

import msgspec

from edge_runtime.manifest_file import InputFacts, Manifest
from edge_runtime.model_file import ModelFile

MAX_NOTE_BYTES: Final = 256 * 1024
_ITEM: Final = re.compile(r"""\s*,?\s*(?:(\d{1,6})\s*:\s*)?('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")""")


def read_export_notes(model: ModelFile) -> Manifest | None:
    """Return what an exporter's note says, in the form of a manifest, or None without one. Raises ModelError."""
    for content in model.associated_files.values():
        notes = _parse(content)
        if isinstance(notes, dict) and "stride" in notes and (labels := _names(notes.get("names"))):
            classifies = notes.get("task") == "classify"
            return Manifest(
                labels=labels,
                input=InputFacts(mean=0.0, std=255.0, resize="crop" if classifies else "letterbox"),
            )
    return None


def _parse(content: bytes) -> Any:
    if not content.lstrip().startswith(b"{") or len(content) > MAX_NOTE_BYTES:
        return None
    try:
        return msgspec.json.decode(content)
    except (msgspec.DecodeError, RecursionError):
        return _parse_literal(content.decode("utf-8", "replace"))


def _parse_literal(text: str) -> dict[str, Any]:
    """Return ``names``, ``stride`` and ``task`` of a dictionary written by Python's ``repr``.

    Python's own reader of literals may be brought down by deep nesting, and these files come from anywhere.
    """
    notes: dict[str, Any] = {}
    if stride := re.search(r"""['"]stride['"]\s*:\s*(\d{1,5})""", text):
        notes["stride"] = int(stride[1])
    if task := re.search(r"""['"]task['"]\s*:\s*['"](\w{1,20})['"]""", text):
        notes["task"] = task[1]
    if begin := re.search(r"""['"]names['"]\s*:\s*[\[{]""", text):
        names: dict[str, str] = {}
        position = begin.end()
        while item := _ITEM.match(text, position):
            names[item[1] or str(len(names))] = re.sub(r"\\(.)", r"\1", item[2][1:-1])
            position = item.end()
        notes["names"] = names
    return notes


def _names(names: Any) -> tuple[str, ...] | None:
    """Return the names by class id from a list or a dictionary of ids."""
    if isinstance(names, dict):
        names = [names.get(str(class_id)) for class_id in range(len(names))]
    if isinstance(names, list) and names and all(isinstance(name, str) for name in names):
        return tuple(names)
    return None
