// How likely each token was: a card beside the token that is pointed at, tapped, or reached with the arrow keys.
// An answer is one stop of the Tab key; inside it the arrow keys go from token to token.

import { make } from "./elements.js";
import { percent, worded } from "./words.js";

const told = new WeakMap();
const SHADES = [0.5, 0.2, 0.05, 0.01];

/** A span for a piece of text and the tokens it was made of. */
export function tokenSpan(text, tokens) {
  const span = make("span", "token", text);
  if (!tokens.length) return span;
  told.set(span, tokens);
  span.tabIndex = -1;
  const least = Math.min(...tokens.map((one) => Math.exp(one.logprob ?? 0)));
  const shade = SHADES.filter((bound) => least < bound).length;
  if (shade) span.classList.add(`unlikely-${shade}`);
  return span;
}

/** A token as one can see it: blanks and line breaks get signs, and bytes that are no text are written out. */
function visible({ text, bytes }) {
  const code = make("code");
  if (bytes?.length && (text === "" || text.includes("\ufffd"))) {
    code.append(make("i", "", bytes.map((one) => one.toString(16).padStart(2, "0")).join(" ")));
    return code;
  }
  for (const part of text.split(/(\n|\t|^ +| +$)/)) {
    const sign = part === "\n" ? "↵" : part === "\t" ? "⇥" : /^ +$/.test(part) ? "␣".repeat(part.length) : "";
    if (part) code.append(sign ? make("i", "", sign) : part);
  }
  return code;
}

function row(one, isDrawn) {
  const probability = Math.exp(one.logprob ?? 0);
  const meter = make("span", "meter", make("span"));
  meter.firstChild.style.width = `${Math.max(probability * 100, 0.5)}%`;
  const line = make("li", isDrawn ? "drawn" : "", visible(one), meter, make("span", "n", percent(probability)));
  if (isDrawn) line.append(worded(make("span", "unseen"), "chosen"));
  return line;
}

function table(token) {
  const key = (one) => one.bytes?.join() ?? one.text;
  const others = token.likeliest.filter((one) => key(one) !== key(token));
  const rows = [...others.map((one) => [one, false]), [token, true]];
  rows.sort(([one], [two]) => (two.logprob ?? 0) - (one.logprob ?? 0));
  return make("ol", "", ...rows.map(([one, isDrawn]) => row(one, isDrawn)));
}

let shown = null;

function show(span) {
  const tokens = told.get(span);
  if (!tokens) return;
  hide();
  shown = span;
  span.classList.add("shown");
  span.setAttribute("aria-describedby", "token-card");
  const card = document.getElementById("token-card");
  card.replaceChildren(...tokens.map(table));
  card.hidden = false;
  const [word] = span.getClientRects();
  if (!word) return hide();
  const room = card.getBoundingClientRect();
  const left = Math.min(Math.max(8, word.left - 12), document.documentElement.clientWidth - room.width - 8);
  const above = word.top - room.height - 8;
  card.style.left = `${left}px`;
  card.style.top = `${above > 8 ? above : word.bottom + 8}px`;
}

/** Take the card away. */
export function hide() {
  if (!shown) return;
  shown.classList.remove("shown");
  shown.removeAttribute("aria-describedby");
  shown = null;
  document.getElementById("token-card").hidden = true;
}

const tokenOf = (event) => event.target.closest?.(".token") ?? null;

function walk(event) {
  const steps = { ArrowLeft: -1, ArrowRight: 1 };
  const box = event.target.closest?.(".tokens");
  if (!box || !(event.key in steps || event.key === "Home" || event.key === "End")) return;
  const spans = [...box.querySelectorAll('.token[tabindex="-1"]')];
  if (!spans.length) return;
  const here = spans.indexOf(event.target);
  const end = spans.length - 1;
  const next = event.key === "Home" ? 0 : event.key === "End" ? end : Math.min(end, Math.max(0, here + steps[event.key]));
  event.preventDefault();
  spans[next].focus();
}

/** Listen for pointers, keys and taps. */
export function setUp() {
  document.addEventListener("pointerover", (event) => {
    if (event.pointerType === "touch") return;
    const span = tokenOf(event);
    if (span) show(span);
    else if (shown && document.activeElement !== shown) hide();
  });
  document.addEventListener("click", (event) => {
    const span = tokenOf(event);
    if (span && !String(getSelection())) show(span);
    else if (!event.target.closest?.("#token-card")) hide();
  });
  document.addEventListener("focusin", (event) => (tokenOf(event) ? show(tokenOf(event)) : hide()));
  document.addEventListener("keydown", walk);
  addEventListener("scroll", () => shown && document.activeElement !== shown && hide(), { passive: true });
  addEventListener("resize", hide);
}
