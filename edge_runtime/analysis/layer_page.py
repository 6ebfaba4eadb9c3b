"""One self-contained HTML page of measured beside predicted layers: no scripts, nothing fetched, light and dark."""

from collections.abc import Iterator
from html import escape
from typing import Any, Final

_STYLE: Final = """
:root{color-scheme:light dark;--ink:#1d2129;--soft:#646c79;--line:#dfe3e8;--back:#fbfbfa;--a:#2f6db5;--b:#c9a45a}
@media(prefers-color-scheme:dark){:root{--ink:#e6e8ec;--soft:#98a1ae;--line:#31363e;--back:#15181c;--a:#6ba3e6;
--b:#8a7440}}
body{margin:0 auto;max-width:1020px;padding:32px 24px 64px;background:var(--back);color:var(--ink);
font:15px/1.5 system-ui,sans-serif}h1{font-size:22px;margin:0;overflow-wrap:anywhere}p{margin:4px 0;color:var(--soft)}
table{border-collapse:collapse;width:100%;font-size:14px;margin-top:20px}th{color:var(--soft);text-align:left}
td,th{padding:3px 10px 3px 0;border-bottom:1px solid var(--line)}td.n,th.n{text-align:right;white-space:nowrap}
td.bar{width:38%}svg{display:block;width:100%;height:18px}.a{fill:var(--a)}.b{fill:var(--b)}
i{display:inline-block;width:10px;height:10px;border-radius:2px;margin:0 4px 0 12px}
i.a{background:var(--a)}i.b{background:var(--b)}
"""
Line = tuple[str, str, dict[str, Any]]
"""Where an operator is in the file, its name as it is printed, and its row of the document."""
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"


def render_layers(document: dict[str, Any]) -> str:
    """Return the page of what ``bench --layers`` measured."""
    name = escape(document["model"].rsplit("/", 1)[-1])
    lines = list(lines_of(document["layers"]))
    times = (row[key] or 0.0 for _, _, row in lines for key in ("measured_ms", "predicted_ms"))
    longest = max(times, default=0.0) or 1.0
    threads = document["threads"]
    summary = f"whole {document['whole_ms']:.3f} ms, sum of layers {document['layers_ms']:.3f} ms"
    if document["predicted_ms"] is not None:
        summary += f", predicted {document['predicted_ms']:.3f} ms for {escape(document['device'])}"
    return "".join(
        [
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{name}</title>',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            '<meta name="viewport" content="width=device-width,initial-scale=1">',
            f"<style>{_STYLE}</style></head><body><h1>{name}</h1>",
            f"<p>{summary}; {threads} thread{'s' if threads > 1 else ''}</p>",
            '<p><i class="a"></i>measured alone<i class="b"></i>predicted alone</p><table><tr><th class="n">#</th>',
            '<th>operator</th><th>output</th><th class="n">measured ms</th><th class="n">predicted ms</th>',
            "<th></th></tr>",
            *(_row(line, longest) for line in lines),
            "</table></body></html>\n",
        ]
    )


def lines_of(rows: list[dict[str, Any]], *, graph: str = "", indent: str = "", times: int = 0) -> Iterator[Line]:
    """Yield every operator, below a loop those that it runs: ``2:5`` is operator 5 of graph 2, its time of all runs."""
    for row in rows:
        often = f" x{times}" if times else ""
        yield f"{graph}{row['index']}", f"{indent}{row['operator']}{often}", row
        for inner in row.get("inside", ()):
            yield from lines_of(inner["layers"], graph=f"{inner['graph']}:", indent=f"{indent}  ", times=inner["times"])


def _row(line: Line, longest_ms: float) -> str:
    place, name, row = line
    shape = "x".join(str(size) for size in row["output"] or [])
    cells = [f'<td class="n">{place}</td><td>{escape(name).replace("  ", "&emsp;")}</td><td>{shape}</td>']
    for key in ("measured_ms", "predicted_ms"):
        value = row[key]
        cells.append(f'<td class="n">{"" if value is None else f"{value:.4f}"}</td>')
    if row["measured_ms"] is None:
        return f"<tr>{''.join(cells)}<td>{escape(row['reason'] or '')}</td></tr>"
    bars = "".join(
        f'<rect class="{kind}" y="{top}" width="{100 * row[key] / longest_ms:.2f}" height="7"/>'
        for key, kind, top in (("measured_ms", "a", 1), ("predicted_ms", "b", 10))
        if row[key] is not None
    )
    picture = f'<svg viewBox="0 0 100 18" preserveAspectRatio="none">{bars}</svg>'
    return f'<tr>{"".join(cells)}<td class="bar">{picture}</td></tr>'
