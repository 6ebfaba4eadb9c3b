"""An inspection's document as text for a terminal."""

from math import inf
from typing import Any, Final

from edge_runtime.analysis.compared import Row
from edge_runtime.analysis.document import printable_values, said, verdicts

_WITH_EDGE_TPU: Final = "  with Edge TPU"
_WIDEST: Final = 40
"""Of an operator's name in the table: a custom one may have any length."""


def table(result: dict[str, Any]) -> str:
    """Return an inspection's document as text: the layers first, the summary where the eye ends."""
    result = printable_values(result)
    alone = len(result["devices"]) == 1
    timed = alone and not result["edgetpu"]["compiled"]
    lines = [*_layers(result["layers"], timed=timed), *_summary(result), "", *_devices(result["devices"])]
    lines += [f"verdict    {text}" for _, text in verdicts(result)]
    if alone:
        lines += _advice(result["devices"][0])
    elif result["devices"]:
        lines += ["", "--device NAME shows the time of every layer and what would make it faster there"]
    if result.get("boards_that_fit"):
        lines.append(f"advice     another board: {', '.join(result['boards_that_fit'])} would do")
    return "\n".join(lines) + "\n"


def _layers(layers: list[dict[str, Any]], *, timed: bool) -> list[str]:
    """Return a line for every layer; ``timed`` adds the time on the one device that was asked for."""
    if not layers:
        return []
    with_time = timed and any(layer["predicted_ms"] is not None for layer in layers)
    width = min(max(8, *(len(layer["operator"]) for layer in layers)), _WIDEST)
    head = f"{'#':>4}  {'operator':{width}}  {'output':20}  {'MACs':>9}  {'weights':>9}  {'moved':>9}"
    lines = [head + ("      ms" if with_time else "")]
    for layer in layers:
        shape = "x".join(str(size) for size in layer["output"] or [])
        line = f"{layer['index']:>4}  {layer['operator'][:width]:{width}}  {shape:20}  {_count(layer['macs']):>9}"
        line += f"  {_count(layer['parameters']):>9}  {_size(layer['moved_bytes']):>9}"
        ms = "" if layer["predicted_ms"] is None else format(layer["predicted_ms"], ".3f")
        lines.append((line + (f"  {ms:>6}" if with_time else "") + _marks(layer)).rstrip())
    return [*lines, ""]


def _marks(layer: dict[str, Any]) -> str:
    if layer["runs"]:
        return "  runs graphs " + " and ".join(str(number) for number in layer["runs"])
    return {"plain": "  plain kernel", "none": "  no kernel", "Edge TPU": "  Edge TPU"}.get(layer["kernel"], "")


def _summary(result: dict[str, Any]) -> list[str]:
    model, totals, memory = result["model"], result["totals"], result["memory"]
    kinds = ", ".join(f"{name} {count}" for name, count in result["operators"].items())
    digest = f", sha256 {model['sha256'][:12]}" if model["sha256"] else ""
    lines = [f"model      {model['path']}, {_size(model['size_bytes'])}{digest}"]
    lines += [f"input      {_describe(tensor)}" for tensor in model["inputs"]]
    lines += [f"output     {_describe(tensor)}" for tensor in model["outputs"]]
    lines += [f"{title:10} {text}" for title, text in said(model)]
    lines += [f"used as    {line}" for line in _use(result["use"])]
    lines.append(f"operators  {totals['operators']}: {kinds}" if kinds else "operators  none")
    lines.append(
        f"cost       {_count(totals['macs'])} MACs, {_count(totals['parameters'])} parameters, "
        f"weights {_size(totals['weight_bytes'])}, {_size(totals['moved_bytes'])} moved"
    )
    lines.append(
        f"memory     {_size(memory['total_bytes'])}: arena {_size(memory['arena_bytes'])}, XNNPACK's "
        f"{_size(memory['workspace_bytes'])}, packed weights {_size(memory['packed_bytes'])}, tables "
        f"{_size(memory['table_bytes'])}, interpreter {_size(memory['interpreter_bytes'])}"
        + (f", graphs it runs {_size(memory['called_bytes'])}" if memory["called_bytes"] else "")
    )
    if memory["peak"]:
        lines.append(
            f"peak       {_size(memory['peak_live_bytes'])} of tensors while {memory['peak']} runs; without XNNPACK "
            f"the arena has {_size(memory['planned_arena_bytes'])} and the model {_size(memory['plain_total_bytes'])}"
        )
    lines.append(f"program    about {memory['process_bytes'] / 2**20:.0f} MiB resident with this model")
    lines += [f"xnnpack    {_xnnpack(result)}", f"edge tpu   {_edgetpu(result)}"]
    lines += [*_called(result["graphs"]), *_not_counted(result)]
    return lines


def _called(graphs: list[dict[str, Any]]) -> list[str]:
    """Return what operators run of other graphs, and how often."""
    lines = []
    for one in graphs:
        kinds = ", ".join(f"{name} {number}" for name, number in one["operators"].items()) or "nothing"
        often = "as often as its data says; counted once" if one["times"] is None else _times(one)
        lines.append(
            f"graph {one['index']:<4} {one['role']} of {one['run_by']}, {often}: {kinds}; {_count(one['macs'])} MACs"
        )
    return lines


def _times(one: dict[str, Any]) -> str:
    if one["role"].startswith("branch"):
        return "of both the costlier is counted" if one["times"] else "never runs"
    return "runs once" if one["times"] == 1 else f"runs {one['times']} times"


def _not_counted(result: dict[str, Any]) -> list[str]:
    """Return which graphs of the file are not counted, with the names it gives them."""
    model, counted = result["model"], {0, *(one["index"] for one in result["graphs"])}
    left = model["subgraphs"] - len(counted)
    if left <= 0:
        return []
    names = {int(number): name for number, name in model["signatures"].items()}
    others = [name for number, name in names.items() if number not in counted and name]
    which = f" (signature {', '.join(others)})" if others else ""
    runs = f"; an interpreter runs the first, {names[0]}" if others and names.get(0) else ""
    return [
        f"note       {left} more {'graph is' if left == 1 else 'graphs are'} in the file{which} and not counted{runs}"
    ]


def _describe(tensor: dict[str, Any]) -> str:
    text = f"{tensor['name']} {tuple(tensor['shape'])} {tensor['type']}"
    return (
        text if tensor["scale"] is None else f"{text}, scale {tensor['scale']:.6g}, zero point {tensor['zero_point']}"
    )


def _use(use: dict[str, Any]) -> list[str]:
    """Return the task with its labels and where it comes from, then what else was inferred."""
    if use["error"]:
        return [f"nothing: {use['error']}"]
    labels = f", {use['labels']} labels" if use["labels"] is not None else ""
    head = f"task: {use['task']}, "
    reasons = [line.removeprefix(head) for line in use["inferred"] if line.startswith(head)]
    others = [line for line in use["inferred"] if not line.startswith(head)]
    task = f"{use['task']}{labels}" + (f" ({reasons[0]})" if reasons else "")
    return [*([task] if use["task"] else []), *others]


def _xnnpack(result: dict[str, Any]) -> str:
    taken, left = result["xnnpack"]["operators"], result["xnnpack"]["left"]
    parts = result["xnnpack"]["parts"]
    text = f"{taken} of {result['totals']['operators']} operators" + (
        f" in {parts} part{'s' if parts > 1 else ''}" if taken else ""
    )
    return f"{text}; plain kernels: {', '.join(left)}" if left else text


def _edgetpu(result: dict[str, Any]) -> str:
    found = result["edgetpu"]
    if found["compiled"]:
        return "compiled for an Edge TPU; it runs nowhere else"
    if not found["operators"]:
        return f"nothing maps: {found['reason'] or 'no operators'}"
    text = f"{found['operators']} of {result['totals']['operators']} operators map, weights "
    text += f"{_size(found['weight_bytes'])} of about 8 MB on the chip"
    return f"{text}; the processor from {found['split_at']}: {found['reason']}" if found["split_at"] else text


def _devices(devices: list[dict[str, Any]]) -> list[str]:
    names = [device["device"] for device in devices]
    names += [_WITH_EDGE_TPU for device in devices if device["edgetpu_ms"]]
    width = max((len(name) for name in names), default=6)
    lines = [f"{'device':{width}}  threads   latency ms         interval   per second"]
    for device in devices:
        lines.append(_device(device, device["device"], device["latency_ms"], width))
        if device["edgetpu_ms"]:
            lines.append(_device(device, _WITH_EDGE_TPU, device["edgetpu_ms"], width))
        if correction := device["correction"]:
            lines.append(
                f"corrected  {correction['ratio']:.2f} times the prediction, as measured here ({correction['setup']})"
            )
    reasons = dict.fromkeys(device["latency_unknown"] for device in devices if device["latency_unknown"])
    return [*lines, *(f"unknown    {reason}" for reason in reasons)]


def _device(device: dict[str, Any], name: str, timing: dict[str, float | None], width: int) -> str:
    low, predicted, high = timing["low"], timing["predicted"], timing["high"]
    if predicted is None or high is None:
        over = f"over {low:.4g}" if low else "?"
        return f"{name:{width}}  {device['threads']:7}  {'?':>11}  {over:>15}  {'?':>11}"
    interval = f"{low:.4g} to {high:.4g}"
    rate = 1000 / predicted if predicted else inf
    per_second = "-" if rate == inf else f"{rate:.0f}" if rate >= 1000 else f"{rate:.4g}"
    return f"{name:{width}}  {device['threads']:7}  {predicted:11.4g}  {interval:>15}  {per_second:>11}"


def _advice(device: dict[str, Any]) -> list[str]:
    lines = [""]
    for advice in device["advice"]:
        note = f"; {advice['note']}" if advice["note"] else ""
        figure = f"{advice['before_ms']:.3g}→{advice['after_ms']:.3g} ms on {device['device']}"
        lines.append(f"advice     {advice['change']}, {figure}{note}")
    return lines if len(lines) > 1 else []


def comparison(results: list[dict[str, Any]], rows: list[Row]) -> list[str]:
    """Return the lines that compare the documents of two models, ``rows`` from ``compare``."""
    results = [printable_values(result) for result in results]
    lines = [f"A  {results[0]['model']['path']}", f"B  {results[1]['model']['path']}", ""]
    width = max(len(row.title) for row in rows)
    lines.append(f"{'':{width}}  {'A':>12}  {'B':>12}  {'B / A':>7}")
    for row in rows:
        before, after = (_value(value, row.unit) for value in (row.before, row.after))
        lines.append(f"{row.title:{width}}  {before:>12}  {after:>12}  {row.shown_ratio:>7}")
    for letter, result in zip("AB", results, strict=True):
        reasons = dict.fromkeys(device["latency_unknown"] for device in result["devices"] if device["latency_unknown"])
        lines += [f"unknown    {letter}: {reason}" for reason in reasons]
        lines += [f"verdict    {letter}: {text}" for _, text in verdicts(result)]
    return lines


def _value(value: float | None, unit: str) -> str:
    if value is None:
        return "?"
    return _size(value) if unit == "B" else f"{_count(value)} {unit}".rstrip()


def _count(value: float) -> str:
    for size, letter in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.4g} {letter}"
    return f"{value:.4g}"


def _size(size_bytes: float) -> str:
    return f"{_count(size_bytes)}B" if size_bytes >= 1e3 else f"{size_bytes:.0f} B"
