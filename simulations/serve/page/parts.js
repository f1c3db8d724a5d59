/* Small parts that several views share: states, signs of trouble, histograms. */

import { h } from "./dom.js";
import { local, redraw, state } from "./store.js";
import { className, duration, KINDS, number, plural, whole } from "./words.js";

const STATES = { running: "▶", "waiting for nodes": "◌", finished: "✓", failed: "✕" };
const FIRST_SIGNS = 4;

export function statePill(run) {
  return h("span", { class: `pill ${run.state.replaceAll(" ", "-")}` }, h("span", { "aria-hidden": "true" }, STATES[run.state] ?? "•"), run.state);
}

export function progressBar(run) {
  return h("div", { class: "progress" },
    h("progress", { max: 1, value: run.progress, "aria-label": `Progress of ${run.id}` }),
    h("span", {}, `round ${whole(run.round)} of ${whole(run.rounds)}`),
    run["seconds-left"] !== null && h("span", { class: "left" }, `about ${duration(run["seconds-left"])} left`));
}

/* What goes wrong, at a glance and in words. */
export function signsPanel(run) {
  const own = local(`signs ${run.id}`, () => ({ all: false }));
  if (!run.signs.length) {
    return h("p", { class: "sound" }, h("span", { "aria-hidden": "true" }, "✓ "), run.round ? "Nothing looks wrong: no collapse, no divergence, nobody left out." : "Nothing to say before the first round is done.");
  }
  const shown = own.all ? run.signs : run.signs.slice(0, FIRST_SIGNS);
  const kinds = [...new Set(run.signs.map((sign) => sign.kind))];
  return h("section", { class: "signs", "aria-labelledby": "signs-title" },
    h("h2", { id: "signs-title" }, plural(run.signs.length, "sign of trouble", "signs of trouble")),
    h("ul", {}, shown.map((sign) => h("li", { class: sign.severity },
      h("span", { class: "kind" }, h("span", { "aria-hidden": "true" }, sign.severity === "error" ? "✕ " : "▲ "), h("span", { class: "unseen" }, `${sign.severity}: `), KINDS[sign.kind]?.[0] ?? sign.kind),
      h("span", { class: "words" }, sign.words),
      h("span", { class: "where" },
        h("button", { type: "button", class: "small", onclick: () => showRound(sign.round), title: `Show round ${sign.round}` }, `round ${sign.round}`),
        sign.client !== null && h("a", { href: clientHref(run, sign.client) }, `client ${sign.client}`))))),
    run.signs.length > FIRST_SIGNS && h("button", { type: "button", class: "small", "aria-expanded": String(own.all), onclick: () => { own.all = !own.all; redraw(); } }, own.all ? "fewer" : `all ${run.signs.length}`),
    h("details", {}, h("summary", {}, kinds.length === 1 ? "What this means" : "What these mean"), h("dl", {}, kinds.map((kind) => [h("dt", {}, KINDS[kind]?.[0] ?? kind), h("dd", {}, KINDS[kind]?.[1] ?? "")]))));
}

export function showRound(round) {
  state.cursor = round;
  redraw();
}

export const runHref = (id, tab = "") => `#/run/${encodeURIComponent(id)}${tab ? `/${tab}` : ""}`;
export const clientHref = (run, client) => runHref(run.id, `clients/${client}`);

/* How many images of each class, as bars, with the figures for whoever does not see them. */
export function histogram(run, counts, most, isLarge = false) {
  if (!counts) return h("span", { class: "quiet" }, "keeps them to itself");
  const words = counts.map((count, label) => [count, label]).filter(([count]) => count).map(([count, label]) => `${className(run, label)}: ${whole(count)}`).join(", ");
  return h("span", { class: `histogram${isLarge ? " large" : ""}`, role: "img", "aria-label": `Images by class: ${words}`, title: words },
    counts.map((count, label) => h("span", {}, h("i", { class: count ? "" : "none", style: { height: `${count ? Math.max(6, ((isLarge ? 80 : 100) * count) / most) : 2}%` } }), isLarge && h("small", {}, className(run, label)))));
}

/* A figure with a bar behind it that shows it against the largest. */
export function bar(value, most, words = number(value)) {
  if (value === null || value === undefined) return h("span", { class: "quiet" }, "–");
  return h("span", { class: "bar-cell" }, h("i", { style: { width: `${Math.max(1, Math.min(100, (100 * Math.abs(value)) / (most || 1)))}%` } }), h("span", {}, words));
}

/* Returns a select whose options are [value, words]. */
export function choice(label, value, options, onchange) {
  return h("label", { class: "field" }, h("span", {}, label),
    h("select", { value, onchange: (event) => onchange(event.currentTarget.value) }, options.map(([key, words]) => h("option", { key, value: key }, words))));
}
