// How an answer came about: layer by layer who proposed what, and where the time went.

import { counted, el, put, seconds } from "./dom.js";

const WORDS = {
  pending: "", ok: "", declined: "declined", lost: "lost", late: "too late", failed: "failed", spared: "not needed any more",
};
const SOURCES = {
  chosen: "a proposal is the answer, as the recipe has it", proposal: "aggregation failed: the best proposal is the answer",
};
const DRAFT = 20000; // characters of a proposal that are shown

export class Tree {
  constructor() {
    this.began = performance.now();
    this.total = 0;
    this.rows = new Map();
    this.layers = new Map();
    this.list = el("ol", { class: "tree" });
    this.notes = el("ul", { class: "notes" });
    this.summary = el("summary", {}, "under way");
    this.node = el("details", { class: "how", open: true }, this.summary, this.list, this.notes);
  }

  layer(visit) {
    const key = `${visit.layer}${visit.role}`;
    let layer = this.layers.get(key);
    if (!layer) {
      const title = { aggregator: "Aggregation", ranker: "Ranking" }[visit.role] ?? `Layer ${visit.layer}`;
      const rows = el("ul");
      const kind = visit.role === "proposer" ? `layer${(visit.layer - 1) % 4 + 1}` : "sum";
      layer = rows;
      this.layers.set(key, rows);
      this.list.append(el("li", { class: kind }, el("h3", {}, title), rows));
    }
    return layer;
  }

  visit(visit) {
    let row = this.rows.get(visit.job);
    if (!row) {
      row = { travel: el("i", { class: "travel" }), wait: el("i", { class: "wait" }), work: el("i", { class: "work" }) };
      row.who = el("span", { class: "who" }, visit.node);
      row.told = el("span", { class: "told" });
      row.text = el("p");
      const bar = el("span", { class: "bar", "aria-hidden": "true" }, row.travel, row.wait, row.work);
      row.node = el("li", {}, row.who, bar, row.told);
      this.layer(visit).append(row.node);
      this.rows.set(visit.job, row);
    }
    row.visit = visit;
    row.node.className = visit.outcome;
    row.who.title = visit.model || "";
    this.draw(row);
    this.tell();
  }

  draft({ job, text }) {
    const row = this.rows.get(job);
    if (!row || row.text.textContent.length > DRAFT) return;
    if (!row.draft) {
      row.draft = el("details", {}, el("summary", {}, row.told), row.text);
      row.node.append(row.draft);
    }
    row.text.append(text);
  }

  get seconds() {
    return this.total || (performance.now() - this.began) / 1000;
  }

  // Draws the bars anew, as those of pending jobs grow.
  look() {
    for (const row of this.rows.values()) this.draw(row);
  }

  draw(row) {
    const { visit } = row, all = Math.max(this.seconds, 0.05), pending = visit.outcome === "pending";
    const ended = pending ? this.seconds : visit.ended;
    const { queued_seconds: queued = 0, service_seconds: service = 0 } = visit;
    const span = (bar, from, length) => {
      bar.style.left = `${Math.max(0, Math.min(100, (100 * from) / all))}%`;
      bar.style.width = `${Math.max(0, Math.min(100, (100 * length) / all))}%`;
    };
    span(row.travel, visit.sent, ended - visit.sent);
    const begun = Math.max(visit.sent, ended - service - queued);
    span(row.wait, begun, queued);
    span(row.work, begun + queued, service);
    const waited = queued >= 0.01 ? `${seconds(queued)} wait, ` : "";
    const times = service || queued ? `${waited}${seconds(service)} work` : "";
    const ahead = visit.early_tokens ? `${visit.early_tokens} of ${visit.prompt_tokens} tokens read ahead` : "";
    const words = pending ? `${seconds(ended - visit.sent)}…` : [WORDS[visit.outcome] ?? visit.outcome, times, ahead].filter(Boolean).join(", ");
    put(row.told, words || seconds(ended - visit.sent));
  }

  tell() {
    const jobs = [...this.rows.values()].map((row) => row.visit);
    const pending = jobs.filter((visit) => visit.outcome === "pending").length;
    if (!this.total) put(this.summary, `${counted(jobs.length, "job")}, ${pending} under way`);
  }

  // Shows the whole trace of an answer, or of why there is none.
  end(trace) {
    this.total = trace.seconds || this.seconds;
    for (const visit of trace.jobs ?? []) this.visit(visit);
    const jobs = trace.jobs ?? [], nodes = new Set(jobs.map((visit) => visit.node));
    const lost = jobs.filter((visit) => ["declined", "lost", "late", "failed"].includes(visit.outcome)).length;
    const parts = [counted(jobs.length, "job"), `on ${counted(nodes.size, "node")}`, seconds(this.total)];
    if (lost) parts.push(`${lost} missing`);
    const { layers, fanout } = trace.mixture ?? {};
    const shape = layers ? `m${layers}k${fanout}` : "alone";
    put(this.summary, [shape, ...parts].join(" · "));
    const notes = [SOURCES[trace.source], ...(trace.degraded ?? [])].filter(Boolean);
    this.notes.replaceChildren(...notes.map((note) => el("li", {}, note)));
    this.look();
  }
}
