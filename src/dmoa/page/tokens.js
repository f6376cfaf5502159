// The jobs on the map: they travel to a node, wait there, and come back as proposals.

import { isStill, svg } from "./dom.js";
import { VISIT, homeOf } from "./scene.js";

const TRAVEL = 650, FADE = 700, FAILED = 1600; // ms
const MOST = 240; // tokens at once; beyond, the oldest go
const BEND = 0.12; // of the way, to the one side going out and to the other coming back

export class Tokens {
  constructor(layer, scene, glyphOf) {
    this.layer = layer;
    this.scene = scene;
    this.glyphOf = glyphOf;
    this.tokens = new Map();
    this.moving = new Set();
    this.radius = 33;
    this.frame = 0;
    document.addEventListener("visibilitychange", () => { if (document.hidden) this.settle(); });
  }

  clear() {
    this.layer.replaceChildren();
    this.tokens.clear();
    this.moving.clear();
  }

  saw(sight) {
    if (sight.kind === "scene") {
      for (const query of this.scene.queries.values()) for (const visit of query.visits.values()) this.visit(visit, true);
    } else if (sight.kind === "visit") {
      this.visit({ ...VISIT, ...sight }, false);
    } else if (sight.kind === "job") {
      this.guest(sight);
    } else if (["answered", "failed", "abandoned"].includes(sight.kind)) {
      for (const [name, token] of this.tokens) if (token.query === sight.query && !token.ends) this.fade(name, "spared", FADE);
    } else if (sight.kind === "node" && sight.node === this.scene.home && !sight.length) {
      for (const [name, token] of this.tokens) if (token.guest && !token.ends) this.fade(name, "spared", FADE);
    }
  }

  // -- own queries ---------------------------------------------------------------------------

  visit(visit, isOld) {
    const home = homeOf(visit.query), away = visit.node !== home;
    const known = this.tokens.get(visit.job);
    if (visit.outcome === "pending") {
      if (known) return;
      const kind = visit.role === "proposer" ? `layer${(visit.layer - 1) % 4 + 1}` : "sum";
      const token = this.add(visit.job, kind, visit.role === "proposer" ? String(visit.layer) : visit.role === "ranker" ? "R" : "Σ");
      if (!token) return;
      token.query = visit.query;
      if (away && !isOld) this.go(token, home, visit.node);
      else this.park(token, visit.node);
    } else if (known && !known.ends) {
      if (visit.outcome === "ok" && away) this.bring(visit.job, known, visit.node, home);
      else if (visit.outcome === "ok" || visit.outcome === "spared") this.fade(visit.job, visit.outcome, FADE);
      else this.fade(visit.job, "bad", FAILED, "×");
    }
  }

  bring(name, token, from, home) {
    token.ends = true;
    token.node.classList.add("diamond");
    this.go(token, from, home, () => this.fade(name, "ok", FADE / 2));
  }

  // -- jobs of peers, served here ------------------------------------------------------------

  guest({ job, node, state = "waiting" }) {
    const home = homeOf(job);
    if (home === node) return;
    const known = this.tokens.get(job);
    if (state === "waiting" || state === "serving") {
      if (known) return;
      const token = this.add(job, "guest", "");
      if (!token) return;
      token.guest = true;
      this.go(token, home, node);
    } else if (known && !known.ends) {
      if (state === "served") this.bring(job, known, node, home);
      else this.fade(job, state === "withdrawn" ? "spared" : "bad", FADE);
    }
  }

  // -- one token -----------------------------------------------------------------------------

  add(name, kind, sign) {
    if (!this.radius) return null;
    if (this.tokens.size >= MOST) this.drop(this.tokens.keys().next().value);
    const shape = svg("rect", { x: -8, y: -8, width: 16, height: 16, rx: 8 });
    const node = svg("g", { class: `token ${kind}` }, shape, svg("text", { y: 3.5 }, sign));
    this.layer.append(node);
    const token = { node, at: "", x: 0, y: 0, ends: false };
    this.tokens.set(name, token);
    return token;
  }

  go(token, from, to, then) {
    const [one, other] = [this.glyphOf(from), this.glyphOf(to)];
    token.at = "";
    this.spread(from);
    const arrive = () => { if (then) then(); else this.park(token, to); };
    if (!one || !other || isStill() || document.hidden) {
      arrive();
      return;
    }
    const length = Math.hypot(other.x - one.x, other.y - one.y) || 1;
    const rim = (glyph, sign) => ({
      x: glyph.x + (sign * glyph.radius * (other.x - one.x)) / length, y: glyph.y + (sign * glyph.radius * (other.y - one.y)) / length,
    });
    const [start, goal] = [rim(one, 1), rim(other, -1)];
    Object.assign(token, { from: start, to: goal, began: performance.now(), arrive, bend: then ? -BEND : BEND });
    this.moving.add(token);
    this.place(token, start.x, start.y);
    if (!this.frame) this.frame = requestAnimationFrame((now) => this.step(now));
  }

  step(now) {
    this.frame = 0;
    for (const token of this.moving) {
      const part = Math.min(1, Math.max(0, (now - token.began) / TRAVEL));
      const eased = part < 0.5 ? 2 * part * part : 1 - 2 * (1 - part) ** 2;
      const { from, to } = token, [dx, dy] = [to.x - from.x, to.y - from.y];
      const side = token.bend * Math.sin(Math.PI * eased);
      this.place(token, from.x + dx * eased - dy * side, from.y + dy * eased + dx * side);
      if (part < 1) continue;
      this.moving.delete(token);
      token.arrive();
    }
    if (this.moving.size && !this.frame) this.frame = requestAnimationFrame((then) => this.step(then));
  }

  // Ends all ways at once, as nobody looks.
  settle() {
    for (const token of this.moving) {
      this.moving.delete(token);
      token.arrive();
    }
  }

  park(token, name) {
    token.at = name;
    this.spread(name);
  }

  // Sets those that wait at a node side by side above it.
  spread(name) {
    const glyph = this.glyphOf(name);
    if (!glyph) return;
    const here = [...this.tokens.values()].filter((token) => token.at === name);
    const beyond = glyph.radius + (glyph.radius < 20 ? 11 : 17), step = (this.radius < 20 ? 12 : 18) / beyond;
    here.forEach((token, seat) => {
      const angle = (seat - (here.length - 1) / 2) * Math.min(step, 5.5 / here.length) - Math.PI / 2;
      this.place(token, glyph.x + beyond * Math.cos(angle), glyph.y + beyond * Math.sin(angle));
    });
  }

  place(token, x, y) {
    token.node.setAttribute("transform", `translate(${x.toFixed(1)} ${y.toFixed(1)})${this.radius < 20 ? " scale(.62)" : ""}`);
  }

  fade(name, kind, ms, sign) {
    const token = this.tokens.get(name);
    if (!token) return;
    token.ends = true;
    token.node.classList.add(kind, "fading");
    if (sign) token.node.lastChild.textContent = sign;
    setTimeout(() => { if (this.tokens.get(name) === token) this.drop(name); }, ms);
  }

  drop(name) {
    const token = this.tokens.get(name);
    if (!token) return;
    this.tokens.delete(name);
    this.moving.delete(token);
    token.node.remove();
    if (token.at) this.spread(token.at);
  }

  layout(radius) {
    this.radius = radius;
    this.settle();
    for (const name of new Set([...this.tokens.values()].map((token) => token.at))) if (name) this.spread(name);
  }
}
