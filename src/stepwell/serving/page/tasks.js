// Task models: texts in, labels, tags or translations out. Small on purpose: `stepwell predict` does the rest.

import { make, tell } from "./elements.js";
import { faultWords } from "./replies.js";
import { askTask, Fault } from "./server.js";
import { percent, say, worded } from "./words.js";

const at = (id) => document.getElementById(id);
const TASKS = ["classify", "tag", "translate"];
const MOST_LABELS = 5;

let running = null;
let needsKey = () => {};

/** What a model can be asked for here. */
export const tasksOf = (model) => TASKS.filter((task) => model.tasks?.includes(task));

export function setUp(refused) {
  needsKey = refused;
  at("tasks-form").addEventListener("submit", (event) => {
    event.preventDefault();
    ask();
  });
  at("tasks-stop").addEventListener("click", stop);
}

export function stop() {
  running?.abort();
  return running !== null;
}

/** Let the user choose among the models that have tasks. */
export function show(models) {
  const options = models.flatMap((model) =>
    tasksOf(model).map((task) => {
      const option = make("option", "", `${model.id} · ${say(task)}`);
      option.value = JSON.stringify([task, model.id]);
      return option;
    }),
  );
  const before = at("task-model").value;
  at("task-model").replaceChildren(...options);
  if (options.some((one) => one.value === before)) at("task-model").value = before;
}

async function ask() {
  const texts = at("texts").value.split("\n").filter((line) => line.trim());
  if (running || !texts.length || !at("task-model").value) return;
  const [task, model] = JSON.parse(at("task-model").value);
  running = new AbortController();
  showState();
  at("told").replaceChildren();
  try {
    const said = await askTask(task, { model, input: texts }, running.signal);
    if (!Array.isArray(said.data) || said.data.length !== texts.length) throw new Fault("strange");
    at("told").replaceChildren(...said.data.map((one, place) => make("li", "", make("p", "asked", texts[place]), ...SHOWN[task](one, texts[place]))));
    tell("finished");
  } catch (fault) {
    if (fault.name === "AbortError") tell("was stopped");
    else at("told").replaceChildren(make("li", "", ...faultWords(fault instanceof Fault ? fault : new Fault("strange", String(fault)))));
    if (fault.kind === "key" || fault.kind === "no key") needsKey();
  }
  running = null;
  showState();
}

function showState() {
  at("tasks-stop").hidden = running === null;
  at("ask").hidden = running !== null;
}

const SHOWN = {
  classify(one) {
    const scores = Object.entries(one.scores ?? {}).slice(0, MOST_LABELS);
    if (!scores.length) return [make("p", "label", make("bdi", "", String(one.label ?? "")))];
    const drawn = String(one.label ?? scores[0][0]).split(", ");
    return [
      make(
        "ol",
        "scores",
        ...scores.map(([label, score]) => {
          const meter = make("span", "meter", make("span"));
          meter.firstChild.style.width = `${score * 100}%`;
          return make("li", drawn.includes(label) ? "drawn" : "", make("bdi", "", label), meter, make("span", "n", percent(score)));
        }),
      ),
    ];
  },
  tag(one, text) {
    const spans = one.spans ?? [];
    if (!spans.length) return [worded(make("p", "how"), "no tags")];
    const line = make("p", "tagged");
    const letters = [...text]; // the server counts characters, JavaScript halves of some
    const part = (begin, end) => letters.slice(begin, end).join("");
    let end = 0;
    for (const span of spans.filter((one) => one.label)) {
      line.append(part(end, span.start), make("mark", "", part(span.start, span.end), make("small", "", span.label)));
      end = span.end;
    }
    line.append(part(end));
    return [line];
  },
  translate: (one) => [make("p", "label", make("bdi", "", one.text ?? ""))],
};
