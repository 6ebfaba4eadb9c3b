"""Class names from label files: one per line, numbered lines, or JSON."""

import re
from pathlib import Path
from typing import Any

import msgspec

from edge_runtime.errors import UsageError

MAX_FILE_BYTES = 8 * 1024 * 1024
MAX_LABELS = 100_000
BACKGROUND = "background"
_PLACEHOLDERS = frozenset({BACKGROUND, "???", "unlabeled", "dummy"})
_NUMBERED = re.compile(r"\s*(\d{1,6})\s*[:,\s]\s*(\S.*)")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f]")


class LabelsError(ValueError):
    """These are no labels, or not those of this model; ``str(error)`` completes "FILE ..."."""


def read_labels(path: Path) -> tuple[str, ...]:
    """Return the lines of a label file. Raises UsageError for what cannot be read or is no label file."""
    try:
        if path.exists() and not path.is_file():
            raise UsageError(f"{path} is no file; give a text file with one label per line")
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise UsageError(f"the label file {path} cannot be read: {error.strerror or error}") from error
    try:
        return parse_labels(content)
    except LabelsError as error:
        raise UsageError(f"{path} {error}; give a text file with one label per line") from error


def parse_labels(content: bytes) -> tuple[str, ...]:
    """Return labels by class id; an id that a numbered file leaves out is ``""``. Raises LabelsError.

    Read are one label per line, ``id label`` or ``id: label`` on every line, a JSON list, and a JSON object of either
    direction. Empty lines at the end do not count; those in between are kept for ``fit_labels``.
    """
    if len(content) > MAX_FILE_BYTES:
        raise LabelsError(f"has more than {MAX_FILE_BYTES // 2**20} MB and is no label file")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise LabelsError("is no UTF-8 text") from error
    if _CONTROL.search(text):
        raise LabelsError("is no text file")
    if text.lstrip()[:1] in {"[", "{"} and (parsed := _from_json(text)) is not None:
        return parsed
    lines = [line.strip() for line in text.splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise LabelsError("is empty")
    if len(lines) > MAX_LABELS:
        raise LabelsError(f"has more than {MAX_LABELS} lines")
    return _from_numbered(lines) or tuple(lines)


def _from_numbered(lines: list[str]) -> tuple[str, ...] | None:
    matches = [_NUMBERED.fullmatch(line) for line in lines if line]
    pairs = [(int(match[1]), match[2].strip()) for match in matches if match]
    if len(pairs) != len(matches) or len(dict(pairs)) != len(pairs) or len(pairs) < 2:
        return None
    return _by_id(dict(pairs))


def _by_id(names: dict[int, str]) -> tuple[str, ...]:
    if not names or max(names) >= MAX_LABELS or min(names) < 0:
        raise LabelsError(f"has ids that are not all in 0..{MAX_LABELS - 1}")
    return tuple(names.get(class_id, "") for class_id in range(max(names) + 1))


def _from_json(text: str) -> tuple[str, ...] | None:
    try:
        value: Any = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None
    if isinstance(value, list) and value and all(isinstance(name, str) for name in value):
        return tuple(name.strip() for name in value[:MAX_LABELS])
    if isinstance(value, dict) and value:
        if all(key.isdecimal() and len(key) <= 6 and isinstance(name, str) for key, name in value.items()):
            return _by_id({int(key): name.strip() for key, name in value.items()})
        if all(isinstance(class_id, int) for class_id in value.values()):
            return _by_id({class_id: name.strip() for name, class_id in value.items()})
    raise LabelsError("is JSON, but neither a list of labels nor an object of ids and labels")


def fit_labels(labels: tuple[str, ...], count: int | None, *, at_most: bool = False) -> tuple[str, ...]:
    """Return the labels that belong to ``count`` classes (None: unknown). Raises LabelsError when they do not fit.

    A list that ends at its first empty line and has a remark after it is cut there. ImageNet's 1,000 names fit 1,001
    classes (class 0 is the background) and the other way round. With ``at_most`` fewer labels than classes will do.
    """
    head = labels[: labels.index("")] if "" in labels else labels
    if count is None:
        return head or labels
    for candidate in (labels, head):
        size = len(candidate)
        if size == count:
            return candidate
        if size == count + 1 and candidate[0].lower() in _PLACEHOLDERS:
            return candidate[1:]
        if (size, count) == (1000, 1001) and candidate[0].lower() not in _PLACEHOLDERS:
            return (BACKGROUND, *candidate)
    if at_most and len(labels) < count:
        return labels
    raise LabelsError(f"has {len(labels)} labels, and the model {count} classes")
