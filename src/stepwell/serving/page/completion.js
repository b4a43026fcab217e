// Completion: a text that every chosen model goes on with, side by side.

import { button, make, save, tell } from "./elements.js";
import { Answer } from "./replies.js";
import { sampling, wantsLogprobs } from "./settings.js";
import { hide } from "./tokens.js";

const at = (id) => document.getElementById(id);
const LEAD_CHARACTERS = 160;

let running = null;
let chosen = () => [];
let needsKey = () => {};
let shown = { prompt: "", answers: [] };

/** Begin; see `chat.js`. */
export function setUp(models, refused) {
  chosen = models;
  needsKey = refused;
  at("completion-form").addEventListener("submit", (event) => {
    event.preventDefault();
    complete();
  });
  at("completion-stop").addEventListener("click", stop);
  at("completion-clear").addEventListener("click", () => {
    stop();
    hide();
    at("prompt").value = "";
    at("prompt").dispatchEvent(new Event("input"));
    shown = { prompt: "", answers: [] };
    at("completions").replaceChildren();
    showState();
    at("prompt").focus();
  });
  at("completion-export").addEventListener("click", () => {
    const completions = shown.answers.map((one) => ({ model: one.model, completion: one.text }));
    save("completion.json", { created: new Date().toISOString(), sampling: sampling() ?? {}, prompt: shown.prompt, completions });
  });
}

/** Stop what is on its way; tells whether there was anything. */
export function stop() {
  running?.abort();
  return running !== null;
}

/** The end of a prompt, from the beginning of a word. */
function leadOf(prompt) {
  if (prompt.length <= LEAD_CHARACTERS) return prompt;
  const end = [...prompt.slice(-LEAD_CHARACTERS)].join("");
  return "…" + end.slice(Math.max(0, Math.min(end.indexOf(" "), 20)));
}

async function complete(only = null) {
  const prompt = only ? shown.prompt : at("prompt").value;
  if (!chosen().length) document.dispatchEvent(new Event("no-models"));
  const asked = running || prompt === "" || !chosen().length ? null : sampling();
  if (!asked) return;
  const models = only ? [only.model] : chosen().map((one) => one.id);
  running = new AbortController();
  const made = models.map((model) => new Answer(model, { isNamed: models.length > 1 || shown.answers.length > 1, lead: leadOf(prompt) }));
  if (only) {
    only.element.replaceWith(made[0].element);
    shown.answers[shown.answers.indexOf(only)] = made[0];
  } else {
    shown = { prompt, answers: made };
    at("completions").replaceChildren(...made.map((one) => one.element));
    at("completions").dataset.count = String(made.length);
  }
  showState();
  await Promise.all(
    made.map((one) => {
      const body = { model: one.model, prompt, ...asked };
      if (wantsLogprobs()) body.logprobs = 5;
      return one.fill("completion", body, running.signal, () => {});
    }),
  );
  running = null;
  for (const one of made) {
    one.acts.append(button(one.state === "failed" ? "try again" : "again", () => complete(one)));
    if (one.text) one.acts.append(button("take over", () => takeOver(one)));
    if (one.fault?.kind === "key" || one.fault?.kind === "no key") needsKey();
  }
  tell(made.some((one) => one.state === "stopped") ? "was stopped" : "finished");
  showState();
}

function takeOver(one) {
  const field = at("prompt");
  field.value = shown.prompt + one.text;
  field.dispatchEvent(new Event("input"));
  field.focus();
  field.setSelectionRange(field.value.length, field.value.length);
  field.scrollTop = field.scrollHeight;
}

function showState() {
  document.body.classList.toggle("busy", running !== null);
  at("completion-stop").hidden = running === null;
  at("complete").hidden = running !== null;
  at("completion-export").disabled = running !== null || !shown.answers.some((one) => one.text);
}
