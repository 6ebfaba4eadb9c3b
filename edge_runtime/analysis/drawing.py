"""The pictures of an inspection's page, as SVG: the graph with a bar per layer, the arena over time, the boards."""

from html import escape
from math import log10
from typing import Any, Final

from edge_runtime.analysis.arena import Allocation
from edge_runtime.analysis.document import describe_node
from edge_runtime.analysis.graph import Graph
from edge_runtime.analysis.inspection import Inspection

WIDTH: Final = 960
_ROW: Final = 18
_SPINE: Final = 92
_TIMELINE_HEIGHT: Final = 240
_BAR: Final = 500
_TITLE: Final = 36
MOST_ROWS: Final = 400
_MOST_BLOCKS: Final = 3000
_MOST_ARCS: Final = 2000
KINDS: Final = {
    "CONV_2D": "a",
    "FULLY_CONNECTED": "a",
    "BATCH_MATMUL": "a",
    "TRANSPOSE_CONV": "a",
    "DEPTHWISE_CONV_2D": "b",
}


def graph_picture(found: Inspection, layers: list[dict[str, Any]]) -> str:
    """Draw a row per operator: its links to earlier ones as arcs on the left, its time (else MACs) as a bar."""
    shown = layers[:MOST_ROWS]
    timed = any(layer["predicted_ms"] is not None for layer in layers)
    lengths = [(layer["predicted_ms"] or 0.0) if timed else layer["macs"] for layer in layers]
    most = max(lengths, default=0) or 1
    shapes = _links(found.graph, len(shown))
    for number, layer in enumerate(shown):
        top = number * _ROW
        kind = "plain" if layer["kernel"] in {"plain", "none"} else KINDS.get(layer["operator"], "c")
        shape = "×".join(str(size) for size in layer["output"] or [])  # noqa: RUF001 - the sign of sizes
        value = _bar_label(layer, timed=timed)
        width = _BAR * lengths[number] / most
        shapes.append(
            f'<g><title>{escape(_tip(layer))}</title><circle class="{kind}" cx="{_SPINE}" cy="{top + 9}" r="4"/>'
            f'<text class="name" x="{_SPINE + 12}" y="{top + 13}">{escape(layer["operator"][:26])}</text>'
            f'<text x="{_SPINE + 268}" y="{top + 13}" text-anchor="end">{shape}</text>'
            f'<rect class="{kind}" x="{_SPINE + 280}" y="{top + 4}" width="{max(width, 0.5):.1f}" height="10" rx="2"/>'
            f'<text x="{_SPINE + 286 + width:.1f}" y="{top + 13}">{value}</text></g>'
        )
    return svg(max(len(shown), 1) * _ROW + 6, shapes)


def _bar_label(layer: dict[str, Any], *, timed: bool) -> str:
    if not timed:
        return count(layer["macs"])
    return "?" if layer["predicted_ms"] is None else f"{layer['predicted_ms']:.3g} ms"


def runs_on(layer: dict[str, Any]) -> str:
    """Return what runs a layer, in words."""
    if layer["kernel"] == "graphs":
        return "graphs " + " and ".join(str(number) for number in layer["runs"])
    kernel: str = layer["kernel"]
    return {"plain": "plain kernel", "none": "nothing"}.get(kernel, kernel)


def _links(graph: Graph, rows: int) -> list[str]:
    """Return a line down the spine to a neighbour, and an arc over what lies between for every other link."""
    writer = {index: node.index for node in graph.nodes for index in node.outputs}
    pairs = sorted({(writer[index], node.index) for node in graph.nodes for index in node.inputs if index in writer})
    shapes = []
    for begin, end in pairs[: _MOST_ARCS + rows]:
        if end >= rows or begin >= end:
            continue
        above, below = begin * _ROW + 9, end * _ROW + 9
        if end == begin + 1:
            shapes.append(f'<line class="link" x1="{_SPINE}" x2="{_SPINE}" y1="{above}" y2="{below}"/>')
        elif len(shapes) < _MOST_ARCS:
            out = _SPINE - min(10 + 7.5 * (end - begin) ** 0.75, _SPINE + 20)
            shapes.append(
                f'<path class="link" d="M{_SPINE} {above}C{out:.0f} {above} {out:.0f} {below} {_SPINE} {below}"/>'
            )
    return shapes


def _tip(layer: dict[str, Any]) -> str:
    text = f"{layer['index']} {layer['operator']}, {layer['type']}: {count(layer['macs'])}MACs, "
    text += f"{count(layer['parameters'])}parameters, {count(layer['moved_bytes'])}B moved, runs on {runs_on(layer)}"
    return text + (", Edge TPU" if layer["edgetpu"] and layer["kernel"] != "Edge TPU" else "")


def timeline(found: Inspection) -> str:
    """Draw the planned arena: operators from left to right, offsets upwards, one block per tensor."""
    arena = found.memory.planned
    if not found.graph.nodes or not arena.allocations or not arena.size_bytes:
        return "<p>No tensors to place.</p>"
    across, down = WIDTH / len(found.graph.nodes), (_TIMELINE_HEIGHT - 20) / arena.size_bytes
    shapes = [_block(one, across, down) for one in arena.allocations[:_MOST_BLOCKS]]
    peak = arena.peak if arena.peak is not None else 0
    middle = (peak + 0.5) * across
    label = f"peak {count(arena.live_bytes[peak])}B: {describe_node(found.graph, found.graph.nodes[peak])}"
    shapes.append(f'<line class="peak" x1="{middle:.1f}" x2="{middle:.1f}" y1="16" y2="{_TIMELINE_HEIGHT}"/>')
    side, anchor = (middle + 4, "start") if middle < WIDTH / 2 else (middle - 4, "end")
    shapes.append(f'<text class="name" x="{side:.1f}" y="12" text-anchor="{anchor}">{escape(label)}</text>')
    note = (
        "<p>The interpreter's own plan, without XNNPACK: each block is a tensor from the operator that writes it to "
        f"the last that reads it; {count(arena.size_bytes)}B in all. Golden ones are a kernel's temporaries.</p>"
    )
    return svg(_TIMELINE_HEIGHT, shapes) + note


def _block(one: Allocation, across: float, down: float) -> str:
    x, width = one.first * across, (one.last - one.first + 1) * across
    height = max(one.size_bytes * down, 0.4)
    y = _TIMELINE_HEIGHT - one.offset * down - height
    title = f"{one.name}: {count(one.size_bytes)}B, operators {one.first} to {one.last}"
    kind, opacity = ("c", 0.6) if one.tensor is None else ("ab"[one.tensor % 2], 0.85)
    return (
        f'<rect class="block {kind}" opacity="{opacity}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" '
        f'height="{height:.1f}"><title>{escape(title)}</title></rect>'
    )


def board_picture(devices: list[dict[str, Any]], fps: float | None) -> str:
    """Draw each board's prediction as a dot in its interval, on a scale of powers of ten, with the frame's time."""
    rows = [row for device in devices for row in _timings(device)]
    ends = [value for _, timing, _ in rows for value in (timing["low"], timing["high"]) if value > 0]
    if not ends:
        return ""
    if fps:
        ends.append(1000 / fps)
    low, high = log10(min(ends)) - 0.05, log10(max(ends)) + 0.05

    def x(ms: float) -> float:
        return 250 + 500 * (log10(max(ms, 10**low)) - low) / max(high - low, 0.1)

    top = 16 if fps else 0
    shapes, height = [], top + 24 * len(rows) + 22
    for tick in (step * 10.0**power for power in range(-4, 7) for step in (1, 2, 5)):
        if low <= log10(tick) <= high and (high - low < 2.5 or log10(tick).is_integer()):
            place = x(tick)
            shapes.append(f'<line class="grid" x1="{place:.1f}" x2="{place:.1f}" y1="0" y2="{height - 18}"/>')
            shapes.append(f'<text x="{place:.1f}" y="{height - 5}" text-anchor="middle">{tick:g} ms</text>')
    if fps:
        place = x(1000 / fps)
        shapes.append(f'<line class="peak" x1="{place:.1f}" x2="{place:.1f}" y1="0" y2="{height - 18}"/>')
        shapes.append(f'<text class="warn" x="{place + 4:.1f}" y="12">{fps:g} per second</text>')
    for number, (title, timing, verdict) in enumerate(rows):
        middle, tone = top + 24 * number + 13, {"fits": "good", "does not fit": "plain"}.get(verdict or "", "a")
        name = escape(_short(title) or "with its Edge TPU")
        shapes.append(
            f'<text class="name" x="{8 if title else 24}" y="{middle + 4}">{name}</text>'
            f'<rect class="{tone}" opacity=".28" x="{x(timing["low"]):.1f}" y="{middle - 5}" height="10" rx="5" '
            f'width="{max(x(timing["high"]) - x(timing["low"]), 1):.1f}"/>'
            f'<circle class="{tone}" cx="{x(timing["predicted"]):.1f}" cy="{middle}" r="5"/>'
            f'<text class="name" x="{WIDTH - 8}" y="{middle + 4}" text-anchor="end">{timing["predicted"]:.3g} ms '
            f"({timing['low']:.3g} to {timing['high']:.3g}){f' · {verdict}' if verdict else ''}</text>"
        )
    return svg(height, shapes)


def _timings(device: dict[str, Any]) -> list[tuple[str, dict[str, float], str | None]]:
    """Return a board's rows; the verdict is on what would be used: the Edge TPU where there is one and it maps."""
    verdict = device["time_verdict"]
    if device["latency_unknown"]:
        return []
    if not device["edgetpu_ms"]:
        return [(device["title"], device["latency_ms"], verdict)]
    return [(device["title"], device["latency_ms"], None), ("", device["edgetpu_ms"], verdict)]


def _short(title: str) -> str:
    return title if len(title) <= _TITLE else title[: _TITLE - 1] + "…"


def svg(height: int, shapes: list[str]) -> str:
    """Return a picture as wide as the page."""
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img">{"".join(shapes)}</svg>'


def count(value: float) -> str:
    """Return ``1.66 M``, with the space before a unit."""
    for size, letter in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {letter}"
    return f"{value:.3g} "
