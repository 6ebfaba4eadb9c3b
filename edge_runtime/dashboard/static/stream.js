// One stream of a device: its picture, the model's answer, and how sure it was of late.

import { answerFor, isScore } from "./answers.js";
import { chart } from "./charts.js";
import { attribute, el, shown, text } from "./dom.js";
import { at, clock, fixed, moment, words } from "./format.js";
import { picture } from "./picture.js";

const SHARE = (_plot, _low, high) => [0, Math.max(1, high ?? 1)];

function trend(task) {
  const name = isScore(task) ? "Score" : task === "regress" ? "Value" : "Score";
  const range = isScore(task) ? SHARE : undefined;
  const lines = [{ name, column: 1, colour: "--s1", fill: true }];
  const plot = chart({ title: `${name}, last minutes`, lines, height: 52, spark: true, range, gap_s: 20 });
  return { ...plot, root: el("div", {}, el("p", { class: "note" }, `${name}, last two minutes`), plot.root) };
}

/** Make the card of a stream; `update({state, device, stream})`. */
export function streamCard({ stream: first }) {
  const name = el("h3", {}, first.name);
  const source = el("span", { class: "note" });
  const status = el("span", { class: "chip", hidden: true });
  const shot = picture();
  const place = el("div", { class: "result" });
  const waiting = el("p", { class: "note" }, "No prediction yet");
  const trendPlace = el("div", { class: "trend", hidden: true });
  const foot = el("p", { class: "foot" });
  const side = el("div", { class: "side" }, waiting, place, foot);
  const root = el(
    "article",
    { class: "card stream", "aria-label": `Stream ${first.name}` },
    el("header", {}, name, source, status),
    el("div", { class: "split" }, el("div", { class: "left" }, shot.root, trendPlace), side),
  );
  shot.watch(root);
  let task = null;
  let answer = null;
  let line = null;

  function choose(wanted) {
    if (wanted === task) return;
    task = wanted;
    line?.close();
    answer = answerFor(task);
    line = trend(task);
    attribute(root, "data-task", task);
    place.replaceChildren(answer.root);
    trendPlace.replaceChildren(line.root);
  }

  /** What the source is, from the device's `info`: a mapping by stream, or a list of such entries. */
  function showSource(info) {
    const sources = at(info, "sources");
    const mine = Array.isArray(sources)
      ? sources.find((entry) => [at(entry, "stream"), at(entry, "name")].includes(first.name))
      : at(sources, first.name);
    const size = at(mine, "size");
    const parts = [
      words(at(mine, "name")) === first.name ? null : words(at(mine, "name")),
      words(at(mine, "type")),
      Array.isArray(size) && size.length === 2 ? size.map((side) => fixed(side).replace(",", "")).join(" × ") : null,
      typeof at(mine, "fps") === "number" ? `${fixed(mine.fps)} frames/s` : null,
    ];
    text(source, parts.filter(Boolean).join(" · "));
  }

  function showStatus(value) {
    const state = words(at(value, "state"));
    shown(status, state !== null && state !== "online");
    attribute(status, "data-state", state === "stalled" ? "silent" : "offline");
    text(status, [state, words(at(value, "error"))].filter(Boolean).join(": "));
  }

  function showFoot(prediction) {
    const captured = moment(prediction.captured_at);
    const total = at(prediction, "latency_ms", "total");
    const parts = [
      captured === null ? null : `captured ${clock(captured)}`,
      typeof total === "number" ? `${fixed(total, 1)} ms` : null,
      Number.isInteger(prediction.seq) ? `no. ${fixed(prediction.seq)}` : null,
      words(prediction.path),
    ];
    text(foot, parts.filter(Boolean).join(" · "));
  }

  return {
    root,
    update({ state, device, stream }) {
      showSource(device.info);
      showStatus(stream.status);
      shot.update(state, device, stream);
      const prediction = stream.prediction;
      shown(waiting, !prediction);
      if (!prediction) return;
      choose(words(prediction.task) ?? "raw");
      answer.update(prediction, stream);
      const scored = stream.points.some((point) => point[1] !== null);
      shown(trendPlace, scored && stream.points.length > 1);
      line.update(stream.points, stream.points.at(-1)?.[0]);
      showFoot(prediction);
    },
    close() {
      shot.close();
      line?.close();
    },
  };
}
