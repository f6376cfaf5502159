// Draws the network: nodes with rings of slots and queue, and who speaks with whom.

import { byName, counted, el, put, rho, seconds, svg } from "./dom.js";
import { homeOf } from "./scene.js";
import { Tokens } from "./tokens.js";

const QUEUE_FULL = 5; // jobs per slot at which a node declines others', so that its ring is full
const SLOTS_DRAWN = 16; // beyond, slots are drawn as one arc
export const BARRED = { shunned: "shunned", untrusted: "not trusted" };
const TURN = 2 * Math.PI, FAN = 0.24 * TURN; // radians

export class NetworkMap {
  constructor(place, scene, choose) {
    this.scene = scene;
    this.choose = choose;
    this.chosen = "";
    this.glyphs = new Map();
    this.links = new Map(); // where there is no home: those that carry jobs, by their ends
    this.size = { width: 0, height: 0 };
    this.edges = svg("g", { class: "edges" });
    this.places = svg("g", { class: "nodes" });
    this.moving = svg("g", { class: "tokens", "aria-hidden": "true" });
    this.picture = svg("svg", { role: "group", tabindex: "0", on: { keydown: (event) => this.key(event) } },
      this.edges, this.places, this.moving);
    place.append(this.picture, this.empty = el("p", { class: "hint" }, "Nobody is here yet."));
    this.tokens = new Tokens(this.moving, scene, (name) => this.glyphs.get(name));
    new ResizeObserver(() => this.layout()).observe(place);
    this.place = place;
  }

  saw(sight) {
    if (sight.kind === "scene") {
      this.tokens.clear();
      this.draw();
    } else if (sight.kind === "node" && !this.glyphs.has(sight.node)) {
      this.draw();
    } else if (["node", "gone", "read", "rest", "job"].includes(sight.kind)) {
      this.show(sight.node);
    } else if (sight.kind === "answered") {
      this.flash(sight.query.split("/", 1)[0]);
    }
    this.tokens.saw(sight);
    if (sight.kind === "visit" || sight.kind === "scene") this.linkSoon();
  }

  // Looks again who is late or gone, which no sight tells.
  look() {
    if (this.scene.forget()) this.draw();
    for (const name of this.scene.nodes.keys()) this.show(name);
    this.link();
    const { nodes, living, home } = this.scene;
    this.empty.hidden = nodes.size > 0;
    const busiest = living.filter((node) => node.service_time).sort((a, b) => b.utilisation - a.utilisation)[0];
    const most = busiest ? `, the busiest is ${busiest.node} with rho ${rho(busiest).text}` : "";
    this.picture.setAttribute("aria-label",
      `${counted(living.length, "node")}${home ? `, seen from ${home}` : ""}${most}. Arrow keys go from node to node.`);
  }

  // -- where nodes are -----------------------------------------------------------------------

  draw() {
    const names = [...this.scene.nodes.keys()].sort(byName);
    for (const [name, glyph] of this.glyphs) {
      if (this.scene.nodes.has(name)) continue;
      glyph.node.remove();
      glyph.edge?.remove();
      this.glyphs.delete(name);
    }
    for (const name of names) if (!this.glyphs.has(name)) this.glyphs.set(name, this.glyph(name));
    this.layout();
  }

  layout() {
    const width = this.place.clientWidth, narrow = width < 560;
    const names = [...this.glyphs.keys()].sort(byName);
    const others = names.filter((name) => name !== this.scene.home);
    const height = others.length > 24 ? (narrow ? 560 : 600) : others.length > 3 ? 420 : narrow ? 340 : 380;
    if (!width) return;
    this.picture.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.picture.setAttribute("width", width);
    this.picture.setAttribute("height", height);
    this.radius = others.length > 24 ? (narrow ? 11 : 15) : others.length > 10 ? (narrow ? 15 : 22) : narrow ? 25 : 33;
    const home = this.glyphs.get(this.scene.home), fans = Boolean(home) && others.length <= 3;
    const centre = { x: width / 2, y: fans ? height * 0.64 : height / 2 - 8 };
    const room = { x: width / 2 - this.radius - (narrow ? 26 : 70), y: centre.y - this.radius - 28 };
    if (home) this.put(home, centre.x, centre.y, this.radius * (others.length > 24 ? 1.7 : 1.2));
    let at = 0;
    ringsOf(others.length, Boolean(home)).forEach(({ count, part }, ring) => {
      // A few stand before their home like a fan, more around it; even rings have none on top.
      const angles = spaced(count, room, ring % 2 || count % 2 === 0 ? 0.5 : 0);
      for (let seat = 0; seat < count; seat += 1) {
        const angle = fans ? FAN * (seat - (count - 1) / 2) - TURN / 4 : angles[seat];
        const glyph = this.glyphs.get(others[at]);
        this.put(glyph, centre.x + room.x * part * Math.cos(angle), centre.y + room.y * part * Math.sin(angle), this.radius);
        at += 1;
      }
    });
    this.picture.classList.toggle("many", others.length > 24);
    this.picture.classList.toggle("some", others.length > 10);
    this.tokens.layout(this.radius);
    for (const name of names) this.show(name);
    this.link();
  }

  put(glyph, x, y, radius) {
    Object.assign(glyph, { x, y, radius });
    glyph.node.style.transform = `translate(${x}px, ${y}px)`;
    for (const [name, extra] of [["disc", -4], ["track", 0], ["queue", 6], ["halo", 11]]) {
      glyph[name].setAttribute("r", Math.max(radius + (radius < 20 ? extra * 0.6 : extra), 4));
    }
    glyph.name.setAttribute("y", radius + (radius < 20 ? 13 : 26));
    glyph.model.setAttribute("y", radius + 41);
    glyph.drawn = "";
  }

  glyph(name) {
    const parts = { disc: svg("circle", { class: "disc" }), track: svg("circle", { class: "track" }) };
    parts.slots = svg("g", { class: "slots" });
    parts.queue = svg("circle", { class: "queue", pathLength: 100, transform: "rotate(-90)" });
    parts.halo = svg("circle", { class: "halo" });
    parts.rho = svg("text", { class: "rho" });
    parts.word = svg("text", { class: "word" });
    parts.name = svg("text", { class: "name" }, name);
    parts.model = svg("text", { class: "model" });
    const order = [parts.halo, parts.disc, parts.track, parts.slots, parts.queue, parts.rho, parts.word, parts.name, parts.model];
    const isHome = name === this.scene.home;
    parts.node = svg("g", { class: isHome ? "node home" : "node", role: "img", on: { click: () => this.choose(name) } }, ...order);
    this.places.append(parts.node);
    if (!isHome && this.scene.home) this.edges.append(parts.edge = svg("path"));
    return { ...parts, x: 0, y: 0, radius: 20, drawn: "" };
  }

  // -- how they are --------------------------------------------------------------------------

  show(name) {
    const node = this.scene.nodes.get(name), glyph = this.glyphs.get(name);
    if (!node || !glyph) return;
    const presence = this.scene.presence(node), load = rho(node);
    const age = presence === "here" ? "" : presence === "gone" ? "gone" : `silent ${Math.round(this.scene.now - node.at)} s`;
    const { slots, length, model } = node;
    const barred = BARRED[node.barred] ?? node.barred;
    const ahead = presence === "gone" ? 0 : Math.min(slots, this.scene.reads(name));
    const drawn = [presence, age, barred, load.text, slots, length, ahead, model, this.chosen === name, glyph.radius].join();
    if (glyph.drawn === drawn) return;
    glyph.drawn = drawn;
    const kept = ["node", presence, load.kind, name === this.scene.home && "home", name === this.chosen && "chosen", barred && "barred"];
    const marks = [...glyph.node.classList].filter((each) => each === "flash" || each === "adding");
    glyph.node.setAttribute("class", [...kept.filter(Boolean), ...marks].join(" "));
    const waiting = Math.max(0, length - slots), serving = Math.min(length, slots);
    put(glyph.rho, glyph.radius < 13 ? load.text.replace(/^0|(?<=\..)\d$/, "") : load.text);
    put(glyph.word, waiting ? `+${waiting}` : load.word);
    put(glyph.model, age || barred || short(model));
    const small = glyph.radius < 24;
    glyph.rho.setAttribute("y", small ? 3.5 : 3);
    glyph.word.setAttribute("y", 17);
    drawSlots(glyph, slots, serving, ahead);
    const full = Math.min(1, waiting / (QUEUE_FULL * slots - slots || 1));
    glyph.queue.setAttribute("stroke-dasharray", `${Math.max(full * 100, waiting ? 6 : 0)} 100`);
    const told = `${name}, ${model || "no model"}, ${[age || "here", barred].filter(Boolean).join(", ")}, rho ${load.text} ${load.word}, ` +
      `${serving} of ${counted(slots, "slot")} in use, ${waiting} waiting, ` +
      `${seconds(node.service_time)} per job${ahead ? `, reads ahead for ${counted(ahead, "job")} to come` : ""}`;
    glyph.node.setAttribute("aria-label", told);
    glyph.told = told;
  }

  // Draws the links with the next picture: of visits, very many may come at once.
  linkSoon() {
    this.linking ||= requestAnimationFrame(() => {
      this.linking = 0;
      this.link();
    });
  }

  // Draws the links, and which of them carry jobs now.
  link() {
    const home = this.glyphs.get(this.scene.home);
    if (!home) {
      this.linkAll();
      return;
    }
    const busy = new Map();
    for (const query of this.scene.queries.values()) {
      for (const visit of query.visits.values()) {
        if (visit.outcome === "pending") busy.set(visit.node, visit.layer);
      }
    }
    for (const [name, glyph] of this.glyphs) {
      if (!glyph.edge) continue;
      const path = `M${home.x} ${home.y}L${glyph.x} ${glyph.y}`;
      if (glyph.edge.getAttribute("d") !== path) glyph.edge.setAttribute("d", path);
      const node = this.scene.nodes.get(name);
      const presence = node ? this.scene.presence(node) : "gone";
      const layer = busy.has(name) ? ` busy layer${(busy.get(name) - 1) % 4 + 1}` : "";
      const kind = presence + layer + (node?.barred ? " barred" : "");
      if (glyph.edge.getAttribute("class") !== kind) glyph.edge.setAttribute("class", kind);
    }
    const adding = [...this.scene.queries.values()].some((query) =>
      [...query.visits.values()].some((visit) => visit.role === "aggregator" && visit.outcome === "pending"));
    home.node.classList.toggle("adding", adding);
  }

  // Draws the links of all homes that carry jobs now, where the network is nobody's.
  linkAll() {
    const busy = new Map(), adding = new Set();
    for (const query of this.scene.queries.values()) {
      const from = homeOf(query.name);
      for (const visit of query.visits.values()) {
        if (visit.outcome !== "pending") continue;
        if (visit.node !== from) busy.set(`${from} ${visit.node}`, visit.layer);
        else if (visit.role === "aggregator") adding.add(from);
      }
    }
    for (const [ends, edge] of this.links) {
      if (busy.has(ends)) continue;
      edge.remove();
      this.links.delete(ends);
    }
    for (const [ends, layer] of busy) {
      const [one, other] = ends.split(" ").map((name) => this.glyphs.get(name));
      if (!one || !other) continue;
      const edge = this.links.get(ends) ?? svg("path");
      const path = `M${one.x} ${one.y}L${other.x} ${other.y}`, kind = `busy layer${(layer - 1) % 4 + 1}`;
      if (edge.getAttribute("d") !== path) edge.setAttribute("d", path);
      if (edge.getAttribute("class") !== kind) edge.setAttribute("class", kind);
      if (this.links.has(ends)) continue;
      this.links.set(ends, edge);
      this.edges.append(edge);
    }
    for (const [name, glyph] of this.glyphs) glyph.node.classList.toggle("adding", adding.has(name));
  }

  flash(name) {
    const node = this.glyphs.get(name)?.node;
    if (!node) return;
    node.classList.add("flash");
    setTimeout(() => node.classList.remove("flash"), 900);
  }

  // -- the keyboard --------------------------------------------------------------------------

  key(event) {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") this.choose("");
    if (!step) return;
    event.preventDefault();
    const names = [...this.glyphs.keys()].sort(byName);
    const next = names.indexOf(this.chosen) + step;
    this.choose(names[(next + names.length) % names.length] ?? "");
  }

  select(name) {
    this.chosen = name;
    for (const each of this.glyphs.keys()) this.show(each);
    return this.glyphs.get(name)?.told ?? "";
  }
}

const short = (text) => (text.length > 18 ? `${text.slice(0, 17)}…` : text);

// Shares so many peers among rings around a home; each ring with its part of the whole radius.
function ringsOf(count, hasHome) {
  const parts = count > 40 ? [0.42, 0.71, 1] : count > 24 ? [0.52, 1] : [1];
  if (!hasHome && count > 40) parts.unshift(0.14);
  const sum = parts.reduce((one, other) => one + other, 0);
  let left = count;
  return parts.map((part, ring) => {
    const share = ring === parts.length - 1 ? left : Math.round((count * part) / sum);
    left -= share;
    return { count: share, part };
  });
}

// Lists the angles at which so many nodes are equally far apart on an ellipse, from the top on.
function spaced(count, { x, y }, offset) {
  const steps = 360, lengths = [0];
  for (let step = 1; step <= steps; step += 1) {
    const angle = TURN * ((step - 0.5) / steps - 0.25);
    lengths.push(lengths[step - 1] + Math.hypot(x * Math.sin(angle), y * Math.cos(angle)));
  }
  return Array.from({ length: count }, (_, seat) => {
    const goal = (lengths[steps] * (seat + offset)) / count;
    return TURN * (lengths.findIndex((length) => length >= goal) / steps - 0.25);
  });
}

// Draws an arc for each slot, those in use filled, and dotted that in which a prompt is read ahead;
// a single one where there are very many.
function drawSlots(glyph, slots, serving, ahead) {
  const arcs = Math.min(slots, SLOTS_DRAWN) === slots ? slots : 1;
  const key = `${arcs}/${glyph.radius}`;
  if (glyph.arcs !== key) {
    glyph.arcs = key;
    const gap = arcs === 1 ? 0 : Math.min(0.25, 1.2 / arcs);
    glyph.slots.replaceChildren(...Array.from({ length: arcs }, (_, slot) => {
      const from = TURN * (slot / arcs - 0.25) + gap / 2, span = TURN / arcs - gap;
      return svg("path", { d: arc(glyph.radius, from, from + Math.min(span, TURN - 0.001)), pathLength: 100 });
    }));
  }
  [...glyph.slots.children].forEach((path, slot) => {
    const full = arcs === slots ? (slot < serving ? 100 : 0) : (100 * serving) / slots;
    const reads = arcs === slots && slot >= slots - ahead; // whatever the last digest said
    path.setAttribute("stroke-dasharray", reads ? "0.1 8.9" : `${full} 200`);
    if (reads) path.removeAttribute("pathLength"); // dots are as far apart on every arc
    else path.setAttribute("pathLength", 100);
    path.classList.toggle("reads", reads);
    path.style.visibility = full || reads ? "" : "hidden"; // round ends would leave a dot
  });
}

function arc(radius, from, to) {
  const at = (angle) => `${(radius * Math.cos(angle)).toFixed(2)} ${(radius * Math.sin(angle)).toFixed(2)}`;
  return `M${at(from)}A${radius} ${radius} 0 ${to - from > Math.PI ? 1 : 0} 1 ${at(to)}`;
}
