// What the page knows: the server's patches, merged. Names come from devices, so they are keys of Maps, never of objects.

const LIMITS = { points: 480, samples: 180, events: 100 };

/** An empty state. `skew_ms` is the server's clock minus ours. */
export const emptyState = () => ({ broker: null, devices: new Map(), page: null, skew_ms: 0 });

const newDevice = (id) => ({
  id,
  status: null,
  info: null,
  stats: null,
  model: null,
  heard_ms: 0,
  samples: [],
  events: new Map(),
  streams: new Map(),
});

const newStream = (name) => ({ name, status: null, prediction: null, snapshot: null, snapshot_error: null, points: [] });

function append(list, entries, limit) {
  list.push(...entries);
  if (list.length > limit) list.splice(0, list.length - limit);
}

function take(target, patch, names) {
  for (const name of names) if (Object.hasOwn(patch, name)) target[name] = patch[name];
}

function mergeDevice(device, patch) {
  take(device, patch, ["status", "info", "stats", "model", "heard_ms"]);
  append(device.samples, patch.samples ?? [], LIMITS.samples);
  for (const event of patch.events ?? []) {
    device.events.set(`${event.stream}/${event.id}`, event);
    if (device.events.size > LIMITS.events) device.events.delete(device.events.keys().next().value);
  }
  for (const [name, changes] of Object.entries(patch.streams ?? {})) {
    if (!device.streams.has(name)) device.streams.set(name, newStream(name));
    const stream = device.streams.get(name);
    take(stream, changes, ["status", "prediction", "snapshot", "snapshot_error"]);
    append(stream.points, changes.points ?? [], LIMITS.points);
  }
}

/** Merge one message of the server into the state. */
export function merge(state, patch, now_ms = Date.now()) {
  if (patch.full) state.devices.clear();
  take(state, patch, ["broker", "page"]);
  if (typeof patch.now_ms === "number") state.skew_ms = patch.now_ms - now_ms;
  for (const [id, changes] of Object.entries(patch.devices ?? {})) {
    if (!state.devices.has(id)) state.devices.set(id, newDevice(id));
    mergeDevice(state.devices.get(id), changes);
  }
}

/** The devices, online ones first, then by name. */
export const inOrder = (state) =>
  [...state.devices.values()].sort(
    (a, b) => (b.status === "online") - (a.status === "online") || a.id.localeCompare(b.id),
  );

/** The streams of a device by name. */
export const streamsOf = (device) => [...device.streams.values()].sort((a, b) => a.name.localeCompare(b.name));

/** Seconds since a moment of the server's clock. */
export const ageOf = (state, ms, now_ms = Date.now()) => Math.max(0, (now_ms + state.skew_ms - ms) / 1000);

const SILENT_S = 45;

/** How a device is, in a word for style and in words for people. */
export function conditionOf(state, device) {
  if (device.status === "offline") return { state: "offline", words: "Offline" };
  if (device.status !== "online") return { state: "unknown", words: "Unknown" };
  const silent_s = ageOf(state, device.heard_ms);
  if (silent_s > SILENT_S) return { state: "silent", words: "Silent", silent_s };
  return { state: "online", words: "Online" };
}
