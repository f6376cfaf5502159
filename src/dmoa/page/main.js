// The page of a node: puts its parts together, and looks again every second while it is seen.

import { Charts } from "./charts.js";
import { Chat } from "./chat.js";
import { $, counted, el, put, remembered, rho, seconds } from "./dom.js";
import { follow, onKeyWanted } from "./feed.js";
import { NetworkMap } from "./network.js";
import { Planner, offer } from "./plan.js";
import { Scene } from "./scene.js";
import { NodeTable } from "./table.js";

const UNASKED = {
  record: "This is the record of a node, played again: it cannot be asked. No text of anybody is shown.",
  simulation: "This is a simulation: its nodes have no models that could be asked, only their service times.",
};
const LOOK = 1000; // ms between two looks at what no sight tells
const THEMES = ["auto", "light", "dark"];

const scene = new Scene();
const map = new NetworkMap($("map"), scene, choose);
const table = new NodeTable($("nodes"), scene, choose);
const charts = new Charts($("charts"), scene);
const planner = new Planner(scene);
new Chat(scene);
offer($("model"), scene);

scene.on((sight) => map.saw(sight));
scene.on((sight) => { if (sight.kind === "scene") { stage(); look(); planner.begin(); } });

// What does not live here can be watched, and not asked.
function stage() {
  for (const part of [$("model").parentNode, $("anew"), $("composer"), document.querySelector(".skip")]) part.hidden = Boolean(scene.origin);
  document.querySelector("main").classList.toggle("staged", Boolean(scene.origin));
  put($("chat-title"), scene.origin ? "Only to be watched" : "Ask");
  if (scene.origin) $("log").replaceChildren(el("p", { class: "hint" }, UNASKED[scene.origin] ?? `This is a ${scene.origin}.`));
}

function choose(name) {
  charts.select(name);
  const told = map.select(name), node = scene.nodes.get(name);
  const link = node && name !== scene.home && /^https?:\/\/[^\s]+$/.test(node.url) ? node.url : "";
  $("chosen").replaceChildren(told ? `${told}. ` : "Choose a node to see its lines below.",
    ...(link ? [el("a", { href: link, rel: "noreferrer noopener", target: "_blank" }, "its page")] : []));
}

function look() {
  if (document.hidden) return;
  map.look();
  if ($("as-table").open) table.look();
  charts.look();
  offer($("model"), scene);
  const { living, queries, home, origin } = scene;
  put($("home"), home);
  document.title = [home, origin, "dmoa"].filter(Boolean).join(" – ");
  const known = living.filter((node) => node.service_time);
  const busiest = known.sort((one, other) => other.utilisation - one.utilisation)[0];
  const parts = [counted(living.length, "node"), `${counted(queries.size, "query", "queries")} ${home ? "here" : "under way"}`];
  if (busiest) parts.push(`busiest ${busiest.node} ρ ${rho(busiest).text}`);
  if (scene.mode) parts.push(`mode ${scene.mode}`);
  if (origin) parts.push(`at ${seconds(scene.now - scene.began)}`);
  put($("sum"), scene.nodes.size ? parts.join(" · ") : "");
  if (scene.nodes.size) planner.again();
}

// -- the theme -------------------------------------------------------------------------------

function dress(theme) {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  put($("theme"), `Theme: ${theme}`);
  charts.look();
}
let theme = THEMES.includes(remembered("localStorage", "dmoa-theme")) ? remembered("localStorage", "dmoa-theme") : "auto";
dress(theme);
$("theme").addEventListener("click", () => {
  theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
  remembered("localStorage", "dmoa-theme", theme);
  dress(theme);
});

// -- keys, and the feed ----------------------------------------------------------------------

onKeyWanted((again) => new Promise((resolve) => {
  const dialog = $("key"), text = $("key-text");
  if (again) put($("key-why"), "That one does not fit.");
  text.value = "";
  dialog.addEventListener("cancel", (event) => event.preventDefault(), { once: true });
  dialog.addEventListener("close", () => resolve(text.value.trim()), { once: true });
  dialog.showModal();
}));

$("as-table").addEventListener("toggle", look);
follow({
  saw: (sights) => scene.saw(sights),
  state(kind, words) {
    $("state").dataset.state = kind;
    put($("state"), kind === "live" ? scene.word : words);
  },
});
setInterval(look, LOOK);
