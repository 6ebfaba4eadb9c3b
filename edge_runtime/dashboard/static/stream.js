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
  return { ...plot, root: el("div", { class: "trend" }, el("p", { class: "note" }, `${name}, last two minutes`), plot.root) };
}

/** Make the card of a stream; `update({state, device, stream})`. */
export function streamCard({ stream: first }) {
  const name = el("h3", {}, first.name);
  const source = el("span", { class: "note" });
  const status = el("span", { class: "chip", hidden: true });
  const shot = picture();
  const place = el("div", { class: "result" });
  const waiting = el("p", { class: "note" }, "No prediction yet");
  const foot = el("p", { class: "foot" });
  const side = el("div", { class: "side" }, waiting, place, foot);
  const root = el(
    "article",
    { class: "card stream", "aria-label": `Stream ${first.name}` },
    el("header", {}, name, source, status),
    el("div", { class: "split" }, shot.root, side),
  );
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
    place.replaceChildren(answer.root, line.root);
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
      showStatus(stream.status);
      shot.update(state, device, stream);
      const prediction = stream.prediction;
      shown(waiting, !prediction);
      if (!prediction) return;
      choose(words(prediction.task) ?? "raw");
      answer.update(prediction, stream);
      const scored = stream.points.some((point) => point[1] !== null);
      shown(line.root, scored && stream.points.length > 1);
      line.update(stream.points, stream.points.at(-1)?.[0]);
      showFoot(prediction);
    },
    close() {
      shot.close();
      line?.close();
    },
  };
}
