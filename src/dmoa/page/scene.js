// What is known of the network, from the sights of the feed; tells whoever listens what changed.

const PAST_SECONDS = 2, PAST_POINTS = 150; // as the node keeps them
const FORGOTTEN = 60; // seconds after which a node that is gone is shown no more
const QUERIES = 200; // under way that are kept; beyond, the oldest are forgotten

export class Scene {
  constructor() {
    this.listeners = [];
    this.clear({});
  }

  clear(scene) {
    this.home = scene.node ?? "";
    this.version = scene.version ?? "";
    this.mode = scene.mode ?? "";
    this.origin = scene.origin ?? ""; // what does not live now is a record, or a simulation
    this.speed = scene.speed ?? 1;
    this.gossip = scene.gossip ?? 1;
    this.silence = scene.silence ?? 5;
    this.layersMax = scene.layers_max ?? 8;
    this.fanoutMax = scene.fanout_max ?? 32;
    this.nodes = new Map();
    this.queries = new Map();
    this.reading = new Map(); // jobs whose prompts are read ahead, and by whom
    this.past = new Map(Object.entries(scene.past ?? {}));
    this.began = scene.began ?? 0;
    this.over = Boolean(this.origin) && !this.speed && (scene.at ?? 0) > this.began;
    this.latest = scene.at ?? 0;
    this.heard = performance.now();
  }

  on(listener) {
    this.listeners.push(listener);
  }

  // The node's clock, as far as it can be told from here; that of a record may be quicker, or stand.
  get now() {
    return this.latest + (this.speed * (performance.now() - this.heard)) / 1000;
  }

  // What can be said of the feed in a word.
  get word() {
    if (!this.origin) return "live";
    if (this.over) return `${this.origin}, over`;
    return this.speed ? `${this.origin}, ×${this.speed}` : this.origin;
  }

  saw(sights) {
    for (const sight of sights) {
      if ((sight.at ?? 0) > this.latest && sight.kind !== "scene") {
        this.latest = sight.at;
        this.heard = performance.now();
      }
      this.take(sight);
      for (const listener of this.listeners) listener(sight);
    }
  }

  take(sight) {
    const act = TAKEN[sight.kind]; // a later node may tell of more
    if (act) act(this, sight);
  }

  // How many prompts a node reads ahead.
  reads(name) {
    let count = 0;
    for (const node of this.reading.values()) count += node === name;
    return count;
  }

  read({ job, node }) {
    this.reading.set(job, node);
    if (this.reading.size > QUERIES) this.reading.delete(this.reading.keys().next().value);
  }

  // Forgets what a node read, as it left or began anew.
  unread(name) {
    for (const [job, node] of this.reading) if (node === name) this.reading.delete(job);
  }

  hear(sight) {
    const known = this.nodes.get(sight.node), born = sight.incarnation ?? 0;
    if (known && known.incarnation < born) this.unread(sight.node);
    const sequence = sight.sequence ?? 0;
    if (known && (known.incarnation > born || (known.incarnation === born && known.sequence > sequence))) return;
    const filled = { ...EMPTY, ...sight, left: false };
    this.nodes.set(sight.node, filled);
    const line = this.past.get(sight.node) ?? [];
    if (line.length && filled.at - line.at(-1)[0] < PAST_SECONDS) return;
    const { length, utilisation, arrival_rate, service_time, layers, refused, declined } = filled;
    line.push([filled.at, length, utilisation, arrival_rate, service_time, layers, refused + declined]);
    if (line.length > PAST_POINTS) line.shift();
    this.past.set(sight.node, line);
  }

  // How a node is: `here`, `late` after a digest was missed, `gone`; the own is here while we hear of it.
  presence(node) {
    const age = this.now - node.at;
    if (node.left || age >= this.silence) return "gone";
    return age >= 2.2 * this.gossip + 0.5 ? "late" : "here";
  }

  // Forgets who is gone for long; true where somebody was.
  forget() {
    let any = false;
    for (const [name, node] of this.nodes) {
      if (name !== this.home && this.now - node.at > Math.max(FORGOTTEN, this.silence)) any = this.nodes.delete(name) && this.past.delete(name) || any;
    }
    return any;
  }

  query(name) {
    let query = this.queries.get(name);
    if (!query) {
      query = { name, layers: 0, fanout: 0, visits: new Map(), place: null };
      this.queries.set(name, query);
      if (this.queries.size > QUERIES) this.queries.delete(this.queries.keys().next().value);
    }
    return query;
  }

  get living() {
    return [...this.nodes.values()].filter((node) => this.presence(node) !== "gone");
  }
}

export const homeOf = (name) => name.split("/", 1)[0];

// What is left out of a sight is this.
const EMPTY = {
  model: "", incarnation: 0, sequence: 0, slots: 1, length: 0, utilisation: 0, arrival_rate: 0,
  service_time: 0, capacity: 0, layers: 0, fanout: 0, refused: 0, declined: 0, url: "", barred: "", at: 0, left: false,
};
export const VISIT = { layer: 0, role: "proposer", outcome: "pending", sent: 0, ended: 0, queued: 0, service: 0 };

const TAKEN = {
  scene(scene, sight) {
    scene.clear(sight);
    for (const part of ["nodes", "queries", "visits", "places"]) {
      for (const each of sight[part] ?? []) scene.take(each);
    }
  },
  node: (scene, sight) => scene.hear(sight),
  gone(scene, sight) {
    const node = scene.nodes.get(sight.node);
    if (node) node.left = true;
    scene.unread(sight.node);
  },
  asked: (scene, sight) => Object.assign(scene.query(sight.query), { layers: sight.layers ?? 0, fanout: sight.fanout ?? 0 }),
  visit: (scene, sight) => scene.query(sight.query).visits.set(sight.job, { ...VISIT, ...sight }),
  read: (scene, sight) => scene.read(sight),
  rest: (scene, sight) => scene.reading.delete(sight.job),
  job: (scene, sight) => { if ((sight.state ?? "waiting") !== "waiting") scene.reading.delete(sight.job); },
  pace(scene, sight) {
    Object.assign(scene, { speed: sight.speed ?? 0, over: !sight.speed, latest: sight.at ?? 0, heard: performance.now() });
  },
  place(scene, sight) { scene.query(sight.query).place = sight; },
  answered: (scene, sight) => scene.queries.delete(sight.query),
  failed: (scene, sight) => scene.queries.delete(sight.query),
  abandoned: (scene, sight) => scene.queries.delete(sight.query),
};
