// One answer on its way: its text token by token, how it ended, and what can be done with it.
// A server may hold text back (half a character, the beginning of a stop text), so tokens wait for the text they
// belong to; a piece that several tokens made is cut between them where their texts allow that.

import { copier, make } from "./elements.js";
import { Fault, streamAnswer } from "./server.js";
import { hide, tokenSpan } from "./tokens.js";
import { worded } from "./words.js";

export class Answer {
  /**
   * @param {string} model that answers
   * @param {{isNamed: boolean, lead?: string}} view `isNamed` when the name stands above; `lead` is the text it goes on with
   */
  constructor(model, { isNamed, lead = "" }) {
    hide(); // the card may tell of a token that goes
    this.model = model;
    this.state = "waiting";
    this.text = "";
    this.held = [];
    this.body = make("div", "text tokens");
    this.body.tabIndex = 0;
    this.lead = lead;
    this.meta = make("p", "meta");
    this.trouble = make("div", "trouble");
    this.acts = make("div", "acts");
    this.element = make("section", "answer", this.body, this.trouble, make("div", "foot", this.acts, this.meta));
    if (isNamed) this.element.prepend(make("p", "who", make("bdi", "", model)));
    this.showWaiting();
  }

  get isOver() {
    return this.state !== "waiting" && this.state !== "streaming";
  }

  showWaiting() {
    this.body.replaceChildren();
    if (this.lead) this.body.append(make("span", "lead-in", this.lead));
    this.waiting = make("span", "waiting", worded(make("span", "unseen"), "waiting"));
    this.body.append(this.waiting);
    this.element.setAttribute("aria-busy", "true");
  }

  /** Show an answer that was given before the page was loaded again; its probabilities are gone. */
  restore(text) {
    this.state = "done";
    this.text = text;
    this.body.append(make("span", "", text));
    this.end(0, 0);
  }

  /** Ask the server and fill in what comes. Never throws: what goes wrong is shown. */
  async fill(kind, body, signal, moved) {
    let usage = null;
    let count = 0;
    let began = 0;
    let last = 0;
    let reason = null;
    try {
      for await (const piece of streamAnswer(kind, body, signal)) {
        usage = piece.usage ?? usage;
        reason = piece.reason ?? reason;
        if (piece.text || piece.tokens.length) {
          last = performance.now();
          began ||= last;
          count += piece.tokens.length || 1;
          this.add(piece);
          moved();
        }
      }
      this.state = "done";
    } catch (fault) {
      this.state = fault.name === "AbortError" ? "stopped" : "failed";
      if (this.state === "failed") this.showFault(fault instanceof Fault ? fault : new Fault("strange", String(fault)));
      this.fault = fault;
    }
    this.reason = reason;
    this.end(usage?.completion_tokens ?? count, began && last > began ? ((count - 1) * 1000) / (last - began) : 0);
    moved();
  }

  add({ text, tokens }) {
    this.state = "streaming";
    this.held.push(...tokens);
    if (!text) return;
    this.waiting.remove();
    this.text += text;
    const made = this.held;
    this.held = [];
    if (made.length > 1 && made.map((one) => one.text).join("") === text) {
      this.body.append(...made.map((one) => tokenSpan(one.text, [one])));
    } else {
      this.body.append(tokenSpan(text, made));
    }
  }

  end(count, speed) {
    this.waiting.remove();
    this.element.setAttribute("aria-busy", "false");
    if (!this.text && this.state === "done") this.body.append(worded(make("span", "nothing"), "nothing"));
    const ending = this.state === "done" ? (this.reason === "length" ? "ended length" : "") : `ended ${this.state}`;
    if (count) this.meta.append(worded(make("span"), "tokens", { n: count }));
    if (speed) this.meta.append(worded(make("span"), "speed", { n: Math.round(speed * 10) / 10 }));
    if (ending && this.text) this.meta.append(worded(make("span"), ending));
    if (this.text) this.acts.append(copier(() => this.text));
  }

  showFault(fault) {
    this.trouble.replaceChildren(...faultWords(fault));
  }
}

/** What went wrong in words, and below it what the server said. */
export function faultWords(fault) {
  const words = [worded(make("p", "wrong"), `fault ${fault.kind}`, fault.values)];
  if (fault.detail) words.push(make("p", "how", make("bdi", "", fault.detail)));
  return words;
}
