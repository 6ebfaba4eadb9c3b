// The model's answer, one way of showing it for each task. Each returns {root, update(prediction, stream)}.

import { attribute, el, keyed, property, shown, svg, text } from "./dom.js";
import { at, brief, fixed, nameOf, numeric, percent, rowsOf, words } from "./format.js";

const SHOWN = 10;
const HUES = 8;

/** One of eight colours for a name: the same one each time, chosen by a small hash. */
export function hueOf(name) {
  let hash = 7;
  for (const letter of String(name)) hash = (hash * 31 + letter.codePointAt(0)) >>> 0;
  return `--hue${hash % HUES}`;
}

const clamp = (value) => Math.min(1, Math.max(0, numeric(value) ?? 0));

function bar(fill = "--accent") {
  const root = el("span", { class: "meter", "aria-hidden": "true" }, el("i"));
  property(root, "--fill", `var(${fill})`);
  return { root, set: (share) => property(root, "--share", clamp(share).toFixed(4)) };
}

function headline() {
  const name = el("p", { class: "answer" });
  const note = el("p", { class: "score" });
  return { root: el("div", { class: "headline" }, name, note), name, note };
}

/** Rows of the same kind in fixed places: what changes is text and width, nothing jumps. */
function barRow() {
  const name = el("span", { class: "name" });
  const score = el("span", { class: "figure" });
  const meter = bar();
  const root = el("li", {}, name, score, meter.root);
  return {
    root,
    update({ row, share, figure, colour }) {
      text(name, nameOf(row));
      text(score, figure);
      meter.set(share);
      if (colour) property(meter.root, "--fill", `var(${colour})`);
    },
  };
}

const inPlaces = (rows) => rows.slice(0, SHOWN).map((row, place) => ({ ...row, place }));
const samePlace = (item) => item.place;

function classify() {
  const head = headline();
  const list = el("ol", { class: "bars" });
  const kept = new Map();
  return {
    root: el("div", {}, head.root, list),
    update(prediction) {
      const rows = rowsOf(prediction);
      text(head.name, rows.length ? nameOf(rows[0]) : "Nothing recognised");
      text(head.note, rows.length ? percent(rows[0].score, 1) : "");
      const items = rows.map((row) => ({ row, share: row.score, figure: percent(row.score, 1) }));
      keyed(list, kept, inPlaces(items), samePlace, barRow);
    },
  };
}

function audio() {
  const inner = classify();
  const span = el("p", { class: "note span" });
  return {
    root: el("div", {}, inner.root, span),
    update(prediction) {
      inner.update(prediction);
      const [first] = rowsOf(prediction);
      const known = numeric(first?.start_s) !== null && numeric(first?.end_s) !== null;
      text(span, known ? `Heard from ${fixed(first.start_s, 1)} to ${fixed(first.end_s, 1)} s` : "");
    },
  };
}

/** Return the size a prediction's coordinates are in, or null when it is no sensible one. */
function frameOf(prediction) {
  const width = numeric(at(prediction, "frame", "width"));
  const height = numeric(at(prediction, "frame", "height"));
  return width > 0 && height > 0 && width < 1e5 && height < 1e5 ? { width, height } : null;
}

const boxOf = (row) => (Array.isArray(row.box) && row.box.length === 4 && row.box.every(Number.isFinite) ? row.box : null);

/** A plan of the frame, for when there is no picture of it: `draw(unit)` returns the shapes. */
function plan() {
  const root = svg("svg", { class: "plan", "aria-hidden": "true", preserveAspectRatio: "xMidYMid meet" });
  return {
    root,
    update(prediction, draw, hidden) {
      const frame = frameOf(prediction);
      root.toggleAttribute("hidden", hidden || !frame);
      if (hidden || !frame) return;
      attribute(root, "viewBox", `0 0 ${frame.width} ${frame.height}`);
      root.replaceChildren(...draw(frame.width / 320));
    },
  };
}

function boxes(rows, unit) {
  return rows.flatMap((row) => {
    const box = boxOf(row);
    if (!box) return [];
    const [x, y, right, bottom] = box;
    const style = hueOf(nameOf(row));
    const width = Math.max(0, right - x);
    const height = Math.max(0, bottom - y);
    const shape = svg("rect", { x, y, width, height, class: "box", "stroke-width": 2 * unit });
    const label = svg("text", { x: x + 4 * unit, y: y + 14 * unit, "font-size": 12 * unit, class: "boxname" }, nameOf(row));
    for (const node of [shape, label]) property(node, "--fill", `var(${style})`);
    return [shape, label];
  });
}

function counts(rows) {
  const tally = new Map();
  for (const row of rows) tally.set(nameOf(row), (tally.get(nameOf(row)) ?? 0) + 1);
  return [...tally].map(([name, count]) => (count === 1 ? name : `${count} × ${name}`)).join(", ");
}

function boxRow() {
  const name = el("span", { class: "name" });
  const score = el("span", { class: "figure" });
  const place = el("span", { class: "place" });
  const meter = bar();
  return {
    root: el("li", {}, name, score, meter.root, place),
    update({ row }) {
      text(name, nameOf(row));
      text(score, percent(row.score));
      meter.set(row.score);
      property(meter.root, "--fill", `var(${hueOf(nameOf(row))})`);
      const box = boxOf(row)?.map((value) => fixed(value));
      text(place, box ? `${box[0]}, ${box[1]} to ${box[2]}, ${box[3]} px` : "");
    },
  };
}

function detect() {
  const head = headline();
  const map = plan();
  const list = el("ol", { class: "bars" });
  const rest = el("p", { class: "note" });
  const kept = new Map();
  return {
    root: el("div", {}, head.root, map.root, list, rest),
    update(prediction, stream) {
      const rows = rowsOf(prediction);
      text(head.name, rows.length ? counts(rows) : "Nothing found");
      text(head.note, rows.length > 1 ? `${rows.length} objects` : "");
      map.update(prediction, (unit) => boxes(rows, unit), Boolean(stream.snapshot));
      keyed(list, kept, inPlaces(rows.map((row) => ({ row }))), samePlace, boxRow);
      text(rest, rows.length > SHOWN ? `and ${rows.length - SHOWN} more` : "");
    },
  };
}

function dots(rows, unit) {
  return rows.flatMap((row, person) =>
    (Array.isArray(row.keypoints) ? row.keypoints : [])
      .filter((point) => Array.isArray(point) && point.length === 3 && point.every(Number.isFinite))
      .map(([cx, cy, score]) => {
        const dot = svg("circle", { cx, cy, r: 4 * unit, class: "dot", opacity: Math.max(0.15, clamp(score)) });
        property(dot, "--fill", `var(--hue${person % HUES})`);
        return dot;
      }),
  );
}

function pose() {
  const head = headline();
  const map = plan();
  return {
    root: el("div", {}, head.root, map.root),
    update(prediction, stream) {
      const rows = rowsOf(prediction).filter((row) => numeric(row.score) !== null);
      text(head.name, rows.length === 1 ? "One person" : rows.length ? `${rows.length} people` : "Nobody");
      text(head.note, rows.length ? percent(rows[0].score) : "");
      map.update(prediction, (unit) => dots(rows, unit), Boolean(stream.snapshot));
    },
  };
}

function segment() {
  const head = headline();
  const list = el("ol", { class: "bars" });
  const kept = new Map();
  return {
    root: el("div", {}, head.root, list),
    update(prediction) {
      const rows = rowsOf(prediction).filter((row) => numeric(row.pixels) !== null && row.pixels >= 0);
      const all = rows.reduce((sum, row) => sum + row.pixels, 0) || 1;
      const items = rows.map((row) => {
        const share = row.pixels / all;
        return { row, share, figure: percent(share, 1), colour: hueOf(nameOf(row)) };
      });
      text(head.name, rows.length ? nameOf(rows[0]) : "Nothing");
      text(head.note, rows.length ? `${percent(rows[0].pixels / all)} of the picture` : "");
      keyed(list, kept, inPlaces(items), samePlace, barRow);
    },
  };
}

function valueRow() {
  const name = el("span", { class: "name" });
  const value = el("b");
  const unit = el("span", { class: "unit" });
  return {
    root: el("li", {}, name, el("span", { class: "value" }, value, unit)),
    update({ row }) {
      text(name, words(row.name) ?? "value");
      text(value, brief(row.value));
      text(unit, words(row.unit) ?? "");
    },
  };
}

function regress() {
  const list = el("ul", { class: "values" });
  const kept = new Map();
  return {
    root: list,
    update(prediction) {
      keyed(list, kept, inPlaces(rowsOf(prediction).map((row) => ({ row }))), samePlace, valueRow);
    },
  };
}

function anomaly() {
  const head = headline();
  const meter = bar();
  const mark = el("span", { class: "mark", "aria-hidden": "true" });
  const gauge = el("div", { class: "gauge" }, meter.root, mark);
  const note = el("p", { class: "note" });
  return {
    root: el("div", {}, head.root, gauge, note),
    update(prediction, stream) {
      const [row] = rowsOf(prediction);
      const score = numeric(row?.score);
      const threshold = numeric(row?.threshold);
      const verdict = row?.anomalous === true ? "Unusual" : row?.anomalous === false ? "Normal" : "No threshold";
      const highest = stream.points.reduce((most, point) => Math.max(most, point[1] ?? 0), score ?? 0);
      const scale = Math.max(highest, (threshold ?? 0) * 1.6) || 1;
      text(head.name, verdict);
      text(head.note, `score ${brief(score)}`);
      attribute(head.root, "data-state", row?.anomalous === true ? "bad" : row?.anomalous === false ? "good" : null);
      property(meter.root, "--fill", row?.anomalous === true ? "var(--bad)" : "var(--good)");
      meter.set((score ?? 0) / scale);
      shown(mark, threshold !== null);
      property(mark, "--share", clamp((threshold ?? 0) / scale).toFixed(4));
      text(note, threshold === null ? "" : `Unusual above ${brief(threshold)}`);
    },
  };
}

const flat = (value) => (Array.isArray(value) ? value.flatMap(flat) : [value]);

function rawRow() {
  const name = el("span", { class: "name" });
  const shape = el("span", { class: "figure" });
  const values = el("code");
  return {
    root: el("li", {}, name, shape, values),
    update({ row }) {
      text(name, words(row.name) ?? "tensor");
      text(shape, Array.isArray(row.shape) ? row.shape.map((size) => fixed(size)).join(" × ") : "");
      const numbers = flat(row.values).slice(0, 24).map(brief);
      text(values, numbers.join("  "));
    },
  };
}

function raw() {
  const list = el("ul", { class: "bars tensors" });
  const kept = new Map();
  return {
    root: list,
    update(prediction) {
      keyed(list, kept, inPlaces(rowsOf(prediction).map((row) => ({ row }))), samePlace, rawRow);
    },
  };
}

const KINDS = { classify, audio, detect, pose, segment, regress, anomaly, raw };

/** Whether the leading number of a task is a share of one. */
export const isScore = (task) => ["classify", "audio", "detect", "pose"].includes(task);

/** The way to show a task's answer; tasks this page does not know are shown as tensors. */
export const answerFor = (task) => (Object.hasOwn(KINDS, task) ? KINDS[task] : raw)();

/** The answer in a few words, for the list of devices and for whoever listens instead of looking. */
export function summary(prediction) {
  const rows = rowsOf(prediction);
  switch (prediction?.task) {
    case "classify":
    case "audio":
    case "segment":
      return rows.length ? nameOf(rows[0]) : "nothing recognised";
    case "detect":
      return rows.length ? counts(rows) : "nothing found";
    case "pose":
      return rows.length === 1 ? "one person" : `${rows.length} people`;
    case "anomaly":
      return rows[0]?.anomalous === true ? "unusual" : rows[0]?.anomalous === false ? "normal" : "no threshold";
    case "regress":
      return rows.slice(0, 2).map((row) => `${words(row.name) ?? "value"} ${brief(row.value)}`).join(", ");
    default:
      return "";
  }
}
