// A stream's picture: asked for while somebody can see it, shown when it has come and is decoded.

import { attribute, el, shown, text } from "./dom.js";
import { ageOf } from "./model.js";
import { duration, words } from "./format.js";

const INTERVAL_MS = 1000;
const SLOWEST_MS = 30_000;
const PATIENCE = 3;
/** These come from sensors more often than from cameras: room is made only once a picture has come. */
const RARELY_PICTURED = ["regress", "anomaly", "audio", "raw"];
const GIVE_UP = 5;

const pathOf = (device, stream) =>
  `/api/devices/${encodeURIComponent(device.id)}/streams/${encodeURIComponent(stream.name)}/snapshot`;

export function picture() {
  const image = el("img", { alt: "", hidden: true });
  const note = el("p", { class: "note" }, "Waiting for a picture…");
  const age = el("span", {});
  const pause = el("button", { type: "button", class: "quiet", "aria-pressed": "false", onclick: toggle }, "Pause");
  const root = el("figure", { class: "picture" }, image, note, el("figcaption", {}, age, pause));
  let now = null;
  let paused = false;
  let visible = false;
  let number = null;
  let asked_ms = 0;
  let unanswered = 0;

  function toggle() {
    paused = !paused;
    attribute(pause, "aria-pressed", String(paused));
    text(pause, paused ? "Resume" : "Pause");
    caption();
  }

  const wait_ms = () =>
    unanswered < PATIENCE ? INTERVAL_MS : Math.min(SLOWEST_MS, INTERVAL_MS * 2 ** (unanswered - PATIENCE + 1));

  async function ask() {
    if (!now || paused || !visible || document.hidden) return;
    if (now.device.status !== "online" || now.state.broker?.state !== "connected") return;
    if (Date.now() - asked_ms < wait_ms()) return;
    asked_ms = Date.now();
    unanswered += 1;
    const answer = await fetch(pathOf(now.device, now.stream), { method: "POST" }).catch(() => null);
    await answer?.text();
  }

  async function load(wanted) {
    const next = new Image();
    next.src = `${pathOf(now.device, now.stream)}.jpg?n=${wanted}`;
    try {
      await next.decode();
    } catch {
      return; // broken or already replaced: the last good one stays
    }
    if (wanted < number) return;
    image.src = next.src;
    shown(image, true);
    shown(note, false);
  }

  function caption() {
    const received = now?.stream.snapshot?.received_ms;
    const seconds = received ? ageOf(now.state, received) : null;
    text(age, seconds === null ? "" : seconds < 2.5 && !paused ? "Live" : `${duration(seconds)} ago`);
    attribute(root, "data-live", seconds !== null && seconds < 2.5 && !paused);
  }

  const observer = new IntersectionObserver(([entry]) => {
    visible = entry.isIntersecting;
  });
  const timer = setInterval(() => {
    ask();
    caption();
  }, 250);

  return {
    root,
    /** Say which element must be on view for pictures to be asked for. */
    watch: (element) => observer.observe(element),
    update(state, device, stream) {
      now = { state, device, stream };
      const unlikely = RARELY_PICTURED.includes(stream.prediction?.task) || unanswered >= GIVE_UP;
      shown(root, Boolean(stream.snapshot) || !unlikely);
      attribute(image, "alt", `What ${stream.name} of ${device.id} sees`);
      const error = words(stream.snapshot_error);
      const away = device.status === "offline" ? "No picture while the device is offline" : "Waiting for a picture…";
      text(note, error ? `No picture: ${error}` : away);
      if (stream.snapshot && stream.snapshot.number !== number) {
        number = stream.snapshot.number;
        unanswered = 0;
        load(number);
      }
    },
    close() {
      clearInterval(timer);
      observer.disconnect();
    },
  };
}
