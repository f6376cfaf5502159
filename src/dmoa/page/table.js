// The network as a table: all that the map shows, in words and numbers.

import { byName, el, put, rate, rho, seconds } from "./dom.js";
import { BARRED } from "./network.js";

const COLUMNS = [
  ["node", (node) => node.node],
  ["state", (node, scene) => ({ here: "here", late: `silent ${Math.round(scene.now - node.at)} s`, gone: "gone" })[scene.presence(node)]
    + (node.barred ? `, ${BARRED[node.barred] ?? node.barred}` : "")],
  ["model", (node) => node.model],
  ["slots", (node, scene) => `${Math.min(node.length, node.slots)} of ${node.slots}${scene.reads(node.node) ? ", reads ahead" : ""}`],
  ["waiting", (node) => `${Math.max(0, node.length - node.slots)}`],
  ["rho", (node) => `${rho(node).text} ${rho(node).word}`],
  ["asked", (node) => rate(node.arrival_rate)],
  ["service", (node) => (node.service_time ? seconds(node.service_time) : "–")],
  ["depth", (node) => (node.layers ? `m${node.layers}k${node.fanout}` : "alone")],
  ["refused", (node) => `${node.refused}`],
  ["declined", (node) => `${node.declined}`],
];

export class NodeTable {
  constructor(table, scene, choose) {
    this.scene = scene;
    this.choose = choose;
    this.body = el("tbody");
    const heads = COLUMNS.map(([name]) => el("th", { scope: "col" }, name));
    table.append(el("caption", { class: "unseen" }, "All nodes that this node knows"), el("thead", {}, el("tr", {}, ...heads)), this.body);
  }

  look() {
    const names = [...this.scene.nodes.keys()].sort(byName);
    const rows = new Map([...this.body.rows].map((row) => [row.dataset.node, row]));
    for (const [name, row] of rows) if (!this.scene.nodes.has(name)) row.remove();
    names.forEach((name, place) => {
      const row = rows.get(name) ?? this.row(name);
      if (this.body.rows[place] !== row) this.body.insertBefore(row, this.body.rows[place] ?? null);
      const node = this.scene.nodes.get(name);
      row.className = this.scene.presence(node);
      COLUMNS.forEach(([, text], column) => {
        const cell = row.cells[column];
        put(column ? cell : cell.firstChild, text(node, this.scene));
      });
    });
  }

  row(name) {
    const button = el("button", { type: "button", class: "link", on: { click: () => this.choose(name) } });
    const cells = COLUMNS.slice(1).map(() => el("td"));
    const row = el("tr", {}, el("th", { scope: "row" }, button), ...cells);
    row.dataset.node = name;
    return row;
  }
}
