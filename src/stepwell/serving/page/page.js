// The page put together: models, tabs, keys of the keyboard, the key of the server, looks and language.

import * as chat from "./chat.js";
import * as completion from "./completion.js";
import { make, memory } from "./elements.js";
import { faultWords } from "./replies.js";
import { Fault, hasKey, listModels, useKey } from "./server.js";
import * as settings from "./settings.js";
import * as tasks from "./tasks.js";
import * as tokens from "./tokens.js";
import { language, say, speak, worded } from "./words.js";

const at = (id) => document.getElementById(id);
const TABS = ["chat", "completion", "tasks"];

let models = [];
let chosen = () => [];

/** Whether a model can do something; one that does not tell is taken for one that writes. */
const does = (one, task) => !Array.isArray(one.tasks) || one.tasks.includes(task);

const CAN = {
  chat: (one) => does(one, "chat") && one.has_chat_template !== false,
  completion: (one) => does(one, "complete"),
  tasks: (one) => tasks.tasksOf(one).length > 0,
};

/** What is worth knowing of a model. */
function facts(one) {
  if (!one.max_seq_len) return null;
  return worded(make("small"), "model facts", { tokens: one.max_seq_len });
}

const tab = () => TABS.find((name) => at(`tab-${name}`).getAttribute("aria-selected") === "true");

function open(name, { byHand = false } = {}) {
  for (const one of TABS) {
    at(`tab-${one}`).setAttribute("aria-selected", String(one === name));
    at(`tab-${one}`).tabIndex = one === name ? 0 : -1;
    at(one).hidden = one !== name;
  }
  document.body.dataset.tab = name;
  chosen = settings.chooseModels(models.filter(CAN[name]), facts, showChosen);
  showChosen();
  if (byHand) history.replaceState(null, "", `#${name}`);
}

function showChosen() {
  at("chat-models").replaceChildren(...chosen().map((one) => make("bdi", "", one.id)));
}

async function load() {
  at("trouble").replaceChildren();
  try {
    models = await listModels();
  } catch (fault) {
    if (fault.kind === "no key" || fault.kind === "key") askForKey(fault);
    else showTrouble(fault instanceof Fault ? fault : new Fault("strange", String(fault)));
    return;
  }
  at("key").hidden = true;
  at("tab-tasks").hidden = !models.some(CAN.tasks);
  tasks.show(models.filter(CAN.tasks));
  const wanted = location.hash.slice(1);
  const able = TABS.filter((name) => models.some(CAN[name]));
  open(able.includes(wanted) ? wanted : able[0] ?? "chat");
}

function showTrouble(fault) {
  const again = worded(make("button", "quiet"), "try again");
  again.addEventListener("click", load);
  at("trouble").replaceChildren(...faultWords(fault), again);
}

function askForKey(fault = null) {
  at("key").hidden = false;
  at("key-field").value = "";
  if (fault && hasKey()) at("trouble").replaceChildren(...faultWords(fault));
  at("key-field").focus();
}

function setUpTabs() {
  for (const name of TABS) at(`tab-${name}`).addEventListener("click", () => open(name, { byHand: true }));
  document.querySelector("[role=tablist]").addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const seen = TABS.filter((name) => !at(`tab-${name}`).hidden);
    const next = seen[(seen.indexOf(tab()) + step + seen.length) % seen.length];
    open(next, { byHand: true });
    at(`tab-${next}`).focus();
  });
}

function setUpLooks() {
  const isDark = () =>
    (document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  at("theme").addEventListener("click", () => {
    const next = isDark() ? "light" : "dark";
    document.documentElement.dataset.theme = next;
    keep("theme", next);
  });
  at("language").addEventListener("click", () => {
    speak(language() === "zh" ? "en" : "zh");
    keep("language", language());
    tasks.show(models.filter(CAN.tasks));
  });
}

/** These two are read before the page is drawn (early.js), as they are. */
function keep(name, value) {
  try {
    localStorage.setItem(`stepwell.${name}`, value);
  } catch {
    // then it is not remembered
  }
}

function setUpSheet() {
  const narrow = matchMedia("(max-width: 920px)");
  const show = (isOpen) => {
    document.body.classList.toggle("sheet", isOpen);
    at("open-settings").setAttribute("aria-expanded", String(isOpen));
    at("work").inert = document.querySelector(".top").inert = isOpen && narrow.matches;
    if (isOpen) at("close-settings").focus();
    else if (narrow.matches) at("open-settings").focus();
  };
  at("open-settings").addEventListener("click", () => show(true));
  at("open-settings").addEventListener("show", () => narrow.matches && show(true));
  at("close-settings").addEventListener("click", () => show(false));
  narrow.addEventListener("change", () => document.body.classList.contains("sheet") && show(false));
  return () => document.body.classList.contains("sheet") && (show(false), true);
}

function setUpKeys(closeSheet) {
  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      if (!at("key").hidden && document.activeElement === at("key-field")) at("key").requestSubmit();
      else at(tab() ?? "chat").querySelector("form").requestSubmit();
    }
    if (event.key === "Escape") {
      tokens.hide();
      closeSheet() || chat.stop() || completion.stop() || tasks.stop();
    }
  });
}

/** Fields that grow with their text, where the browser does not do it itself. */
function setUpFields() {
  if (CSS.supports("field-sizing", "content")) return;
  document.addEventListener("input", ({ target: field }) => {
    if (field.tagName !== "TEXTAREA") return;
    field.style.height = "auto";
    field.style.height = `${field.scrollHeight + 2}px`;
  });
}

settings.setUp();
speak(language());
tokens.setUp();
chat.setUp(() => chosen(), askForKey);
completion.setUp(() => chosen(), askForKey);
tasks.setUp(askForKey);
setUpTabs();
setUpLooks();
setUpKeys(setUpSheet());
setUpFields();
at("key").addEventListener("submit", (event) => {
  event.preventDefault();
  useKey(at("key-field").value.trim());
  load();
});
document.addEventListener("no-models", load); // asked too early, or the server was not there yet
open("chat");
load();
