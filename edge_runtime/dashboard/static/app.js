// The page: which devices there are, which one is shown, and whether the line to the server and the broker stands.

import { summary } from "./answers.js";
import { restyleCharts } from "./charts.js";
import { follow } from "./connection.js";
import { deviceView } from "./device.js";
import { attribute, el, keyed, shown, text } from "./dom.js";
import { clock } from "./format.js";
import { conditionOf, emptyState, inOrder, merge, streamsOf } from "./model.js";

const SAY_MS = 5000;
const byId = (id) => document.getElementById(id);
const state = emptyState();
const link = { state: "connecting", words: "" };
const rows = new Map();
let view = null;
let viewed = null;
let page = null;
let planned = false;
let said = "";
let said_ms = 0;

// The token has done its work; it need not stay in the address bar and the history.
if (location.search) history.replaceState(null, "", location.pathname + location.hash);

function chosen(devices) {
  let wanted = "";
  try {
    wanted = decodeURIComponent(location.hash.replace(/^#\/?/, ""));
  } catch {
    // an address somebody mistyped: the first device then
  }
  return state.devices.get(wanted) ?? devices[0] ?? null;
}

function deviceRow(device) {
  const dot = el("i", { class: "dot", "aria-hidden": "true" });
  const answer = el("span", { class: "note" });
  const condition = el("span", { class: "unseen" });
  const name = el("a", { href: `#/${encodeURIComponent(device.id)}` }, dot, el("b", {}, device.id), condition, answer);
  return {
    root: name,
    update(now) {
      const { state: how, words } = conditionOf(state, now);
      attribute(dot, "data-state", how);
      text(condition, ` ${words}. `);
      const [first] = streamsOf(now).filter((stream) => stream.prediction);
      text(answer, how === "online" && first ? summary(first.prediction) : words);
      attribute(name, "aria-current", now === viewed && "page");
    },
  };
}

function showBroker() {
  const broker = byId("broker");
  const { state: how = "connecting", url = "", detail } = state.broker ?? {};
  attribute(broker, "data-state", { connected: "online", down: "offline", refused: "offline" }[how] ?? "unknown");
  text(broker, how === "connected" ? url : `${url} ${how === "down" ? "is away" : how}`);
  const banner = byId("banner");
  let line = link.state === "open" || link.state === "connecting" ? "" : link.words;
  if (!line && how === "down") {
    line = `The broker at ${url} does not answer (${detail ?? "no reason given"}). Trying again; what you see is from before ${clock(state.broker.since_ms)}.`;
  }
  if (!line && how === "refused") line = `The broker at ${url} refuses the dashboard: ${detail}. Check user name and password.`;
  shown(banner, line !== "");
  text(banner, line);
}

function emptyPage() {
  const url = state.broker?.url ?? "mqtt://localhost:1883";
  const known = state.broker?.state === "connected";
  return el(
    "section",
    { class: "empty" },
    el("h1", {}, known ? "No device yet" : "Connecting…"),
    el("p", {}, known ? `No device has said anything yet on ${url}. Start one with:` : `Looking for devices on ${url}.`),
    known ? el("pre", { tabindex: "0" }, el("code", {}, `edge-infer --camera --broker ${url}`)) : null,
  );
}

function showDevice(devices) {
  const main = byId("main");
  const device = chosen(devices);
  if (device?.id !== viewed?.id || (!device && !view)) {
    view?.close();
    view = device ? deviceView(device.id) : null;
    main.replaceChildren(view ? view.root : emptyPage());
  } else if (!device) {
    const next = emptyPage();
    if (!main.firstElementChild.isEqualNode(next)) main.replaceChildren(next);
  }
  viewed = device;
  view?.update(state, device);
  document.title = device ? `${device.id} · edge-infer` : "edge-infer";
}

/** Tell who listens what changed: not each flicker, at most one sentence in five seconds. */
function announce() {
  if (!viewed || Date.now() - said_ms < SAY_MS) return;
  const [first] = streamsOf(viewed).filter((stream) => stream.prediction);
  const answer = first ? `: ${summary(first.prediction)}` : "";
  const sentence = `${viewed.id} ${conditionOf(state, viewed).words}${answer}`;
  if (sentence === said) return;
  said = sentence;
  said_ms = Date.now();
  text(byId("announcer"), sentence);
}

function render() {
  planned = false;
  const devices = inOrder(state);
  showDevice(devices);
  const nav = byId("devices");
  shown(nav, devices.length > 1);
  byId("layout").classList.toggle("several", devices.length > 1);
  keyed(nav, rows, devices, (device) => device.id, deviceRow);
  showBroker();
  announce();
}

function plan() {
  if (planned) return;
  planned = true;
  requestAnimationFrame(render);
}

function useTheme(dark) {
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  text(byId("theme"), dark ? "Light" : "Dark");
  attribute(byId("theme"), "aria-label", dark ? "Use light colours" : "Use dark colours");
  restyleCharts();
}

byId("theme").addEventListener("click", () => {
  const dark = document.documentElement.dataset.theme !== "dark";
  useTheme(dark);
  try {
    localStorage.setItem("edge-infer-theme", dark ? "dark" : "light");
  } catch {
    // then it holds until the page is closed
  }
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", (event) => useTheme(event.matches));
useTheme(document.documentElement.dataset.theme === "dark");

window.addEventListener("hashchange", () => {
  said_ms = 0; // somebody chose a device: tell about it at once
  plan();
  byId("main").focus({ preventScroll: true });
});
setInterval(plan, 1000);

follow({
  onPatch(patch) {
    merge(state, patch);
    if (page !== null && state.page !== page) location.reload(); // the server was updated under an open page
    page = state.page;
    plan();
  },
  onState(now, words) {
    link.state = now;
    link.words = words;
    plan();
  },
});
