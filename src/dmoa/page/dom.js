// Elements, numbers and words. Foreign text only ever becomes text, never markup.

const SVG = "http://www.w3.org/2000/svg";

export const $ = (id) => document.getElementById(id);

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") for (const [kind, act] of Object.entries(value)) node.addEventListener(kind, act);
    else if (value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== undefined && child !== null && child !== ""));
  return node;
}

export const el = (tag, attributes = {}, ...children) => filled(document.createElement(tag), attributes, children);
export const svg = (tag, attributes = {}, ...children) => filled(document.createElementNS(SVG, tag), attributes, children);

// Sets what has changed alone: the others need no new layout.
export function put(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// -- numbers, each with its unit ------------------------------------------------------------

export function seconds(value) {
  if (!(value > 0)) return "0 s";
  if (value < 0.0995) return `${Math.round(value * 1000)} ms`;
  if (value < 9.95) return `${value.toFixed(1)} s`;
  return value < 6000 ? `${Math.round(value)} s` : `${Math.round(value / 60)} min`;
}

export function rate(value) {
  const digits = value >= 9.95 ? 0 : value >= 0.995 ? 1 : value >= 0.0995 ? 2 : 3;
  return `${value.toFixed(digits)}/s`;
}

export const counted = (count, one, many = `${one}s`) => `${count} ${count === 1 ? one : many}`;

// Rho in numbers, and in a word what it means; nothing where no service time was measured.
export function rho(node) {
  if (!node.service_time) return { text: "–", word: "idle", kind: "none" };
  const value = node.utilisation, text = value >= 9.95 ? value.toFixed(0) : value.toFixed(2);
  if (value >= 1) return { text, word: "over", kind: "over" };
  return value >= 0.75 ? { text, word: "busy", kind: "busy" } : { text, word: "stable", kind: "calm" };
}

export const byName = (one, other) => one.localeCompare(other, "en", { numeric: true });

// -- what the reader wants ------------------------------------------------------------------

const still = matchMedia("(prefers-reduced-motion: reduce)");
export const isStill = () => still.matches;

// Remembers in this tab or browser, where that is allowed.
export function remembered(storage, name, value) {
  try {
    const store = globalThis[storage];
    if (value === undefined) return store.getItem(name) ?? "";
    if (value) store.setItem(name, value);
    else store.removeItem(name);
  } catch { /* private windows may forbid it: then nothing is remembered */ }
  return value ?? "";
}
