// Ways to the node: its API with a key where it wants one, and its feed, for as long as it is looked at.

import { remembered } from "./dom.js";

const KEY = "dmoa-key";
const SOON = 500, LATE = 10000; // ms between two tries
const SILENT = 40000; // ms without a sign of life after which a feed is given up

export class Refused extends Error {
  constructor(status, message, told = {}) {
    super(message);
    this.status = status;
    this.told = told;
  }
}

let asking = null; // what asks the person for a key: one dialogue for all who wait for it

export const keep = (key) => remembered("sessionStorage", KEY, key);

export function onKeyWanted(ask) {
  asking = { ask, waiting: null };
}

// Asks the node for something; asks the person for a key first where the node wants one.
export async function ask(path, options = {}) {
  for (;;) {
    const key = keep();
    const headers = { ...options.headers };
    if (key) headers.Authorization = `Bearer ${key}`;
    const response = await fetch(path, { ...options, headers, cache: "no-store", credentials: "omit" });
    if (response.ok) return response;
    const told = await response.json().catch(() => ({}));
    const error = told.error ?? {};
    if (response.status !== 401 || !asking) {
      throw new Refused(response.status, error.message ?? `the node answered ${response.status}`, error.dmoa);
    }
    if (keep() === key) { // else somebody gave another one meanwhile
      asking.waiting ??= asking.ask(Boolean(key)).finally(() => { asking.waiting = null; });
      keep(await asking.waiting);
    }
  }
}

// Reads server-sent events: the data of each, and null for a comment.
export async function* eventsOf(response) {
  const reader = response.body.getReader(), decoder = new TextDecoder();
  let rest = "", over = false;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      over = done;
      if (done) return;
      const parts = (rest + decoder.decode(value, { stream: true })).split("\n\n");
      rest = parts.pop();
      for (const part of parts) {
        const lines = part.split("\n").filter((line) => line.startsWith("data:"));
        yield lines.length ? lines.map((line) => line.slice(5).trim()).join("\n") : null;
      }
    }
  } finally {
    if (!over) reader.cancel().catch(() => {});
  }
}

// Follows the feed while the page is seen: `saw` gets sights, `state` a word and what it means.
export function follow({ saw, state }) {
  let stop = null, pause = SOON, timer = 0;

  async function connect() {
    const mine = stop = new AbortController();
    let alarm = 0;
    const alive = () => { clearTimeout(alarm); alarm = setTimeout(() => mine.abort(), SILENT); };
    try {
      alive();
      const response = await ask("v1/feed", { signal: mine.signal });
      for await (const data of eventsOf(response)) {
        alive();
        if (data === null) continue;
        const sights = JSON.parse(data);
        pause = SOON;
        saw(sights);
        state("live", "live");
        if (sights.some((sight) => sight.kind === "gap")) break; // a new scene is whole again
      }
      if (stop === mine) state("wait", "connecting");
    } catch (error) {
      if (stop === mine) state(error.status === 503 ? "wait" : "gone", wordFor(error));
    } finally {
      clearTimeout(alarm);
      mine.abort();
    }
    if (stop !== mine) return; // hidden, or begun anew
    timer = setTimeout(connect, pause);
    pause = Math.min(2 * pause, LATE);
  }

  function look() {
    clearTimeout(timer);
    const before = stop;
    stop = null;
    before?.abort();
    if (document.hidden) return;
    pause = SOON;
    connect();
  }
  document.addEventListener("visibilitychange", look);
  look();
}

function wordFor(error) {
  if (error.status === 503) return "the model loads";
  if (error.status === 429) return "too many watch";
  return error.status ? error.message : "not reached";
}
