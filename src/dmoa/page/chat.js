// A chat with the network: tokens as they come, and under each answer how it came about.

import { $, counted, el, put, seconds } from "./dom.js";
import { Refused, ask, eventsOf } from "./feed.js";
import { Tree } from "./tree.js";

const TURNS = 40; // of the conversation that are sent again
const SHOWN = 100; // turns that stay on the page
const TICK = 250; // ms between two looks at what is under way

export class Chat {
  constructor(scene) {
    this.scene = scene;
    this.turns = [];
    this.stop = null;
    this.log = $("log");
    this.text = $("ask");
    $("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.stop) this.stop.abort();
      else this.ask();
    });
    this.text.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        if (!this.stop) this.ask();
      }
    });
    document.addEventListener("keydown", (event) => { if (event.key === "Escape") this.stop?.abort(); });
    $("anew").addEventListener("click", () => this.anew());
  }

  anew() {
    this.stop?.abort();
    this.turns = [];
    this.log.replaceChildren(el("p", { class: "hint" }, "Ask, and see who proposes what, layer by layer."));
    this.text.focus();
  }

  async ask() {
    const question = this.text.value.trim();
    if (!question) return;
    this.text.value = "";
    this.log.querySelector(".hint")?.remove();
    for (const each of this.log.querySelectorAll("details.how[open]")) each.open = false;
    const mine = this.stop = new AbortController();
    const answer = { tree: new Tree(), said: el("p", { class: "said" }), status: el("p", { class: "status" }, "asking") };
    this.show(el("article", { class: "user", "aria-label": "You" }, el("p", { class: "said" }, question)));
    this.show(el("article", { class: "answer", "aria-label": "Answer" }, answer.status, answer.said, answer.tree.node));
    put($("send"), "Stop");
    this.log.setAttribute("aria-busy", "true");
    this.turns.push({ role: "user", content: question });
    const timer = setInterval(() => answer.tree.look(), TICK);
    try {
      await this.follow(answer, mine.signal);
      this.turns.push({ role: "assistant", content: answer.said.textContent });
    } catch (error) {
      this.turns.pop();
      this.lament(answer, error, mine.signal.aborted);
    } finally {
      clearInterval(timer);
      this.stop = null;
      this.log.removeAttribute("aria-busy");
      put($("send"), "Send");
    }
  }

  // Reads the stream of one answer to its end.
  async follow(answer, signal) {
    const body = { model: $("model").value, messages: this.turns.slice(-TURNS), stream: true, dmoa: { drafts: true } };
    const headers = { "Content-Type": "application/json" };
    const response = await ask("v1/chat/completions", { method: "POST", headers, body: JSON.stringify(body), signal });
    let ended = false;
    for await (const data of eventsOf(response)) {
      if (data === null || data === "[DONE]") continue;
      const chunk = JSON.parse(data);
      if (chunk.error) throw new Refused(0, chunk.error.message, chunk.error.dmoa);
      ended = this.take(answer, chunk) || ended;
    }
    if (!ended) throw new Refused(0, "the answer broke off: the node is not reached any more");
  }

  take(answer, chunk) {
    const choice = chunk.choices?.[0], told = chunk.dmoa ?? {};
    const follows = this.isAtEnd();
    if (choice?.delta?.content) {
      answer.said.append(choice.delta.content);
      put(answer.status, "");
    }
    if (told.queue) put(answer.status, placeWords(told.queue));
    if (told.progress) answer.tree.visit(told.progress);
    if (told.draft) answer.tree.draft(told.draft);
    if (told.jobs) answer.tree.end(told);
    if (choice?.finish_reason === "length") put(answer.status, "cut off at the length that was allowed");
    else if (choice?.finish_reason) put(answer.status, "");
    if (follows) this.log.scrollTop = this.log.scrollHeight;
    return Boolean(choice?.finish_reason);
  }

  lament(answer, error, stopped) {
    const told = error.told ?? {};
    if (told.jobs) answer.tree.end({ seconds: 0, ...told });
    else put(answer.tree.summary, stopped ? "stopped" : "no answer");
    const place = told.position ? ` It would have been ${ordinal(told.position)} in the queue.` : "";
    const again = told.retry_after_seconds ? ` Try again in ${seconds(told.retry_after_seconds)}.` : "";
    put(answer.status, stopped ? "stopped" : `No answer: ${error instanceof Refused ? error.message : "the node is not reached"}.${place}${again}`);
    answer.status.classList.add(stopped ? "hint" : "bad");
  }

  show(node) {
    this.log.append(node);
    while (this.log.children.length > SHOWN) this.log.firstChild.remove();
    this.log.scrollTop = this.log.scrollHeight;
  }

  isAtEnd() {
    return this.log.scrollHeight - this.log.scrollTop - this.log.clientHeight < 60;
  }
}

const ordinal = (count) => `${count}${["th", "st", "nd", "rd"][(count % 100 > 10 && count % 100 < 14 ? 0 : count % 10)] ?? "th"}`;

// Says where a query stands, as `dmoa ask` does.
function placeWords(place) {
  const soon = place.answers_in_seconds ? `, answer in about ${seconds(place.answers_in_seconds)}` : "";
  if (place.position) {
    const starts = place.starts_in_seconds ? `, starts in about ${seconds(place.starts_in_seconds)}` : "";
    return `${ordinal(place.position)} in the queue${starts}${soon}`;
  }
  if (place.layer > place.layers) return `${place.layers ? "aggregating" : "writing"}${soon}`;
  return `layer ${place.layer} of ${counted(place.layers, "layer")}${soon}`;
}
