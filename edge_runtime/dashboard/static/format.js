// Values into words. Whatever is not there, or not of the kind expected, is a dash: never invented, never "undefined".

export const DASH = "–";

const isNumber = (value) => typeof value === "number" && Number.isFinite(value);
const formats = new Map();

function decimals(value, digits) {
  if (!formats.has(digits)) {
    formats.set(
      digits,
      new Intl.NumberFormat("en", { minimumFractionDigits: digits, maximumFractionDigits: digits }),
    );
  }
  return formats.get(digits).format(value);
}

/** A number with a fixed count of decimals. */
export const fixed = (value, digits = 0) => (isNumber(value) ? decimals(value, digits) : DASH);

/** A number with about three significant digits. */
export function brief(value) {
  if (!isNumber(value)) return DASH;
  const size = Math.abs(value);
  if (size !== 0 && (size < 0.001 || size >= 1e7)) return value.toExponential(2);
  return decimals(value, size >= 100 || Number.isInteger(value) ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3);
}

const plain = new Intl.NumberFormat("en", { maximumSignificantDigits: 4 });

/** A number on an axis: no more digits than it needs. */
export const tick = (value) => (isNumber(value) ? plain.format(value) : "");

/** A share of one in percent. */
export const percent = (value, digits = 0) => (isNumber(value) ? `${decimals(value * 100, digits)} %` : DASH);

/** A number and its unit, the dash alone when there is no number. */
export const withUnit = (value, unit, digits = 0) => (isNumber(value) ? `${fixed(value, digits)} ${unit}` : DASH);

/** A duration: 12 s, 3 min, 5 h 20 min, 4 d 2 h. */
export function duration(seconds) {
  if (!isNumber(seconds)) return DASH;
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

const time = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });

/** The local time of day of a moment in ms since 1970. */
export const clock = (ms) => (isNumber(ms) && Math.abs(ms) < 8e15 ? time.format(ms) : DASH);

/** A moment in ms since 1970 from RFC 3339, null for anything else. */
export function moment(value) {
  const ms = typeof value === "string" ? Date.parse(value) : NaN;
  return Number.isNaN(ms) ? null : ms;
}

/** A short text, null for anything that is not one. */
export const words = (value) => (typeof value === "string" && value.trim() !== "" ? value : null);

/** A finite number, null for anything else. */
export const numeric = (value) => (isNumber(value) ? value : null);

/** What lies at a path of keys, undefined where the path ends early. */
export function at(value, ...path) {
  for (const key of path) {
    if (value === null || typeof value !== "object" || !Object.hasOwn(value, key)) return undefined;
    value = value[key];
  }
  return value;
}

/** The name of what was recognised: its label, else its number. */
export const nameOf = (row) => words(row?.label) ?? (isNumber(row?.class_id) ? `class ${row.class_id}` : "unnamed");

/** The rows of a prediction's result: objects only, also when a device sends a single one. */
export function rowsOf(prediction) {
  const result = prediction?.result;
  const rows = Array.isArray(result) ? result : [result];
  return rows.filter((row) => row !== null && typeof row === "object" && !Array.isArray(row));
}
