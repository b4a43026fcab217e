// Conversations: each turn is what a person says, and below it the answers of all chosen models, side by side.
// Every model goes on with its own answers; a turn that nobody answered is left out of what is asked next.
// The tab keeps its conversation when it is loaded again, and forgets it when it is closed.

import { button, copier, make, memory, save, tell } from "./elements.js";
import { Answer } from "./replies.js";
import { sampling, wantsLogprobs } from "./settings.js";
import { hide } from "./tokens.js";
import { worded } from "./words.js";

const at = (id) => document.getElementById(id);

let turns = [];
let running = null;
let chosen = () => [];
let needsKey = () => {};

/** Begin; `models` tells who answers, `refused` is called when the server wants a key. */
export function setUp(models, refused) {
  chosen = models;
  needsKey = refused;
  at("chat-form").addEventListener("submit", (event) => {
    event.preventDefault();
    send();
  });
  at("chat-stop").addEventListener("click", stop);
  at("chat-clear").addEventListener("click", clear);
  at("chat-export").addEventListener("click", () => save("conversation.json", exported()));
  at("system-switch").addEventListener("click", () => {
    const isOpen = (at("system-box").hidden = !at("system-box").hidden) === false;
    at("system-switch").setAttribute("aria-expanded", String(isOpen));
    if (isOpen) at("system").focus();
  });
  restore();
}

/** What the tab remembers of its conversation; an answer that has no text yet, or never got any, is not one. */
function remember() {
  const given = (answers) => [...answers.values()].filter((one) => one.text).map(({ model, text }) => ({ model, text }));
  memory.write("turns", turns.map(({ said, answers }) => ({ said, answers: given(answers) })), "sessionStorage");
}

function restore() {
  for (const { said, answers } of memory.read("turns", [], "sessionStorage")) {
    const turn = newTurn(said);
    for (const { model, text } of answers) {
      const one = new Answer(model, { isNamed: answers.length > 1 });
      one.restore(text);
      one.acts.append(button("again", () => again(turn, { id: model })));
      turn.answers.set(model, one);
      turn.row.append(one.element);
    }
    turn.row.dataset.count = String(turn.answers.size);
  }
  showState();
}

/** Stop the answers that are on their way; tells whether there were any. */
export function stop() {
  running?.abort();
  return running !== null;
}

function send() {
  const field = at("message");
  if (running || !field.value.trim()) return;
  if (!ask(field.value)) return;
  field.value = "";
  field.dispatchEvent(new Event("input"));
  field.focus();
}

/** A new turn; false when it cannot be asked now. */
function ask(said) {
  if (!chosen().length) document.dispatchEvent(new Event("no-models"));
  const asked = chosen().length ? sampling() : null;
  if (!asked) return false;
  answer(newTurn(said), chosen(), asked);
  return true;
}

function newTurn(said) {
  const turn = { said, answers: new Map(), element: make("article", "turn"), row: make("div", "answers") };
  turns.push(turn);
  turn.element.append(saidElement(turn), turn.row);
  at("turns").append(turn.element);
  return turn;
}

async function answer(turn, models, asked) {
  running = new AbortController();
  showState();
  const everyone = new Set([...turn.answers.keys(), ...models.map((one) => one.id)]);
  for (const model of models) {
    const old = turn.answers.get(model.id);
    const one = new Answer(model.id, { isNamed: everyone.size > 1 });
    turn.answers.set(model.id, one);
    if (old) old.element.replaceWith(one.element);
    else turn.row.append(one.element);
  }
  turn.row.dataset.count = String(turn.answers.size);
  remember();
  isFollowing = true;
  follow();
  const filled = models.map((model) => {
    const body = { model: model.id, messages: messagesBefore(turn, model.id), ...asked };
    if (wantsLogprobs()) Object.assign(body, { logprobs: true, top_logprobs: 5 });
    return turn.answers.get(model.id).fill("chat", body, running.signal, follow);
  });
  await Promise.all(filled);
  running = null;
  for (const model of models) {
    const one = turn.answers.get(model.id);
    one.acts.append(button(one.state === "failed" ? "try again" : "again", () => again(turn, model)));
    if (one.fault?.kind === "key" || one.fault?.kind === "no key") needsKey();
  }
  tell([...turn.answers.values()].some((one) => one.state === "stopped") ? "was stopped" : "finished");
  showState();
  remember();
  follow();
}

/** What a model reads before it answers a turn. */
function messagesBefore(turn, model) {
  const system = at("system").value.trim();
  const messages = system && !at("system-box").hidden ? [{ role: "system", content: system }] : [];
  for (const one of turns.slice(0, turns.indexOf(turn))) {
    const own = one.answers.get(model);
    const spoken = own?.text ? own : [...one.answers.values()].find((other) => other.text);
    if (spoken) messages.push({ role: "user", content: one.said }, { role: "assistant", content: spoken.text });
  }
  return [...messages, { role: "user", content: turn.said }];
}

function again(turn, model) {
  const asked = running ? null : sampling();
  if (!asked) return;
  cutAfter(turn);
  answer(turn, [model], asked);
}

function cutAfter(turn) {
  for (const one of turns.splice(turns.indexOf(turn) + 1)) one.element.remove();
}

/** What a person said, with buttons to copy it and to say it otherwise. */
function saidElement(turn) {
  const text = make("div", "text", turn.said);
  const acts = make("div", "acts", button("edit", () => edit(turn, box)), copier(() => turn.said));
  const box = make("div", "said", worded(make("p", "who unseen"), "you"), text, acts);
  return box;
}

function edit(turn, box) {
  if (running) return;
  const field = make("textarea", "", turn.said);
  field.value = turn.said;
  field.dataset.sayLabel = "message";
  field.setAttribute("aria-label", at("message").labels[0].textContent);
  const end = () => box.replaceWith(saidElement(turn));
  const resend = () => {
    if (running || !field.value.trim() || !sampling()) return;
    const place = turns.indexOf(turn);
    for (const one of turns.splice(place)) one.element.remove();
    ask(field.value);
    at("message").focus();
  };
  field.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      event.stopPropagation();
      end();
    } else if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      event.stopPropagation();
      resend();
    }
  });
  box.replaceChildren(field, make("div", "acts", button("resend", resend, "quiet strong"), button("cancel", end)));
  field.focus();
}

function clear() {
  stop();
  hide();
  turns = [];
  at("turns").replaceChildren();
  remember();
  showState();
  at("message").focus();
}

function exported() {
  const models = [...new Set(turns.flatMap((turn) => [...turn.answers.keys()]))];
  const conversations = models.map((model) => {
    const last = turns.at(-1);
    const spoken = last.answers.get(model);
    const messages = messagesBefore(last, model);
    if (spoken?.text) messages.push({ role: "assistant", content: spoken.text });
    return { model, messages };
  });
  return { created: new Date().toISOString(), sampling: sampling() ?? {}, conversations };
}

function showState() {
  document.body.classList.toggle("busy", running !== null);
  at("chat").classList.toggle("begun", turns.length > 0);
  at("chat-stop").hidden = running === null;
  at("send").hidden = running !== null;
  at("chat-clear").disabled = turns.length === 0;
  at("chat-export").disabled = turns.length === 0 || running !== null;
}

let isFollowing = true;

addEventListener("scroll", () => {
  const page = document.documentElement;
  isFollowing = page.scrollHeight - page.clientHeight - scrollY < 80;
}, { passive: true });

/** Keep the newest words in view, unless the reader has scrolled away. */
function follow() {
  if (isFollowing) scrollTo({ top: document.documentElement.scrollHeight });
}
