// One device: who it is, how it is, what it sees, and its figures.

import { attribute, el, keyed, shown, text } from "./dom.js";
import { timeline } from "./events.js";
import { charts, flatten, remainder, stages, tiles } from "./figures.js";
import { at, duration, words } from "./format.js";
import { ageOf, conditionOf, streamsOf } from "./model.js";
import { streamCard } from "./stream.js";

const firstOf = (...candidates) => candidates.map(words).find(Boolean) ?? null;

/** The model, the delegate and why, from wherever the device said it. */
function engineOf(device) {
  const prediction = [...device.streams.values()].find((stream) => stream.prediction)?.prediction;
  const { info, stats } = device;
  return {
    model: firstOf(at(info, "model", "name"), at(info, "model"), at(device.model, "active", "name"), at(prediction, "model", "name")),
    version: firstOf(at(info, "model", "version"), at(prediction, "model", "version")),
    task: firstOf(at(info, "model", "task"), at(info, "task"), at(prediction, "task")),
    delegate: firstOf(at(info, "engine", "delegate"), at(info, "delegate", "name"), at(info, "delegate"), at(stats, "engine", "delegate")),
    reason: firstOf(
      at(info, "engine", "delegate_reason"),
      at(info, "engine", "reason"),
      at(info, "delegate", "reason"),
      at(info, "delegate_reason"),
    ),
    runtime: firstOf(at(info, "engine", "runtime"), at(info, "runtime")),
    software: firstOf(at(info, "software", "version"), at(info, "software")),
  };
}

/** What somebody should look at, most urgent first. */
function concerns(state, device) {
  const condition = conditionOf(state, device);
  const found = [];
  if (condition.state === "offline") found.push(["plain", "This device is offline; what you see is the last it said."]);
  if (condition.state === "silent") found.push(["warn", `Nothing heard for ${duration(condition.silent_s)}.`]);
  const throttled = at(device.stats, "throttled", "now");
  if (Array.isArray(throttled) && throttled.length) {
    found.push(["bad", `Throttled now: ${throttled.map(words).filter(Boolean).join(", ")}. Check power supply and cooling.`]);
  }
  const config = firstOf(at(device.info, "config_error"), at(device.info, "last_config_error"), at(device.info, "configuration_error"));
  if (config) found.push(["warn", `Configuration: ${config}`]);
  const outbox = words(at(device.stats, "outbox", "error"));
  if (outbox) found.push(["bad", `Outbox: ${outbox}`]);
  return found;
}

function heading(id) {
  const pill = el("span", { class: "chip" });
  const model = el("p", { class: "model" });
  const why = el("p", { class: "note" });
  const list = el("ul", { class: "concerns", hidden: true });
  const root = el(
    "div",
    { class: "heading" },
    el("div", { class: "title" }, el("h1", {}, id), pill),
    el("div", { class: "engine" }, model, why),
    list,
  );
  return {
    root,
    update(state, device) {
      const condition = conditionOf(state, device);
      text(pill, condition.words);
      attribute(pill, "data-state", condition.state);
      const { model: name, version, task, delegate, reason, runtime } = engineOf(device);
      const on = delegate === null ? null : `on ${delegate === "cpu" ? "the CPU" : delegate === "edgetpu" ? "the Edge TPU" : delegate}`;
      text(model, [name, version && (version.startsWith("v") ? version : `version ${version}`), task, on].filter(Boolean).join(" · "));
      text(why, [reason, runtime].filter(Boolean).join(" · "));
      const items = concerns(state, device);
      shown(list, items.length > 0);
      const wanted = items.map((item) => item.join()).join("\n");
      if (list.dataset.said !== wanted) {
        list.dataset.said = wanted;
        list.replaceChildren(...items.map(([level, line]) => el("li", { "data-state": level }, line)));
      }
    },
  };
}

function line() {
  const name = el("dt");
  const value = el("dd");
  return {
    root: el("div", {}, name, value),
    update([key, said]) {
      text(name, key.replaceAll("_", " "));
      text(value, said);
    },
  };
}

function about() {
  const body = el("dl");
  const kept = new Map();
  const root = el("details", { class: "card about" }, el("summary", {}, "About this device"), body);
  return {
    root,
    update(state, device) {
      if (!root.open) return;
      const heard = [["last heard", `${duration(ageOf(state, device.heard_ms))} ago`]];
      const rest = remainder(device.stats ?? {});
      const lines = [...heard, ...flatten(device.info ?? {}), ...flatten(device.model ?? {}, "model file"), ...rest];
      keyed(body, kept, lines.slice(0, 200), ([name]) => name, line);
    },
  };
}

/** Make the view of one device; `update(state, device)`, `close()`. */
export function deviceView(id) {
  const head = heading(id);
  const streams = el("div", { class: "streams" });
  const noStream = el("p", { class: "card note" }, "No stream has said anything yet.");
  const noFigures = el("p", { class: "card note" }, "No figures yet: a device sends them every ten seconds.");
  const numbers = tiles();
  const plots = charts();
  const table = stages();
  const events = timeline();
  const details = about();
  const kept = new Map();
  const aside = el("div", { class: "aside" }, events.root, table.root, details.root);
  const root = el(
    "div",
    { class: "device" },
    head.root,
    el("div", { class: "columns" }, el("div", { class: "major" }, noStream, streams, noFigures, numbers.root, plots.root), aside),
  );
  return {
    root,
    update(state, device) {
      const all = streamsOf(device);
      head.update(state, device);
      shown(noStream, all.length === 0);
      shown(streams, all.length > 0);
      shown(noFigures, !device.stats);
      for (const part of [numbers, plots, table]) shown(part.root, Boolean(device.stats));
      keyed(streams, kept, all.map((stream) => ({ state, device, stream })), (item) => item.stream.name, streamCard);
      numbers.update(device.stats);
      plots.update(device.samples);
      table.update(device.stats);
      events.update(state, device);
      details.update(state, device);
    },
    close() {
      for (const card of kept.values()) card.close();
      plots.close();
    },
  };
}
