"""One self-contained HTML page of an inspection: no scripts, nothing fetched, light and dark.

Everything that comes from the model (names above all) is escaped; the page has a policy that forbids scripts and
requests as well.
"""

from html import escape
from typing import Any, Final

from edge_runtime.analysis.arena import Allocation
from edge_runtime.analysis.inspection import Inspection, describe_node

_WIDTH: Final = 960
_BAR_HEIGHT: Final = 18
_TIMELINE_HEIGHT: Final = 240
_MOST_BARS: Final = 400
_MOST_BLOCKS: Final = 3000
_KINDS: Final = {
    "CONV_2D": "a",
    "FULLY_CONNECTED": "a",
    "BATCH_MATMUL": "a",
    "TRANSPOSE_CONV": "a",
    "DEPTHWISE_CONV_2D": "b",
}

_STYLE: Final = """
:root{color-scheme:light dark;--ink:#1d2129;--soft:#646c79;--line:#dfe3e8;--back:#fbfbfa;--card:#fff;
--a:#2f6db5;--b:#3f9c86;--c:#b9863a;--warn:#c2452d;--good:#2c7d4f}
@media(prefers-color-scheme:dark){:root{--ink:#e6e8ec;--soft:#98a1ae;--line:#31363e;--back:#15181c;--card:#1c2025;
--a:#6ba3e6;--b:#62bda7;--c:#d8a75d;--warn:#f0816b;--good:#6cc48f}}
body{margin:0 auto;max-width:1020px;padding:32px 24px 64px;background:var(--back);color:var(--ink);
font:15px/1.5 system-ui,sans-serif}
h1{font-size:22px;margin:0;overflow-wrap:anywhere}h2{font-size:16px;margin:36px 0 10px}
p{margin:4px 0;color:var(--soft);overflow-wrap:anywhere}.warn{color:var(--warn)}.good{color:var(--good)}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(116px,1fr));gap:12px;margin-top:20px}
.figures div{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:10px 14px}
.figures b{display:block;white-space:nowrap;font-size:18px;font-weight:600}
.figures span{color:var(--soft);font-size:13px}
table{border-collapse:collapse;width:100%;font-size:14px}th{font-weight:600;color:var(--soft);text-align:left}
td,th{padding:5px 10px 5px 0;border-bottom:1px solid var(--line);vertical-align:top}td.n,th.n{text-align:right}
svg{display:block;width:100%;height:auto;background:var(--card);border:1px solid var(--line);border-radius:8px}
svg text{fill:var(--soft);font:11px system-ui,sans-serif}svg text.name{fill:var(--ink)}
.a{fill:var(--a)}.b{fill:var(--b)}.c{fill:var(--c)}.plain{fill:var(--warn)}.block{stroke:var(--card);stroke-width:.5}
.peak{stroke:var(--warn);stroke-dasharray:3 3}.key i{display:inline-block;width:10px;height:10px;border-radius:2px}
"""
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"


def render(found: Inspection, result: dict[str, Any]) -> str:
    """Return the page; ``result`` is the inspection's document."""
    name = escape(result["use"].get("name") or result["model"]["path"].rsplit("/", 1)[-1])
    parts = [
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{name}</title>',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width,initial-scale=1">',
        f"<style>{_STYLE}</style></head><body><h1>{name}</h1>",
        _head(result),
        _figures(result),
        "<h2>Devices</h2>",
        _devices(result["devices"]),
        *_advice(result["devices"]),
        "<h2>Memory over time</h2>",
        _timeline(found),
        "<h2>Layers</h2>",
        _bars(result["layers"], result["devices"]),
        "</body></html>",
    ]
    return "\n".join(parts)


def _head(result: dict[str, Any]) -> str:
    model, use = result["model"], result["use"]
    shapes = ["input " + _tensor(tensor) for tensor in model["inputs"]]
    shapes += ["output " + _tensor(tensor) for tensor in model["outputs"]]
    lines = [escape(model["path"]), *([f"sha256 {model['sha256'][:16]}"] if model["sha256"] else []), *shapes]
    if use["task"]:
        lines.append(f"task {escape(use['task'])}")
    if use["error"]:
        lines.append(f'<span class="warn">{escape(use["error"])}</span>')
    return "".join(f"<p>{line}</p>" for line in lines)


def _tensor(tensor: dict[str, Any]) -> str:
    shape = "×".join(str(size) for size in tensor["shape"])  # noqa: RUF001 - the sign of sizes
    return escape(f"{tensor['name']} {shape} {tensor['type']}")


def _figures(result: dict[str, Any]) -> str:
    totals, memory = result["totals"], result["memory"]
    figures = [
        (_count(totals["macs"]), "MACs"),
        (_count(totals["parameters"]), "parameters"),
        (_count(result["model"]["size_bytes"]) + "B", "file"),
        (_count(memory["total_bytes"]) + "B", "memory of the model"),
        (f"{memory['process_bytes'] / 2**20:.0f} MiB", "whole program"),
        (f"{result['xnnpack']['operators']} of {totals['operators']}", "operators with XNNPACK"),
        (f"{result['edgetpu']['operators']} of {totals['operators']}", "operators map to an Edge TPU"),
    ]
    return (
        '<div class="figures">' + "".join(f"<div><b>{b}</b><span>{text}</span></div>" for b, text in figures) + "</div>"
    )


def _devices(devices: list[dict[str, Any]]) -> str:
    rows = ['<tr><th>device<th class="n">threads<th class="n">ms<th class="n">interval<th>verdict</tr>']
    # The verdict is on what would really be used: the Edge TPU where there is one and the model maps to it.
    for device in devices:
        timings = [(device["title"], device["latency_ms"])]
        if device["edgetpu_ms"]:
            timings.append(("with its Edge TPU", device["edgetpu_ms"]))
        for number, (title, timing) in enumerate(timings, 1):
            verdict = device["verdict"] or "" if number == len(timings) else ""
            tone = {"fits": "good", "does not fit": "warn"}.get(verdict, "")
            rows.append(
                f'<tr><td>{escape(title)}<td class="n">{device["threads"]}<td class="n">{timing["predicted"]:.3g}'
                f'<td class="n">{timing["low"]:.3g} to {timing["high"]:.3g}<td class="{tone}">{verdict}</tr>'
            )
    return f"<table>{''.join(rows)}</table>"


def _advice(devices: list[dict[str, Any]]) -> list[str]:
    if len(devices) != 1 or not devices[0]["advice"]:
        return []
    rows = ['<tr><th>change<th class="n">ms now<th class="n">ms then<th></tr>']
    rows += [
        f'<tr><td>{escape(advice["change"])}<td class="n">{advice["before_ms"]:.3g}'
        f'<td class="n">{advice["after_ms"]:.3g}<td>{escape(advice["note"])}</tr>'
        for advice in devices[0]["advice"]
    ]
    return ["<h2>What would make it faster</h2>", f"<table>{''.join(rows)}</table>"]


def _timeline(found: Inspection) -> str:
    """Draw the planned arena: operators from left to right, offsets upwards, one block per tensor."""
    arena = found.memory.planned
    if not arena.allocations or not arena.size_bytes:
        return "<p>No tensors to place.</p>"
    steps = len(found.graph.nodes)
    across, down = _WIDTH / steps, (_TIMELINE_HEIGHT - 20) / arena.size_bytes
    shapes = [_block(one, across, down) for one in arena.allocations[:_MOST_BLOCKS]]
    peak = arena.peak if arena.peak is not None else 0
    middle = (peak + 0.5) * across
    label = f"peak {_count(arena.live_bytes[peak])}B: {describe_node(found.graph, found.graph.nodes[peak])}"
    shapes.append(f'<line class="peak" x1="{middle:.1f}" x2="{middle:.1f}" y1="16" y2="{_TIMELINE_HEIGHT}"/>')
    side, anchor = (middle + 4, "start") if middle < _WIDTH / 2 else (middle - 4, "end")
    shapes.append(f'<text class="name" x="{side:.1f}" y="12" text-anchor="{anchor}">{escape(label)}</text>')
    note = (
        "<p>The interpreter's own plan, without XNNPACK: each block is a tensor from the operator that writes it to "
        f"the last that reads it; {_count(arena.size_bytes)}B in all. Lighter ones are a kernel's temporaries.</p>"
    )
    return f'<svg viewBox="0 0 {_WIDTH} {_TIMELINE_HEIGHT}" role="img">{"".join(shapes)}</svg>{note}'


def _block(one: Allocation, across: float, down: float) -> str:
    x, width = one.first * across, (one.last - one.first + 1) * across
    height = max(one.size_bytes * down, 0.4)
    y = _TIMELINE_HEIGHT - one.offset * down - height
    title = f"{one.name}: {_count(one.size_bytes)}B, operators {one.first} to {one.last}"
    kind, opacity = ("c", 0.55) if one.tensor is None else ("ab"[one.tensor % 2], 0.85)
    return (
        f'<rect class="block {kind}" opacity="{opacity}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" '
        f'height="{height:.1f}"><title>{escape(title)}</title></rect>'
    )


def _bars(layers: list[dict[str, Any]], devices: list[dict[str, Any]]) -> str:
    """Draw a bar per layer: predicted time on the first device, else MACs."""
    timed = bool(layers) and layers[0]["predicted_ms"] is not None
    key, unit = ("predicted_ms", "ms") if timed else ("macs", "MACs")
    most = max((layer[key] for layer in layers), default=0) or 1
    shapes = []
    for number, layer in enumerate(layers[:_MOST_BARS]):
        top = number * _BAR_HEIGHT
        kind = _KINDS.get(layer["operator"], "c") if layer["xnnpack"] else "plain"
        shape = "×".join(str(size) for size in layer["output"] or [])  # noqa: RUF001 - the sign of sizes
        value = f"{layer[key]:.3g} {unit}" if timed else _count(layer[key])
        width = 520 * layer[key] / most
        shapes.append(
            f'<text class="name" x="36" y="{top + 13}">{escape(layer["operator"][:30])}</text>'
            f'<text x="28" y="{top + 13}" text-anchor="end">{layer["index"]}</text>'
            f'<text x="330" y="{top + 13}" text-anchor="end">{shape}</text>'
            f'<rect class="{kind}" x="340" y="{top + 3}" width="{width:.1f}" height="12" rx="2"/>'
            f'<text x="{346 + width:.1f}" y="{top + 13}">{value}</text>'
        )
    height = min(len(layers), _MOST_BARS) * _BAR_HEIGHT + 6
    where = f"predicted time on {escape(devices[0]['title'])}" if timed and devices else "MACs"
    more = f" The first {_MOST_BARS} of {len(layers)} are shown." if len(layers) > _MOST_BARS else ""
    legend = " · ".join(
        f'<i class="{kind}" style="background:var(--{color})"></i> {text}'
        for kind, color, text in (
            ("a", "a", "convolution, matrix product"),
            ("b", "b", "depthwise"),
            ("c", "c", "other"),
            ("plain", "warn", "not taken by XNNPACK"),
        )
    )
    picture = f'<svg viewBox="0 0 {_WIDTH} {height}" role="img">{"".join(shapes)}</svg>'
    return f'<p class="key">{where}. {legend}{more}</p>{picture}'


def _count(value: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {letter}"
    return f"{value:.3g} "
