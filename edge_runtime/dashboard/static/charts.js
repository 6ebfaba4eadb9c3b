// Line charts by uPlot (vendored, MIT), drawn in the page's own colours, with a legend that is text.

import { attribute, el, shown, text } from "./dom.js";
import { brief, clock, DASH, tick } from "./format.js";

const uPlot = window.uPlot;
const charts = new Set();
const GAP_S = 45;

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const ticks = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const fineTicks = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });

function axes() {
  const common = {
    stroke: colour("--muted"),
    font: `11px ${getComputedStyle(document.body).fontFamily}`,
    grid: { stroke: colour("--line"), width: 1 },
    ticks: { show: false },
  };
  return [
    {
      ...common,
      space: 74,
      size: 30,
      gap: 9,
      grid: { show: false },
      values: (plot, splits) => {
        const format = splits.some((s) => s % 60) ? fineTicks : ticks;
        return splits.map((s) => format.format(s * 1000));
      },
    },
    { ...common, space: 28, size: 46, values: (plot, splits) => splits.map(tick) },
  ];
}

/** Start at zero, leave a little air above; a flat line of zeros still gets a scale. */
const fromZero = (plot, low, high) => [Math.min(0, low ?? 0), high > 0 ? high * 1.12 : 1];

function options({ lines, width, height, spark, range, onHover }) {
  const filled = (line) => (line.fill ? `${colour(line.colour)}1f` : undefined);
  return {
    width,
    height,
    padding: spark ? [4, 2, 4, 2] : [8, 24, 0, 0],
    legend: { show: false },
    cursor: spark
      ? { show: false }
      : { y: false, points: { size: 7 }, drag: { x: false, y: false }, sync: { key: "edge-infer" } },
    scales: { x: { time: true }, y: { range: range ?? fromZero } },
    axes: spark ? [{ show: false }, { show: false }] : axes(),
    series: [
      {},
      ...lines.map((line) => ({
        stroke: colour(line.colour),
        width: 1.75,
        fill: filled(line),
        dash: line.dash,
        points: { show: false },
        spanGaps: false,
      })),
    ],
    hooks: { setCursor: [(plot) => onHover(plot.cursor.idx)] },
  };
}

/** Break the lines where nothing came for long: a gap in the data is a gap in the picture. */
function columns(rows, picks, gap_s) {
  const table = [[], ...picks.map(() => [])];
  let last_s = null;
  for (const row of rows) {
    const now_s = row[0] / 1000;
    if (last_s !== null && now_s - last_s > gap_s) {
      table[0].push(last_s + gap_s / 2);
      for (let i = 0; i < picks.length; i++) table[i + 1].push(null);
    }
    table[0].push(now_s);
    picks.forEach((pick, i) => table[i + 1].push(row[pick] ?? null));
    last_s = now_s;
  }
  return table;
}

/**
 * A chart of some columns of rows [time_ms, number or null, ...].
 * `lines`: [{name, column, colour (a custom property), unit, dash, fill}].
 */
export function chart({ title, lines, height = 150, spark = false, range, gap_s = GAP_S, waiting }) {
  const canvas = el("div", { class: "plot", role: "img" });
  const values = lines.map(() => el("b", {}, DASH));
  const when = el("span", { class: "when", hidden: true });
  const legend = el(
    "p",
    { class: "legend" },
    ...lines.map((line, i) =>
      el("span", {}, el("i", { class: line.dash ? "dashed" : "", "data-colour": line.colour }), `${line.name} `, values[i]),
    ),
    when,
  );
  const empty = el("p", { class: "note" }, waiting ?? "");
  const heading = spark ? null : el("h3", {}, title);
  const root = spark
    ? el("div", { class: "spark" }, canvas)
    : el("section", { class: "card chart" }, el("header", {}, heading, legend), empty, canvas);
  let plot = null;
  let data = null;
  let drawn = null;

  function showValues(index) {
    const last = data[0].length - 1;
    const i = index ?? last;
    values.forEach((node, k) => text(node, `${brief(data[k + 1][i])}${lines[k].unit ?? ""}`));
    shown(when, i !== last);
    text(when, clock(data[0][i] * 1000));
  }

  function draw() {
    const width = canvas.clientWidth;
    if (!width || !data || data[0].length < 2) return;
    if (plot) plot.setSize({ width, height });
    else plot = new uPlot(options({ lines, width, height, spark, range, onHover: showValues }), data, canvas);
  }

  const observer = new ResizeObserver(draw);
  observer.observe(canvas);
  const self = {
    root,
    update(rows, version) {
      if (version === drawn) return;
      drawn = version;
      data = columns(rows, lines.map((line) => line.column), gap_s);
      const enough = data[0].length >= 2;
      shown(empty, !enough);
      shown(canvas, enough);
      if (!enough) return;
      if (plot) plot.setData(data);
      else draw();
      if (!spark && plot?.cursor.idx == null) showValues(null);
      const now = lines.map((line, i) => `${line.name} ${brief(data[i + 1].at(-1))}${line.unit ?? ""}`);
      attribute(canvas, "aria-label", `${title}: ${now.join(", ")}`);
    },
    restyle() {
      plot?.destroy();
      plot = null;
      draw();
    },
    close() {
      observer.disconnect();
      plot?.destroy();
      charts.delete(self);
    },
  };
  charts.add(self);
  return self;
}

/** Draw every chart anew, in the colours of the theme that holds now. */
export function restyleCharts() {
  for (const one of charts) one.restyle();
}
