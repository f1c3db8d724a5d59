/* Controls that playgrounds of every kind of example have, and what is said beside them. */

import { h } from "./dom.js";
import { few, moreButton } from "./parts.js";
import { state } from "./store.js";
import { className, figureLabel, hasClasses, labelsOf, madeBy, number, roundsScoredWith, scoredWith } from "./words.js";

const MOST_CLASSES = 40;
const MOST_SEED = 2 ** 31;

export function explain(failure) {
  if (failure.kind === "gone") return `${failure.message}. It goes on when it is back and you try again.`;
  if (failure.kind === "busy") return "The server has too much to do: try again in a moment.";
  if (failure.kind === "missing") return "This run is not there any more.";
  if (failure.kind === "token") {
    state.link = "token";
    return "The server needs its token.";
  }
  return failure.kind ? failure.message : `The answer cannot be shown: ${failure.message}`;
}

export function classes(run, own, change) {
  if (!hasClasses(run)) return h("p", { class: "quiet" }, whyNoClasses(run));
  const between = own.mode === "between";
  const first = Math.min(...own.classes, Infinity);
  const isOn = (label) => (between ? label === (first === Infinity ? labelsOf(run)[0] : first) : own.classes.has(label));
  const toggle = (label) => () => {
    const next = new Set(between ? [] : own.classes);
    if (!next.delete(label)) next.add(label);
    change({ classes: next });
  };
  const labels = labelsOf(run);
  return h("fieldset", { class: "classes" }, h("legend", {}, between ? "Class" : "Classes"),
    !between && h("button", { key: "all", type: "button", "aria-pressed": String(!own.classes.size), onclick: () => change({ classes: new Set() }) }, "all"),
    few(`classes ${run.id}`, labels, MOST_CLASSES).map((label) => h("button", { key: label, type: "button", "aria-pressed": String(isOn(label)), onclick: toggle(label) }, className(run, label))),
    moreButton(`classes ${run.id}`, labels, MOST_CLASSES));
}

function whyNoClasses(run) {
  const made = madeBy(run);
  const what = run.texts ? "texts" : "images";
  if (made?.classes < 2) return `The ${what} of this run have no classes.`;
  if (made?.conditional) return `All ${what} of this run are of one class.`;
  return made?.conditional === false ? `This generator is unconditional: it cannot make ${what} of a chosen class.` : "It is not known whether this generator is conditional.";
}

export function seed(label, value, onchange) {
  return h("div", { class: "seed" },
    h("label", { class: "field grow" }, h("span", {}, label), h("input", { type: "number", min: 0, max: MOST_SEED, step: 1, value: String(value), oninput: (event) => { const it = event.currentTarget.valueAsNumber; if (Number.isInteger(it) && it >= 0 && it <= MOST_SEED) onchange(it); } })),
    h("button", { type: "button", class: "small", "aria-label": `Another ${label.toLowerCase()}`, title: "Another one", onclick: () => onchange(Math.floor(Math.random() * 100_000)) }, "⚂"));
}

export function slider(label, value, range, onchange) {
  return h("label", { class: "field slider" }, h("span", {}, label, h("b", { "aria-hidden": "true" }, number(value))), h("input", { type: "range", ...range, value: String(value), oninput: (event) => onchange(event.currentTarget.valueAsNumber) }));
}

export function optional(label, words, value, { otherwise, ...range }, onchange) {
  const isOn = value !== null;
  return h("div", { class: "optional" },
    h("label", { class: "check" }, h("input", { type: "checkbox", checked: isOn, onchange: (event) => onchange(event.currentTarget.checked ? otherwise : null) }), label, isOn && h("b", { "aria-hidden": "true" }, number(value))),
    h("p", { class: "quiet" }, words),
    isOn && h("input", { type: "range", ...range, "aria-label": label, value: String(value), oninput: (event) => onchange(event.currentTarget.valueAsNumber) }));
}

/* How good the generator of a round is, as far as that was scored. */
export function scoreOf(run, round) {
  const name = figureLabel(run.distance);
  const final = run.scores[run.distance];
  if (round === run["scores-round"] && Number.isFinite(final)) return `${name} of this round: ${number(final)} (${scoredWith(run["scored-with"])}).`;
  const at = run["quality-rounds"].indexOf(round);
  return at === -1 ? "This round was not scored." : `${name} of this round: ${number(run.quality[at])} (${roundsScoredWith(run)}).`;
}

/* Has the browser save an answer as a file. */
export function saveAs(made) {
  const address = URL.createObjectURL(made.blob);
  const link = document.createElement("a");
  link.href = address;
  link.download = made.name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}
