// The stream of events from our own server: opened again whenever it breaks, and whenever it has been silent too long.

const SILENCE_MS = 30_000;
const RETRY_MS = [500, 1000, 2000, 4000, 8000];

/** Follow /api/events. `onPatch(patch)` gets each message; `onState(state, words)` is "open", "lost" or "refused". */
export function follow({ onPatch, onState }) {
  let source = null;
  let heard_ms = 0;
  let tries = 0;
  let timer = 0;

  function open() {
    clearTimeout(timer);
    source?.close();
    heard_ms = Date.now();
    source = new EventSource("/api/events");
    source.onmessage = (event) => {
      heard_ms = Date.now();
      tries = 0;
      onState("open", "");
      onPatch(JSON.parse(event.data));
    };
    source.onerror = again;
  }

  async function again() {
    source.close();
    onState("lost", "The connection to the dashboard's server is lost. Trying again…");
    timer = setTimeout(open, RETRY_MS[Math.min(tries++, RETRY_MS.length - 1)]);
    const answer = await fetch("/api/state", { method: "HEAD" }).catch(() => null);
    if (answer?.status === 401) {
      clearTimeout(timer);
      onState("refused", "The dashboard's token has changed. Open the address it printed when it started.");
    }
  }

  setInterval(() => {
    if (source.readyState === EventSource.OPEN && Date.now() - heard_ms > SILENCE_MS) again();
  }, 5000);
  open();
}
