// The few operations on the document that everything else is built of. Text only ever enters as text.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value == null) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.filter((child) => child != null));
  return node;
}

/** Make an element: el("p", {class: "note"}, "text", otherElement). */
export const el = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);

/** Make an SVG element. */
export const svg = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS(SVG, tag), attributes, children);

/** Set an element's text, touching the document only when it differs. */
export function text(node, value) {
  const wanted = String(value);
  if (node.textContent !== wanted) node.textContent = wanted;
}

/** Set or remove an attribute, touching the document only when it differs. */
export function attribute(node, name, value) {
  if (value == null || value === false) node.removeAttribute(name);
  else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, String(value));
}

/** Set a custom property, for widths and colours that only a number or a name of ours decides. */
export function property(node, name, value) {
  if (node.style.getPropertyValue(name) !== String(value)) node.style.setProperty(name, value);
}

/** Show or hide. */
export function shown(node, visible) {
  if (node.hidden === visible) node.hidden = !visible;
}

/**
 * Keep one child per item, in the items' order, reusing children of the same key.
 * `create(item)` returns {root, update(item)}; what it returns lives in `kept`, a Map of the caller's.
 */
export function keyed(parent, kept, items, key, create) {
  const wanted = new Set();
  let place = parent.firstElementChild;
  for (const item of items) {
    const name = key(item);
    wanted.add(name);
    let entry = kept.get(name);
    if (!entry) {
      entry = create(item);
      kept.set(name, entry);
    }
    entry.update(item);
    if (entry.root === place) place = place.nextElementSibling;
    else parent.insertBefore(entry.root, place);
  }
  for (const [name, entry] of kept) {
    if (wanted.has(name)) continue;
    entry.close?.();
    entry.root.remove();
    kept.delete(name);
  }
}
