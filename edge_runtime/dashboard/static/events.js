// The timeline of a device's events: what began, what goes on, what has ended.

import { attribute, el, keyed, shown, text } from "./dom.js";
import { hueOf } from "./answers.js";
import { clock, duration, moment, nameOf, numeric, percent } from "./format.js";
import { ageOf } from "./model.js";

const SHOWN = 60;
const startOf = (event) => moment(event.started_at) ?? numeric(event.first_ms) ?? 0;

function row() {
  const dot = el("i", { class: "dot", "aria-hidden": "true" });
  const when = el("time");
  const name = el("b");
  const note = el("span", { class: "note" });
  return {
    root: el("li", {}, dot, when, name, note),
    update({ event, state, many }) {
      const ended = moment(event.ended_at);
      const lasted = ended === null ? ageOf(state, startOf(event)) : (ended - startOf(event)) / 1000;
      attribute(dot, "data-going", event.type !== "end");
      dot.style.setProperty("--fill", `var(${hueOf(nameOf(event))})`);
      text(when, clock(startOf(event)));
      text(name, nameOf(event));
      const score = numeric(event.score) === null ? null : percent(event.score);
      const length = event.type === "end" ? duration(lasted) : `for ${duration(lasted)} now`;
      text(note, [length, score, many ? event.stream : null].filter(Boolean).join(" · "));
    },
  };
}

/** Make the timeline; `update(state, device)`. */
export function timeline() {
  const list = el("ol", { class: "events", tabindex: "0", "aria-label": "Events, newest first" });
  const empty = el("p", { class: "note" }, "Nothing yet. An event begins when the model has been sure of something for a moment.");
  const root = el("section", { class: "card" }, el("header", {}, el("h3", {}, "Events")), empty, list);
  const kept = new Map();
  return {
    root,
    update(state, device) {
      const many = device.streams.size > 1;
      const items = [...device.events.entries()]
        .map(([key, event]) => ({ key, event, state, many }))
        .sort((a, b) => startOf(b.event) - startOf(a.event))
        .slice(0, SHOWN);
      shown(empty, items.length === 0);
      shown(list, items.length > 0);
      keyed(list, kept, items, (item) => item.key, row);
    },
  };
}
