// Elements made by hand. Text is always set as text: nothing that a model wrote is ever read as HTML.

import { say, worded } from "./words.js";

/** An element with a class and what stands in it: texts or elements. */
export function make(tag, name = "", ...inside) {
  const element = document.createElement(tag);
  if (name) element.className = name;
  element.append(...inside);
  return element;
}

/** A quiet button that says a wording and does something. */
export function button(wording, act, name = "quiet") {
  const element = worded(make("button", name), wording);
  element.type = "button";
  element.addEventListener("click", act);
  return element;
}

/** A button that copies a text, and says so for a moment. */
export function copier(text) {
  const element = button("copy", async () => {
    try {
      await navigator.clipboard.writeText(text());
      worded(element, "copied");
    } catch {
      worded(element, copiedByHand(text()) ? "copied" : "copy failed");
    }
    setTimeout(() => worded(element, "copy"), 1600);
  });
  return element;
}

/** Without HTTPS there is no clipboard but the old one. */
function copiedByHand(text) {
  const field = make("textarea", "unseen");
  field.value = text;
  const before = document.activeElement;
  document.body.append(field);
  field.select();
  const worked = document.execCommand("copy");
  field.remove();
  before?.focus();
  return worked;
}

/** Hand the user a file. */
export function save(name, value) {
  const link = make("a");
  link.href = URL.createObjectURL(new Blob([JSON.stringify(value, null, 2) + "\n"], { type: "application/json" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** Say something to those who hear the page. */
export function tell(wording) {
  document.getElementById("news").textContent = say(wording);
}

/** What a browser remembers; a page that may not remember works too. */
export const memory = {
  read(name, otherwise, where = "localStorage") {
    try {
      const value = JSON.parse(window[where].getItem(`stepwell.${name}`));
      return value ?? otherwise;
    } catch {
      return otherwise;
    }
  },
  write(name, value, where = "localStorage") {
    try {
      window[where].setItem(`stepwell.${name}`, JSON.stringify(value));
    } catch {
      // then nothing is remembered
    }
  },
};
