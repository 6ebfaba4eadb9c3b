// A device's figures: the tiles, the charts, and the latency of each stage.

import { chart } from "./charts.js";
import { attribute, el, keyed, property, shown, text } from "./dom.js";
import { at, brief, DASH, duration, fixed, numeric, withUnit, words } from "./format.js";

// Columns of a sample, as the server sends them: the time, then these.
const [CAPTURE, INFERENCE, DROPPED, P50, P95, P99, CPU, SYSTEM, RSS, , TEMPERATURE] = Array.from({ length: 11 }, (_, i) => i + 1);

const list = (value) => (Array.isArray(value) ? value.map(words).filter(Boolean) : []);

function throttling(stats) {
  const now = list(at(stats, "throttled", "now"));
  const since = list(at(stats, "throttled", "since_boot"));
  if (now.length) return { words: `throttled: ${now.join(", ")}`, state: "bad" };
  if (since.length) return { words: `was throttled: ${since.join(", ")}`, state: "warn" };
  return at(stats, "throttled") ? { words: "not throttled" } : { words: "throttling not known" };
}

function outbox(stats) {
  const error = words(at(stats, "outbox", "error"));
  const dropped = numeric(at(stats, "outbox", "dropped"));
  const reconnects = numeric(at(stats, "broker", "reconnects"));
  const parts = [
    dropped === null ? null : `${fixed(dropped)} dropped`,
    reconnects === null ? null : reconnects === 1 ? "1 reconnect" : `${fixed(reconnects)} reconnects`,
  ];
  return { words: error ?? parts.filter(Boolean).join(" · "), state: error ? "bad" : dropped ? "warn" : null };
}

function expected(stats) {
  const slow = words(at(stats, "speed", "slow"));
  const predicted = withUnit(at(stats, "speed", "predicted_ms"), "ms", 1);
  if (numeric(at(stats, "speed", "predicted_ms")) === null) return { words: slow ? `slow: ${slow}` : "" };
  return slow ? { words: `slow: ${slow} · ${predicted} predicted`, state: "warn" } : { words: `${predicted} predicted` };
}

const TILES = [
  {
    name: "Inference",
    value: (s) => withUnit(at(s, "fps", "inference"), "/s", 1),
    note: (s) => {
      const capture = numeric(at(s, "fps", "capture"));
      return { words: capture === null ? "" : `${fixed(capture, 1)} frames/s captured` };
    },
  },
  {
    name: "Dropped frames",
    value: (s) => withUnit(at(s, "fps", "dropped"), "/s", 1),
    note: () => ({ words: "skipped for newer ones" }),
  },
  {
    name: "Latency, median",
    value: (s) => withUnit(at(s, "latency_ms", "total", "p50"), "ms", 1),
    note: (s) => ({
      words: `p95 ${fixed(at(s, "latency_ms", "total", "p95"), 1)} · p99 ${fixed(at(s, "latency_ms", "total", "p99"), 1)}`,
    }),
  },
  { name: "Invoke", value: (s) => withUnit(at(s, "speed", "measured_ms"), "ms", 1), note: expected },
  {
    name: "CPU",
    value: (s) => withUnit(at(s, "cpu_percent", "system"), "%"),
    note: (s) => ({ words: `edge-infer ${withUnit(at(s, "cpu_percent", "process"), "%")}` }),
  },
  {
    name: "Memory",
    value: (s) => withUnit(at(s, "memory_mb", "rss"), "MB"),
    note: (s) => ({ words: `${withUnit(at(s, "memory_mb", "available"), "MB")} free` }),
  },
  { name: "Temperature", value: (s) => withUnit(at(s, "temperature_c"), "°C", 1), note: throttling },
  { name: "Outbox", value: (s) => `${fixed(at(s, "outbox", "pending"))} waiting`, note: outbox },
  {
    name: "Running for",
    value: (s) => duration(at(s, "uptime_s")),
    note: (s) => {
      const restarts = numeric(at(s, "engine", "restarts"));
      return restarts ? { words: `engine restarts: ${fixed(restarts)}`, state: "warn" } : { words: "" };
    },
  },
];

function tile({ name, value, note }) {
  const figure = el("dd", { class: "number" });
  const under = el("dd", { class: "under" });
  return {
    root: el("div", { class: "tile" }, el("dt", {}, name), figure, under),
    update(stats) {
      text(figure, value(stats).replace(`${DASH} waiting`, DASH));
      const { words: line, state } = note(stats);
      text(under, line);
      attribute(under, "data-state", state);
    },
  };
}

/** The row of single numbers; `update(stats)`. */
export function tiles() {
  const all = TILES.map(tile);
  const root = el("dl", { class: "tiles card", "aria-label": "Figures of the last ten seconds" }, ...all.map((one) => one.root));
  return { root, update: (stats) => all.forEach((one) => one.update(stats)) };
}

const WAITING = "A device sends its figures every ten seconds; the line begins with the second.";

const CHARTS = [
  {
    title: "Frames per second",
    lines: [
      { name: "inference", column: INFERENCE, colour: "--s1", fill: true },
      { name: "capture", column: CAPTURE, colour: "--s2" },
      { name: "dropped", column: DROPPED, colour: "--s3", dash: [4, 4] },
    ],
  },
  {
    title: "Latency",
    lines: [
      { name: "p50", column: P50, colour: "--s1", unit: " ms", fill: true },
      { name: "p95", column: P95, colour: "--s2", unit: " ms" },
      { name: "p99", column: P99, colour: "--s3", unit: " ms", dash: [4, 4] },
    ],
  },
  {
    title: "CPU",
    lines: [
      { name: "system", column: SYSTEM, colour: "--s2", unit: " %" },
      { name: "edge-infer", column: CPU, colour: "--s1", unit: " %", fill: true },
    ],
  },
  { title: "Memory", lines: [{ name: "edge-infer", column: RSS, colour: "--s1", unit: " MB", fill: true }] },
  {
    title: "Temperature",
    optional: true,
    range: (_plot, low, high) => [Math.floor((low ?? 0) - 5), Math.ceil((high ?? 1) + 5)],
    lines: [{ name: "processor", column: TEMPERATURE, colour: "--s3", unit: " °C", fill: true }],
  },
];

/** The charts over the last half hour; `update(samples)`. One nobody has numbers for is left out. */
export function charts() {
  const all = CHARTS.map((one) => ({ ...one, plot: chart({ ...one, waiting: WAITING }) }));
  const root = el("div", { class: "charts" }, ...all.map((one) => one.plot.root));
  return {
    root,
    update(samples) {
      for (const { plot, optional, lines } of all) {
        const known = samples.some((sample) => lines.some((line) => typeof sample[line.column] === "number"));
        shown(plot.root, known || !optional);
        plot.update(known ? samples : [], samples.at(-1)?.[0] ?? 0);
      }
    },
    close: () => all.forEach((one) => one.plot.close()),
  };
}

const ORDER = ["queue", "prepare", "wait", "invoke", "postprocess", "total"];
const PERCENTILES = ["p50", "p95", "p99"];

function stageRow({ name }) {
  const cells = PERCENTILES.map(() => el("td"));
  const meter = el("i");
  const head = el("th", { scope: "row" }, name, el("span", { class: "meter", "aria-hidden": "true" }, meter));
  return {
    root: el("tr", { class: name === "total" ? "total" : "" }, head, ...cells),
    update({ values, whole }) {
      PERCENTILES.forEach((key, i) => text(cells[i], fixed(at(values, key), 2)));
      const share = whole ? Math.min(1, (numeric(at(values, "p50")) ?? 0) / whole) : 0;
      property(meter.parentElement, "--share", Math.max(0, share).toFixed(4));
    },
  };
}

/** The latency of each stage as a table; `update(stats)`. */
export function stages() {
  const body = el("tbody");
  const kept = new Map();
  const head = el("tr", {}, el("th", { scope: "col" }, "Stage"), ...PERCENTILES.map((p) => el("th", { scope: "col" }, p)));
  const empty = el("p", { class: "note" }, "Not measured yet");
  const table = el("table", {}, el("thead", {}, head), body);
  const root = el("section", { class: "card stages" }, el("header", {}, el("h3", {}, "Latency by stage"), el("span", { class: "note" }, "ms")), empty, table);
  return {
    root,
    update(stats) {
      const latency = at(stats, "latency_ms") ?? {};
      const known = Object.keys(latency).filter((name) => at(latency, name, "p50") !== undefined);
      const place = (name) => (ORDER.includes(name) ? ORDER.indexOf(name) : ORDER.length - 1.5);
      const names = known.sort((a, b) => place(a) - place(b));
      const whole = numeric(at(latency, "total", "p50"));
      shown(empty, names.length === 0);
      shown(table, names.length > 0);
      keyed(body, kept, names.map((name) => ({ name, values: latency[name], whole })), (row) => row.name, stageRow);
    },
  };
}

const KNOWN_STATS = new Set(["schema", "device", "latency_ms", "fps", "cpu_percent", "memory_mb", "temperature_c", "uptime_s"]);

/** Everything else a device says, flattened to lines of name and value. */
export function flatten(value, prefix = "") {
  if (value === null || typeof value !== "object") {
    const said = value === null ? DASH : typeof value === "number" ? plainNumber(value) : String(value);
    return prefix ? [[prefix, said]] : [];
  }
  const plain = Array.isArray(value) && value.every((entry) => entry === null || typeof entry !== "object");
  if (plain) return [[prefix, value.length ? value.map(String).join(", ") : "none"]];
  return Object.entries(value).flatMap(([key, entry]) => flatten(entry, prefix ? `${prefix} › ${key}` : key));
}

const plainNumber = (value) => (Number.isInteger(value) ? fixed(value) : brief(value));

/** The lines of `stats` that no tile and no chart shows. */
export const remainder = (stats) => flatten(stats).filter(([name]) => !KNOWN_STATS.has(name.split(" › ")[0]));
