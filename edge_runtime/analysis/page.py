"""One self-contained HTML page of an inspection, or of two: no scripts, nothing fetched, light and dark.

Everything that comes from the model (names above all) is escaped; the page has a policy that forbids scripts and
requests as well.
"""

from html import escape
from math import log2
from typing import Any, Final

from edge_runtime.analysis.compared import Row
from edge_runtime.analysis.document import said, verdicts
from edge_runtime.analysis.drawing import MOST_ROWS, board_picture, count, graph_picture, runs_on, timeline
from edge_runtime.analysis.inspection import Inspection
from edge_runtime.sinks.answer import printable

_MOST_TABLE_ROWS: Final = 2000
_TONES: Final = {"fits": "good", "tight": "tight", "does not fit": "warn"}
_DOUBLINGS: Final = 3
"""From the middle of a bar of the comparison to its end."""
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
.chip{display:inline-block;border-radius:99px;padding:1px 12px;font-weight:600;color:var(--back);background:var(--soft)}
.chip.good{background:var(--good)}.chip.warn{background:var(--warn)}.chip.tight{background:var(--c)}
.tight{color:var(--c)}.chip.tight{color:var(--back)}
.advice{display:grid;grid-template-columns:minmax(220px,2fr) 3fr;gap:6px 18px;align-items:center}
.advice span{font-size:13px;color:var(--soft)}
.gain{position:relative;height:20px;background:var(--line);border-radius:4px}
.gain i{position:absolute;inset:0 auto 0 0;background:var(--good);opacity:.75;border-radius:4px}
.gain b{position:absolute;left:calc(100% + 10px);white-space:nowrap;font-size:13px;font-weight:600;line-height:20px}
.advice .gain{margin-right:130px}
.ratio::after{content:"";position:absolute;left:50%;top:0;bottom:0;width:1px;background:var(--soft)}
details{margin-top:12px}summary{cursor:pointer;color:var(--soft)}td{font-variant-numeric:tabular-nums}
.scroll{overflow-x:auto}.link{stroke:var(--soft);stroke-opacity:.55;fill:none}.grid{stroke:var(--line)}
svg .good{fill:var(--good)}
.a{fill:var(--a)}.b{fill:var(--b)}.c{fill:var(--c)}.plain{fill:var(--warn)}.block{stroke:var(--card);stroke-width:.5}
.peak{stroke:var(--warn);stroke-dasharray:3 3}
.key span{white-space:nowrap;margin-right:10px}.key i{display:inline-block;width:10px;height:10px;border-radius:2px}
"""
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"
_LEGEND: Final = (
    ("a", "convolution, matrix product"),
    ("b", "depthwise"),
    ("c", "other"),
    ("warn", "not taken by XNNPACK"),
)


def render(found: Inspection, result: dict[str, Any]) -> str:
    """Return the page of one model; ``result`` is the inspection's document."""
    name, layers, devices = _name(result), result["layers"], result["devices"]
    parts = [
        f"<h1>{name} {_chip(result['verdict'])}</h1>",
        *(f'<p class="{_TONES[verdict]}">{text}</p>' for verdict, text in verdicts(result)),
        _head(result),
        _figures(result),
        f"<h2>{'On every board' if len(devices) > 1 else 'Latency'}</h2>",
        board_picture(devices, result["budgets"]["fps"]),
        *_unknown(devices),
        *_advice(devices),
        "<h2>Graph</h2>",
        _legend(layers, devices),
        graph_picture(found, layers),
        *_graphs(result["graphs"]),
        "<h2>Memory over time</h2>",
        timeline(found),
        "<h2>Where memory goes</h2>",
        _memory(result["memory"]),
        _layer_table(layers),
    ]
    return _page(name, parts)


def render_comparison(found: list[Inspection], results: list[dict[str, Any]], rows: list[Row]) -> str:
    """Return the page that compares two models; ``rows`` from ``compare``."""
    names = _different_names(results)
    lines = [f'<tr><th><th class="n">{names[0]}<th class="n">{names[1]}<th class="n">ratio<th></tr>']
    lines += [_ratio_row(row) for row in rows]
    parts = [f"<h1>{names[0]} and {names[1]}</h1>", f"<table>{''.join(lines)}</table>"]
    for one, result, name in zip(found, results, names, strict=True):
        parts += [
            f"<h2>{name} {_chip(result['verdict'])}</h2>",
            *(f'<p class="{_TONES[verdict]}">{text}</p>' for verdict, text in verdicts(result)),
            *_unknown(result["devices"]),
            _head(result),
            _legend(result["layers"], result["devices"]),
            graph_picture(one, result["layers"]),
            f"<h2>{name}: memory over time</h2>",
            timeline(one),
        ]
    return _page(f"{names[0]} and {names[1]}", parts)


def _ratio_row(row: Row) -> str:
    """Return a row with a bar from the middle: to the left what is less, to the right what is more, by doublings."""
    ratio, bar = row.ratio, ""
    if ratio:
        color = "warn" if (ratio > 1) != row.more_is_better else "good"
        width = 50 * min(abs(log2(ratio)) / _DOUBLINGS, 1)
        side = "left:50%;right:auto" if ratio > 1 else "right:50%;left:auto"
        bar = f'<div class="gain ratio"><i style="{side};width:{width:.1f}%;background:var(--{color})"></i></div>'
    figures = "".join(
        f'<td class="n">{"?" if value is None else count(value) + row.unit}' for value in (row.before, row.after)
    )
    title = f'<td style="white-space:nowrap">{escape(row.title)}'
    return f'<tr>{title}{figures}<td class="n">{row.shown_ratio}<td style="width:34%">{bar}</tr>'


def _page(title: str, parts: list[str]) -> str:
    head = [
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width,initial-scale=1">',
        f"<style>{_STYLE}</style></head><body>",
    ]
    lines = "\n".join([*head, *parts, "</body></html>"]).split("\n")
    return "\n".join(map(printable, lines))  # nothing that a model says turns the rest around


def _name(result: dict[str, Any]) -> str:
    return escape(result["use"].get("name") or result["model"]["path"].rsplit("/", 1)[-1])


def _different_names(results: list[dict[str, Any]]) -> list[str]:
    """Return what two models call themselves; where that is the same, their files, with folders where these are too."""
    names = [_name(result) for result in results]
    for parts in (1, 2):
        if names[0] == names[1]:
            names = [escape("/".join(result["model"]["path"].split("/")[-parts:])) for result in results]
    return names


def _chip(verdict: str | None) -> str:
    return f'<small class="chip {_TONES[verdict]}">{verdict}</small>' if verdict else ""


def _head(result: dict[str, Any]) -> str:
    model, use = result["model"], result["use"]
    shapes = ["input: " + _tensor(tensor) for tensor in model["inputs"]]
    shapes += ["output: " + _tensor(tensor) for tensor in model["outputs"]]
    lines = [escape(model["path"]), *([f"sha256 {model['sha256'][:16]}"] if model["sha256"] else []), *shapes]
    if use["task"]:
        lines.append(f"task: {escape(use['task'])}")
    lines += [escape(f"{title}: {text}") for title, text in said(model)]
    kinds = ", ".join(f"{name} {number}" for name, number in result["operators"].items())
    lines += [escape(f"operators: {kinds}")] if kinds else []
    if use["error"]:
        lines.append(f'<span class="warn">{escape(use["error"])}</span>')
    return "".join(f"<p>{line}</p>" for line in lines)


def _tensor(tensor: dict[str, Any]) -> str:
    shape = "×".join(str(size) for size in tensor["shape"])  # noqa: RUF001 - the sign of sizes
    scale = "" if tensor["scale"] is None else f", scale {tensor['scale']:.6g}, zero point {tensor['zero_point']}"
    return escape(f"{tensor['name']} {shape} {tensor['type']}{scale}")


def _figures(result: dict[str, Any]) -> str:
    totals, memory = result["totals"], result["memory"]
    figures = [
        (count(totals["macs"]), "MACs"),
        (count(totals["parameters"]), "parameters"),
        (count(result["model"]["size_bytes"]) + "B", "file"),
        (count(memory["total_bytes"]) + "B", "memory of the model"),
        (f"{memory['process_bytes'] / 2**20:.0f} MiB", "whole program"),
        (f"{result['xnnpack']['operators']} of {totals['operators']}", "operators with XNNPACK"),
        (f"{result['edgetpu']['operators']} of {totals['operators']}", "operators map to an Edge TPU"),
    ]
    return (
        '<div class="figures">' + "".join(f"<div><b>{b}</b><span>{text}</span></div>" for b, text in figures) + "</div>"
    )


def _unknown(devices: list[dict[str, Any]]) -> list[str]:
    """Return why there is no figure, once for each reason."""
    reasons = dict.fromkeys(device["latency_unknown"] for device in devices if device["latency_unknown"])
    return [f'<p class="warn">No time is predicted: {escape(reason)}.</p>' for reason in reasons]


def _graphs(graphs: list[dict[str, Any]]) -> list[str]:
    """Return a table of the graphs that operators run."""
    if not graphs:
        return []
    rows = ['<tr><th class="n">graph<th>run by<th>as<th class="n">times<th>operators<th class="n">MACs</tr>']
    for one in graphs:
        kinds = ", ".join(f"{escape(name)} {number}" for name, number in one["operators"].items()) or "none"
        times = "unknown" if one["times"] is None else f"{one['times']:,}"
        rows.append(
            f'<tr><td class="n">{one["index"]}<td>{escape(one["run_by"])}<td>{one["role"]}'
            f'<td class="n">{times}<td>{kinds}<td class="n">{one["macs"]:,}</tr>'
        )
    return ["<h2>Graphs that operators run</h2>", f"<table>{''.join(rows)}</table>"]


def _advice(devices: list[dict[str, Any]]) -> list[str]:
    if len(devices) != 1 or not devices[0]["advice"]:
        return []
    rows = []
    for advice in devices[0]["advice"]:
        share = 100 * advice["after_ms"] / advice["before_ms"] if advice["before_ms"] else 100
        rows.append(
            f"<div>{escape(advice['change'])}<br><span>{escape(advice['note'])}</span></div>"
            f'<div class="gain"><i style="width:{min(share, 100):.1f}%"></i>'
            f"<b>{advice['before_ms']:.3g} → {advice['after_ms']:.3g} ms</b></div>"
        )
    return ["<h2>What would make it faster</h2>", f'<div class="advice">{"".join(rows)}</div>']


def _legend(layers: list[dict[str, Any]], devices: list[dict[str, Any]]) -> str:
    timed = devices and any(layer["predicted_ms"] is not None for layer in layers)
    where = f"predicted time on {escape(devices[0]['title'])}" if timed else "MACs"
    more = f" The first {MOST_ROWS} of {len(layers)} are shown." if len(layers) > MOST_ROWS else ""
    keys = " ".join(f'<span><i style="background:var(--{color})"></i> {text}</span>' for color, text in _LEGEND)
    return f'<p class="key">Arcs are links over other operators; bars are {where}. {keys}{more}</p>'


def _memory(memory: dict[str, Any]) -> str:
    parts = [
        ("arena", "arena_bytes", "tensors that the interpreter holds"),
        ("XNNPACK's tensors", "workspace_bytes", "those between its operators"),
        ("packed weights", "packed_bytes", "in the order that kernels want"),
        ("tables", "table_bytes", "addresses of inputs"),
        ("interpreter", "interpreter_bytes", "its objects, and what the C library keeps"),
        ("other graphs", "called_bytes", "bodies of loops, branches: all of the above"),
        ("in all", "total_bytes", f"without XNNPACK {count(memory['plain_total_bytes'])}B"),
    ]
    parts = [part for part in parts if memory[part[1]] or part[1] != "called_bytes"]
    most = memory["total_bytes"] or 1
    rows = [
        f'<tr><td>{title}<td class="n">{count(memory[key])}B<td style="width:40%"><div class="gain">'
        f'<i style="width:{100 * memory[key] / most:.1f}%"></i></div><td>{note}</tr>'
        for title, key, note in parts
    ]
    return f"<table>{''.join(rows)}</table>"


def _layer_table(layers: list[dict[str, Any]]) -> str:
    """Return every figure of every layer, folded away."""
    heads = ("#", "operator", "output", "type", "MACs", "parameters", "bytes moved", "ms", "runs on")
    numbers = {"#", "MACs", "parameters", "bytes moved", "ms"}
    rows = ["<tr>" + "".join(f"<th{' class=n' if head in numbers else ''}>{head}" for head in heads) + "</tr>"]
    for layer in layers[:_MOST_TABLE_ROWS]:
        shape = "×".join(str(size) for size in layer["output"] or [])  # noqa: RUF001 - the sign of sizes
        ms = "" if layer["predicted_ms"] is None else f"{layer['predicted_ms']:.3f}"
        where = runs_on(layer)
        if where in {"plain kernel", "nothing"}:
            where = f'<span class="warn">{where}</span>'
        where += ", Edge TPU" if layer["edgetpu"] and layer["kernel"] != "Edge TPU" else ""
        rows.append(
            f'<tr><td class="n">{layer["index"]}<td>{escape(layer["operator"])}<td>{shape}<td>{layer["type"] or ""}'
            f'<td class="n">{layer["macs"]:,}<td class="n">{layer["parameters"]:,}'
            f'<td class="n">{layer["moved_bytes"]:,}<td class="n">{ms}<td>{where}</tr>'
        )
    table = f'<div class="scroll"><table>{"".join(rows)}</table></div>'
    return f"<details><summary>All figures of {len(layers)} layers</summary>{table}</details>"
