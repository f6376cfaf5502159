// Queues and stability over time: a small picture of each figure, with a line for each node.

import { byName, el, put, rate, rho, seconds } from "./dom.js";

const SPAN = 300, LEAST = 60; // seconds that are shown, at most and at least
const LEFT = 34, BOTTOM = 16, TOP = 8, RIGHT = 6;

const jobs = (value) => `${Number.isInteger(value) ? value : value.toFixed(1)}`;

// Of each picture: its title, its column of the past, how figures are written, and its least top.
const CHARTS = [
  { title: "Queue length", unit: "jobs", column: 1, write: jobs, least: 4 },
  { title: "Utilisation ρ", unit: "", column: 2, write: (value) => value.toFixed(2), least: 1.25, limit: () => 1, law: "Theorem 1: below 1" },
  { title: "Arrivals λ", unit: "queries/s", column: 3, write: rate, least: 0.02, limit: carried, law: "carried at this depth" },
  { title: "Service time α", unit: "per job", column: 4, write: seconds, least: 0.1 },
  { title: "Depth in use M", unit: "layers", column: 5, write: jobs, least: 3, steps: true },
  { title: "Refused, declined", unit: "per minute", column: 6, write: jobs, least: 4, grown: true },
];

// The queries per second and node at which rho is 1, for the mixture that is in use (Theorem 1).
function carried(scene) {
  const known = scene.living.filter((node) => node.service_time > 0);
  const own = scene.nodes.get(scene.home) ?? known[0];
  if (!known.length || !own) return 0;
  const mean = known.reduce((sum, node) => sum + node.service_time / node.slots, 0) / known.length;
  return 1 / (mean * ((own.fanout + 1) * own.layers + 1));
}

export class Charts {
  constructor(place, scene) {
    this.scene = scene;
    this.chosen = "";
    this.charts = CHARTS.map((chart) => {
      const canvas = el("canvas", { "aria-hidden": "true" }), now = el("b");
      const title = el("figcaption", {}, el("span", {}, `${chart.title} `, el("small", {}, chart.unit)), now);
      place.append(el("figure", {}, title, canvas));
      return { ...chart, canvas, now };
    });
    this.place = place;
    new ResizeObserver(() => this.look()).observe(place);
    for (const query of ["(prefers-color-scheme: dark)", "(prefers-contrast: more)"]) {
      matchMedia(query).addEventListener("change", () => this.look());
    }
  }

  select(name) {
    this.chosen = name;
    this.look();
  }

  look() {
    if (document.hidden || !this.place.clientWidth) return;
    const style = getComputedStyle(this.place);
    const colour = (name) => style.getPropertyValue(`--${name}`).trim();
    const colours = { line: colour("line"), dim: colour("dim"), own: colour("accent"), limit: colour("over"), text: colour("soft"), area: colour("accent-soft") };
    const name = this.scene.nodes.has(this.chosen) ? this.chosen : this.scene.home;
    const end = this.scene.now;
    const first = Math.min(...[...this.scene.past.values()].map((line) => line[0]?.[0] ?? end));
    const span = Math.min(SPAN, Math.max(LEAST, Math.ceil((end - first) / 30) * 30));
    for (const chart of this.charts) this.draw(chart, name, { end, span }, colours);
  }

  lines(chart, { end, span }) {
    const lines = [];
    for (const name of [...this.scene.past.keys()].sort(byName)) {
      const points = this.scene.past.get(name).filter(([at]) => at >= end - span - 10);
      lines.push({ name, points: chart.grown ? perMinute(points, chart.column) : points.map((point) => [point[0], point[chart.column]]) });
    }
    return lines;
  }

  draw(chart, name, time, colours) {
    const { canvas } = chart, width = canvas.clientWidth, height = canvas.clientHeight, dots = devicePixelRatio || 1;
    if (!width || !height) return;
    if (canvas.width !== Math.round(width * dots)) canvas.width = Math.round(width * dots);
    if (canvas.height !== Math.round(height * dots)) canvas.height = Math.round(height * dots);
    const pen = canvas.getContext("2d");
    pen.setTransform(dots, 0, 0, dots, 0, 0);
    pen.clearRect(0, 0, width, height);
    const lines = this.lines(chart, time), limit = chart.limit?.(this.scene) ?? 0;
    const most = Math.max(...lines.flatMap(({ points }) => points.map(([, value]) => value)), 0);
    let top = Math.max(most * 1.15, chart.least);
    if (limit && limit < 6 * top) top = Math.max(top, limit * 1.2);
    if (chart.column === 1 || chart.steps || chart.grown) top = Math.ceil(top);
    const x = (at) => LEFT + (width - LEFT - RIGHT) * (1 + (at - time.end) / time.span);
    const y = (value) => height - BOTTOM - (height - BOTTOM - TOP) * (value / top);
    this.axes(pen, chart, { width, height, y, top, span: time.span }, colours);
    pen.save();
    pen.beginPath();
    pen.rect(LEFT, 0, width - LEFT - RIGHT, height - BOTTOM + 1);
    pen.clip();
    pen.lineJoin = "round";
    pen.globalAlpha = Math.min(1, Math.max(0.25, 10 / lines.length)); // many lie upon each other
    for (const line of lines) if (line.name !== name) stroke(pen, line.points, chart, x, y, colours.dim, 1);
    pen.globalAlpha = 1;
    const own = lines.find((line) => line.name === name)?.points ?? [];
    stroke(pen, own, chart, x, y, colours.own, 2, colours.area, y(0));
    pen.restore();
    if (limit && limit <= top) this.limit(pen, chart, limit, { width, x, y }, colours);
    const latest = own.at(-1)?.[1];
    const node = this.scene.nodes.get(name);
    const told = latest === undefined ? "" : chart.column === 2 && node ? rho(node).text : chart.write(latest);
    put(chart.now, told ? `${name} ${told}` : "");
  }

  axes(pen, chart, { width, height, y, top, span }, colours) {
    pen.font = "10px system-ui, sans-serif";
    pen.lineWidth = 1;
    pen.strokeStyle = colours.line;
    pen.fillStyle = colours.text;
    pen.textAlign = "right";
    pen.textBaseline = "middle";
    for (const part of [0, 0.5, 1]) {
      const level = Math.round(y(top * part)) + 0.5;
      pen.beginPath();
      pen.moveTo(LEFT, level);
      pen.lineTo(width - RIGHT, level);
      pen.stroke();
      if (part !== 0.5) pen.fillText(part ? chart.write(top).replace("/s", "") : "0", LEFT - 5, level);
    }
    pen.textBaseline = "bottom";
    pen.textAlign = "left";
    pen.fillText(span < 120 ? `−${span} s` : `−${span / 60} min`, LEFT, height);
    pen.textAlign = "right";
    pen.fillText("now", width - RIGHT, height);
  }

  limit(pen, chart, limit, { width, y }, colours) {
    const level = Math.round(y(limit)) + 0.5;
    pen.strokeStyle = pen.fillStyle = colours.limit;
    pen.lineWidth = 1.5;
    pen.setLineDash([5, 4]);
    pen.beginPath();
    pen.moveTo(LEFT, level);
    pen.lineTo(width - RIGHT, level);
    pen.stroke();
    pen.setLineDash([]);
    pen.textAlign = "left";
    pen.textBaseline = level > 26 ? "bottom" : "top";
    pen.fillText(chart.law, LEFT + 4, level + (level > 26 ? -2 : 3));
  }
}

function stroke(pen, points, chart, x, y, colour, width, area, floor) {
  if (!points.length) return;
  pen.beginPath();
  points.forEach(([at, value], index) => {
    if (chart.steps && index) pen.lineTo(x(at), y(points[index - 1][1]));
    if (index) pen.lineTo(x(at), y(value));
    else pen.moveTo(x(at), y(value));
  });
  pen.strokeStyle = colour;
  pen.lineWidth = width;
  pen.stroke();
  if (!area) return;
  pen.lineTo(x(points.at(-1)[0]), floor);
  pen.lineTo(x(points[0][0]), floor);
  pen.fillStyle = area;
  pen.fill();
}

// Makes of a count since the start how fast it grew; one that fell was begun again by a restart.
function perMinute(points, column) {
  return points.slice(1).map((point, index) => {
    const before = points[index], grown = point[column] - before[column];
    return [point[0], (60 * (grown >= 0 ? grown : point[column])) / Math.max(point[0] - before[0], 0.5)];
  });
}
