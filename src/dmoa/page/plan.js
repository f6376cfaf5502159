// The planner's what-if: how busy the network would be, and how long its answers would take.

import { $, counted, el, isStill, put, rate, seconds } from "./dom.js";
import { Refused, ask } from "./feed.js";

const SETTLE = 120; // ms between a slider's last step and the question
const AGAIN = 5000; // ms until the network's own figures are looked at again, while nobody plans

export class Planner {
  constructor(scene) {
    this.scene = scene;
    this.timer = 0;
    this.moved = false;
    this.asked = 0;
    this.stop = null;
    this.shape = [1, 2];
    this.sliders = [$("plan-m"), $("plan-k"), $("plan-l")];
    for (const slider of this.sliders) {
      slider.addEventListener("input", () => {
        this.moved = true;
        this.tell();
        this.soon();
      });
    }
    this.bar = el("i");
    this.figures = Object.fromEntries(["rho", "limit", "mean", "p95", "jobs"].map((name) => [name, el("dd")]));
    this.note = el("p", { class: "hint" });
    const terms = { rho: "busiest ρ", limit: "carries, per node", mean: "mean answer", p95: "95 of 100 within", jobs: "jobs per query" };
    $("planned").append(
      el("div", { class: "meter", "aria-hidden": "true" }, this.bar, el("span", {}, "1")),
      el("dl", {}, ...Object.entries(terms).map(([name, term]) => el("div", {}, el("dt", {}, term), this.figures[name]))),
      this.note,
    );
  }

  // Takes the network's own mixture and arrival rate as what is first looked at.
  begin() {
    const { scene } = this, own = scene.nodes.get(scene.home) ?? scene.nodes.values().next().value, others = Math.max(scene.living.length - 1, 0);
    this.sliders[0].max = Math.min(4, scene.layersMax);
    this.sliders[1].max = Math.min(Math.max(others, 0), 8, scene.fanoutMax);
    if (!this.moved && own) {
      const rates = scene.living.map((node) => node.arrival_rate);
      const mean = rates.reduce((one, other) => one + other, 0) / Math.max(rates.length, 1);
      const [layers, fanout] = own.layers ? [own.layers, own.fanout] : this.shape;
      this.set(layers, fanout, mean > 0.001 ? mean : 0.05);
    }
    this.tell();
    this.soon();
  }

  // Looks again how the network stands, until somebody plans: then the plan stays as it was made.
  again() {
    if (this.moved || performance.now() - this.asked < AGAIN) return;
    this.begin();
  }

  set(layers, fanout, arrivals) {
    [layers, fanout, Math.log10(arrivals)].forEach((value, which) => { this.sliders[which].value = value; });
  }

  get wish() {
    const [layers, fanout, arrivals] = this.sliders.map((slider) => Number(slider.value));
    return { layers, fanout, arrival_rate: Number((10 ** arrivals).toPrecision(3)) };
  }

  tell() {
    const { layers, fanout, arrival_rate } = this.wish;
    put($("plan-m-told"), `${layers}`);
    put($("plan-k-told"), `${fanout}`);
    put($("plan-l-told"), rate(arrival_rate));
    this.sliders[2].setAttribute("aria-valuetext", `${rate(arrival_rate)} at each node`);
  }

  soon() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.look(), SETTLE);
  }

  async look() {
    if (document.hidden) return;
    this.asked = performance.now();
    this.stop?.abort();
    const mine = this.stop = new AbortController();
    // Before anybody plans, the node need not load what predicts latencies.
    const wish = new URLSearchParams({ ...this.wish, latency: this.moved });
    try {
      const response = await ask(`v1/plan?${wish}`, { signal: mine.signal });
      this.show(await response.json());
    } catch (error) {
      if (mine.signal.aborted) return;
      put(this.note, error instanceof Refused ? error.message : "The node is not reached.");
    }
  }

  show(told) {
    put(this.figures.jobs, `${told.visits}`);
    const known = told.service_time !== null;
    const load = known ? told.utilisation : 0;
    put(this.figures.rho, known ? `${load >= 100 ? "over 99" : load.toFixed(2)} ${told.stable ? "stable" : "over"}` : "–");
    put(this.figures.limit, known ? `λ < ${rate(told.arrival_rate_max)}` : "–");
    put(this.figures.mean, told.latency ? seconds(told.latency.mean) : "–");
    put(this.figures.p95, told.latency ? seconds(told.latency.p95) : "–");
    const kind = !known ? "none" : load >= 1 ? "over" : load >= 0.75 ? "busy" : "calm";
    this.bar.className = kind;
    this.figures.rho.className = kind;
    this.bar.style.width = `${Math.min(load / 1.5, 1) * 100}%`;
    this.bar.style.transition = isStill() ? "none" : "";
    const busiest = told.bottleneck && this.scene.nodes.size > 1 ? `Busiest: ${told.bottleneck}. ` : "";
    const words = told.why ? `Nothing to reckon with yet: ${told.why}.` : (told.doubts ?? []).join("; ");
    put(this.note, told.why ? words : busiest + (this.moved ? words : "Move a slider, and latency is predicted too."));
  }
}

// Offers the mixtures that the living nodes can make, and keeps what was chosen.
export function offer(select, scene) {
  const own = scene.nodes.get(scene.home);
  const peers = Math.max(scene.living.length - 1, 0);
  const shapes = ["1.1", "1.2", "2.1", "2.2", "2.3", "3.3"].map((each) => each.split("."))
    .filter(([layers, fanout]) => fanout <= peers && layers <= scene.layersMax);
  const usual = own ? (own.layers ? `, now m${own.layers}k${own.fanout}` : ", now this model alone") : "";
  const words = new Map([["dmoa", `the usual${usual}`]]);
  for (const [layers, fanout] of shapes) {
    words.set(`dmoa-m${layers}k${fanout}`, `${counted(Number(layers), "layer")}, ${counted(Number(fanout), "peer")}`);
  }
  words.set("local", "this model alone");
  const offered = JSON.stringify([...words]);
  if (offered === select.dataset.offered) return;
  select.dataset.offered = offered;
  const before = select.value;
  select.replaceChildren(...[...words].map(([name, text]) => el("option", { value: name }, text)));
  select.value = words.has(before) ? before : "dmoa";
}
