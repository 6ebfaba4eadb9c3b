"""A prediction's result in a few words, for a terminal."""

import unicodedata

from edge_runtime.types import (
    Anomaly,
    Classifications,
    Detections,
    Poses,
    RawTensors,
    Regression,
    Result,
    Segmentation,
)

_SHOWN = 3


def answer(result: Result) -> str:
    """Return the best few rows as one line of text without control characters: ``Egyptian cat 79 %, tabby 8 %``."""
    return printable(_words(result))


def headline(result: Result) -> str:
    """Return what changes when the answer does, scores left out: ``2 person, 1 dog``."""
    if isinstance(result, Classifications):
        return name(result.labels[0], int(result.class_ids[0])) if len(result) else ""
    if isinstance(result, Detections):
        return ", ".join(f"{count} {label}" for label, (count, _) in _counted(result).items())
    if isinstance(result, Poses):
        return str(len(result))
    if isinstance(result, Anomaly):
        return str(result.threshold is not None and result.score > result.threshold)
    return ""


def name(label: str | None, class_id: int) -> str:
    """Return a class's label, or its number where there is none."""
    return label if label is not None else f"class {class_id}"


def printable(text: str) -> str:
    """Replace what could move a terminal's cursor: labels come out of files that nobody has read."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


def fit(text: str, columns: int) -> str:
    """Cut text to a terminal's columns, with an ellipsis; East Asian characters take two."""
    width = cut = 0
    for index, character in enumerate(text):
        width += _columns(character)
        if width < columns:
            cut = index + 1
        elif width > columns:
            return text[:cut] + "…"
    return text


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in {"W", "F"} else 1


def _words(result: Result) -> str:
    match result:
        case Classifications():
            rows = zip(result.labels, result.class_ids, result.scores, strict=True)
            words = [f"{name(label, class_id)} {_percent(score)}" for label, class_id, score in rows]
            return ", ".join(words[:_SHOWN]) or "nothing above the threshold"
        case Detections():
            words = [f"{n} {label} {_percent(best)}" for label, (n, best) in _counted(result).items()]
            return _some(words) or "nothing found"
        case Poses():
            return ", ".join(f"person {_percent(score)}" for score in result.scores[:_SHOWN]) or "nobody found"
        case Segmentation():
            total = max(1, int(result.mask.size))
            rows = zip(result.labels, result.class_ids, result.pixels, strict=True)
            return _some([f"{name(label, class_id)} {_percent(pixels / total)}" for label, class_id, pixels in rows])
        case Regression():
            rows = zip(result.names, result.values, result.units, strict=True)
            return _some([f"{what} {value:.4g}{f' {unit}' if unit else ''}" for what, value, unit in rows])
        case Anomaly():
            if result.threshold is None:
                return f"score {result.score:.4g}"
            verdict = "ANOMALY" if result.score > result.threshold else "normal"
            return f"{verdict}, score {result.score:.4g} of {result.threshold:.4g}"
        case RawTensors():
            shapes = [f"{what} {list(value.shape)}" for what, value in zip(result.names, result.values, strict=True)]
            return _some(shapes)


def _counted(result: Detections) -> dict[str, tuple[int, float]]:
    """Return count and best score per label, best first."""
    found: dict[str, tuple[int, float]] = {}
    for label, class_id, score in zip(result.labels, result.class_ids, result.scores, strict=True):
        key = name(label, int(class_id))
        count, best = found.get(key, (0, float(score)))
        found[key] = (count + 1, best)
    return found


def _some(words: list[str]) -> str:
    more = len(words) - _SHOWN
    return ", ".join(words[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _percent(score: float) -> str:
    return f"{100 * score:.0f} %"
