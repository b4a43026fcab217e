// The settings: which models answer, how they draw, and what is shown of probabilities.
// An empty field is left out of the request, so the model draws as it was found to do best.

import { make, memory } from "./elements.js";
import { say, worded } from "./words.js";

const CONTROLS = [
  { name: "temperature", low: 0, high: 2, step: 0.1 },
  { name: "top_p", low: 0.01, high: 1, step: 0.05 },
  { name: "top_k", low: 1, whole: true },
  { name: "min_p", low: 0, high: 1, step: 0.05 },
  { name: "repetition_penalty", low: 0.01, high: 100, step: 0.05 },
  { name: "max_tokens", low: 1, whole: true },
  { name: "seed", low: 0, whole: true },
];

const FIRST = { max_tokens: "256" };

const at = (id) => document.getElementById(id);

let remembered = { ...FIRST, logprobs: true, shade: false, models: null, ...memory.read("settings", {}) };

function remember(values) {
  remembered = { ...remembered, ...values };
  memory.write("settings", remembered);
}

/** A field with its name, its explanation and room for what is wrong with it. */
function control(name, field) {
  const label = worded(make("label"), name);
  const how = worded(make("p", "how"), `${name} how`);
  const wrong = make("p", "wrong");
  field.id = `set-${name.replaceAll(" ", "-")}`;
  how.id = `${field.id}-how`;
  wrong.id = `${field.id}-wrong`;
  label.htmlFor = field.id;
  field.setAttribute("aria-describedby", `${wrong.id} ${how.id}`);
  return make("div", "control", label, field, how, wrong);
}

/** Draw the controls, as they were left. */
export function setUp() {
  for (const one of CONTROLS) {
    const field = make("input");
    field.type = "text";
    field.inputMode = one.whole ? "numeric" : "decimal";
    field.autocomplete = "off";
    field.dataset.sayPlaceholder = "auto";
    field.value = remembered[one.name] ?? "";
    const box = control(one.name, field);
    at("controls").append(box);
    field.addEventListener("input", () => {
      remember({ [one.name]: field.value.trim() });
      check(one);
    });
    field.addEventListener("keydown", (event) => nudge(event, one, field));
  }
  const stops = make("textarea");
  stops.rows = 2;
  stops.value = remembered.stop ?? "";
  stops.spellcheck = false;
  const box = control("stop texts", stops);
  box.classList.add("wide");
  at("controls").append(box);
  stops.addEventListener("input", () => remember({ stop: stops.value }));
  at("defaults").addEventListener("click", reset);
  for (const [id, name] of [["wants-logprobs", "logprobs"], ["shade", "shade"]]) {
    at(id).checked = remembered[name];
    at(id).addEventListener("change", () => {
      remember({ [name]: at(id).checked });
      showShades();
    });
  }
  showShades();
}

function showShades() {
  document.body.classList.toggle("shades", remembered.shade && remembered.logprobs);
  at("shade").disabled = !remembered.logprobs;
}

function reset() {
  for (const one of CONTROLS) at(`set-${one.name}`).value = FIRST[one.name] ?? "";
  at("set-stop-texts").value = "";
  remember({ ...Object.fromEntries(CONTROLS.map((one) => [one.name, FIRST[one.name] ?? ""])), stop: "" });
  for (const one of CONTROLS) check(one);
}

/** The arrow keys count, as in a field of numbers, but a wheel over the field does nothing. */
function nudge(event, { low, high, step = 1 }, field) {
  if (event.key !== "ArrowUp" && event.key !== "ArrowDown") return;
  event.preventDefault();
  const old = field.value.trim() === "" ? (high === undefined ? low : Math.min(1, high)) : Number(field.value);
  if (!Number.isFinite(old)) return;
  const next = Math.min(high ?? Infinity, Math.max(low, old + (event.key === "ArrowUp" ? step : -step)));
  field.value = String(Math.round(next * 100) / 100);
  field.dispatchEvent(new Event("input"));
}

/** The value of a control: a number, null when the field is empty, or undefined when it says nothing sensible. */
function check({ name, low, high, whole }) {
  const field = at(`set-${name}`);
  const text = field.value.trim();
  const value = Number(text);
  const wrong = at(`set-${name}-wrong`);
  const isNumber = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text);
  const inside = isNumber && value >= low && value <= (high ?? Number.MAX_SAFE_INTEGER);
  const fault = text === "" ? "" : !inside ? (high === undefined ? "too low" : "out of range") : whole && !Number.isInteger(value) ? "not whole" : "";
  field.setAttribute("aria-invalid", String(fault !== ""));
  if (fault) worded(wrong, fault, { name: say(name), low, high });
  else {
    delete wrong.dataset.say;
    wrong.textContent = "";
  }
  return fault ? undefined : text === "" ? null : value;
}

/** What is asked of the server besides the text; null when a field is wrong, and then it is shown. */
export function sampling() {
  const asked = {};
  for (const one of CONTROLS) {
    const value = check(one);
    if (value === undefined) {
      at("open-settings").dispatchEvent(new CustomEvent("show"));
      at(`set-${one.name}`).focus();
      return null;
    }
    if (value !== null) asked[one.name] = value;
  }
  const lines = at("set-stop-texts").value.split("\n").filter((line) => line !== "");
  if (lines.length) asked.stop = lines.map((line) => line.replace(/\\([nt\\])/g, (_, one) => ({ n: "\n", t: "\t" })[one] ?? "\\"));
  return asked;
}

export const wantsLogprobs = () => remembered.logprobs;

/** Show what can be chosen among; gives the function that tells the chosen ones. */
export function chooseModels(models, facts, changed) {
  const wanted = new Set(remembered.models ?? []);
  const known = models.filter((one) => wanted.has(one.id));
  const chosen = new Set((known.length ? known : models.slice(0, 1)).map((one) => one.id));
  const rows = models.map((one, place) => {
    const box = make("input");
    box.type = "checkbox";
    box.id = `model-${place}`;
    box.checked = chosen.has(one.id);
    box.addEventListener("change", () => {
      if (box.checked) chosen.add(one.id);
      else if (chosen.size > 1) chosen.delete(one.id);
      else box.checked = true; // one has to answer
      remember({ models: [...chosen] });
      changed();
    });
    const name = make("span", "name", make("bdi", "", one.id));
    const about = facts(one);
    const label = make("label", "check", box, about ? make("span", "", name, about) : name);
    if (models.length === 1) box.hidden = true;
    return label;
  });
  at("models").replaceChildren(...(rows.length ? rows : [worded(make("p", "how"), "no models")]));
  if (rows.length > 1) at("models").append(worded(make("p", "how"), "side by side"));
  return () => models.filter((one) => chosen.has(one.id));
}
